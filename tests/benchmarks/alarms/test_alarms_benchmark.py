"""The alarms benchmark: its months save and lose what they say, its rivals ring by their formulas,
and a fault that is planted is heard.
"""

import os
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from benchmarks.alarms.months import FAULTS, LIMIT_10K, PROMISE, SPANS, Fault, faulty, rings_of
from benchmarks.alarms.rivals import (
    Stream,
    by_evidently,
    by_page_hinkley,
    by_z_test,
    elsewhere,
    risk_stream,
    savings_stream,
)
from benchmarks.alarms.traffic import EPSILON, FIRST_DAY, PROMISED, Setting, cohorts, month
from knowgate._records.records import Window
from knowgate.spec import Alarms
from monitoring.alarms.alarm_memory import AlarmMemory
from monitoring.alarms.alarms import watch_savings
from monitoring.names import Rule
from monitoring.rows.cohorts import Cohort

DAILY = Setting(per_day=20_000, exploration=0.5)


def drop_and_error(frame: pd.DataFrame) -> tuple[float, float]:
    """The drop that explored rows show, weighted by their coins, with its standard error."""
    chance = frame["run_propensity"] * frame["label_propensity"].fillna(1.0)
    value = (frame["x"].fillna(0.0) / chance).where(frame["last_ran"], 0.0)
    return float(value.mean()), float(value.std() / np.sqrt(len(value)))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("label_rate", [1.0, 0.2])
def test_a_healthy_day_saves_what_is_promised_and_loses_what_is_allowed_whatever_its_phases(
    seed: int, label_rate: float
) -> None:
    frame = month(replace(DAILY, label_rate=label_rate), 3, np.random.default_rng(seed))
    saved = 1 - frame["usd"].sum() / frame["true_last_usd"].sum()
    assert saved == pytest.approx(PROMISED, abs=0.012)
    drop, error = drop_and_error(frame)
    assert abs(drop - EPSILON) < 3 * error
    assert frame["occurred_at"].is_monotonic_increasing and len(frame) == 60_000


def test_weekends_save_their_points_less_and_the_week_what_is_promised() -> None:
    frame = month(replace(DAILY, per_day=10_000, weekend=0.1), 7, np.random.default_rng(6))
    at_weekends = frame["occurred_at"].dt.dayofweek >= 5
    saved = [1 - rows["usd"].sum() / rows["true_last_usd"].sum() for _, rows in frame.groupby(at_weekends)]
    assert saved == pytest.approx([PROMISED + 0.2 / 7, PROMISED - 0.5 / 7], abs=0.012)


def test_a_fault_costs_its_points_from_its_hour_on() -> None:
    rng = np.random.default_rng(3)
    frame = month(replace(DAILY, fault_hour=48, savings_fall=0.1, drop=0.01), 6, rng)
    day = (frame["occurred_at"] - FIRST_DAY) // timedelta(days=1)
    saved = [1 - rows["usd"].sum() / rows["true_last_usd"].sum() for _, rows in frame.groupby(day >= 2)]
    assert saved == pytest.approx([PROMISED, PROMISED - 0.1], abs=0.012)
    worse = month(replace(DAILY, fault_hour=0, drop=0.01, drop_rise=0.1), 3, rng)
    drop, error = drop_and_error(worse)
    assert abs(drop - 0.11) < 3 * error


def test_the_streams_of_the_rivals_are_above_nothing_by_what_is_lost() -> None:
    rng = np.random.default_rng(4)
    healthy = month(DAILY, 3, rng)
    assert savings_stream(healthy).value.mean() == pytest.approx(-0.05, abs=0.015)
    assert risk_stream(healthy, DAILY).value.mean() == pytest.approx(0.0, abs=0.01)
    harmed = month(replace(DAILY, fault_hour=0, drop_rise=0.1), 3, rng)
    assert risk_stream(harmed, DAILY).value.mean() == pytest.approx(0.1, abs=0.01)


def test_the_hours_of_a_month_hold_its_rows_once() -> None:
    frame = month(Setting(per_day=100), 2, np.random.default_rng(5))
    for every, number in ((1, 48), (24, 2)):
        looks = list(cohorts(frame, Setting(per_day=100), 2, hours=every))
        assert len(looks) == number and sum(look.size for look in looks) == 200
        for look in looks:
            times = look.decisions["occurred_at"]
            assert look.window.length == timedelta(hours=every)
            assert ((times >= look.window.start) & (times < look.window.end)).all()


def test_a_z_test_rings_at_the_end_of_a_day_beyond_its_quantile() -> None:
    at, noise = np.arange(300) / 100, np.tile([-1.0, 1.0], 150)
    error = np.std(noise[:100], ddof=1) / 10
    moved = noise + np.repeat([1.9, 2.0, 0.0], 100) * error
    assert by_z_test(Stream(at=at, value=moved), 3, level=0.025) == [2.0]
    assert by_z_test(Stream(at=at, value=np.ones(300)), 3, level=0.025) == [1.0, 2.0, 3.0]


def test_page_hinkley_rings_where_the_sum_above_the_mean_passes_its_threshold() -> None:
    values = np.concatenate([np.zeros(1000), np.ones(400)])
    (ring, *_) = by_page_hinkley(Stream(at=np.arange(1400.0), value=values))
    total, mean, least = 0.0, 0.0, np.inf
    for row, value in enumerate(values):
        mean += (value - mean) / (row + 1)
        total = 0.9999 * total + value - mean - 0.005
        least = min(least, total)
        if row >= 29 and total - least > 50.0:
            break
    assert ring == row and 1000 < ring < 1100
    assert by_page_hinkley(Stream(at=np.arange(1000.0), value=values[:1000])) == []


