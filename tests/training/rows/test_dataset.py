"""What is read of stored decisions, and how much a row counts in learning by the coins that it
took.
"""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from evidence.certification.known_outcomes import run_coin
from factories import make_decision, make_label
from knowgate import Action, Attempt, Decision, Reason, Role, Signals, Verdict, Window
from knowgate.spec import CascadeSpec, Price, TierSpec
from store.engine import open_engine, transaction
from store.releases.cascades import apply_cascade
from store.traffic.decisions import add_decisions
from store.traffic.labels import add_labels
from training.certification.outcomes import logged_rows
from training.rows.dataset import LARGEST_WEIGHT, TierColumns, read_window

DAY = datetime(2026, 3, 2, tzinfo=UTC)


def columns(correct: list[float], chances: list[float]) -> TierColumns:
    shape = len(correct)
    return TierColumns(ran=np.ones(shape, dtype=np.bool_), correct=np.array(correct), run_propensity=np.array(chances))


def test_before_any_label_a_row_counts_as_its_coins_say() -> None:
    assert columns([np.nan, np.nan], [1.0, 0.5]).weight.tolist() == [1.0, 2.0]


def test_no_row_counts_much_more_than_the_usual_labelled_one() -> None:
    weight = columns([1.0, 0.0, 1.0, np.nan], [0.5, 0.5, 0.5, 0.0001]).weight
    assert weight.tolist() == [2.0, 2.0, 2.0, 2.0 * LARGEST_WEIGHT]


def ended(minute: int, role: Role) -> Decision:
    """A decision whose first tier a gate ended: skipped, or let answer to learn from."""
    verdict = Verdict(action=Action.ESCALATE, reason=Reason.P_IK)
    small = Attempt(
        tier=0,
        role=role,
        model="small",
        signals=Signals(p_ik=0.2, p_t=None if role is Role.SKIPPED else 0.9),
        verdict=verdict,
        answer=None if role is Role.SKIPPED else "Cusco",
        run_propensity=0.25,
        tokens_in=10,
        tokens_out=0 if role is Role.SKIPPED else 5,
    )
    large = Attempt(tier=1, role=Role.SERVED, model="large", answer="Lima", run_propensity=1.0, tokens_in=10)
    return make_decision(
        DAY + timedelta(minutes=minute), cascade="trivia", attempts=(small, large), exploration_rate=0.25
    )


def test_a_tier_that_was_ended_is_read_with_its_signals_and_as_one_that_did_not_answer(sqlite_url: str) -> None:
    price = Price(since=DAY - timedelta(days=9), usd_per_million_tokens_in=1.0, usd_per_million_tokens_out=4.0)
    spec = CascadeSpec(
        name="trivia",
        tiers=(
            TierSpec(name="s", model="small", parameters=1e9, prices=(price,), layers=(2,), early=True),
            TierSpec(name="l", model="large", parameters=9e9),
        ),
    )
    skipped, explored = ended(0, Role.SKIPPED), ended(1, Role.EXPLORATION)
    labels = [make_label(explored, tier=tier, correct=correct) for tier, correct in ((0, 0.0), (1, 1.0))]
    engine = open_engine(sqlite_url)
    with transaction(engine) as session:
        apply_cascade(session, spec, now=DAY - timedelta(days=1))
        assert not add_decisions(session, [skipped, explored], received_at=DAY + timedelta(hours=1)).rejected
        assert add_labels(session, labels, received_at=DAY + timedelta(hours=2)).stored == 2
    window = Window(start=DAY, end=DAY + timedelta(days=1))
    rows = read_window(engine, spec, window, as_of=DAY + timedelta(days=30))
    engine.dispose()
    small = rows.tiers[0]
    assert rows.ran.tolist() == [[False, True], [True, True]]
    assert small.p_ik.tolist() == [0.2, 0.2] and np.isnan(small.p_t).tolist() == [True, False]
    assert rows.early == {0: pytest.approx(0.25)}
    assert small.cost_usd.tolist() == [pytest.approx(10e-6), pytest.approx(30e-6)]
    logged = logged_rows(rows)
    assert logged.early is not None and logged.early.tolist() == [[True, False], [True, False]]
    chance, there = run_coin(logged)
    assert (chance.tolist(), there.tolist()) == ([0.25, 0.25], [False, True])
