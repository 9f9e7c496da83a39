"""The savings alarm is read at the ends of whole days: what swings within the day rings never, what
is lost rings at the end of a day, however decision time is cut into windows.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from knowgate._records.records import Window
from monitoring.alarms.alarm_memory import AlarmMemory, memory_from_json, memory_to_json
from monitoring.alarms.alarms import Promise, watch_savings
from monitoring.rows.cohorts import Cohort

PROMISE = Promise(champion="b1", others=frozenset(), savings_low=0.5)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ON_THE_LIMIT = 0.55  # share retained at which .1 + .45 of the last tier's cost is what promise and margin allow
PER_HOUR = 40


def decisions(cast, hours: Iterable[int], retained: Callable[[int], float], *, bundle: str = "b1") -> pd.DataFrame:
    """Forty decisions an hour, costs in 1e-6 USD: 10 of the small tier, 100 of the last."""
    hour = np.repeat(np.array(list(hours)), PER_HOUR)
    kept = np.random.default_rng(3).random(len(hour)) < np.array([retained(int(h)) for h in hour])
    minutes = 60 * hour + np.tile(np.arange(PER_HOUR), len(hour) // PER_HOUR)
    return pd.DataFrame(
        {
            "occurred_at": pd.Timestamp(cast.DAY) + pd.to_timedelta(minutes, unit="min"),
            "bundle": np.full(len(hour), bundle, dtype=object),
            "slice": np.full(len(hour), None, dtype=object),
            "retained": kept,
            "usd": np.where(kept, 10e-6, 110e-6),
            "last_usd": np.where(kept, np.nan, 100e-6),
            "expected_last_usd": 100e-6,
        }
    )


def watched(
    cast,
    rows: pd.DataFrame,
    *,
    hours: float,
    until: float,
    first: float = 0.0,
    memory: AlarmMemory | None = None,
    promise: Promise | None = PROMISE,
) -> AlarmMemory:
    """The memory after windows of so many hours, or after the first in which it rings."""
    begins = None if memory is None else memory.raised_at
    for start in np.arange(first, until, hours):
        window = Window(start=cast.DAY + start * HOUR, end=cast.DAY + (start + hours) * HOUR)
        inside = rows[(rows["occurred_at"] >= window.start) & (rows["occurred_at"] < window.end)]
        cohort = Cohort(spec=cast.spec_of(), window=window, as_of=window.end, decisions=inside, attempts=pd.DataFrame())
        memory = memory_from_json(memory_to_json(watch_savings(memory, cohort, promise)))
        if memory.raised_at != begins:
            return memory
    assert memory is not None
    return memory


def hours_after(cast, at: datetime | None) -> float | None:
    return None if at is None else (at - cast.DAY) / HOUR


def swinging(hour: int) -> float:
    """On the limit over the day, thirty points beyond it in the first half."""
    return ON_THE_LIMIT - 0.3 if hour % 24 < 12 else ON_THE_LIMIT + 0.32


def lost_from(hour: int) -> Callable[[int], float]:
    return lambda at: 0.25 if at >= hour else 0.8


@pytest.mark.parametrize("hours", [1, 5, 24])
def test_what_is_lost_in_the_morning_and_won_in_the_afternoon_never_rings(cast, hours: int) -> None:
    days = 10
    rows = decisions(cast, range(24 * days), swinging)
    memory = watched(cast, rows, hours=hours, until=24 * days)
    assert memory.raised_at is None and memory.rows == len(rows)
    noon = watched(cast, rows, hours=12, until=24 * days - 12)
    assert noon.families[0].watch.growth > noon.families[0].watch.growth_at_start[-1] + 5.0, "a loss if read there"


@pytest.mark.parametrize("fault", [72, 81, 95])
def test_a_loss_rings_at_the_end_of_a_day_alike_in_windows_of_an_hour_six_and_a_day(cast, fault: int) -> None:
    rows = decisions(cast, range(24 * 7), lost_from(fault))
    rung = [watched(cast, rows, hours=hours, until=24 * 7) for hours in (1, 6, 24)]
    (at,) = {hours_after(cast, memory.raised_at) for memory in rung}
    assert at is not None and at % 24 == 0 and fault + 1 <= at <= fault + 48
    (since,) = {memory.harm_since for memory in rung}
    assert since == cast.DAY + (fault + 1) // 24 * DAY


def test_windows_that_no_day_ends_with_ring_when_the_first_is_over_after_the_day(cast) -> None:
    rows = decisions(cast, range(24 * 8), lost_from(81))
    hourly = watched(cast, rows, hours=1, until=24 * 8)
    for hours in (5, 36, 72):
        other = watched(cast, rows, hours=hours, until=24 * 8)
        assert timedelta(0) <= other.raised_at - hourly.raised_at < hours * HOUR
        assert other.harm_since == hourly.harm_since


def test_a_day_within_a_window_is_read_though_the_days_after_it_made_up_for_its_loss(cast) -> None:
    rows = decisions(cast, range(72), lambda hour: 0.0 if hour < 24 else 1.0)
    memory = watched(cast, rows, hours=72, until=72)
    assert memory.raised_at == cast.DAY + 3 * DAY and memory.harm_since == cast.DAY


def test_a_day_without_decisions_in_its_last_hours_is_read_when_it_is_over(cast) -> None:
    rows = decisions(cast, range(18), lambda hour: 0.0)
    assert watched(cast, rows, hours=1, until=23).raised_at is None
    assert watched(cast, rows, hours=1, until=24).raised_at == cast.DAY + DAY


def test_days_of_a_new_champion_begin_where_the_window_of_its_first_decision_ends(cast) -> None:
    former = decisions(cast, range(14), lambda hour: 0.8, bundle="b0")
    rows = pd.concat([former, decisions(cast, range(13, 72), lambda hour: 0.0)], ignore_index=True)
    rows = rows.sort_values("occurred_at", kind="stable")
    hourly = watched(cast, rows, hours=1, until=72)
    assert hourly.raised_at == cast.DAY + DAY + 14 * HOUR and hourly.harm_since == cast.DAY + 14 * HOUR
    daily = watched(cast, rows, hours=24, until=72)
    assert daily.raised_at == cast.DAY + 2 * DAY and daily.harm_since == cast.DAY + DAY
    twice = watched(cast, rows, hours=36, until=72)
    assert twice.raised_at == cast.DAY + 3 * DAY and twice.harm_since == cast.DAY + DAY, "or where the UTC day does"


def test_after_a_ring_the_next_days_follow_upon_it(cast) -> None:
    rows = decisions(cast, range(72), lambda hour: 0.0)
    once = watched(cast, rows, hours=1, until=72)
    again = watched(cast, rows, hours=1, until=72, first=24, memory=once)
    assert (once.raised_at, again.raised_at) == (cast.DAY + DAY, cast.DAY + 2 * DAY)


def test_a_day_in_which_nothing_was_promised_for_hours_is_not_read(cast) -> None:
    """The morning lost everything; what follows is a new family's."""
    rows = decisions(cast, range(72), lambda hour: 0.0 if hour < 12 else 0.8)
    morning = watched(cast, rows, hours=1, until=12)
    without = watched(cast, rows, hours=1, first=12, until=15, memory=morning, promise=None)
    assert (without.families, without.idle) == ((), "no champion with a certified lower bound of savings")
    back = watched(cast, rows, hours=1, first=15, until=72, memory=without)
    (family,) = back.families
    assert (family.number, family.opened_at, back.raised_at) == (2, cast.DAY + 15 * HOUR, None)


