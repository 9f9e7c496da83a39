"""An answer in events: as soon as it is known which tier's it is.

A smaller tier's answer is kept or not as a whole, so it is there at once when it is kept; unless
its prompt's state alone decides that, and its events go on as they come. The last tier's is always
kept, so its do too.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from knowgate._deciding.query import Query
from knowgate._deciding.ruling import Ruling
from knowgate._records.observation import NOTHING_SHOWN
from knowgate._serving.early_stream import EarlyStream
from knowgate._serving.passing import Passing
from knowgate._serving.replies import attempt, failed, lack_of
from knowgate._serving.serving import Answer, Begun, Serving
from knowgate._serving.steps import drive_async
from knowgate.backends.protocol import Message, Reply
from knowgate.errors import BackendFailed


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
        given = await _before_the_last(serving, query, messages, parameters)
    except asyncio.CancelledError:
        serving.abandon(query)
        raise
    if isinstance(given, Streamed):
        return given
    if isinstance(given, Answer):
        await asyncio.shield(asyncio.to_thread(serving.finish, query, messages, parameters))
        return Streamed(answer=given, passing=None)
    passing = Passing(serving, query)
    await passing.open_chat(messages, parameters)
    answer = _begun(query, last, given, query.foresee())
    if passing.is_stream:
        return Streamed(answer=answer, passing=passing)
    return Streamed(answer=replace(answer, reply=await passing.reply()), passing=None)  # a server without streams


async def _before_the_last(
    serving: Serving, query: Query, messages: Sequence[Message], parameters: Mapping[str, Any]
) -> Streamed | Answer | tuple[Ruling, ...]:
    """What the tiers before the last one come to; their rulings where none of them answers."""
    last, rulings = len(serving.tiers) - 1, tuple[Ruling, ...]()
    while True:
        steps = serving.steps_before(last, query, messages, parameters, after=rulings, streams=True)
        given = await drive_async(steps, messages)
        if not isinstance(given, Begun):
            return given
        *before, kept = given.rulings
        stream = EarlyStream(serving, query, tier=given.tier)
        began = time.perf_counter()
        try:
            reply = await stream.begin(messages, parameters)
        except BackendFailed as error:
            ruling = failed(query, given.tier, error, began)
        else:
            if reply is None:
                return Streamed(answer=_begun(query, given.tier, tuple(before), kept), passing=stream)
            ruling = attempt(query, given.tier, reply, lack_of(reply))
            if ruling.retained:
                return replace(_begun(query, given.tier, tuple(before), ruling), reply=reply)
        rulings = (*before, ruling)


def _begun(query: Query, tier: int, before: tuple[Ruling, ...], ruling: Ruling) -> Answer:
    """The answer of `tier`, of which nothing is known but that it is served."""
    return Answer(
        tier=tier,
        decision_id=query.decision_id,
        reply=Reply(shown=NOTHING_SHOWN),
        rulings=(*before, ruling),
        explores=ruling.explore,
    )
