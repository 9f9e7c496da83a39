"""One query through the tiers' back-ends: the cheapest first, the next one where an answer is not
kept.

A tier that fails is an escalation: it is recorded as an attempt without signals, whose reason is
the missing signal and whose note says what happened, and the next tier is asked. Only where the
last tier fails is there no answer, and an error. An answer that a gate did not pass is never served
instead: a fault may cost money, never accuracy. So it is with an answer that was cut off, filtered
or is empty: how sure a tier was of half an answer says nothing of the whole. A tier that is `early`
is ruled on as soon as it has read the prompt, and writes nothing where a gate fails
(`_serving.asking`).

Where nothing can be kept the last tier is asked at once. Exploration, of the last tier or of those
that were not waited for, runs after the answer was returned, in a thread of its own; the decision
is logged when it is done. The steps are a generator, driven by blocking calls or on an event
loop (`_serving.steps`).
"""

import asyncio
import logging
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from random import Random
from types import MappingProxyType
from typing import Any
from uuid import UUID

from knowgate._deciding.query import Query
from knowgate._deciding.ruling import Ruling
from knowgate._serving.asking import asked
from knowgate._serving.replies import failed
from knowgate._serving.steps import Steps, drive, drive_async
from knowgate.backends.circuit import Circuit
from knowgate.backends.protocol import Backend, Encoder, Message, Reply
from knowgate.backends.tries import Patience, Tier
from knowgate.errors import BackendFailed, NoAnswer, RecordInvalid

EXPLORERS = 16  # threads, which wait for tiers most of the time
NONE: Mapping[str, Any] = MappingProxyType({})
MOST_EXPLORATIONS = 256  # waiting or running; more would mean that the tiers cannot keep up