def test_a_family_ends_where_time_was_skipped(cast) -> None:
    rows = decisions(cast, range(96), lambda hour: 0.0 if hour < 12 else 0.8)
    morning = watched(cast, rows, hours=1, until=12)
    later = watched(cast, rows, hours=1, first=40, until=96, memory=morning)
    (family,) = later.families
    assert (family.number, family.opened_at, later.raised_at) == (2, cast.DAY + 40 * HOUR, None)


@pytest.mark.parametrize("hours", [12, 24, 40])
def test_the_next_months_family_opens_a_month_after_the_first_however_time_is_cut(cast, hours: int) -> None:
    rows = decisions(cast, range(24 * 33), lambda hour: 0.8)
    memory = watched(cast, rows, hours=hours, until=24 * 33)
    first, second = memory.families
    assert (first.opened_at, second.opened_at) == (cast.DAY, cast.DAY + 31 * DAY)
    assert second.watch.rows == first.watch.rows - 31 * 24 * PER_HOUR


def test_a_family_of_a_version_that_read_it_after_every_block_is_closed_with_its_share_spent(cast) -> None:
    rows = decisions(cast, range(48), lambda hour: 0.8)
    memory = watched(cast, rows, hours=1, until=24)
    document = json.loads(memory_to_json(memory))
    del document["counts_from"], document["families"][0]["watch"]["rule"]["whole_cycles"]
    former = memory_from_json(json.dumps(document))
    assert not former.families[0].watch.rule.whole_cycles
    (family,) = watched(cast, rows, hours=1, first=24, until=26, memory=former).families
    assert (family.number, family.opened_at, family.watch.rows) == (2, cast.DAY + DAY, 2 * PER_HOUR)
    assert replace(former, families=()).families_opened == 1