def random_walks() -> list[Stream]:
    rng = np.random.default_rng(7)
    return [Stream(at=np.arange(5000.0) / 250, value=rng.normal(0.0, 1.0, 5000).cumsum() / 50) for _ in range(12)]


@pytest.mark.skipif("KNOWGATE_RIVER_PYTHON" not in os.environ, reason="names no Python that has river")
def test_rivers_own_page_hinkley_rings_at_the_same_rows() -> None:
    river = elsewhere("river")
    assert river is not None
    assert [river.rings(walk, 7) for walk in random_walks()] == [by_page_hinkley(walk) for walk in random_walks()]
    assert any(by_page_hinkley(walk) for walk in random_walks())


def a_day_moved_by(deviations: float) -> Stream:
    """Twelve days of 200 values, the tenth of which lies higher."""
    rng = np.random.default_rng(8)
    values = rng.normal(0.0, 1.0, 2400)
    values[1800:2000] += deviations
    return Stream(at=np.arange(2400) / 200, value=values)


@pytest.mark.slow
def test_evidently_rings_at_the_end_of_the_day_that_moved_and_looks_at_no_healthy_one() -> None:
    assert by_evidently(a_day_moved_by(3.0), 12, healthy_days=8).count(10.0) == 1
    assert all(day > 8.0 for day in by_evidently(a_day_moved_by(3.0), 12, healthy_days=8))


@pytest.mark.skipif("KNOWGATE_NANNYML_PYTHON" not in os.environ, reason="names no Python that has NannyML")
def test_nannyml_rings_at_the_end_of_the_day_that_moved() -> None:
    nannyml = elsewhere("nannyml")
    assert nannyml is not None
    assert nannyml.rings(a_day_moved_by(3.0), 8) == [10.0]
    assert 10.0 not in nannyml.rings(a_day_moved_by(-3.0), 8), "what falls is no harm"


def test_a_watch_is_followed_to_its_first_ring_after_the_fault() -> None:
    def ringing_every_third_hour(memory: AlarmMemory | None, cohort: Cohort) -> AlarmMemory:
        rings = cohort.window.end.hour % 3 == 0
        raised = cohort.window.end if rings else None
        return AlarmMemory(rule=Rule.RISK, consumed_until=cohort.window.end, raised_at=raised)

    none = pd.DataFrame()
    spec = next(iter(cohorts(month(Setting(per_day=24), 1, np.random.default_rng(6)), Setting(per_day=24), 1))).spec
    starts = [FIRST_DAY + timedelta(hours=hour) for hour in range(24)]
    looks = [
        Cohort(
            spec=spec,
            window=Window(start=at, end=at + timedelta(hours=1)),
            as_of=FIRST_DAY,
            decisions=none,
            attempts=none,
        )
        for at in starts
    ]
    assert rings_of(ringing_every_third_hour, looks, since=7 / 24) == [3 / 24, 6 / 24, 9 / 24]
    assert rings_of(ringing_every_third_hour, looks[:2]) == []


def test_every_planted_fault_has_a_name_of_its_own() -> None:
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names) == 6 + 18
    assert "savings_100k_20" in names and "risk_1k_5_e05_l20" in names and "risk_10k_10_e20_l100" in names


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(alarm="savings", per_day=1_000, points=20), marks=pytest.mark.slow),
        Fault(alarm="risk", per_day=1_000, points=10, exploration=0.2, label_rate=0.5),
    ],
)
def test_a_planted_fault_is_heard_by_the_shipped_alarm(fault: Fault) -> None:
    rings = faulty(fault, 0)
    assert 0 < rings[""][0] < SPANS[1_000][1] and all(at > 0 for at in rings["_z"])
    assert ("_daily" in rings) is (fault.label_rate < 1.0)


def watching(memory: AlarmMemory | None, cohort: Cohort) -> AlarmMemory:
    return watch_savings(memory, cohort, PROMISE)


@pytest.mark.slow
def test_days_on_the_limit_whose_hours_swing_by_ten_points_do_not_ring_the_savings_alarm() -> None:
    """10 000 decisions a day, with which a bad morning is plain to see before noon."""
    days, runs = 6, 8
    rung = []
    for seed in range(runs):
        frame = month(LIMIT_10K, days, np.random.default_rng([10, seed]))
        rung.append(bool(rings_of(watching, cohorts(frame, LIMIT_10K, days))))
    level = Alarms().alpha / 2
    assert np.mean(rung) <= level + 2 * np.sqrt(level * (1 - level) / runs)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_fall_of_savings_rings_after_whole_days_alike_in_hourly_and_in_daily_windows(seed: int) -> None:
    setting = replace(FAULTS[1].setting(24 * 3 + 9 * seed), per_day=3_000)
    frame = month(setting, 8, np.random.default_rng(seed))
    hourly, daily = (rings_of(watching, cohorts(frame, setting, 8, hours=hours)) for hours in (1, 24))
    assert hourly == daily and len(daily) >= 1
    assert hourly[0] == int(hourly[0]) and 3 < hourly[0] <= 7
