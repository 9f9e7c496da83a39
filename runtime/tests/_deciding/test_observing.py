"""Queries of which nothing can be kept: the last tier at once, the others beside it by a coin."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from factories import Kept, make_assignment
from knowgate._bundles.assignment import Mode
from knowgate._bundles.bundle import Bundle
from knowgate._bundles.pair import Pair
from knowgate._deciding.exploration import coin_falls
from knowgate._deciding.observing import observing_of
from knowgate._deciding.privacy import SecretKey
from knowgate._records.ids import new_id
from knowgate._records.observation import Observation
from knowgate._records.records import Attempt, Reason, Role
from knowgate._serving.cascade import Cascade
from knowgate.errors import RecordInvalid

Make = Callable[..., Any]
MODELS = ("small", "large")
SMALL, LARGE = Observation(answer="Lima", p_t=0.9, tokens_in=5), Observation(answer="LIMA", p_t=0.99, tokens_in=5)
RATE = 0.25


def observing(mode: Mode = Mode.OBSERVE, **changes: Any) -> Pair:
    return Pair(assignment=make_assignment(mode=mode, exploration_rate=RATE, **changes))


def an_id(key: bytes, *, drawn: bool) -> UUID:
    return next(one for one in iter(new_id, None) if coin_falls(SecretKey(key), one, RATE) is drawn)


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def make(key: bytes, now: Any, kept: Kept) -> Make:
    def made(pair: Pair, models: tuple[str, ...] = MODELS) -> Cascade:
        return Cascade("questions", pair, hash_key=key, spool=kept, clock=lambda: now, models=models)

    return made


def shown_of(attempt: Attempt) -> tuple[Any, ...]:
    reason = None if attempt.verdict is None else attempt.verdict.reason
    return attempt.tier, attempt.role, reason, attempt.run_propensity


def test_the_last_tier_is_asked_first_and_nothing_else_where_the_coin_does_not_fall(
    make: Make, key: bytes, kept: Kept
) -> None:
    with make(observing()).open(decision_id=an_id(key, drawn=False)) as query:
        assert query.next_tier == 1
        assert query.attempt(LARGE, tier=query.next_tier).retained
        assert not query.explore
    first, served = kept.rows[0][0].attempts
    assert shown_of(first) == (0, Role.SKIPPED, Reason.OBSERVE, RATE)
    assert (shown_of(served), served.answer) == ((1, Role.SERVED, None, 1.0), served.answer)
    assert (first.tokens_in, first.tokens_out) == (0, 0)


def test_where_the_coin_falls_the_small_tier_runs_beside_it_and_is_never_served(
    make: Make, key: bytes, kept: Kept
) -> None:
    with make(observing()).open(decision_id=an_id(key, drawn=True)) as query:
        assert query.attempt(LARGE, tier=query.next_tier).explore
        assert query.explore and query.next_tier == 0
        assert not query.attempt(SMALL, tier=query.next_tier).retained
        assert not query.explore
    first, served = kept.rows[0][0].attempts
    assert shown_of(first) == (0, Role.EXPLORATION, Reason.OBSERVE, RATE)
    assert (first.signals.p_t, served.role) == (0.9, Role.SERVED)


def test_of_a_chain_every_tier_is_observed_by_the_one_coin(make: Make, key: bytes, kept: Kept) -> None:
    with make(observing(), ("a", "b", "c")).open(decision_id=an_id(key, drawn=True)) as query:
        query.attempt(LARGE, tier=query.next_tier)
        asked = []
        while query.explore:
            asked.append(query.next_tier)
            query.attempt(SMALL, tier=query.next_tier)
    assert asked == [0, 1] and query.next_tier == 3  # behind the last one: nothing is left to run
    assert [(one.role, one.run_propensity) for one in kept.rows[0][0].attempts] == [
        (Role.EXPLORATION, RATE),
        (Role.EXPLORATION, RATE),
        (Role.SERVED, 1.0),
    ]


def test_an_observation_that_is_given_up_has_no_known_chance(make: Make, key: bytes, kept: Kept) -> None:
    with make(observing(), ("a", "b", "c")).open(decision_id=an_id(key, drawn=True)) as query:
        query.attempt(LARGE, tier=query.next_tier)
        query.attempt(SMALL, tier=query.next_tier)
    ran, gone, _ = kept.rows[0][0].attempts
    assert (shown_of(ran), shown_of(gone)) == (
        (0, Role.EXPLORATION, Reason.OBSERVE, RATE),
        (1, Role.SKIPPED, Reason.OBSERVE, None),
    )
    assert gone.note is not None and gone.note.startswith("given up")


def test_whoever_runs_the_small_tier_first_as_before_is_never_told_to_serve_it(
    make: Make, key: bytes, kept: Kept
) -> None:
    with make(observing()).open(decision_id=an_id(key, drawn=True)) as query:
        assert query.attempt(SMALL).verdict.reason is Reason.OBSERVE
        assert query.attempt(LARGE).retained
        assert not query.explore
    assert [shown_of(one)[1::2] for one in kept.rows[0][0].attempts] == [(Role.SUPERSEDED, 1.0), (Role.SERVED, 1.0)]


def test_a_tier_is_observed_only_where_the_coin_fell_and_once(make: Make, key: bytes) -> None:
    query = make(observing()).open(decision_id=an_id(key, drawn=False))
    query.attempt(LARGE, tier=1)
    with pytest.raises(RecordInvalid, match="answered at once"):
        query.attempt(SMALL, tier=0)
    query = make(observing()).open(decision_id=an_id(key, drawn=True))
    query.attempt(LARGE, tier=1)
    query.attempt(SMALL, tier=0)
    for tier in (0, 1):
        with pytest.raises(RecordInvalid, match="answered at once"):
            query.attempt(SMALL, tier=tier)


@pytest.mark.parametrize("reason", [Reason.NO_BUNDLE, Reason.EXPIRED, Reason.ESCALATE_ALL, Reason.OBSERVE])
def test_whatever_keeps_everything_from_being_kept_is_observed_alike(
    make: Make, pair: Make, now: Any, key: bytes, kept: Kept, reason: Reason
) -> None:
    pairs = {
        Reason.NO_BUNDLE: lambda: observing(Mode.ACTIVE),
        Reason.EXPIRED: lambda: pair(valid_until=now.replace(year=2020)),
        Reason.ESCALATE_ALL: lambda: pair(mode=Mode.ESCALATE_ALL),
        Reason.OBSERVE: lambda: pair(mode=Mode.OBSERVE),
    }
    in_force = pairs[reason]()
    models = MODELS if in_force.champion is None else in_force.champion.document.models
    with make(in_force, models).open(decision_id=an_id(key, drawn=True)) as query:
        assert query.next_tier == 1
        query.attempt(LARGE, tier=1)
        query.attempt(SMALL, tier=0)
    assert shown_of(kept.rows[0][0].attempts[0]) == (0, Role.EXPLORATION, reason, RATE)


def test_other_models_than_the_bundles_are_observed(make: Make, pair: Make, key: bytes) -> None:
    query = make(pair(), ("another", "pair")).open(decision_id=an_id(key, drawn=True))
    assert query.next_tier == 1
    assert make(pair(), pair().champion.document.models).open().next_tier == 0


def test_before_it_answers_a_tier_of_a_watched_cascade_is_not_to_answer_but_by_the_coin(make: Make, key: bytes) -> None:
    cascade = make(observing())
    for drawn in (True, False):
        ruling = cascade.decide(Observation(), decision_id=an_id(key, drawn=drawn), early=True)
        assert (ruling.verdict.reason, ruling.answers, ruling.exploration_rate) == (Reason.OBSERVE, drawn, RATE)


def test_without_an_assignment_every_tier_is_asked_in_turn(key: bytes) -> None:
    assert Cascade("questions", hash_key=key, models=MODELS).open().next_tier == 0


def test_the_share_that_is_observed_is_the_coins(make: Make) -> None:
    cascade, drawn = make(observing()), []
    for _ in range(2000):
        query = cascade.open()
        query.attempt(LARGE, tier=1)
        drawn.append(query.explore)
    assert np.mean(drawn) == pytest.approx(RATE, abs=4 * np.sqrt(RATE * (1 - RATE) / 2000))


@pytest.mark.parametrize(("second", "observed"), [("path", False), ("path?request=1", True)])
def test_a_query_is_observed_where_no_tier_runs_as_the_bundle_was_certified(
    make: Make, pair: Make, bundle: Bundle, now: Any, second: str, observed: bool
) -> None:
    in_force = pair(bundle)
    setting = replace(make(in_force).setting, models=("path?request=1", second, "last"), named=False)
    assert (observing_of(setting, in_force, bundle, new_id(now), now) is not None) is observed
