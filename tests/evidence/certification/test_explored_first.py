"""Labels that even out the coin of the runs: how many rows count, and that no promise is broken."""

import numpy as np
import pytest

from evidence.certification.certification_rows import CertificationRows
from evidence.certification.known_outcomes import LoggedRows, certification_rows, outcome_coin
from evidence.certification.tally import tally_of
from evidence.inputs import BoolArray, FloatArray

EXPLORED, RATE = 0.2, 0.1


def logged(
    rng: np.random.Generator,
    retained: BoolArray,
    correct: FloatArray,
    agrees: BoolArray,
    *,
    rate: float = RATE,
    first: bool = True,
) -> LoggedRows:
    """Decisions [n] whose last tier ran on what escalated, and by a coin beside what was retained;
    their labels are drawn as `knowgate labels queue` does, or (not first) at `rate` whatever ran.
    """
    n = len(retained)
    ran = ~retained | (rng.random(n) < EXPLORED)
    run = np.where(retained, EXPLORED, 1.0)
    worth = np.where(ran & ~agrees, 1.0 / run, 0.25) if first else np.ones(n)
    chance = np.minimum(1.0, rate * worth)
    drawn = rng.random(n) < chance
    tiers = np.column_stack([np.ones(n, dtype=bool), ran])
    known = np.where(drawn[:, None] & tiers, correct, np.nan)
    return LoggedRows(
        ids=tuple(f"{number:x}" for number in rng.integers(1 << 62, size=n)),
        ran=tiers,
        agrees=(agrees & ran)[:, None],
        correct=known,
        label_propensity=np.where(np.isnan(known), np.nan, chance[:, None]),
        run_propensity=np.where(tiers, np.column_stack([np.ones(n), run]), np.nan),
        exploration_rate=np.full(n, EXPLORED),
        apart=np.zeros(n, dtype=bool),
    )


def population(
    rng: np.random.Generator, n: int, lost_if_retained: float, lost_if_escalated: float
) -> tuple[BoolArray, FloatArray, BoolArray]:
    """Retained or not [n], correct [n, 2] and whether both answers are the same; the two shares of
    each side are lost by keeping the small answer, a twentieth is gained.
    """
    retained = rng.random(n) < 0.6
    fate = rng.random(n)
    lost = fate < np.where(retained, lost_if_retained, lost_if_escalated)
    gained = fate > 0.95
    correct = np.column_stack([~lost, ~gained]).astype(np.float64)
    return retained, correct, ~lost & ~gained & (rng.random(n) < 0.9)


def counting(rows: CertificationRows) -> int:
    return int(rows.equal.sum())


def test_a_coin_for_runs_and_one_for_labels_multiply_unless_explored_rows_are_labelled_first() -> None:
    rng = np.random.default_rng(3)
    seen = population(rng, 20_000, 0.1, 0.1)
    evened = counting(certification_rows(logged(rng, *seen)))
    plain = counting(certification_rows(logged(rng, *seen, first=False)))
    assert evened == pytest.approx(20_000 * RATE, abs=5 * np.sqrt(20_000 * RATE))
    assert plain == pytest.approx(20_000 * RATE * EXPLORED, abs=5 * np.sqrt(20_000 * RATE * EXPLORED))


def test_more_labels_than_runs_add_no_row_that_counts() -> None:
    rng = np.random.default_rng(4)
    rows = certification_rows(logged(rng, *population(rng, 20_000, 0.1, 0.1), rate=0.5))
    assert counting(rows) == pytest.approx(20_000 * EXPLORED, abs=5 * np.sqrt(20_000 * EXPLORED))


@pytest.mark.parametrize("of_retained", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("first", [True, False])
def test_no_more_promises_are_broken_than_delta_however_labels_are_drawn(of_retained: float, first: bool) -> None:
    """The true drop of keeping everything is exactly ε, so every certificate is a violation, with
    the loss on retained queries, on escalated ones, or on both.
    """
    rng, n, runs, delta, epsilon = np.random.default_rng(17), 4000, 150, 0.1, 0.05
    lost = epsilon + 0.05  # a twentieth is gained
    given = 0
    for _ in range(runs):
        seen = population(rng, n, lost * of_retained / 0.6, lost * (1.0 - of_retained) / 0.4)
        rows = certification_rows(logged(rng, *seen, first=first))
        given += tally_of(rows, np.zeros(n, dtype=np.int64), delta).drop.shown(epsilon, delta)
    assert given / runs <= delta + 2 * np.sqrt(delta * (1 - delta) / runs)


def test_where_no_explored_row_is_labelled_nothing_is_taken_for_evened_out() -> None:
    """Else the escalated rows alone would be a sample of all, and certify what was never seen."""
    rng = np.random.default_rng(5)
    retained = np.arange(400) % 2 == 0
    rows = logged(rng, retained, np.ones((400, 2)), np.zeros(400, dtype=bool), first=False)
    unseen = np.where(retained[:, None], np.nan, rows.correct)
    labels = np.where(retained[:, None], np.nan, rows.label_propensity)
    only = LoggedRows(
        ids=rows.ids,
        ran=rows.ran,
        agrees=rows.agrees,
        correct=unseen,
        label_propensity=labels,
        run_propensity=rows.run_propensity,
        exploration_rate=rows.exploration_rate,
        apart=rows.apart,
    )
    chance, _ = outcome_coin(only)
    assert chance[retained] == pytest.approx(np.full(200, EXPLORED * RATE))
    assert chance[~retained] == pytest.approx(np.full(200, RATE))


def test_several_rates_are_evened_out_at_the_least_of_them() -> None:
    """A week labelled at a tenth, one at a fifth: what was not drawn is taken for the former's."""
    rng = np.random.default_rng(6)
    weeks = [logged(rng, *population(rng, 3000, 0.1, 0.1), rate=rate) for rate in (0.1, 0.2)]
    both = LoggedRows(
        ids=weeks[0].ids + weeks[1].ids,
        **{
            name: np.concatenate([getattr(week, name) for week in weeks])
            for name in ("ran", "agrees", "correct", "label_propensity", "run_propensity", "exploration_rate", "apart")
        },
    )
    chance, observed = outcome_coin(both)
    assert chance[~observed].max() == pytest.approx(0.1)
    assert certification_rows(both).bound == pytest.approx(10.0)
