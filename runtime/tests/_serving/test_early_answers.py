"""`Cascade.answer` where a gate may end a tier before it answers: what is asked, served and
logged.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from factories import Kept
from knowgate._deciding.exploration import coin_falls
from knowgate._records.ids import new_id
from knowgate._records.observation import Observation
from knowgate._records.records import Reason, Role
from knowgate._serving.cascade import Cascade
from knowgate._serving.serving import Answer
from knowgate.backends.protocol import Encoded, Finish, Message, Reply
from knowgate.backends.tries import Patience
from knowgate.errors import BackendFailed, Failure, RecordInvalid
from knowgate.policy import Policy, PolicyKind

Make = Callable[..., Any]
QUESTION = [{"role": "user", "content": "Capital of Peru?"}]
STRICT = Policy.of(PolicyKind.GATES, ({"p_ik": 1.0, "p_t": 0.9},))
OPEN = Policy.of(PolicyKind.GATES, ({"p_ik": 0.0, "p_t": 0.9},))


class Reads:
    """A back-end that reads first: whether it is to answer is asked with the prompt's state."""

    def __init__(self, prompt: Observation, answer: Reply | Exception) -> None:
        self.model, self.early = "small", True
        self._prompt, self._answer = prompt, answer
        self.answered = self.read = 0

    def ask(self, messages: Sequence[Message], *, timeout_s: float, may_answer: Any = None) -> Reply:
        self.read += 1
        if may_answer is not None and not may_answer(self._prompt):
            return Reply(shown=self._prompt, skipped=True)
        self.answered += 1
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    async def ask_async(self, messages: Sequence[Message], *, timeout_s: float, may_answer: Any = None) -> Reply:
        return await asyncio.to_thread(self.ask, messages, timeout_s=timeout_s, may_answer=may_answer)


class Plain:
    """A back-end that knows of no reading first."""

    def __init__(self, model: str, text: str, **shown: Any) -> None:
        self.model, self.asked = model, 0
        self._reply = Reply(shown=Observation(answer=text, p_t=0.95, tokens_in=20, tokens_out=2, **shown))

    def ask(self, messages: Sequence[Message], *, timeout_s: float) -> Reply:
        self.asked += 1
        return self._reply

    async def ask_async(self, messages: Sequence[Message], *, timeout_s: float) -> Reply:
        return self.ask(messages, timeout_s=timeout_s)


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def prompt(hidden: Make, fingerprint: Make) -> Observation:
    return Observation(hidden=hidden(), fingerprint=fingerprint(), tokens_in=20, tokens_out=0, latency_ms=2.0)


@pytest.fixture
def small(prompt: Observation) -> Reads:
    shown = Observation(
        answer="Cusco", p_t=0.95, hidden=prompt.hidden, fingerprint=prompt.fingerprint, tokens_in=20, tokens_out=3
    )
    return Reads(prompt, Reply(shown=shown))


@pytest.fixture
def make(pair: Make, small_bundle: Make, key: bytes, now: datetime, kept: Kept) -> Make:
    def made(policy: Policy, *backends: Any, early: Any = (0,), **options: Any) -> Cascade:
        in_force = pair(small_bundle(policy=policy))
        return Cascade(
            "questions",
            in_force,
            hash_key=key,
            spool=kept,
            clock=lambda: now,
            backends=backends,
            early=early,
            **options,
        )

    return made


@pytest.fixture(params=[False, True], ids=["blocking", "event loop"])
def ask(request: pytest.FixtureRequest) -> Callable[..., Answer]:
    def asked(cascade: Cascade, *, explores: bool = False) -> Answer:
        given = an_id(cascade, explores)
        if request.param:
            return asyncio.run(cascade.answer_async(QUESTION, decision_id=given))
        return cascade.answer(QUESTION, decision_id=given)

    return asked


def an_id(cascade: Cascade, explores: bool) -> UUID:
    key = cascade.setting.key
    return next(one for one in iter(new_id, None) if coin_falls(key, one, 0.25) is explores)


def test_a_tier_that_is_ended_writes_nothing_and_the_last_one_answers(
    make: Make, ask: Any, small: Reads, kept: Kept
) -> None:
    answer = ask(make(STRICT, small, Plain("large", "Lima")))
    assert (answer.text, answer.tier, small.read, small.answered) == ("Lima", 1, 1, 0)
    first, last = kept.attempts
    assert (first.role, last.role) == (Role.SKIPPED, Role.SERVED)
    assert (first.tokens_in, first.tokens_out, first.latency_ms, first.answer) == (20, 0, 2.0, None)
    assert answer.rulings[0].verdict.reason is Reason.P_IK


def test_where_the_coin_falls_it_answers_in_the_same_run_and_is_not_served(
    make: Make, ask: Any, small: Reads, kept: Kept
) -> None:
    answer = ask(make(STRICT, small, Plain("large", "Lima")), explores=True)
    assert (answer.text, small.read, small.answered) == ("Lima", 1, 1)
    first, _ = kept.attempts
    assert (first.role, first.run_propensity, first.signals.p_t, first.tokens_out) == (Role.EXPLORATION, 0.25, 0.95, 3)


def test_a_tier_that_passes_is_served_as_ever(make: Make, ask: Any, small: Reads, kept: Kept) -> None:
    answer = ask(make(OPEN, small, Plain("large", "Lima")))
    assert (answer.text, small.read, small.answered) == ("Cusco", 1, 1)
    assert [attempt.role for attempt in kept.attempts] == [Role.SERVED]


