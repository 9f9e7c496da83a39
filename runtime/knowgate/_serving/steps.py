"""How the steps of a query are taken: by blocking calls, or on an event loop that nothing blocks.

Whatever a back-end or an encoder raises costs an escalation or a signal, never the query. On an
event loop a safety net of a second beyond each timeout catches a back-end that does not keep its
own.
"""

import asyncio
import threading
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import TypeVar

from knowgate._deciding.intake import texts
from knowgate._records.observation import Observation
from knowgate._serving.replies import prompt_of
from knowgate._wire.tracing import WATCHED
from knowgate.backends.protocol import Backend, Message, Reply
from knowgate.backends.steps import taken, taken_async
from knowgate.backends.tries import Ask, Pause, Read
from knowgate.errors import BackendFailed, Failure

GRACE_S = 1.0

T = TypeVar("T")
Outcome = Reply | BackendFailed | None
Steps = Generator[Ask | Pause | Read, Outcome, T]


def drive(steps: Steps[T], messages: Sequence[Message], given_up: threading.Event | None = None) -> T:
    """What `steps` return, each taken with a blocking call. Raises BackendFailed once `given_up` is
    set.
    """
    over = given_up or threading.Event()

    def act(step: Ask | Pause | Read) -> Outcome:
        if over.is_set():
            raise BackendFailed("given up, since the cascade is closed", Failure.UNREACHABLE)
        if isinstance(step, Pause):
            over.wait(step.seconds)
            return None
        if isinstance(step, Read):
            return _with_state(step, messages)
        try:
            return _reply_of(step.backend, step.backend.ask(messages, **step.options))
        except BackendFailed as error:
            return error
        except Exception as error:  # noqa: BLE001
            return _unforeseen(step.backend, error)

    return taken(steps, act)


async def drive_async(steps: Steps[T], messages: Sequence[Message]) -> T:
    """What `steps` return, each taken without blocking the event loop."""

    async def act(step: Ask | Pause | Read) -> Outcome:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        if isinstance(step, Read):
            return await asyncio.to_thread(_with_state, step, messages)
        watch = WATCHED.get()
        if watch is None:
            return await _asked(step, messages)
        with watch(step.backend.model) as came:
            outcome = await _asked(step, messages)
            came(outcome)
        return outcome

    return await taken_async(steps, act)


async def _asked(step: Ask, messages: Sequence[Message]) -> Reply | BackendFailed:
    """What one try came to."""
    try:
        async with asyncio.timeout(step.timeout_s + GRACE_S):
            return _reply_of(step.backend, await step.backend.ask_async(messages, **step.options))
    except BackendFailed as error:
        return error
    except TimeoutError:
        return BackendFailed(f"{step.backend.model} did not keep to {step.timeout_s:.3g} s", Failure.TIMEOUT)
    except Exception as error:  # noqa: BLE001
        return _unforeseen(step.backend, error)


def _reply_of(backend: Backend, given: object) -> Reply | BackendFailed:
    """What a back-end returned, where that is a reply."""
    shown = given.shown if isinstance(given, Reply) else None
    if isinstance(given, Reply) and isinstance(shown, Observation) and isinstance(shown.answer, str | None):
        return given
    wanted = "give a Reply whose `shown` is an Observation with a text, or None, as its answer"
    return BackendFailed(f"{backend.model} returned {type(given).__name__}: {wanted}", Failure.GARBAGE)


def _with_state(step: Read, messages: Sequence[Message]) -> Reply:
    """The step's reply with the encoder's state of the prompt; without one, and with a note, where
    that fails.
    """
    shown = step.reply.shown
    try:
        encoded = step.encoder(prompt_of(messages), layer=step.layer)
        shown = replace(shown, hidden=encoded.hidden, fingerprint=encoded.fingerprint)
    except Exception as error:  # noqa: BLE001  whatever an encoder raises costs a signal, not the query
        shown = replace(shown, notes=(*texts(shown.notes), f"the encoder gave no hidden state: {error}"))
    return replace(step.reply, shown=shown)


def _unforeseen(backend: Backend, error: Exception) -> BackendFailed:
    """An error that a back-end should not have raised, as one that it may."""
    failure = Failure.UNSENDABLE if isinstance(error, UnicodeEncodeError) else Failure.GARBAGE
    failed = BackendFailed(f"{backend.model} raised {error!r}", failure)
    failed.__cause__ = error
    return failed
