"""The rolling promise: which rows certify, how long a certificate lasts, which attempts are made,
and that no more than δ of all weeks are broken.
"""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from evidence.bounds.exact_drop import drop_refuted, drop_test_power
from evidence.bounds.spending import delta_for_attempt
from evidence.certification.certificate import Target
from evidence.certification.certification_rows import CertificationRows
from evidence.certification.nested_path import NestedCounts
from evidence.certification.rolling import (
    Outlook,
    certifying_periods,
    certifying_window,
    in_force_until,
    outlook_of,
)
from evidence.certification.tally import Tally, tally_of
from evidence.errors import InvalidInputError
from knowgate.spec import TargetKind
from tests.evidence.walks import one_gate_path

END, WEEK = datetime(2026, 6, 29, tzinfo=UTC), timedelta(days=7)
EPSILON, DELTA = 0.02, 0.1
DROP = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=EPSILON)
ACCURACY = Target(kind=TargetKind.RETAINED_ACCURACY, value=0.9)


@pytest.mark.parametrize(
    ("counting", "periods"),
    [
        ([3500] * 20, 4),  # four hold enough, and no fewer certify
        ([1000] * 20, 4),
        ([999] * 20, 5),
        ([350] * 20, 12),
        ([100] * 20, 13),  # never more
        ([350] * 6, 6),  # all that there are
        ([3500] * 2, 2),
        ([0, 0, 0, 0, 0, 4000, 0], 6),  # the newest first, whatever each holds
        ([], 0),
    ],
)
def test_the_fewest_periods_that_hold_enough_rows_certify(counting: list[int], periods: int) -> None:
    assert certifying_periods(counting) == periods


def test_the_window_ends_where_the_walk_is_made_and_never_reaches_behind_an_alarm() -> None:
    window = certifying_window(END, WEEK, [3500] * 20)
    assert window is not None
    assert (window.start, window.end) == (END - 4 * WEEK, END)
    alarm = END - timedelta(days=10)
    since = certifying_window(END, WEEK, [3500, 1500, 0, 0], not_before=alarm)
    assert since is not None
    assert since.start == alarm
    long_ago = certifying_window(END, WEEK, [3500] * 20, not_before=END - 50 * WEEK)
    assert long_ago == window


def test_nothing_certifies_where_nothing_has_come_since_the_alarm() -> None:
    assert certifying_window(END, WEEK, [0, 0, 0, 0], not_before=END) is None
    assert certifying_window(END, WEEK, []) is None


def test_a_certificate_lasts_for_twice_its_window_while_no_attempt_is_made() -> None:
    window = certifying_window(END, WEEK, [350] * 20)
    assert window is not None
    assert in_force_until(END + timedelta(days=1), window) == END + timedelta(days=1) + 24 * WEEK


def test_bad_periods_are_named() -> None:
    with pytest.raises(InvalidInputError, match=r"counting\[1\] is -3"):
        certifying_periods([10, -3])
    with pytest.raises(InvalidInputError, match="every is 0:00:00"):
        certifying_window(END, timedelta(), [10])


def outcomes(n: int, plus: float, minus: float = 0.0) -> CertificationRows:
    """n rows with these shares of X = +1 and X = −1."""
    x = np.zeros(n)
    x[: round(plus * n)] = 1.0
    x[round(plus * n) : round((plus + minus) * n)] = -1.0
    return CertificationRows(correct=np.column_stack([x <= 0.0, x >= 0.0]).astype(float))


def tallied(rows: CertificationRows) -> Tally:
    return tally_of(rows, np.zeros(rows.n, dtype=np.int64), DELTA)


@pytest.mark.parametrize(("plus", "minus"), [(0.03, 0.02), (0.04, 0.025), (0.05, 0.04)])
def test_an_attempt_is_made_from_a_power_of_a_fifth_on(plus: float, minus: float) -> None:
    taught = [tallied(outcomes(10_000, plus, minus))]
    few = outlook_of(taught, outcomes(50, 0.0), DROP, DELTA)
    assert not few.made
    assert few.labels_needed is not None
    at = 50 + few.labels_needed
    assert outlook_of(taught, outcomes(at, 0.0), DROP, DELTA).made
    assert outlook_of(taught, outcomes(at - 1, 0.0), DROP, DELTA) == Outlook(made=False, labels_needed=1)
    assert drop_test_power(at, EPSILON, DELTA, plus, minus) == pytest.approx(0.2, abs=0.06)