def test_a_p_t_that_fails_is_no_skipped_answer(make: Make, ask: Any, small: Reads, kept: Kept) -> None:
    strict = Policy.of(PolicyKind.GATES, ({"p_ik": 0.0, "p_t": 0.99},))
    assert ask(make(strict, small, Plain("large", "Lima"))).text == "Lima"
    first, _ = kept.attempts
    assert (first.role, first.signals.p_t) == (Role.SUPERSEDED, 0.95)


@pytest.mark.parametrize("policy", [Policy.of(PolicyKind.P_T, ({"p_t": 0.99},)), Policy.of(PolicyKind.P_T, (None,))])
def test_where_no_gate_can_be_judged_before_the_answer_nothing_is_read_before(
    make: Make, ask: Any, small: Reads, kept: Kept, policy: Policy
) -> None:
    ask(make(policy, small, Plain("large", "Lima")))
    assert (small.answered, kept.attempts[0].role) == (1, Role.SUPERSEDED)


def test_a_tier_that_is_not_early_answers_first(make: Make, ask: Any, small: Reads, kept: Kept) -> None:
    ask(make(STRICT, small, Plain("large", "Lima"), early=()))
    assert (small.answered, kept.attempts[0].role) == (1, Role.SUPERSEDED)


def test_a_tier_that_fails_while_it_answers_to_teach_is_an_attempt_without_an_answer(
    make: Make, ask: Any, prompt: Observation, kept: Kept
) -> None:
    small = Reads(prompt, BackendFailed("status 400", Failure.REFUSED))
    assert ask(make(STRICT, small, Plain("large", "Lima")), explores=True).text == "Lima"
    first, _ = kept.attempts
    assert (first.role, first.answer) == (Role.SUPERSEDED, None) and "status 400" in str(first.note)


def test_an_encoder_reads_for_a_tier_that_is_not_even_asked(
    make: Make, ask: Any, prompt: Observation, kept: Kept
) -> None:
    small, read = Plain("small", "Cusco"), []

    def encoder(text: str, *, layer: int | None) -> Encoded:
        read.append((text, layer))
        return Encoded(hidden=prompt.hidden, fingerprint=prompt.fingerprint)

    cascade = make(STRICT, small, Plain("large", "Lima"), encoders={0: encoder})
    assert ask(cascade).text == "Lima"
    first, _ = kept.attempts
    assert (small.asked, first.role, first.tokens_in, first.tokens_out) == (0, Role.SKIPPED, 0, 0)
    assert read == [("Capital of Peru?", 12)]


def test_what_an_encoder_read_before_the_answer_is_not_read_again(
    make: Make, ask: Any, prompt: Observation, kept: Kept
) -> None:
    small, read = Plain("small", "Cusco"), []

    def encoder(text: str, *, layer: int | None) -> Encoded:
        read.append(text)
        return Encoded(hidden=prompt.hidden, fingerprint=prompt.fingerprint)

    assert ask(make(OPEN, small, Plain("large", "Lima"), encoders={0: encoder})).text == "Cusco"
    (first,) = kept.attempts
    assert (len(read), first.tokens_in, first.signals.p_ik is not None) == (1, 20, True)


def test_an_encoder_that_fails_ends_nothing(make: Make, ask: Any, kept: Kept) -> None:
    def encoder(text: str, *, layer: int | None) -> Encoded:
        raise RuntimeError("out of memory")

    small = Plain("small", "Cusco")
    assert ask(make(STRICT, small, Plain("large", "Lima"), encoders={0: encoder})).text == "Lima"
    first, _ = kept.attempts
    assert (small.asked, first.role) == (1, Role.SUPERSEDED) and "out of memory" in str(first.note)


@pytest.mark.parametrize("early", [(1,), (-1,), (2,)])
def test_the_last_tier_is_never_early(make: Make, small: Reads, early: tuple[int, ...]) -> None:
    with pytest.raises(RecordInvalid, match="early"):
        make(STRICT, small, Plain("large", "Lima"), early=early)


def test_a_back_end_that_cannot_read_first_is_refused(make: Make) -> None:
    with pytest.raises(RecordInvalid, match="reads first"):
        make(STRICT, Plain("small", "Cusco"), Plain("large", "Lima"))


@pytest.mark.parametrize(
    "answer",
    [
        Reply(shown=Observation(answer="Cus"), finish=Finish.LENGTH),
        Reply(shown=Observation(answer=""), refusal="I cannot help with that."),
        BackendFailed("it broke", Failure.BROKEN),
    ],
    ids=["cut off", "refused", "failed"],
)
@pytest.mark.parametrize("reads", ["the back-end", "an encoder"])
def test_a_state_that_passes_keeps_no_answer_that_is_none(
    make: Make, ask: Any, prompt: Observation, kept: Kept, answer: Any, reads: str
) -> None:
    sure = Policy.of(PolicyKind.P_IK, ({"p_ik": 0.0},))
    if isinstance(answer, Reply) and reads == "the back-end":
        state = replace(answer.shown, hidden=prompt.hidden, fingerprint=prompt.fingerprint)
        answer = replace(answer, shown=state)
    small = Reads(prompt, answer)
    options: dict[str, Any] = {"patience": Patience(tries=1)}
    if reads == "an encoder":
        small.early = False
        encoded = Encoded(hidden=prompt.hidden, fingerprint=prompt.fingerprint)
        options["encoders"] = {0: lambda _, *, layer: encoded}
    given = ask(make(sure, small, Plain("large", "Lima"), **options))
    assert (given.text, small.answered) == ("Lima", 1)
    first, last = kept.attempts
    assert (first.role, last.role, given.rulings[0].verdict.reason) == (
        Role.SUPERSEDED,
        Role.SERVED,
        Reason.MISSING_SIGNAL,
    )
