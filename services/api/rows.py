"""Rows of a batch, one by one: a good row becomes a record, a bad one is named and the others go
on.

Most rows are read by pydantic-core; the codec reads those that it refuses, and names the fault.
Beyond what these and the records check, a row must be one that both databases can hold, or one
row would fail its whole batch at the commit: short texts, and times that exist.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from knowgate._records.ids import decided_at
from knowgate._records.receipts import Rejected
from knowgate._records.records import Decision, Label
from knowgate._wire import codec
from knowgate.errors import RecordInvalid
from services.api.quick_records import quick_reader
from services.http.errors import show
from store.clocks import ahead

T = TypeVar("T")

LONG_TEXTS = frozenset({"prompt", "answer"})  # bounded by the body alone
SHORT = 512  # characters of any other text
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_quick_decision = quick_reader(Decision, SHORT, LONG_TEXTS)
_quick_label = quick_reader(Label, SHORT, LONG_TEXTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed(Generic[T]):
    """What became of a batch's rows."""

    records: tuple[T, ...]
    indexes: tuple[int, ...]  # of each record within the batch
    rejected: tuple[Rejected, ...]

    def all_rejected(self, by_store: Sequence[Rejected]) -> tuple[Rejected, ...]:
        """With those of the records, by their place in the batch as it was sent."""
        moved = (replace(row, index=self.indexes[row.index]) for row in by_store)
        return tuple(sorted((*self.rejected, *moved), key=lambda row: row.index))


def parse_decisions(rows: Sequence[Any], now: datetime, check: Callable[[Decision], None]) -> Parsed[Decision]:
    """Decisions from their JSON rows; `check` raises RecordInvalid for what the batch
    knows better.
    """

    def parse(row: Any) -> Decision:
        quick = _quick_decision(row)
        decision = codec.decode(Decision, row) if quick is None else quick
        _require_time("occurred_at", decision.occurred_at, now)
        try:
            _require_time("id", decided_at(decision.id), now)
        except (ValueError, OverflowError):
            raise RecordInvalid("id", str(decision.id), "its time is not one; use new_id()") from None
        check(decision)
        if quick is None:
            require_short(row)
        return decision

    return _parse(rows, parse)


def parse_labels(rows: Sequence[Any], now: datetime) -> Parsed[Label]:
    """Labels from their JSON rows."""

    def parse(row: Any) -> Label:
        quick = _quick_label(row)
        label = codec.decode(Label, row) if quick is None else quick
        _require_time("labelled_at", label.labelled_at, now)
        if quick is None:
            require_short(row)
        return label

    return _parse(rows, parse)


def require_short(document: Any) -> None:
    """Raises RecordInvalid for a text that is longer than its column; the codec looks at the
    rest.
    """
    fault = _too_long(document, "")
    if fault is not None:
        path, length = fault
        cure = f"at most {SHORT} characters are expected"
        raise RecordInvalid(path.removeprefix("."), f"{length} characters", cure)


def _too_long(value: Any, name: str) -> tuple[str, int] | None:
    """Where below `name` the first text that is too long stands, and its length."""
    if isinstance(value, str):
        return ("", len(value)) if len(value) > SHORT and name not in LONG_TEXTS else None
    if isinstance(value, dict):
        for key, item in value.items():
            if (fault := _too_long(item, key)) is not None:
                return f".{key}{fault[0]}", fault[1]
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if (fault := _too_long(item, "")) is not None:
                return f"[{index}]{fault[0]}", fault[1]
    return None


def _parse(rows: Sequence[Any], parse: Callable[[Any], T]) -> Parsed[T]:
    records, indexes, rejected = [], [], []
    for index, row in enumerate(rows):
        try:
            records.append(parse(row))
            indexes.append(index)
        except RecordInvalid as error:
            rejected.append(Rejected(index=index, field=error.field, value=show(error.value), cure=error.cure))
    return Parsed(records=tuple(records), indexes=tuple(indexes), rejected=tuple(rejected))


def _require_time(name: str, time: datetime, now: datetime) -> None:
    if time < EARLIEST or ahead(time, now):
        cure = f"a time between 2000 and now ({now.isoformat(timespec='seconds')}) is expected; check the clock"
        raise RecordInvalid(name, time.isoformat(), cure)