def test_the_labels_of_the_certifying_rows_change_nothing() -> None:
    taught = [tallied(outcomes(10_000, 0.03, 0.02))]
    looks = {outlook_of(taught, outcomes(200, plus), DROP, DELTA).labels_needed for plus in (0.0, 0.1, 0.5)}
    assert len(looks) == 1


def test_an_attempt_is_made_where_no_number_of_labels_would_do_or_nothing_was_taught() -> None:
    """What is in force is then not to outlive what was seen."""
    assert outlook_of([tallied(outcomes(1000, 0.1))], outcomes(50, 0.0), DROP, DELTA).made
    assert outlook_of([], outcomes(50, 0.0), DROP, DELTA).made


def test_candidates_that_retain_too_little_speak_for_no_attempt() -> None:
    rows = outcomes(10_000, 0.03, 0.02)
    kept = np.ones(rows.n, dtype=np.int64)
    kept[:400] = 0  # 4 % retained
    tiny, whole = tally_of(rows, kept, DELTA), tallied(rows)
    assert outlook_of([tiny, whole], outcomes(50, 0.0), DROP, DELTA) == outlook_of(
        [whole], outcomes(50, 0.0), DROP, DELTA
    )


def test_the_labels_that_a_retained_accuracy_waits_for_are_told_too() -> None:
    taught = [tallied(outcomes(10_000, 0.06))]
    outlook = outlook_of(taught, outcomes(20, 0.0), ACCURACY, DELTA)
    assert not outlook.made
    assert outlook.labels_needed is not None
    assert outlook_of(taught, outcomes(20 + outlook.labels_needed, 0.0), ACCURACY, DELTA).made


LEVELS = 30


def a_year(rng: np.random.Generator, thresholds: np.ndarray, weekly: int) -> list[NestedCounts]:
    """What 52 weeks count at each level, of a small tier that is right as often as P(T) says."""
    weeks = []
    for _ in range(52):
        scores = 1.0 - 0.6 * rng.random(weekly) ** 2
        small = rng.random(weekly) < scores
        last = np.where(rng.random(weekly) < 0.85, rng.random(weekly) < 0.97, small)
        rows = CertificationRows(correct=np.column_stack([small, last]).astype(float))
        weeks.append(NestedCounts(LEVELS, np.searchsorted(-thresholds, -scores)[:, None], rows))
    return weeks


def boldest(weeks: list[NestedCounts], delta: float) -> int:
    """How many levels the walk passes on the rows of these weeks."""
    n = sum(week.n for week in weeks)
    plus, minus = (np.sum([getattr(week, sign) for week in weeks], axis=0) for sign in ("plus", "minus"))
    passed = 0
    while passed < LEVELS and drop_refuted(int(plus[passed]), int(minus[passed]), n, EPSILON, delta):
        passed += 1
    return passed


@pytest.mark.slow
def test_at_the_whole_delta_on_rolling_windows_at_most_delta_of_all_weeks_are_broken() -> None:
    """And what would break it, adopting only what is bolder, or starve it, spending δ over
    attempts.
    """
    rng, years, weekly = np.random.default_rng(31), 60, 350
    path = one_gate_path(1.0 - 0.6 * rng.random(20_000) ** 2, points=LEVELS)
    thresholds = np.array([at[0][0].threshold for at in path])  # type: ignore[index]
    grid = 1.0 - 0.6 * ((np.arange(20_000) + 0.5) / 20_000) ** 2
    drops = np.array([0.0, *((0.85 * (0.97 - grid) * (grid >= at)).mean() for at in thresholds)])
    rolling, selected, spent = np.zeros((3, years, 52), dtype=np.int64)
    for year in range(years):
        weeks = a_year(rng, thresholds, weekly)
        for week in range(52):
            periods = certifying_periods([weekly] * (week + 1))
            newest = weeks[week + 1 - periods : week + 1]
            rolling[year, week] = boldest(newest, DELTA)
            spent[year, week] = boldest(newest, delta_for_attempt(DELTA, week + 1))
        selected[year] = np.maximum.accumulate(rolling[year])
    broken = (drops[rolling] > EPSILON).mean(axis=1)
    assert broken.mean() <= DELTA + 2 * broken.std() / np.sqrt(years)
    assert (drops[selected] > EPSILON).mean() > 2 * DELTA
    assert spent[:, -1].mean() < spent[:, 12].mean()
    assert rolling[:, -1].mean() > 1.1 * spent[:, -1].mean()
