"""`answer` on an event loop: no call blocks it, and a cancelled query takes nothing with it.

Cancelling is how a caller leaves: the request under way is broken off, no further tier is asked,
and what was spent is booked as abandoned. Nothing was served, so no decision is recorded. A safety
net of a second beyond each timeout catches a back-end that does not keep its own. Logging a
decision waits for the disk, so that is done in a thread.
"""

import asyncio
from collections.abc import Sequence

from knowgate._deciding.query import Query
from knowgate._serving.answer import Answer, AnswerSteps, Serving, unforeseen, with_state
from knowgate.backends.protocol import Message, Reply
from knowgate.backends.tries import Ask, Pause, Read
from knowgate.errors import BackendFailed, Failure

GRACE_S = 1.0


async def answer_async(serving: Serving, query: Query, messages: Sequence[Message]) -> Answer:
    """Answers one query. Raises NoAnswer."""
    try:
        given = await _answered(serving.steps(query, messages), messages)
    except asyncio.CancelledError:
        serving.abandon(query)
        raise
    # Shielded: the answer is there, so the decision is logged even where the caller has gone.
    await asyncio.shield(asyncio.to_thread(serving.finish, query, messages))
    return given


async def _answered(steps: AnswerSteps, messages: Sequence[Message]) -> Answer:
    """What the steps return, each taken without blocking the event loop."""
    outcome: Reply | BackendFailed | None = None
    while True:
        try:
            step = steps.send(outcome)
        except StopIteration as end:
            given: Answer = end.value
            return given
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            outcome = None
        elif isinstance(step, Read):
            outcome = await asyncio.to_thread(with_state, step, messages)
        else:
            outcome = await _ask(step, messages)


async def _ask(step: Ask, messages: Sequence[Message]) -> Reply | BackendFailed:
    try:
        async with asyncio.timeout(step.timeout_s + GRACE_S):
            return await step.backend.ask_async(messages, timeout_s=step.timeout_s)
    except BackendFailed as error:
        return error
    except TimeoutError:
        return BackendFailed(f"{step.backend.model} did not keep to {step.timeout_s:.3g} s", Failure.TIMEOUT)
    except Exception as error:  # noqa: BLE001  whatever a back-end raises costs an escalation, not the query
        return unforeseen(step.backend, error)
