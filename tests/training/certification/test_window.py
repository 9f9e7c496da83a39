"""Which of the rows that were read certify: the last W periods, by how many rows count."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from knowgate._records.records import Window
from tests.training.certification.test_outcomes import rows_of, tier_of
from training.certification.window import Periods
from training.rows.dataset import CascadeRows

END, WEEK = datetime(2026, 6, 29, tzinfo=UTC), timedelta(days=7)


def weeks_of(weekly: int, weeks: int, *, labelled: float = 1.0) -> CascadeRows:
    """So many rows a week up to END, evenly spread; of a share of them it is known who is right."""
    n = weekly * weeks
    known = np.arange(n) % 100 < 100 * labelled
    correct = np.where(known, 1.0, np.nan)
    chance = np.full(n, np.nan) if labelled == 1.0 else np.where(known, labelled, np.nan)
    tiers = [tier_of(n, correct=correct, label_propensity=chance) for _ in range(2)]
    seconds = END.timestamp() - (np.arange(n)[::-1] + 0.5) * WEEK.total_seconds() / weekly
    return rows_of(*tiers, seconds=seconds)


def weeks_certifying(rows: CascadeRows, *, weeks: int, alarm: datetime | None = None) -> float:
    periods = Periods(read=Window(start=END - weeks * WEEK, end=END), every=WEEK, alarm=alarm)
    since = periods.certifying(rows, np.ones(rows.n, dtype=np.bool_))
    return float((END.timestamp() - since) / WEEK.total_seconds())


@pytest.mark.parametrize(
    ("weekly", "read", "certify"), [(2000, 8, 4.0), (500, 20, 8.0), (100, 20, 13.0), (2000, 2, 2.0), (0, 9, 9.0)]
)
def test_the_fewest_periods_from_four_on_that_count_enough_certify(weekly: int, read: int, certify: float) -> None:
    assert weeks_certifying(weeks_of(weekly, read), weeks=read) == pytest.approx(certify)


def test_rows_whose_labels_were_not_drawn_do_not_count() -> None:
    assert weeks_certifying(weeks_of(2000, 20, labelled=0.2), weeks=20) == pytest.approx(10.0, abs=1.01)


def test_only_the_chosen_prompts_count() -> None:
    rows = weeks_of(2000, 20)
    periods = Periods(read=Window(start=END - 20 * WEEK, end=END), every=WEEK)
    since = periods.certifying(rows, np.arange(rows.n) % 4 == 0)
    assert (END.timestamp() - since) / WEEK.total_seconds() == pytest.approx(8.0)


def test_no_row_certifies_that_the_last_alarm_has_seen() -> None:
    rows = weeks_of(2000, 20)
    assert weeks_certifying(rows, weeks=20, alarm=END - 2.5 * WEEK) == pytest.approx(2.5)
    assert weeks_certifying(rows, weeks=20, alarm=END - 9 * WEEK) == pytest.approx(4.0)
    assert weeks_certifying(rows, weeks=20, alarm=END) == -np.inf
    assert weeks_certifying(rows, weeks=20, alarm=END + WEEK) == -np.inf
