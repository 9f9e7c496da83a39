"""The season's promise: what is counted, what is shown, and that no week of a season breaks it."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from evidence.bounds.exact_drop import drop_refuted
from evidence.certification.certificate import Target, Thresholds
from evidence.certification.certification_rows import CertificationRows
from evidence.certification.season import STAKES, Season, log_evidence, season_of, with_look, with_rows
from evidence.errors import InvalidInputError
from knowgate.spec import TargetKind
from tests.evidence.walks import one_gate_path

EPSILON, DELTA = 0.02, 0.1
DROP = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=EPSILON)
ACCURACY = Target(kind=TargetKind.RETAINED_ACCURACY, value=0.9)
ONE_LEVEL: list[Thresholds] = [(None,)]


def counted(plus: int, minus: int, n: int, target: Target = DROP, *, looks: int = 0, at: int = 0) -> Season:
    """A season of one level that has counted these rows, and made `looks` exact tests, the last at
    `at` rows.
    """
    return replace(
        season_of(ONE_LEVEL, target, DELTA),
        plus=np.array([plus]),
        minus=np.array([minus]),
        counted=np.array([n]),
        rows=n,
        looks=looks,
        rows_at_look=at,
    )


def wealth(plus: int, minus: int, n: int, epsilon: float) -> float:
    return float(np.exp(log_evidence(np.array([plus]), np.array([minus]), np.array([n]), epsilon))[0])


def test_the_evidence_is_the_mean_over_sixteen_stakes_of_the_products() -> None:
    stakes = [0.02 * (0.9 / 0.02) ** (j / 15) for j in range(16)]
    assert pytest.approx(stakes) == STAKES
    by_hand = sum((1 - s * 0.98) ** 3 * (1 + s * 1.02) ** 2 * (1 + s * 0.02) ** 45 for s in stakes) / 16
    assert wealth(3, 2, 50, EPSILON) == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("plus", [0.02, 0.3, 0.5])
def test_at_a_drop_of_exactly_epsilon_the_bet_is_worth_nothing_on_average(plus: float) -> None:
    chances = (plus, plus - EPSILON, 1 - 2 * plus + EPSILON)
    mean = 0.0
    for outcome in itertools.product(range(3), repeat=6):
        mean += math.prod(chances[x] for x in outcome) * wealth(outcome.count(0), outcome.count(1), 6, EPSILON)
    assert mean == pytest.approx(1.0, rel=1e-12)


def test_counts_that_no_float_could_hold_are_still_weighed() -> None:
    evidence = log_evidence(np.array([0, 400_000]), np.array([0, 0]), np.array([1_000_000, 1_000_000]), EPSILON)
    assert np.isfinite(evidence).all()
    assert evidence[0] > 10_000
    assert evidence[1] < -5_000


def test_a_level_is_shown_by_the_bet_at_two_over_delta_without_any_exact_test() -> None:
    rows = next(n for n in range(1, 2000) if wealth(0, 0, n, EPSILON) >= 2 / DELTA)
    shown = with_look(counted(0, 0, rows, looks=1, at=900))
    assert (shown.certified, shown.looks) == (1, 1)
    assert with_look(counted(0, 0, rows - 1, looks=1, at=900)).certified == 0


def test_the_exact_test_is_made_when_the_rows_have_doubled_and_not_before() -> None:
    season = with_look(counted(9, 9, 1000))
    assert (season.looks, season.rows_at_look) == (1, 1000)
    more = replace(season, counted=np.array([1999]), rows=1999)
    assert with_look(more).looks == 1
    doubled = with_look(replace(more, counted=np.array([2000]), rows=2000))
    assert (doubled.looks, doubled.rows_at_look) == (2, 2000)


@pytest.mark.parametrize("look", [1, 2, 3])
def test_the_exact_tests_share_half_of_delta_among_all_looks(look: int) -> None:
    """The largest number of losses that passes is the exact test's at (δ/2)·6/(π²j²)."""
    n, before = 4000, 2000 if look > 1 else 0
    share = DELTA / 2 * 6 / (np.pi**2 * look**2)
    most = max(plus for plus in range(200) if drop_refuted(plus, 20, n, EPSILON, share))
    assert wealth(most, 20, n, EPSILON) < 2 / DELTA  # so that it is the exact test that decides
    assert with_look(counted(most, 20, n, looks=look - 1, at=before)).certified == 1
    assert with_look(counted(most + 1, 20, n, looks=look - 1, at=before)).certified == 0


def test_the_first_exact_test_waits_for_rows_with_which_it_could_pass() -> None:
    assert with_look(counted(0, 0, 60)).looks == 0
    assert with_look(counted(0, 0, 400)).looks == 1
    assert with_look(counted(0, 0, 20, ACCURACY)).looks == 0
    assert with_look(counted(0, 0, 200, ACCURACY)).looks == 1


def test_what_has_been_certified_stays_so() -> None:
    season = with_look(counted(0, 0, 1000))
    worse = replace(season, plus=np.array([500]), counted=np.array([1500]), rows=1500)
    assert with_look(worse).certified == 1


def test_a_level_behind_one_that_is_not_shown_is_not_certified() -> None:
    season = replace(
        season_of([(None,), (None,)], DROP, DELTA),
        plus=np.array([200, 0]),
        minus=np.array([0, 0]),
        counted=np.array([1000, 1000]),
        rows=1000,
    )
    assert with_look(season).certified == 0
    assert with_look(season).thresholds is None


