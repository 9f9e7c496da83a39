"""An answer in events: as soon as it is known which tier's it is.

A smaller tier's answer is kept or not as a whole, so it is there at once when it is kept. The last
tier's is always kept, so its events go on as they come.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from knowgate._deciding.query import Query
from knowgate._deciding.ruling import Ruling
from knowgate._records.observation import NOTHING_SHOWN
from knowgate._serving.passing import Passing
from knowgate._serving.serving import Answer, Serving
from knowgate._serving.steps import drive_async
from knowgate.backends.protocol import Message, Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """Which tier answers, and its answer where it is not there yet."""

    answer: Answer  # without a text where `passing` has it
    passing: Passing | None


async def answer_streamed(
    serving: Serving, query: Query, messages: Sequence[Message], parameters: Mapping[str, Any]
) -> Streamed:
    """Asks the tiers until one is kept, or until the last one's answer begins. Raises NoAnswer.

    Cancelling is how a caller leaves, as of `Serving.answer_async`.
    """
    last = len(serving.tiers) - 1
    if not hasattr(serving.tiers[last].backend, "open_chat_async"):
        return Streamed(answer=await serving.answer_async(query, messages, parameters), passing=None)
    try:
        given = await drive_async(serving.steps_before(last, query, messages, parameters), messages)
    except asyncio.CancelledError:
        serving.abandon(query)
        raise
    if isinstance(given, Answer):
        await asyncio.shield(asyncio.to_thread(serving.finish, query, messages, parameters))
        return Streamed(answer=given, passing=None)
    passing = Passing(serving, query)
    await passing.open_chat(messages, parameters)
    answer = _begun(query, last, given)
    if passing.is_stream:
        return Streamed(answer=answer, passing=passing)
    return Streamed(answer=replace(answer, reply=await passing.reply()), passing=None)  # a server without streams


def _begun(query: Query, last: int, rulings: tuple[Ruling, ...]) -> Answer:
    """The last tier's answer of which nothing is known but that it is served."""
    served = query.foresee()
    return Answer(
        tier=last,
        decision_id=query.decision_id,
        reply=Reply(shown=NOTHING_SHOWN),
        rulings=(*rulings, served),
        explores=served.explore,
    )
