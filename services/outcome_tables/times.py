"""Times of a user's file in UTC, cell by cell.

A time with an offset says what it is. One without is refused unless the zone is named in which it
was written; in a zone, one that the clocks skipped or went through twice is refused. A date alone
is a whole day: of a named zone it stands for the day's end, since what was done on a day was done
by its end (its midnight would lie before a question of that morning); of the day that is not over
yet, for now.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from services.errors import InputInvalid

TimeArray = npt.NDArray[np.datetime64]

NANOS, UTC_NANOS = pa.timestamp("ns"), pa.timestamp("ns", "UTC")
EXPECTED = "an ISO 8601 time is expected, e.g. 2026-01-31T12:00:00Z"
NAIVE = "the time is naive; add its offset or say --timezone"
A_DAY = (
    "a date alone is a whole day; give a time with its offset, or say --timezone and it is the end of that day there"
)
OUT_OF_RANGE = "a time from 1970 to 2261 is expected; correct it, or leave it empty where it is unknown"
FIRST, LAST = np.datetime64("1970-01-01", "us"), np.datetime64("2262-01-01", "us")  # ids of decisions begin in 1970
_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_CLOCK = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}(:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?)?"
_NAIVE, _OFFSET = _CLOCK + "$", _CLOCK + r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)$"


class TimeRefused(Exception):
    """One cell is no time that can be used."""

    def __init__(self, row: int, value: object, cure: str) -> None:
        self.row = row
        self.value = value
        self.cure = cure
        super().__init__(cure)


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """Where times without an offset were written; `now` is what the day that is not over yet stands
    for.
    """

    name: str | None = None  # an IANA name; None = unknown
    now: datetime | None = None

    def __post_init__(self) -> None:
        """Raises InputInvalid for a zone that is none, also where no time needs one: it may need
        one tomorrow.
        """
        if self.name is None:
            return
        try:
            ZoneInfo(self.name)
            pc.assume_timezone(pa.scalar(0, pa.timestamp("us")), self.name)
        except (pa.ArrowInvalid, pa.ArrowKeyError, ValueError, OSError, KeyError):
            raise InputInvalid(f"--timezone is {self.name!r}: name an IANA zone, e.g. Europe/Paris") from None


def in_utc(column: Any, zone: Zone) -> TimeArray:
    """A column of texts, times or dates as datetime64[us] [n] in UTC, NaT where null. Raises
    TimeRefused.
    """
    times = _in_utc(column, zone)
    outside = (times < FIRST) | (times >= LAST)
    if outside.any():
        row = int(np.argmax(outside))
        raise TimeRefused(
            row, str(times[row]) if pa.types.is_temporal(column.type) else column[row].as_py(), OUT_OF_RANGE
        )
    return times


def _in_utc(column: Any, zone: Zone) -> TimeArray:
    if pa.types.is_date(column.type):
        return _days(column.cast(pa.date32()).cast(pa.string()), zone)
    if pa.types.is_timestamp(column.type):
        return _micros(column if column.type.tz is not None else _placed(column, zone))
    in_utc = np.full(len(column), np.datetime64("NaT"), dtype="datetime64[us]")
    known = pc.is_valid(column)
    left = _mask(known)
    for spelling, read in ((_OFFSET, _with_offset), (_NAIVE, _naive), (_DAY, _days)):
        chosen = left & _mask(pc.match_substring_regex(column, spelling))
        if chosen.any():
            in_utc[chosen] = _of(column, np.flatnonzero(chosen), read, zone)
            left &= ~chosen
    if left.any():
        row = int(np.argmax(left))
        raise TimeRefused(row, column[row].as_py(), EXPECTED)
    return in_utc


def _of(column: Any, rows: npt.NDArray[np.int64], read: Any, zone: Zone) -> TimeArray:
    """What `read` makes of some rows of a column; a refusal names the row of the column."""
    try:
        times: TimeArray = read(column.take(pa.array(rows)), zone)
        return times
    except TimeRefused as fault:
        raise TimeRefused(int(rows[fault.row]), fault.value, fault.cure) from None


def _with_offset(texts: Any, zone: Zone) -> TimeArray:
    return _micros(_cast(texts, UTC_NANOS))


def _naive(texts: Any, zone: Zone) -> TimeArray:
    return _micros(_placed(_cast(texts, NANOS), zone))


def _days(texts: Any, zone: Zone) -> TimeArray:
    """The end of each day; there are few different ones."""
    ends: dict[str | None, np.datetime64] = {None: np.datetime64("NaT", "us")}
    cells = texts.to_pylist()
    for row, text in enumerate(cells):
        if text not in ends:
            if zone.name is None:
                raise TimeRefused(row, text, A_DAY)
            ends[text] = _end_of(row, text, ZoneInfo(zone.name), zone.now)
    return np.array([ends[text] for text in cells], dtype="datetime64[us]")


def _end_of(row: int, text: str, zone: ZoneInfo, now: datetime | None) -> np.datetime64:
    try:
        begin = datetime.combine(date.fromisoformat(text), time(), zone)
        end = datetime.combine(date.fromisoformat(text) + timedelta(days=1), time(), zone).astimezone(UTC)
    except (ValueError, OverflowError):
        raise TimeRefused(row, text, _cure(text)) from None
    if end <= begin:
        raise TimeRefused(row, text, f"the clocks of {zone.key} skipped that day; write a time with its offset")
    end -= timedelta(microseconds=1)
    if now is not None and begin <= now < end:
        end = now.astimezone(UTC)
    return np.datetime64(end.replace(tzinfo=None), "us")


def _placed(column: Any, zone: Zone) -> Any:
    """Naive times in their zone."""
    if zone.name is None:
        if column.null_count == len(column):
            return pa.nulls(len(column), UTC_NANOS)
        row = pc.index(pc.is_valid(column), True).as_py()
        raise TimeRefused(row, _shown(column[row]), NAIVE)
    try:
        return pc.assume_timezone(column, zone.name)
    except pa.ArrowInvalid:
        for row, cell in enumerate(column):
            try:
                pc.assume_timezone(cell, zone.name)
            except pa.ArrowInvalid as error:
                gap = "doesn't exist" in str(error)
                why = "is skipped" if gap else "comes twice"
                cure = (
                    f"it {why} in {zone.name}, where the clock was set {'forward' if gap else 'back'}; write its offset"
                )
                raise TimeRefused(row, _shown(cell), cure) from None
        raise


def _cast(texts: Any, kind: pa.DataType) -> Any:
    try:
        return texts.cast(kind)
    except pa.ArrowInvalid:
        for row, cell in enumerate(texts):
            try:
                cell.cast(kind)
            except pa.ArrowInvalid:
                raise TimeRefused(row, cell.as_py(), _cure(cell.as_py())) from None
        raise


def _cure(text: str) -> str:
    """Arrow's nanoseconds end where the range does, so it cannot read what lies beyond."""
    return EXPECTED if "1970" <= text[:4] < "2262" else OUT_OF_RANGE


def _micros(column: Any) -> TimeArray:
    utc = column.cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.timestamp("us"))
    return utc.to_numpy(zero_copy_only=False).astype("datetime64[us]")  # type: ignore[no-any-return]


def _mask(flags: Any) -> npt.NDArray[np.bool_]:
    filled = pc.fill_null(flags, False)
    flat = filled.combine_chunks() if isinstance(filled, pa.ChunkedArray) else filled
    return np.asarray(flat.to_numpy(zero_copy_only=False), dtype=np.bool_)


def _shown(cell: Any) -> str:
    return str(cell.cast(pa.timestamp("us"), safe=False).as_py())
