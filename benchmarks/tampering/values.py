"""Other values for a stored value: one that another row holds, one that is a little different, none
at all, or one of another type. Values are SQLite's own, as somebody writes them who opens the file
with any tool.
"""

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import numpy as np
from sqlalchemy import JSON, Boolean, Column, Double, LargeBinary, Uuid
from sqlalchemy.types import BigInteger

from store.tables.base import UtcDateTime


def other_value(column: Column[Any], value: Any, others: list[Any], rng: np.random.Generator) -> Any:
    """A value that is not `value`; `others` are those that the column holds elsewhere."""
    different = [other for other in others if other != value]
    way = rng.integers(0, 10)
    if way < 4 and different:
        return different[int(rng.integers(len(different)))]
    if way == 4 and value is not None and column.nullable:
        return None
    if way == 5:
        return "no such thing" if not isinstance(value, str) else b"\xff\xfe"
    return changed(column, value, rng)


def changed(column: Column[Any], value: Any, rng: np.random.Generator) -> Any:
    """A valid value of the column's type that is not `value`."""
    kind = column.type
    if isinstance(kind, Uuid):
        return uuid4().hex
    if isinstance(kind, UtcDateTime):
        moment = datetime.fromisoformat(value) if value else datetime(2026, 1, 1)  # noqa: DTZ001 as SQLite keeps it
        return (moment + timedelta(seconds=int(rng.integers(1, 1000)))).isoformat(sep=" ", timespec="microseconds")
    if isinstance(kind, JSON):
        return _other_document(value, rng)
    if isinstance(kind, Boolean):
        return 0 if value else 1
    if isinstance(kind, BigInteger):
        return (value or 0) + int(rng.integers(1, 5))
    if isinstance(kind, Double):
        return 0.125 if value is None else float(np.nextafter(value, 2.0)) if rng.integers(2) else value / 2 + 0.01
    if isinstance(kind, LargeBinary):
        return bytes(value)[:-1] + b"\x00\x01"
    return _other_text(value, rng)


def _other_text(value: Any, rng: np.random.Generator) -> str:
    text = str(value or "something")
    at = int(rng.integers(len(text) + 1))
    return text[:at] + "x" + text[at:]


def _other_document(value: Any, rng: np.random.Generator) -> str:
    document = json.loads(value) if value else {}
    if isinstance(document, dict):
        names = sorted(document)
        if names and rng.integers(2):
            del document[names[int(rng.integers(len(names)))]]
        else:
            document["added"] = int(rng.integers(1000))
    elif isinstance(document, list):
        document = [*document, 1]
    else:
        document = [document]
    return json.dumps(document)
