"""What lies at a place of a nested row, and what it is worth as a number, a time or a text.

A place is a path of names with dots between, such as `usage.input`; a whole number picks from a
list. A name may hold dots itself (`llm.model_name`), an object may be flattened (its keys are
paths), and a text may be a JSON document: exporters write one and the same row in all these ways.
A null, and the NaN that pandas writes for one, say that something is unknown.
"""

import base64
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from services.outcome_tables.times import EXPECTED, OUT_OF_RANGE, TimeRefused, Zone, in_utc

Json = Any
TRACE = re.compile(r"(?:tr-)?([0-9a-f]{32})")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NO_EPOCH = f"{EXPECTED}, or seconds, milliseconds, microseconds or nanoseconds since 1970"


class ValueRefused(ValueError):
    """What lies at a place is not what was looked for; the text is the cure."""


def value_at(value: Json, place: str) -> Json:
    """What lies at a place of a row; None where nothing does.

    >>> value_at({"usage": {"input": 3}, "llm.model_name": "tiny"}, "llm.model_name")
    'tiny'
    >>> value_at({"output": '{"choices": [{"index": 0}]}'}, "output.choices.0.index")
    0
    """
    if not place:
        return None if isinstance(value, float) and math.isnan(value) else value
    value = document_of(value)
    if isinstance(value, list):
        name, _, rest = place.partition(".")
        return value_at(value[int(name)], rest) if name.isdecimal() and int(name) < len(value) else None
    if not isinstance(value, Mapping):
        return None
    names = place.split(".")
    for length in range(len(names), 0, -1):
        name, rest = ".".join(names[:length]), ".".join(names[length:])
        if name in value and (inner := value_at(value[name], rest)) is not None:
            return inner
    flat = {name[len(place) + 1 :]: inner for name, inner in value.items() if name.startswith(f"{place}.")}
    return flat or None


def document_of(value: Json) -> Json:
    """The object or the list that a text writes, else the value as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def unquoted(value: Json) -> Json:
    """The text that a JSON string writes, else the value as it is."""
    if isinstance(value, str) and value.startswith('"'):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def text_of(value: Json) -> str | None:
    """A text, or a whole number by its digits. Raises ValueRefused."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueRefused("a text is expected")


def hex_of(name: str) -> str:
    """The 16 hex digits of a span's id that is written in base64; any other name as it is.

    >>> hex_of("o5CLh6AnA8E="), hex_of("a3908b87a02703c1")
    ('a3908b87a02703c1', 'a3908b87a02703c1')
    """
    try:
        return base64.b64decode(name, validate=True).hex() if len(name) == 12 else name
    except ValueError:
        return name


def trace_named(name: str) -> str | None:
    """The W3C id of the trace that a name is; MLflow writes `tr-` before it. None where it is
    none.

    >>> trace_named("tr-0af7651916cd43dd8448eb211c80319c")
    '0af7651916cd43dd8448eb211c80319c'
    """
    match = TRACE.fullmatch(name)
    return None if match is None else match[1]


def number_of(value: Json) -> float | None:
    """A number, as one or spelled out. Raises ValueRefused."""
    if value is None or value == "":
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (ValueError, TypeError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueRefused("a finite number is expected")
    return number


def count_of(value: Json) -> int | None:
    """A whole number. Raises ValueRefused."""
    number = number_of(value)
    if number is not None and not number.is_integer():
        raise ValueRefused("a whole number is expected")
    return None if number is None else int(number)


def time_of(value: Json, zone: Zone, *, utc: bool = False) -> datetime | None:
    """A time in UTC: ISO 8601, or a number since 1970, whose size says its unit. `utc`: one without
    an offset is in UTC where no zone is named. Raises ValueRefused.
    """
    if value is None or value == "":
        return None
    if isinstance(value, datetime):
        value = value.isoformat()
    if isinstance(value, str) and not value.replace(".", "", 1).isdecimal():
        return _written(value, zone, utc=utc)
    return _counted(value)


def _written(text: str, zone: Zone, *, utc: bool) -> datetime:
    try:
        time = datetime.fromisoformat(text) if len(text) > len("2026-01-31") else None
        if time is not None and time.tzinfo is None and utc and zone.name is None:
            time = time.replace(tzinfo=UTC)
        if time is not None and time.tzinfo is not None and 1970 < time.year < 2261:
            return time.astimezone(UTC)
        micros: datetime = in_utc(pa.array([text]), zone)[0].astype("datetime64[us]").item()
        return micros.replace(tzinfo=UTC)
    except TimeRefused as fault:
        raise ValueRefused(NO_EPOCH if fault.cure == EXPECTED else fault.cure) from None
    except ValueError:
        raise ValueRefused(NO_EPOCH) from None


def _counted(value: Json) -> datetime:
    """A number's digits say its unit: from 2001 on seconds have ten before the point, milliseconds
    thirteen.
    """
    number = number_of(value)
    assert number is not None
    for digits, per_second in ((10, 1), (13, 10**3), (16, 10**6), (19, 10**9)):
        if 10 ** (digits - 1) <= number < 10**digits:
            exact = int(value) if isinstance(value, int | str) and str(value).isdecimal() else number
            return EPOCH + timedelta(microseconds=_micros(exact, per_second))
    raise ValueRefused(f"{NO_EPOCH}; {OUT_OF_RANGE}")


def _micros(number: float, per_second: int) -> int:
    return round(number * 10**6 / per_second) if per_second < 10**6 else int(number // (per_second // 10**6))
