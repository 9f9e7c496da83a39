"""Records and rows say the same by the names that they share."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import inspect

from knowgate._records.records import Attempt, Role, Signals, Window
from store.errors import StoreError
from store.releases.promotions import Outcome, PromotionRecord
from store.rows import record_of, row_of
from store.tables import AttemptRow, JobRunRow, PromotionRow

AT = datetime(2026, 3, 1, tzinfo=UTC)
ID = UUID("019f0000-0000-7000-8000-000000000000")
PROMOTION = PromotionRecord(
    cascade="quiz",
    bundle=None,
    previous=None,
    outcome=Outcome.STOPPED,
    reason="a person said so",
    check='{"a":[1,"ö"]}',
    generation=3,
    decided_at=AT,
)


def as_read(row: dict[str, Any]) -> PromotionRow:
    """The row as the ORM gives it back."""
    names = {column.name: key for key, column in inspect(PromotionRow).columns.items()}
    return PromotionRow(**{names[name]: value for name, value in row.items()})


def test_a_record_comes_back_as_it_went_in() -> None:
    row = row_of(PromotionRow, PROMOTION, id=ID)
    assert (row["outcome"], row["promotion_check"]) == ("stopped", {"a": [1, "ö"]})
    assert record_of(PromotionRecord, as_read(row)) == PROMOTION


def test_a_document_that_is_a_text_stays_a_text_of_json() -> None:
    row = row_of(PromotionRow, PROMOTION, id=ID, check='"plain"')
    assert row["promotion_check"] == "plain"
    assert record_of(PromotionRecord, as_read(row)).check == '"plain"'


def test_a_row_names_every_column_and_what_nobody_says_is_null() -> None:
    attempt = Attempt(tier=1, role=Role.SERVED, model="large", signals=Signals(p_t=0.5), entropy=0.25)
    row = row_of(AttemptRow, attempt, attempt.signals, None, decision_id=ID, fingerprint=None)
    assert set(row) == set(AttemptRow.__table__.c.keys())
    assert (row["p_t"], row["entropy"], row["role"], row["action"], row["margin"]) == (0.5, 0.25, "served", None, None)


def test_what_is_given_goes_before_the_records_and_an_earlier_record_before_a_later_one() -> None:
    attempt = Attempt(tier=1, role=Role.SERVED, model="large", signals=Signals(p_t=0.5), entropy=0.25)
    other = Attempt(tier=0, role=Role.SUPERSEDED, model="small", entropy=0.5, margin=0.125)
    row = row_of(AttemptRow, attempt, other, decision_id=ID, run_propensity=0.5)
    assert (row["tier"], row["role"], row["entropy"]) == (1, "served", 0.25)
    assert row["margin"] is None, "what the earlier record says is None goes before what the later one says"
    assert row["run_propensity"] == 0.5


def test_what_a_column_must_have_and_nobody_says_is_named() -> None:
    with pytest.raises(StoreError, match="job of a job_run is missing"):
        row_of(JobRunRow, id=ID)


def test_what_is_given_to_no_column_is_named() -> None:
    with pytest.raises(StoreError, match="a promotion has no column decided, why"):
        row_of(PromotionRow, PROMOTION, id=ID, decided=AT, why="typo")


def test_a_window_is_two_columns() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Cohort:
        window: Window

    window = Window(start=AT, end=datetime(2026, 3, 2, tzinfo=UTC))
    said = {"id": ID, "job": "train", "cascade": "", "owner": "me", "token": 1}
    row = row_of(JobRunRow, Cohort(window=window), **said, lease_until=AT, started_at=AT, heartbeat_at=AT)
    assert (row["window_start"], row["window_end"]) == (window.start, window.end)
    assert record_of(Cohort, JobRunRow(**row)) == Cohort(window=window)