def test_rows_are_counted_per_level_as_a_certificate_counts_them() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    rows = CertificationRows(correct=np.array([[0, 1], [1, 0], [np.nan, 1], [1, 1]]))
    path = one_gate_path(scores, points=4)
    season = with_rows(season_of(path, DROP, DELTA), np.arange(4)[:, None], rows)
    assert season.plus.tolist() == [1, 1, 2, 2]  # an unknown outcome counts as lost
    assert season.minus.tolist() == [0, 1, 1, 1]
    assert season.counted.tolist() == [4, 4, 4, 4]
    again = with_rows(season, np.arange(4)[:, None], rows)
    assert (again.plus.tolist(), again.rows) == ([2, 2, 4, 4], 8)


def test_of_a_retained_accuracy_what_is_retained_is_counted() -> None:
    rows = CertificationRows(correct=[[0, 1], [1, 0], [1, 1], [1, 1]])
    season = with_rows(season_of(ONE_LEVEL * 4, ACCURACY, DELTA), np.arange(4)[:, None], rows)
    assert season.plus.tolist() == [1, 1, 1, 1]
    assert season.counted.tolist() == [1, 2, 3, 4]


def test_weighted_rows_are_thinned_to_one_rate() -> None:
    n = 4000
    chance = np.where(np.arange(n) % 2 == 0, 1.0, 0.25)
    observed = np.random.default_rng(3).random(n) < chance
    rows = CertificationRows(
        correct=np.where(observed[:, None], 1.0, np.nan) * np.ones((n, 2)),
        propensity=chance,
        observed=observed,
        ids=tuple(str(row) for row in range(n)),
    )
    season = with_rows(season_of(ONE_LEVEL, DROP, DELTA), np.zeros((n, 1), dtype=np.int64), rows)
    assert season.rows == pytest.approx(n / 4, abs=4 * np.sqrt(n / 4))
    assert season.plus[0] == 0


def test_what_a_season_cannot_count_is_refused() -> None:
    season = season_of(ONE_LEVEL, DROP, DELTA)
    with pytest.raises(InvalidInputError, match="path is empty"):
        season_of([], DROP, DELTA)
    with pytest.raises(InvalidInputError, match="fractions"):
        with_rows(season, np.array([[0]]), CertificationRows(correct=[[0.5, 1.0]], ids=("a",)))
    with pytest.raises(InvalidInputError, match="entry has 1, rows has 2"):
        with_rows(season, np.array([[0]]), CertificationRows(correct=[[0, 1], [1, 1]]))
    with pytest.raises(InvalidInputError, match="more than counted"):
        log_evidence(np.array([3]), np.array([0]), np.array([2]), EPSILON)


@pytest.mark.slow
def test_a_level_of_exactly_epsilon_is_shown_on_some_day_of_a_year_in_at_most_delta_of_all_years() -> None:
    """Looked at every other day, 100 rows each time: the promise is "never", not "today"."""
    rng, years = np.random.default_rng(21), 150
    broken = 0
    for _ in range(years):
        season = season_of(ONE_LEVEL, DROP, DELTA)
        draws = rng.multinomial(100, [0.06, 0.04, 0.90], size=183)
        for plus, minus, _ in draws:
            season = with_look(
                replace(
                    season,
                    plus=season.plus + plus,
                    minus=season.minus + minus,
                    counted=season.counted + 100,
                    rows=season.rows + 100,
                )
            )
            if season.certified:
                broken += 1
                break
    assert broken / years <= DELTA + 2 * np.sqrt(DELTA * (1 - DELTA) / years)


@pytest.mark.slow
def test_a_season_of_weeks_gets_bolder_and_is_broken_in_at_most_delta_of_all_years() -> None:
    """52 weeks of 350 rows on a path of 40 levels: P(T) is calibrated, and what is kept is worse
    where it is low.
    """
    rng, years, weekly = np.random.default_rng(22), 150, 350
    path = one_gate_path(1.0 - 0.6 * rng.random(20_000) ** 2, points=40)
    thresholds = np.array([at[0][0].threshold for at in path])  # type: ignore[index]
    grid = 1.0 - 0.6 * ((np.arange(20_000) + 0.5) / 20_000) ** 2
    drops = np.array([(0.85 * (0.97 - grid) * (grid >= at)).mean() for at in thresholds])
    broken, levels = 0, np.zeros((years, 52), dtype=np.int64)
    for year in range(years):
        season = season_of(path, DROP, DELTA)
        for week in range(52):
            scores = 1.0 - 0.6 * rng.random(weekly) ** 2
            small = rng.random(weekly) < scores
            last = np.where(rng.random(weekly) < 0.85, rng.random(weekly) < 0.97, small)
            entry = np.searchsorted(-thresholds, -scores)[:, None]
            rows = CertificationRows(correct=np.column_stack([small, last]).astype(float))
            season = with_look(with_rows(season, entry, rows))
            levels[year, week] = season.certified
        broken += season.certified > 0 and bool(drops[season.certified - 1] > EPSILON)
    boldest_that_keeps = int((drops <= EPSILON).sum())
    assert broken / years <= DELTA + 2 * np.sqrt(DELTA * (1 - DELTA) / years)
    assert (np.diff(levels, axis=1) >= 0).all()
    assert levels[:, -1].mean() > 0.85 * boldest_that_keeps
    assert levels[:, 3].mean() < levels[:, -1].mean()
