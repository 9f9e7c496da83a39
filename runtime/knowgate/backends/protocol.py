"""What a cascade asks of a back-end, and what it gets: a reply with its signals, or one kind of
error.

A reply without signals is a reply: P(T) or the hidden state may be missing, a note says why, and
the policy decides what that means. Only a text that did not come is a failure.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from knowgate._records.arrays import Float32Array
from knowgate._records.observation import Observation
from knowgate._records.options import require_options
from knowgate._records.records import Fingerprint, PTKind
from knowgate.errors import RecordInvalid

LAST_PROMPT_TOKEN = "last_prompt_token"
MEAN_OF_PROMPT = "mean_of_prompt"
CHAT = "/chat/completions"  # below an API's root
Message = Mapping[str, Any]  # a message of the chat protocol: role and content
MayAnswer = Callable[[Observation], bool]  # whether a tier is to answer, by what it showed of the prompt; never raises


class Finish(StrEnum):
    """Why a tier stopped writing, in the words of the chat protocol."""

    STOP = "stop"  # it had said all
    LENGTH = "length"  # it was cut off at its limit of tokens
    FILTERED = "content_filter"  # something between it and us took text away


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What one tier said to one query: what it showed, and how its text came to an end."""

    shown: Observation  # with the text as its `answer`
    finish: Finish | None = None  # None = unknown
    refusal: str | None = None  # what the model said in place of an answer
    tool_calls: tuple[Mapping[str, Any], ...] = ()  # what it wants to be run, in place of an answer or beside it
    enough: bool = False  # cut off, it says all the same what was asked for: an option, or one token
    skipped: bool = False  # it was not to answer: what it showed is of the prompt alone

    @property
    def text(self) -> str:
        """The answer's text; empty where there is none."""
        return self.shown.answer or ""


class Backend(Protocol):
    """One model, as one engine serves it. Shared between threads."""

    @property
    def model(self) -> str:
        """The model's name: what attempts carry until a bundle names it."""

    def ask(self, messages: Sequence[Message], *, timeout_s: float) -> Reply:
        """One try, given up after `timeout_s`; never repeats itself. Raises BackendFailed."""

    async def ask_async(self, messages: Sequence[Message], *, timeout_s: float) -> Reply:
        """`ask`, without blocking the event loop."""


class EarlyBackend(Backend, Protocol):
    """A back-end that can be asked whether it is to answer, once it has read the prompt."""

    @property
    def early(self) -> bool:
        """Whether it shows a state before it answers, as it is set up."""

    def ask(self, messages: Sequence[Message], *, timeout_s: float, may_answer: MayAnswer | None = None) -> Reply:
        """One try; where `may_answer` says no, nothing is generated and the reply is skipped. It
        may be called in another thread.
        """

    async def ask_async(
        self, messages: Sequence[Message], *, timeout_s: float, may_answer: MayAnswer | None = None
    ) -> Reply:
        """`ask`, without blocking the event loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """What an encoder read of one prompt."""

    hidden: Float32Array  # [d]
    fingerprint: Fingerprint  # of `hidden`


class Encoder(Protocol):
    """Reads prompts for a tier whose back-end shows no hidden states; any callable will do. Shared
    between threads.
    """

    def __call__(self, prompt: str, *, layer: int | None) -> Encoded:
        """The prompt's state at `layer` (None = one of its own choice). What it raises costs the
        signal alone.
        """


def require_kind(kind: PTKind | None, options: Sequence[str]) -> None:
    """Raises RecordInvalid for a kind of P(T) that cannot be given, that of an option where the
    options are unknown, and for options that look alike.
    """
    require_options(options)
    if kind is PTKind.OPTION and len(options) < 2:
        raise RecordInvalid("p_t_kind", kind.value, "give the options: without them no option's probability is known")


def require_engine(fingerprint: Fingerprint | None, *, engine: str, normed: bool) -> None:
    """Raises RecordInvalid for a fingerprint that states of `engine` cannot have."""
    if fingerprint is None:
        return
    for name, wanted in (("engine", engine), ("position", LAST_PROMPT_TOKEN), ("normed", normed)):
        if getattr(fingerprint, name) != wanted:
            raise RecordInvalid(f"fingerprint.{name}", getattr(fingerprint, name), f"{engine} gives {wanted!r} states")
