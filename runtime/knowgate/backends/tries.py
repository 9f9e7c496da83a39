"""How often, and for how long, one tier is asked: the tries of one query at one back-end.

A generator of steps, so that it is written once and driven with and without an event loop. All
tries of a tier share its `timeout_s`. Repeated is only what costs nothing but time: no connection,
a cut one, an overloaded or broken server. A timeout has used the time up, garbage and refusals
would come again.
"""

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any

from knowgate._wire.backoff import next_delay
from knowgate.backends.circuit import Circuit
from knowgate.backends.protocol import Backend, Encoder, MayAnswer, Message, Reply
from knowgate.errors import BackendFailed, Failure, RecordInvalid

JITTER = 0.5  # many queries fail together; they must not come back together


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a tier may take, how often it is tried, and when it is left alone."""

    timeout_s: float = 30.0  # all tries together
    tries: int = 3
    first_delay_s: float = 0.25  # doubles with every failure, off by up to half
    longest_delay_s: float = 4.0
    open_after: int = 5  # queries in a row that failed; those that may be a prompt's own fault, of as many prompts
    open_for_s: float = 15.0

    def __post_init__(self) -> None:
        for name in ("timeout_s", "tries", "first_delay_s", "longest_delay_s", "open_after", "open_for_s"):
            if not getattr(self, name) > 0:
                raise RecordInvalid(f"patience.{name}", getattr(self, name), "give a number above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A step: ask `backend` once; answered with its Reply or its BackendFailed."""

    backend: Backend
    timeout_s: float
    may_answer: MayAnswer | None = None  # asked once the prompt is read, of an `EarlyBackend`

    @property
    def options(self) -> dict[str, Any]:
        """What `ask` is given beside the messages."""
        asked = {} if self.may_answer is None else {"may_answer": self.may_answer}
        return {"timeout_s": self.timeout_s} | asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A step: wait."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A step: let `encoder` read the prompt, since `reply` has no hidden state; answered with the
    reply that has it.
    """

    encoder: Encoder
    layer: int | None  # that the probe in force reads
    reply: Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """One tier of a cascade at work."""

    backend: Backend
    patience: Patience
    circuit: Circuit
    encoder: Encoder | None = None
    early: bool = False  # a gate may end it before it answers


Steps = Generator[Ask | Pause, Reply | BackendFailed | None, Reply]


def tries(
    tier: Tier,
    *,
    last: bool,
    random: Random,
    messages: Sequence[Message] | None = None,
    may_answer: MayAnswer | None = None,
) -> Steps:
    """The steps of asking one tier; returns its reply. Raises BackendFailed.

    `messages` are those that are asked, to tell one prompt that fails from many; None = every query
    is another prompt. The `last` tier is asked once even where its circuit is open: nobody else can
    answer.
    """
    patience, circuit = tier.patience, tier.circuit
    is_open = not circuit.admits()
    if is_open and not last:
        raise BackendFailed(f"{tier.backend.model} failed too often just now: not asked", Failure.CIRCUIT_OPEN)
    deadline = time.monotonic() + patience.timeout_s
    for failures in count():
        left = max(0.001, deadline - time.monotonic())
        outcome = yield Ask(backend=tier.backend, timeout_s=left, may_answer=may_answer)
        if isinstance(outcome, Reply):
            circuit.succeeded()
            return outcome
        assert outcome is not None
        delay = next_delay(
            base_s=patience.first_delay_s,
            failures=failures,
            bound_s=patience.longest_delay_s,
            jitter=JITTER,
            random=random,
        )
        delay = max(delay, outcome.retry_after_s or 0.0)
        used_up = failures + 1 >= patience.tries or time.monotonic() + delay >= deadline
        if is_open or used_up or not outcome.passes:
            _count(circuit, outcome, messages)
            raise outcome
        yield Pause(seconds=delay)
        if not circuit.admits():
            raise outcome
    raise AssertionError("count() does not end")


def _count(circuit: Circuit, failed: BackendFailed, messages: Sequence[Message] | None) -> None:
    """Tells the circuit what one query came to, after its last try."""
    if failed.failure is Failure.REFUSED:
        circuit.succeeded()
    elif failed.failure is not Failure.UNSENDABLE:  # that says nothing of the server
        its_own = failed.may_be_the_requests and messages is not None
        circuit.failed(of=hash(repr(messages)) if its_own else None)
