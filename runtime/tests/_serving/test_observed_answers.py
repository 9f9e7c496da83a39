"""`Cascade.answer` while nothing can be kept: nobody waits for a small tier, and none delays or
breaks an answer.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import pytest

from factories import Kept, make_assignment
from knowgate._bundles.assignment import Mode
from knowgate._bundles.pair import Pair
from knowgate._deciding.exploration import coin_falls
from knowgate._records.ids import new_id
from knowgate._records.observation import Observation
from knowgate._records.records import Reason, Role
from knowgate._serving.cascade import Cascade
from knowgate.backends.protocol import Message, Reply
from knowgate.backends.tries import Patience
from knowgate.errors import BackendFailed, Failure

Make = Callable[..., Any]
QUESTION = [{"role": "user", "content": "Capital of Peru?"}]


class Gated:
    """A back-end that answers once its gate is open; or fails."""

    def __init__(self, model: str, fails: Exception | None = None) -> None:
        self.model = model
        self.fails = fails
        self.gate = threading.Event()
        self.gate.set()
        self.asked = threading.Event()

    def ask(self, messages: Sequence[Message], *, timeout_s: float) -> Reply:
        self.asked.set()
        self.gate.wait(10)
        if self.fails is not None:
            raise self.fails
        return Reply(shown=Observation(answer=self.model, p_t=0.9, tokens_in=5, tokens_out=1))

    async def ask_async(self, messages: Sequence[Message], *, timeout_s: float) -> Reply:
        return await asyncio.to_thread(self.ask, messages, timeout_s=timeout_s)


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def make(key: bytes, now: Any, kept: Kept) -> Make:
    def made(*backends: Gated, rate: float = 0.5) -> Cascade:
        pair = Pair(assignment=make_assignment(mode=Mode.OBSERVE, exploration_rate=rate))
        patience = Patience(tries=1, first_delay_s=0.001)
        fields: dict[str, Any] = {"hash_key": key, "spool": kept, "clock": lambda: now}
        return Cascade("questions", pair, backends=backends, patience=patience, **fields)

    return made


def coin(cascade: Cascade, drawn: bool) -> UUID:
    return next(one for one in iter(new_id, None) if coin_falls(cascade.setting.key, one, 0.5) is drawn)


def test_the_answer_is_there_before_the_small_tier_has_answered(make: Make, kept: Kept) -> None:
    small, large = Gated("small"), Gated("large")
    small.gate.clear()
    with make(small, large) as cascade:
        answer = cascade.answer(QUESTION, decision_id=coin(cascade, True))
        assert (answer.text, answer.tier, answer.explores, kept.rows) == ("large", 1, True, [])
        assert [ruling.verdict.reason for ruling in answer.rulings] == [Reason.OBSERVE, None]
        assert small.asked.wait(10)
        small.gate.set()
    first, served = kept.rows[0][0].attempts
    assert (first.role, first.signals.p_t, served.role) == (Role.EXPLORATION, 0.9, Role.SERVED)


def test_where_the_coin_does_not_fall_the_small_tier_is_never_asked(make: Make, kept: Kept) -> None:
    small, large = Gated("small"), Gated("large")
    with make(small, large) as cascade:
        answer = asyncio.run(cascade.answer_async(QUESTION, decision_id=coin(cascade, False)))
    assert (answer.text, answer.explores, small.asked.is_set()) == ("large", False, False)
    assert [attempt.role for attempt in kept.rows[0][0].attempts] == [Role.SKIPPED, Role.SERVED]


def test_a_small_tier_that_fails_costs_no_answer_and_is_logged_as_one_that_shows_nothing(
    make: Make, kept: Kept
) -> None:
    small, large = Gated("small", BackendFailed("status 500", Failure.BROKEN)), Gated("large")
    with make(small, large) as cascade:
        assert cascade.answer(QUESTION, decision_id=coin(cascade, True)).text == "large"
    first = kept.rows[0][0].attempts[0]
    assert (first.role, first.signals.p_t, first.run_propensity) == (Role.EXPLORATION, None, 0.5)
    assert first.note is not None and "status 500" in first.note


def test_an_observation_that_outlasts_the_process_is_given_up_and_counted(make: Make, kept: Kept) -> None:
    small, large = Gated("small"), Gated("large")
    small.gate.clear()
    cascade = make(small, large)
    cascade.answer(QUESTION, decision_id=coin(cascade, True))
    small.asked.wait(10)
    small.fails = BackendFailed("closed", Failure.UNREACHABLE)  # what a back-end that is closed says
    cascade.close(within_s=0.0)
    small.gate.set()
    cascade.close()
    first = kept.rows[0][0].attempts[0]
    assert (first.role, first.run_propensity) == (Role.SKIPPED, None)
    assert cascade.serving is not None and cascade.serving.left_out == 1


def test_of_a_chain_all_tiers_before_the_last_are_observed_in_turn(make: Make, kept: Kept) -> None:
    tiers = [Gated("a"), Gated("b"), Gated("c")]
    with make(*tiers) as cascade:
        assert cascade.answer(QUESTION, decision_id=coin(cascade, True)).text == "c"
    assert [attempt.role for attempt in kept.rows[0][0].attempts] == [Role.EXPLORATION, Role.EXPLORATION, Role.SERVED]
