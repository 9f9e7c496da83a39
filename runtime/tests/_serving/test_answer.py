"""`Cascade.answer`: tiers in order, failures that escalate, patience, circuits, exploration after
the answer.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from factories import Kept
from knowgate._deciding.exploration import coin_falls
from knowgate._models.features import Float16Array
from knowgate._records.ids import new_id
from knowgate._records.observation import Observation
from knowgate._records.records import Decision, Reason, Role
from knowgate._serving.cascade import Cascade
from knowgate._serving.passing import open_last
from knowgate._serving.serving import EXPLORERS, Answer, Serving
from knowgate.backends.protocol import Finish, Message, Reply
from knowgate.backends.tries import Patience
from knowgate.errors import BackendFailed, Failure, NoAnswer, RecordInvalid, SpoolRefused

Make = Callable[..., Any]
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
QUESTION = [{"role": "user", "content": "Capital of Peru?"}]
QUICK = Patience(timeout_s=5.0, tries=3, first_delay_s=0.001, longest_delay_s=0.002, open_after=4, open_for_s=60.0)
Act = Reply | Exception


def reply(text: str = "Lima", p_t: float | None = 0.95, **changes: Any) -> Reply:
    fields: dict[str, Any] = {"tokens_in": 20, "tokens_out": 1, "latency_ms": 3.0}
    fields |= changes
    ending = {name: fields.pop(name) for name in ("finish", "refusal", "tool_calls", "enough") if name in fields}
    return Reply(shown=Observation(answer=text, p_t=p_t, **fields), **ending)


def failed(failure: Failure = Failure.BROKEN) -> BackendFailed:
    return BackendFailed("status 500", failure)


def another(number: int) -> list[dict[str, str]]:
    """A prompt of its own."""
    return [{"role": "user", "content": f"Question {number}?"}]


class InMemory:
    """A back-end that acts as its script says; the last entry goes on for ever."""

    def __init__(self, model: str, *script: Act) -> None:
        self.model = model
        self.script = script
        self.asked = 0
        self.gate = threading.Event()
        self.gate.set()

    def ask(self, messages: Sequence[Message], *, timeout_s: float) -> Reply:
        assert timeout_s > 0
        self.asked += 1
        self.gate.wait(10)
        act = self.script[min(self.asked, len(self.script)) - 1]
        if isinstance(act, Exception):
            raise act
        return act

    async def ask_async(self, messages: Sequence[Message], *, timeout_s: float) -> Reply:
        return await asyncio.to_thread(self.ask, messages, timeout_s=timeout_s)


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def good(hidden: Make, fingerprint: Make) -> dict[str, Any]:
    return {"hidden": hidden().astype(np.float32), "fingerprint": fingerprint()}


@pytest.fixture
def make(pair: Make, key: bytes, now: datetime, kept: Kept) -> Make:
    def made(*backends: InMemory, patience: Any = QUICK, in_force: Any = None, **options: Any) -> Cascade:
        fields: dict[str, Any] = {"hash_key": key, "spool": kept, "clock": lambda: now}
        return Cascade("questions", in_force or pair(), backends=backends, patience=patience, **fields | options)

    return made


@pytest.fixture(params=[False, True], ids=["blocking", "event loop"])
def ask(request: pytest.FixtureRequest) -> Callable[..., Answer]:
    """Answers one query that is not explored, unless an id is given."""

    def asked(cascade: Cascade, decision_id: UUID | None = None, messages: Any = QUESTION, **named: Any) -> Answer:
        given = decision_id or coin(cascade, False)
        if request.param:
            return asyncio.run(cascade.answer_async(messages, decision_id=given, **named))
        return cascade.answer(messages, decision_id=given, **named)

    return asked


def coin(cascade: Cascade, explores: bool) -> UUID:
    """An id that is explored, or is not, whatever its answer shows."""
    assert cascade.pair is not None
    rate = cascade.pair.assignment.exploration_rate
    return next(id for id in iter(new_id, None) if coin_falls(cascade.setting.key, id, rate) is explores)


def test_a_kept_answer_is_the_small_tiers_and_the_large_one_is_not_asked(
    make: Make, ask: Make, kept: Kept, good: dict[str, Any]
) -> None:
    small, large = InMemory("small", reply(**good)), InMemory("large", reply("LIMA"))
    with make(small, large) as cascade:
        answer = ask(cascade, slice="geography", external_id="q-1", traceparent=TRACEPARENT)
    assert (answer.text, answer.tier, answer.explores) == ("Lima", 0, False)
    assert (small.asked, large.asked) == (1, 0)
    decision, vectors = kept.rows[0]
    assert (decision.id, decision.slice, decision.external_id) == (answer.decision_id, "geography", "q-1")
    assert f"00-{decision.trace_id}-{decision.span_id}-01" == TRACEPARENT
    assert decision.prompt_hash is not None
    assert (decision.served.tokens_in, decision.served.tokens_out, decision.served.latency_ms) == (20, 1, 3.0)
    assert len(vectors) == 1
    assert answer.rulings[0].signals == decision.served.signals


def test_an_answer_that_a_gate_stops_escalates(make: Make, ask: Make, kept: Kept, good: dict[str, Any]) -> None:
    small, large = InMemory("small", reply(p_t=0.2, **good)), InMemory("large", reply("LIMA"))
    with make(small, large) as cascade:
        answer = ask(cascade)
    assert (answer.text, answer.tier) == ("LIMA", 1)
    assert [attempt.role for attempt in kept.rows[0][0].attempts] == [Role.SUPERSEDED, Role.SERVED]
    assert answer.rulings[0].verdict.reason is Reason.P_T


@pytest.mark.parametrize("failure", list(Failure))
def test_a_failing_small_tier_escalates_with_its_reason_and_note(
    make: Make, ask: Make, kept: Kept, failure: Failure
) -> None:
    small, large = InMemory("small", failed(failure)), InMemory("large", reply("LIMA"))
    with make(small, large) as cascade:
        answer = ask(cascade)
    assert answer.text == "LIMA"
    first, served = kept.rows[0][0].attempts
    assert (first.role, first.answer, first.signals.p_t) == (Role.SUPERSEDED, None, None)
    assert first.verdict is not None and first.verdict.reason is Reason.MISSING_SIGNAL
    assert first.note is not None and failure in first.note and "status 500" in first.note
    assert (served.role, served.note) == (Role.SERVED, None)


def test_what_a_back_end_should_not_raise_costs_an_escalation_and_not_the_query(
    make: Make, ask: Make, kept: Kept
) -> None:
    small, large = InMemory("small", ZeroDivisionError("ouch")), InMemory("large", reply("LIMA"))
    with make(small, large) as cascade:
        assert ask(cascade).text == "LIMA"
    assert "ZeroDivisionError" in (kept.rows[0][0].attempts[0].note or "")


@pytest.mark.parametrize(
    "returned",
    [None, "Lima", Observation(answer="Lima"), Reply(shown=None), Reply(shown=Observation(answer=b"Lima"))],  # type: ignore[arg-type]
)
def test_what_is_no_reply_costs_an_escalation_and_of_the_last_tier_is_an_error(
    make: Make, ask: Make, kept: Kept, returned: Any
) -> None:
    with make(InMemory("small", returned), InMemory("large", reply("LIMA"))) as cascade:
        assert ask(cascade).text == "LIMA"
    note = kept.rows[0][0].attempts[0].note or ""
    assert note.startswith("garbage: small returned ") and "give a Reply" in note and "Lima" not in note
    both = InMemory("small", returned), InMemory("large", returned)
    with make(*both) as cascade, pytest.raises(NoAnswer, match=r"large returned .*give a Reply"):
        ask(cascade)


def test_a_lone_note_beside_what_a_reply_lacks_is_one_note(make: Make, ask: Make, kept: Kept) -> None:
    with make(InMemory("small", reply("", notes="slow")), InMemory("large", reply("LIMA"))) as cascade:
        ask(cascade)
    assert (kept.rows[0][0].attempts[0].note or "").endswith("left out; slow")


def test_when_the_last_tier_fails_there_is_a_clear_error_and_no_decision(make: Make, ask: Make, kept: Kept) -> None:
    small, large = InMemory("small", reply(p_t=0.2)), InMemory("large", failed(Failure.REFUSED))
    with make(small, large) as cascade, pytest.raises(NoAnswer, match="last tier, large, gave no answer: status 500"):
        ask(cascade)
    assert kept.rows == []


@pytest.mark.parametrize("failure", list(Failure))
def test_only_what_passes_is_tried_again(make: Make, ask: Make, good: dict[str, Any], failure: Failure) -> None:
    small, large = InMemory("small", failed(failure), failed(failure), reply(**good)), InMemory("large", reply("LIMA"))
    with make(small, large) as cascade:
        answer = ask(cascade)
    passes = failure in (Failure.UNREACHABLE, Failure.OVERLOADED, Failure.BROKEN)
    assert (small.asked, answer.tier) == ((3, 0) if passes else (1, 1))


def test_tries_end_when_the_tiers_time_would_run_out(make: Make, ask: Make) -> None:
    busy = BackendFailed("busy", Failure.OVERLOADED, retry_after_s=60.0)
    small, large = InMemory("small", busy), InMemory("large", reply("LIMA"))
    with make(small, large) as cascade:
        assert ask(cascade).text == "LIMA"
    assert small.asked == 1


def test_a_circuit_opens_and_the_small_tier_is_left_alone(make: Make, ask: Make, kept: Kept) -> None:
    small, large = InMemory("small", failed()), InMemory("large", reply("LIMA"))
    with make(small, large) as cascade:
        answers = [ask(cascade, messages=another(number)).text for number in range(6)]
    assert answers == ["LIMA"] * 6
    assert small.asked == 12  # three tries each of four queries, which open it
    assert "circuit_open" in (kept.rows[-1][0].attempts[0].note or "")


@pytest.mark.parametrize("failure", [Failure.BROKEN, Failure.GARBAGE, Failure.TIMEOUT])
def test_one_prompt_that_breaks_the_small_tier_leaves_it_to_everybody_else(
    make: Make, ask: Make, failure: Failure, good: dict[str, Any]
) -> None:
    times = 20 * (3 if failure is Failure.BROKEN else 1)  # only a broken server is asked again at once
    small, large = InMemory("small", *[failed(failure)] * times, reply(**good)), InMemory("large", reply("LIMA"))
    with make(small, large) as cascade:
        assert [ask(cascade, messages=another(0)).text for _ in range(20)] == ["LIMA"] * 20
        assert ask(cascade, messages=another(1)).text == "Lima"


@pytest.mark.parametrize("failure", [Failure.UNREACHABLE, Failure.OVERLOADED])
def test_a_server_that_is_not_there_is_left_alone_whoever_asks(make: Make, ask: Make, failure: Failure) -> None:
    small, large = InMemory("small", failed(failure)), InMemory("large", reply("LIMA"))
    with make(small, large) as cascade:
        for _ in range(6):
            ask(cascade)
    assert small.asked == 12  # three tries each of four queries, which open it


class Waiting:
    """A back-end whose answer never comes."""

    model = "waiting"

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.given_up = False

    def ask(self, messages: Sequence[Message], *, timeout_s: float) -> Reply:
        raise AssertionError("it is asked on the event loop")

    async def ask_async(self, messages: Sequence[Message], *, timeout_s: float) -> Reply:
        self.asked.set()
        try:
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            self.given_up = True
            raise


def test_a_caller_that_leaves_once_all_tiers_have_answered_left_none_under_way(make: Make) -> None:
    with make(InMemory("small", reply()), InMemory("large", reply())) as cascade:
        query = cascade.open()
        for tokens_out in (2, 3):
            query.attempt(Observation(p_t=0.1, tokens_in=20, tokens_out=tokens_out))
        cascade.serving.abandon(query)
    booked = [(tier.runs, tier.tokens_in, tier.tokens_out) for tier in cascade.serving.abandoned]
    assert (cascade.serving.left, booked) == (1, [(1, 20, 2), (1, 20, 3)])


@pytest.mark.parametrize("at", [0, 1])
def test_a_caller_that_leaves_ends_the_work_records_nothing_and_what_it_took_is_booked(
    make: Make, kept: Kept, at: int
) -> None:
    async def left() -> tuple[Waiting, InMemory, Any]:
        waiting, other = Waiting(), InMemory("other", reply(p_t=0.1))
        async with make(*([other, waiting] if at else [waiting, other])) as cascade:
            asking = asyncio.create_task(cascade.answer_async(QUESTION, decision_id=coin(cascade, False)))
            await waiting.asked.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            return waiting, other, cascade.serving

    waiting, other, serving = asyncio.run(left())
    assert (waiting.given_up, other.asked, kept.rows) == (True, at, [])
    assert (serving.left, [tier.runs for tier in serving.abandoned]) == (1, [1, at])
    assert [(tier.tokens_in, tier.tokens_out) for tier in serving.abandoned] == [(20 * at, at), (0, 0)]


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"text": "", "refusal": "I cannot help with that."}, "refusal: the model refused to answer"),
        ({"text": "", "tool_calls": ({"type": "function"},)}, "tool_calls: the answer calls tools"),
        ({"text": "Let me look.", "tool_calls": ({"type": "function"},)}, "tool_calls: the answer calls tools"),
    ],
)
def test_a_refusal_or_a_call_of_tools_is_kept_of_the_last_tier_alone(
    make: Make, ask: Make, kept: Kept, good: dict[str, Any], changes: dict[str, Any], note: str
) -> None:
    small, large = (
        InMemory("small", reply(**good | changes)),
        InMemory("large", reply(**changes | {"text": ""})),
    )
    with make(small, large) as cascade:
        answer = ask(cascade)
    first, served = kept.rows[0][0].attempts
    assert (answer.tier, served.role, first.signals.p_t) == (1, Role.SERVED, None)
    assert first.verdict is not None and first.verdict.reason is Reason.MISSING_SIGNAL
    assert (first.note or "").startswith(note)
    assert (answer.reply.refusal, answer.reply.tool_calls) == (changes.get("refusal"), changes.get("tool_calls", ()))


def test_the_last_tier_is_asked_once_even_where_its_circuit_is_open(make: Make, ask: Make) -> None:
    small, large = InMemory("small", reply(p_t=0.1)), InMemory("large", *[failed()] * 14, reply("LIMA"))
    with make(small, large) as cascade:
        for number in range(6):
            with pytest.raises(NoAnswer):
                ask(cascade, messages=another(number))
        assert large.asked == 14  # 3 each of four queries, then once each
        assert ask(cascade).text == "LIMA"
        assert ask(cascade).text == "LIMA"


def test_exploration_runs_after_the_answer_and_the_decision_is_logged_with_it(
    make: Make, ask: Make, kept: Kept, good: dict[str, Any]
) -> None:
    small, large = InMemory("small", reply(**good)), InMemory("large", reply("LIMA", p_t=0.7))
    large.gate.clear()
    with make(small, large) as cascade:
        answer = ask(cascade, coin(cascade, True))
        assert (answer.text, answer.explores) == ("Lima", True)
        assert kept.rows == []  # the answer is out, the large tier has not said anything yet
        large.gate.set()
        assert kept.arrived.wait(10)
    small_one, large_one = kept.rows[0][0].attempts
    assert (small_one.role, large_one.role) == (Role.SERVED, Role.EXPLORATION)
    assert (large_one.signals.p_t, large_one.run_propensity) == (0.7, 0.25)


class Given(InMemory):
    """A back-end that can be given parameters, and remembers which it was asked with."""

    def __init__(self, model: str, *script: Act, seen: list[Any] | None = None, parameters_seen: Any = None) -> None:
        super().__init__(model, *script)
        self.seen = [] if seen is None else seen
        self.parameters_seen = parameters_seen

    def with_parameters(self, parameters: Any) -> "Given":
        return Given(self.model, *self.script, seen=self.seen, parameters_seen=dict(parameters))

    def ask(self, messages: Sequence[Message], *, timeout_s: float) -> Reply:
        self.seen.append(self.parameters_seen)
        return super().ask(messages, timeout_s=timeout_s)


def test_declared_parameters_go_to_every_tier_and_into_the_exploration(
    make: Make, kept: Kept, good: dict[str, Any]
) -> None:
    small, large = Given("small", reply(**good), reply(p_t=0.1)), Given("large", reply("Quito"))
    with make(small, large) as cascade:
        serving = cascade.serving
        explored, plain = (cascade.open(decision_id=coin(cascade, explores)) for explores in (True, False))
        asyncio.run(serving.answer_async(explored, QUESTION, {"stop": ["x"]}))
        assert kept.arrived.wait(10)
        asyncio.run(serving.answer_async(plain, QUESTION))
    assert (small.seen, large.seen) == ([{"stop": ["x"]}, None], [{"stop": ["x"]}])


def test_parameters_that_a_back_end_cannot_be_given_are_a_mistake_of_the_program(make: Make) -> None:
    cascade = make(Given("small", reply()), InMemory("large", reply()))
    with pytest.raises(RecordInvalid, match="large cannot be given any"):
        asyncio.run(cascade.serving.answer_async(cascade.open(), QUESTION, {"stop": ["x"]}))


def test_closing_waits_for_explorations(make: Make, kept: Kept, good: dict[str, Any]) -> None:
    small, large = InMemory("small", reply(**good)), InMemory("large", reply("LIMA"))
    with make(small, large) as cascade:
        for _ in range(20):
            cascade.answer(QUESTION, decision_id=coin(cascade, True))
    assert len(kept.rows) == 20
    assert all(len(decision.attempts) == 2 for decision, _ in kept.rows)


def test_explorations_that_take_too_long_are_given_up_and_their_decisions_logged(
    make: Make, kept: Kept, good: dict[str, Any]
) -> None:
    small, large = InMemory("small", reply(**good)), InMemory("large", failed())  # a failure that is tried again
    large.gate.clear()
    with make(small, large) as cascade:
        for _ in range(2 * EXPLORERS):
            cascade.answer(QUESTION, decision_id=coin(cascade, True))
        cascade.close(within_s=0.0)
        large.gate.set()
    assert [len(decision.attempts) for decision, _ in kept.rows] == [1] * 2 * EXPLORERS
    assert large.asked <= EXPLORERS  # those that were under way, once each


def test_a_closed_cascade_answers_and_leaves_explorations_out(make: Make, kept: Kept, good: dict[str, Any]) -> None:
    cascade = make(InMemory("small", reply(**good)), InMemory("large", reply("LIMA")))
    cascade.close()
    assert cascade.answer(QUESTION, decision_id=coin(cascade, True)).text == "Lima"
    assert [attempt.role for attempt in kept.rows[0][0].attempts] == [Role.SERVED]


def test_an_exploration_that_fails_is_left_out_and_the_decision_is_logged(
    make: Make, ask: Make, kept: Kept, good: dict[str, Any]
) -> None:
    small, large = InMemory("small", reply(**good)), InMemory("large", failed(Failure.REFUSED))
    with make(small, large) as cascade:
        assert ask(cascade, coin(cascade, True)).text == "Lima"
    assert [attempt.role for attempt in kept.rows[0][0].attempts] == [Role.SERVED]


@pytest.mark.parametrize("spoilt", [{"hidden": np.ones(7, np.float32)}, {"hidden": np.full(24, np.nan, np.float32)}])
def test_a_state_of_the_wrong_size_or_with_nan_is_missing_and_the_note_says_so(
    make: Make, ask: Make, kept: Kept, good: dict[str, Any], spoilt: dict[str, Any]
) -> None:
    small, large = InMemory("small", reply(**good | spoilt)), InMemory("large", reply("LIMA"))
    with make(small, large) as cascade:
        assert ask(cascade).text == "LIMA"
    first = kept.rows[0][0].attempts[0]
    assert first.verdict is not None and first.verdict.reason is not None
    assert first.signals.p_ik is None
    assert first.note is not None and "hidden" in first.note


def test_what_a_reply_lacks_is_noted_with_the_attempt(make: Make, ask: Make, kept: Kept) -> None:
    small = InMemory("small", reply(p_t=None, notes=("no logprobs came",)))
    with make(small, InMemory("large", reply("LIMA"))) as cascade:
        assert ask(cascade).text == "LIMA"
    first = kept.rows[0][0].attempts[0]
    assert first.verdict is not None and first.verdict.reason is Reason.MISSING_SIGNAL
    assert first.note == "no logprobs came"


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"finish": Finish.LENGTH}, "length: the answer was cut off"),
        ({"finish": Finish.FILTERED}, "content_filter: the answer was filtered"),
        ({"finish": Finish.FILTERED, "enough": True}, "content_filter: the answer was filtered"),
        ({"text": ""}, "empty: the answer has no text"),
        ({"text": " \n", "finish": Finish.STOP}, "empty: the answer has no text"),
    ],
)
def test_what_is_no_whole_answer_escalates_however_sure_the_tier_was_of_it(
    make: Make, ask: Make, kept: Kept, good: dict[str, Any], changes: dict[str, Any], note: str
) -> None:
    small, large = InMemory("small", reply(**good | changes)), InMemory("large", reply("LIMA"))
    with make(small, large) as cascade:
        assert ask(cascade).text == "LIMA"
    first = kept.rows[0][0].attempts[0]
    assert first.verdict is not None and first.verdict.reason is Reason.MISSING_SIGNAL
    assert (first.signals.p_t, first.signals.p_ik, first.vector, first.tokens_out) == (None, None, None, 1)
    assert first.note is not None and first.note.startswith(note)


@pytest.mark.parametrize("changes", [{"finish": Finish.STOP}, {"finish": Finish.LENGTH, "enough": True}])
def test_an_answer_that_says_all_it_was_asked_for_is_kept(
    make: Make, ask: Make, good: dict[str, Any], changes: dict[str, Any]
) -> None:
    with make(InMemory("small", reply(**good | changes)), InMemory("large", reply("LIMA"))) as cascade:
        assert ask(cascade).text == "Lima"


@pytest.mark.parametrize("changes", [{"finish": Finish.LENGTH}, {"finish": Finish.FILTERED, "text": ""}])
def test_the_last_tiers_answer_is_passed_on_as_it_is(
    make: Make, ask: Make, kept: Kept, changes: dict[str, Any]
) -> None:
    small, large = InMemory("small", reply(p_t=0.2)), InMemory("large", reply(**{"text": "LIMA"} | changes))
    with make(small, large) as cascade:
        answer = ask(cascade)
    assert (answer.tier, answer.reply.finish, len(kept.rows)) == (1, changes["finish"], 1)


def test_before_the_first_bundle_everything_escalates_to_the_last_tier(key: bytes, kept: Kept) -> None:
    backends = [InMemory(name, reply(name)) for name in ("small", "middle", "large")]
    with Cascade("questions", hash_key=key, spool=kept, backends=backends) as cascade:
        assert cascade.answer(QUESTION).text == "large"
    attempts = kept.rows[0][0].attempts
    assert [attempt.model for attempt in attempts] == ["small", "middle", "large"]
    assert attempts[0].verdict is not None and attempts[0].verdict.reason is Reason.NO_BUNDLE


def test_without_a_key_and_a_spool_a_cascade_answers_all_the_same() -> None:
    with Cascade("questions", backends=[InMemory("a", reply("A")), InMemory("b", reply("B"))]) as cascade:
        assert cascade.answer(QUESTION).text == "B"


def test_a_full_spool_does_not_take_the_answer_away(make: Make, ask: Make, good: dict[str, Any]) -> None:
    class Full:
        def append(self, decision: Decision, vectors: Sequence[Float16Array] = ()) -> None:
            raise SpoolRefused("full")

    with make(InMemory("small", reply(**good)), InMemory("large", reply("LIMA")), spool=Full()) as cascade:
        assert ask(cascade).text == "Lima"


def test_conversations_that_differ_have_prompts_that_differ(make: Make, kept: Kept, good: dict[str, Any]) -> None:
    with make(InMemory("small", reply(**good)), InMemory("large", reply("LIMA"))) as cascade:
        for earlier in ("Hello", "Hi", "Hello"):
            cascade.answer([{"role": "system", "content": earlier}, *QUESTION], decision_id=coin(cascade, False))
    first, second, third = (decision.prompt_hash for decision, _ in kept.rows)
    assert first == third != second


def test_mistakes_in_the_program_are_told(make: Make, key: bytes) -> None:
    one, two = InMemory("small", reply()), InMemory("large", reply())
    with pytest.raises(RecordInvalid, match="at least two tiers"):
        make(one)
    with pytest.raises(RecordInvalid, match="one for each of 2"):
        make(one, two, patience=[QUICK])
    with pytest.raises(RecordInvalid, match=r"patience\.tries"):
        Patience(tries=0)
    with pytest.raises(RecordInvalid, match="with backends="):
        Cascade("questions", hash_key=key).answer(QUESTION)
    with make(one, two) as cascade, pytest.raises(RecordInvalid, match="at least one message"):
        cascade.answer([])
    with make(one, two, InMemory("huge", reply())) as cascade, pytest.raises(RecordInvalid, match="tiers 0 to 1"):
        cascade.answer(QUESTION)


def test_an_event_loop_answers_many_queries_at_once(make: Make, kept: Kept, good: dict[str, Any]) -> None:
    waiting = asyncio.Semaphore(0)

    class Slow(InMemory):
        async def ask_async(self, messages: Sequence[Message], *, timeout_s: float) -> Reply:
            self.asked += 1
            if self.asked == 50:  # only once all fifty are waiting
                for _ in range(50):
                    waiting.release()
            await waiting.acquire()
            return reply(**good)

    async def all_at_once(cascade: Cascade) -> list[Answer]:
        ids = [coin(cascade, False) for _ in range(50)]
        return await asyncio.gather(*(cascade.answer_async(QUESTION, decision_id=id) for id in ids))

    with make(Slow("small", reply()), InMemory("large", reply("LIMA"))) as cascade:
        answers = asyncio.run(all_at_once(cascade))
    assert [answer.text for answer in answers] == ["Lima"] * 50
    assert len(kept.rows) == 50


def test_a_back_end_that_forgets_its_timeout_is_given_up_on_an_event_loop(make: Make, kept: Kept) -> None:
    class Forgetful(InMemory):
        async def ask_async(self, messages: Sequence[Message], *, timeout_s: float) -> Reply:
            await asyncio.sleep(3600)
            raise AssertionError

    patience = Patience(timeout_s=0.05)
    with make(Forgetful("small", reply()), InMemory("large", reply("LIMA")), patience=patience) as cascade:
        answer = asyncio.run(cascade.answer_async(QUESTION))
    assert answer.text == "LIMA"
    assert "did not keep to" in (kept.rows[0][0].attempts[0].note or "")


class Door(InMemory):
    """A back-end that opens whatever it is passed, and is itself what it opens."""

    async def open_async(self, path: str, body: Any, *, timeout_s: float) -> "Door":
        self.asked += 1
        return self


def test_what_is_passed_on_as_it_is_goes_to_the_last_of_three_tiers() -> None:
    small, middle, large = Door("small"), Door("middle"), Door("large")
    assert asyncio.run(open_last(Serving((small, middle, large)), "/v1/embeddings", {})) is large
    assert (small.asked, middle.asked, large.asked) == (0, 0, 1)
    with pytest.raises(RecordInvalid, match=r"large.*cannot be passed a request"):
        asyncio.run(open_last(Serving((small, middle, InMemory("large"))), "/v1/embeddings", {}))


@pytest.mark.parametrize("tier", [-1, 2])
def test_encoders_are_for_tiers_before_the_last(tier: int) -> None:
    backends = [InMemory(name) for name in ("small", "middle", "large")]
    encoders: dict[int, Any] = {tier: "never asked"}
    with pytest.raises(RecordInvalid, match=f"encoders is {tier}.*for the tiers 0 to 1"):
        Serving(backends, encoders=encoders)
