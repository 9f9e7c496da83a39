"""The benchmark of weeks: what it draws, what it holds to the product, and what it does without
recorded outcomes.
"""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.certify.populations import Population
from benchmarks.weeks import schedules
from benchmarks.weeks.world import ALARM, BEFORE, SHIFT, WEEKS, Level, Scenario, path_on, year
from knowgate._records.arrays import FloatArray


@pytest.fixture(scope="module")
def population() -> Population:
    """A small tier that is right as often as its P(T) says, and a last one that is right more
    often.
    """
    rng = np.random.default_rng(1)
    p_t = 1.0 - 0.6 * rng.random((1500, 1)) ** 2
    small = rng.random((1500, 1)) < p_t
    return Population(name="made", p_t=p_t, correct=np.column_stack([small, rng.random(1500) < 0.93]).astype(float))


@pytest.mark.slow
@pytest.mark.parametrize("scenario", Scenario)
def test_a_year_measures_every_schedule_in_the_same_weeks(population: Population, scenario: Scenario) -> None:
    figures = schedules.years_of(population, scenario, 350, 1)
    assert 0.0 < figures[f"in_force_rolling_{scenario}_350"] < figures[f"in_force_plug_in_{scenario}_350"]
    assert figures[f"bad_weeks_rolling_{scenario}_350"] < figures[f"bad_weeks_plug_in_{scenario}_350"]
    assert (f"in_force_season_{scenario}_350" in figures) == (scenario is not Scenario.RETRAINED)
    assert all(np.isfinite(value) for value in figures.values())
    if scenario is not Scenario.RETRAINED:
        alone = schedules.years_of(population, scenario, 350, 1, ["quarters"])
        assert alone == {name: value for name, value in figures.items() if "quarters" in name}
        assert alone[f"in_force_quarters_{scenario}_350"] > 0.0


def test_the_mix_drifts_slowly_or_shifts_at_once_and_the_true_drop_with_it(population: Population) -> None:
    def drops(scenario: Scenario) -> FloatArray:
        return np.array([week.cost.sum() for week in year(population, scenario, 10, np.random.default_rng(2))])

    steady, drift, shift = drops(Scenario.STATIONARY), drops(Scenario.DRIFT), drops(Scenario.SHIFT)
    assert len(steady) == BEFORE + WEEKS
    assert np.ptp(steady) < 1e-12
    assert (np.diff(drift[BEFORE:]) > 0).all()
    assert np.flatnonzero(np.diff(shift)).tolist() == [BEFORE + SHIFT - 1]


def test_only_a_shift_is_heard_by_an_alarm(population: Population) -> None:
    for scenario in Scenario:
        cut = [week.number for week in year(population, scenario, 10, np.random.default_rng(2)) if week.cut]
        assert cut == ([ALARM] if scenario is Scenario.SHIFT else [])


def test_the_former_schedule_declines_what_gives_savings_away(population: Population) -> None:
    kept = schedules.Kept(population=population, attempts=40)
    first = next(iter(year(population, Scenario.STATIONARY, 50, np.random.default_rng(3))))
    kept.window.append(first.rows)
    champion = Level(path=path_on(population.p_t[:, 0]), number=200)
    assert schedules.SCHEDULES["former"](kept, first, champion) is champion
    assert schedules.SCHEDULES["former"](kept, first, None).number < 200


def test_a_walk_that_chose_otherwise_than_the_product_would_be_caught(population: Population) -> None:
    kept = schedules.Kept(population=population, held=1)
    first = next(iter(year(population, Scenario.STATIONARY, 350, np.random.default_rng(3))))
    kept.window.append(first.rows)
    assert schedules.SCHEDULES["rolling"](kept, first, None).number >= 0
    assert kept.held == 0
    with pytest.raises(AssertionError, match="the cut-down walk"):
        schedules.hold_to_product(kept, first.path, 1, 0.1, 480)


def test_without_recorded_outcomes_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KNOWGATE_RECORDED_DATA", str(tmp_path / "nowhere"))
    assert set(schedules.measure(quick=True)) == {"skipped"}