log = logging.getLogger("knowgate.answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a query was answered."""

    tier: int  # whose answer it is
    decision_id: UUID
    reply: Reply  # of that tier
    rulings: tuple[Ruling, ...]  # on every tier to the one that answered
    explores: bool  # other tiers run in the background; the decision is logged when they are done

    @property
    def text(self) -> str:
        """What that tier said."""
        return self.reply.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandoned:
    """What one tier was asked for queries whose callers left before they were answered. No decision
    tells of it.
    """

    runs: int = 0  # one that was broken off counts, without tokens: nobody knows how many it took
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """An answer that is kept whatever it says, and is still to be asked for."""

    tier: int
    rulings: tuple[Ruling, ...]  # to that tier


class Serving:
    """The back-ends of a cascade, cheapest first, with what is remembered of each."""

    def __init__(
        self,
        backends: Sequence[Backend],
        patience: Patience | Sequence[Patience] | None = None,
        encoders: Mapping[int, Encoder] | None = None,
        *,
        early: Collection[int] = (),
        owned: bool = False,
    ) -> None:
        if len(backends) < 2:
            raise RecordInvalid("backends", len(backends), "a cascade has at least two tiers")
        if patience is None or isinstance(patience, Patience):
            patience = [patience or Patience()] * len(backends)
        if len(patience) != len(backends):
            raise RecordInvalid("patience", len(patience), f"give one for all, or one for each of {len(backends)}")
        encoders = encoders or {}
        beyond = [tier for tier in encoders if not 0 <= tier < len(backends) - 1]
        if beyond:
            raise RecordInvalid("encoders", beyond[0], f"encoders are for the tiers 0 to {len(backends) - 2}")
        for tier in early:
            if not 0 <= tier < len(backends) - 1 or not (tier in encoders or hasattr(backends[tier], "early")):
                cure = "name tiers before the last with an encoder, or with a back-end that reads first"
                raise RecordInvalid("early", tier, cure)
        self.tiers = tuple(
            Tier(
                backend=backend,
                patience=patient,
                circuit=Circuit(open_after=patient.open_after, open_for_s=patient.open_for_s),
                encoder=encoders.get(index),
                early=index in early,
            )
            for index, (backend, patient) in enumerate(zip(backends, patience, strict=True))
        )
        self._owned = tuple(backends) if owned else ()  # closed with it
        self.random = Random()
        self.left = 0  # queries whose callers left before they were answered
        self.abandoned = (Abandoned(),) * len(backends)  # by tier
        self._booking = threading.Lock()
        self._explorers = ThreadPoolExecutor(EXPLORERS, thread_name_prefix="knowgate-exploration")
        self._room = threading.BoundedSemaphore(MOST_EXPLORATIONS)
        self._exploring: set[Future[None]] = set()
        self._given_up = threading.Event()
        self.left_out = 0  # explorations that the coin called for and that were given up

    @property
    def explorations(self) -> int:
        """How many wait or are under way."""
        return len(self._exploring)

    def given(self, parameters: Mapping[str, Any]) -> tuple[Tier, ...]:
        """The tiers, each sent these parameters too. Raises RecordInvalid where one cannot be."""
        if not parameters:
            return self.tiers
        for tier in self.tiers:
            if not hasattr(tier.backend, "with_parameters"):
                raise RecordInvalid("parameters", list(parameters), f"{tier.backend.model} cannot be given any")
        return tuple(
            replace(tier, backend=tier.backend.with_parameters(parameters))  # type: ignore[attr-defined]
            for tier in self.tiers
        )

    def steps(
        self, query: Query, messages: Sequence[Message] | None = None, parameters: Mapping[str, Any] = NONE
    ) -> Steps[Answer]:
        """The steps of answering `messages`; records an attempt per tier. Raises NoAnswer."""
        answer = yield from self.steps_before(len(self.tiers), query, messages, parameters)
        assert isinstance(answer, Answer), "the last tier's answer is always retained"
        return answer

    def steps_before(
        self,
        end: int,
        query: Query,
        messages: Sequence[Message] | None,
        parameters: Mapping[str, Any],
        *,
        after: Sequence[Ruling] = (),
        streams: bool = False,
    ) -> Steps[Answer | Begun | tuple[Ruling, ...]]:
        """The same with the tiers before `end` alone, and without those that there are rulings on;
        all rulings where none of them answers, and Begun where one of them `streams`.
        """
        if query.last != len(self.tiers) - 1:
            raise RecordInvalid("backends", len(self.tiers), f"the bundle in force has tiers 0 to {query.last}")
        rulings = list(after or query.passed_over())
        for index, tier in list(enumerate(self.given(parameters)[:end]))[len(rulings) :]:
            last = index == query.last
            began = time.perf_counter()
            try:
                can = streams and hasattr(tier.backend, "reply_of")
                ruling, reply = yield from asked(query, index, tier, messages, self.random, streams=can)
            except BackendFailed as error:
                if last:
                    raise NoAnswer(
                        f"the last tier, {tier.backend.model}, gave no answer: {error}; "
                        f"decision {query.decision_id} is not recorded, ask again",
                        error,
                    ) from error
                rulings.append(failed(query, index, error, began))
                continue
            rulings.append(ruling)
            if reply is None:
                return Begun(tier=index, rulings=tuple(rulings))
            if ruling.retained:
                return Answer(
                    tier=index,
                    decision_id=query.decision_id,
                    reply=reply,
                    rulings=tuple(rulings),
                    explores=query.explore,
                )
        return tuple(rulings)

    def answer(self, query: Query, messages: Sequence[Message]) -> Answer:
        """Answers one query with blocking calls. Raises NoAnswer."""
        given = drive(self.steps(query, messages), messages)
        self.finish(query, messages)
        return given

    async def answer_async(
        self, query: Query, messages: Sequence[Message], parameters: Mapping[str, Any] = NONE
    ) -> Answer:
        """`answer` on an event loop, with `parameters` in the request to each tier. Cancelling is
        how a caller leaves: the request under way is broken off, no further tier is asked, and what
        was spent is booked as abandoned.
        """
        try:
            given = await drive_async(self.steps(query, messages, parameters), messages)
        except asyncio.CancelledError:
            self.abandon(query)
            raise
        # Logging waits for the disk. Shielded: the answer is there, so the decision is logged even
        # where the caller has gone.
        await asyncio.shield(asyncio.to_thread(self.finish, query, messages, parameters))
        return given

    def finish(self, query: Query, messages: Sequence[Message], parameters: Mapping[str, Any] = NONE) -> None:
        """Logs the decision, now or once the exploration that it calls for is done."""
        if not query.explore:
            query.close()
        elif not self._room.acquire(blocking=False):
            self._leave_out(query, f"{MOST_EXPLORATIONS} are waiting already")
        else:
            try:
                exploration = self._explorers.submit(self._explore, query, messages, parameters)
                self._exploring.add(exploration)
                exploration.add_done_callback(self._exploring.discard)
            except RuntimeError:  # closed meanwhile; the answer is there all the same
                self._room.release()
                self._leave_out(query, "the cascade is closed")

    def _leave_out(self, query: Query, why: str) -> None:
        log.warning("exploration of %s left out: %s", query.decision_id, why)
        with self._booking:
            self.left_out += 1
        query.close()

    def abandon(self, query: Query) -> None:
        """Books what a query took whose caller has left; it becomes no decision, since nothing was
        served.
        """
        attempts = query.attempts
        with self._booking:
            self.left += 1
            booked = list(self.abandoned)
            for run in attempts:
                before = booked[run.tier]
                booked[run.tier] = Abandoned(
                    runs=before.runs + 1,
                    tokens_in=before.tokens_in + (run.tokens_in or 0),
                    tokens_out=before.tokens_out + (run.tokens_out or 0),
                )
            under_way = query.next_tier  # whose answer nobody waits for any more
            if under_way < len(booked):
                booked[under_way] = replace(booked[under_way], runs=booked[under_way].runs + 1)
            self.abandoned = tuple(booked)
        log.info("decision %s is abandoned at tier %d: its caller has left", query.decision_id, under_way)

    def _explore(self, query: Query, messages: Sequence[Message], parameters: Mapping[str, Any]) -> None:
        try:
            tiers = self.given(parameters)
            while query.explore and self._explored(query, query.next_tier, tiers, messages):
                pass
        finally:
            self._room.release()
            if query.explore:
                self._leave_out(query, "a tier gave no answer, or the cascade is closed")
            else:
                query.close()

    def _explored(self, query: Query, index: int, tiers: Sequence[Tier], messages: Sequence[Message]) -> bool:
        """Whether tier `index` was asked, to learn from; one before the last that fails has shown
        nothing, as it would have to a caller.
        """
        began = time.perf_counter()
        try:
            drive(asked(query, index, tiers[index], messages, self.random), messages, self._given_up)
        except BackendFailed as error:
            log.warning("exploration of %s at tier %d failed: %s", query.decision_id, index, error)
            if self._given_up.is_set() or index == query.last:
                return False
            failed(query, index, error, began)
        return True

    def close(self, *, within_s: float | None = None) -> None:
        """Waits for the explorations under way, whose decisions are logged then, and closes the
        back-ends that are its own.

        Explorations that take longer than `within_s` are given up: none is asked for any more, and
        one that waits for its tier ends with that. Their decisions are logged without them.
        """
        self._end(within_s)
        for backend in self._owned:
            if hasattr(backend, "close"):
                backend.close()
        if self._owned:
            self._end(None)

    async def close_async(self, *, within_s: float | None = None) -> None:
        """`close` on the running event loop, which it never blocks."""
        await asyncio.to_thread(self._end, within_s)
        for backend in self._owned:
            if hasattr(backend, "close_async"):
                await backend.close_async()
            elif hasattr(backend, "close"):
                await asyncio.to_thread(backend.close)
        if self._owned:
            await asyncio.to_thread(self._end, None)

    def _end(self, within_s: float | None) -> None:
        if within_s is None:
            self._explorers.shutdown(wait=True)
            return
        self._explorers.shutdown(wait=False)
        wait(tuple(self._exploring), timeout=within_s)
        self._given_up.set()
