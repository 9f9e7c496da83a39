"""What the body of a chat completion says, read with suspicion.

The text is all that is needed; a body without one cannot be used, but for one whose text a filter took: that is an
empty answer, and no fault of the server's. Log-probabilities or counts that are absent or no
numbers are left out with a note, and so is a P(T) of the wanted kind that the answer does not have: another kind never
takes its place.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from knowgate.backends.answer_tokens import read_signals
from knowgate.backends.protocol import Finish
from knowgate.errors import BackendFailed, Failure
from knowgate.records import PTKind

Json = Any
SHOWN = 200  # characters of a body that a message shows


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """The parts of a chat completion that every engine gives."""

    text: str
    p_t: float | None
    entropy: float | None  # nats, of the options among themselves
    margin: float | None  # of the likeliest option over the next one
    tokens_in: int | None
    tokens_out: int | None
    finish: Finish | None
    notes: tuple[str, ...]
    choice: Json  # choices[0], for an engine's own fields
    document: Json


def read_chat(content: bytes, *, options: Sequence[str] = (), p_t_kind: PTKind | None = PTKind.FIRST_TOKEN) -> Chat:
    """The completion in `content`, with a P(T) of this kind (None = none is wanted).

    Raises BackendFailed (garbage) where there is no text in it.
    """
    try:
        document = json.loads(content)
        choice = document["choices"][0]
        finish = _finish(choice)
        text = choice["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise _garbage(content, repr(error)) from error
    if text is None and finish is Finish.FILTERED:
        text = ""
    if not isinstance(text, str):
        raise _garbage(content, "choices[0].message.content is no text")
    notes: list[str] = []
    signals = read_signals(choice, text, p_t_kind, options, notes)
    usage = document.get("usage")
    return Chat(
        text=text,
        p_t=signals.p_t,
        entropy=signals.entropy,
        margin=signals.margin,
        tokens_in=_count(usage, "prompt_tokens"),
        tokens_out=_count(usage, "completion_tokens"),
        finish=finish,
        notes=tuple(notes),
        choice=choice,
        document=document,
    )


def _finish(choice: Json) -> Finish | None:
    told = choice.get("finish_reason") if isinstance(choice, dict) else None
    return Finish(told) if isinstance(told, str) and told in tuple(Finish) else None


def _count(usage: Json, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _garbage(content: bytes, why: str) -> BackendFailed:
    shown = content[:SHOWN].decode("utf-8", "replace")
    return BackendFailed(f"the answer is no chat completion ({why}): {shown!r}", Failure.GARBAGE)
