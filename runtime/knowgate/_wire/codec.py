"""Records to JSON and back: one strict codec for bundles, assignments and the spool.

A document is decoded by the record's own annotations. An unknown field, a missing one or a wrong
type is refused by its path, because a silently ignored field is a threshold somebody believes to be
in force.
"""

import dataclasses
import functools
import json
import math
import types
import typing
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, TypeVar, Union, cast
from uuid import UUID

from knowgate._wire import strict_json
from knowgate._wire.storable import LARGEST_INTEGER, fault_of_text
from knowgate.errors import RecordInvalid

T = TypeVar("T")
Json = Any
parse = strict_json.parse


def encode(value: object) -> Json:
    """A record as plain JSON values; times as ISO 8601 in UTC, durations in seconds, ids and enums
    as text.

    A whole number in a float field is written as a float, as decoding would return it: a record has
    one canonical form, whether it was built or read, or no signature over it would hold.
    """
    return _encode(value, False)


def _encode(value: object, as_float: bool) -> Json:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: _encode(getattr(value, name), floats) for name, floats in _encoded_fields(type(value))}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        _expect(value.tzinfo is not None, "", value.isoformat(), "the time is naive; add its offset, e.g. Z")
        return value.astimezone(UTC).isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, (tuple, list)):
        return [_encode(item, as_float) for item in value]
    if isinstance(value, dict):
        return {str(key): _encode(item, as_float) for key, item in value.items()}
    if as_float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


@functools.cache
def _encoded_fields(kind: type) -> tuple[tuple[str, bool], ...]:
    """The fields of a record, and whether each holds floats."""
    hints = typing.get_type_hints(kind)
    return tuple((field.name, _holds_floats(hints[field.name])) for field in dataclasses.fields(kind))


def _holds_floats(hint: Any) -> bool:
    return hint is float or any(_holds_floats(part) for part in typing.get_args(hint))


def decode(kind: type[T], document: Json, path: str = "") -> T:
    """A record of type `kind` from plain JSON values.

    Raises RecordInvalid with the path of the first field that does not fit.
    """
    try:
        return cast(T, _decode(kind, document, path))
    except RecursionError:
        raise RecordInvalid(path or "document", "nested too deeply", "no record of this kind nests so deeply") from None


def canonical(value: object) -> bytes:
    """The one byte string of a record: keys sorted, no spaces, no NaN. What is hashed and signed.

    Raises RecordInvalid where a number is not finite.
    """
    try:
        return json.dumps(encode(value), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    except ValueError as error:
        raise RecordInvalid("document", type(value).__name__, f"it has no canonical JSON: {error}") from error


def _decode(kind: Any, value: Json, path: str) -> object:
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        return _decode_union(typing.get_args(kind), value, path)
    if origin is tuple:
        return _decode_tuple(typing.get_args(kind), value, path)
    if kind is Any:
        return _decode_json(value, path)
    if origin is dict:
        _expect(isinstance(value, dict), path, value, "an object is expected")
        item_kind = typing.get_args(kind)[1]
        return {_decode_text(key, path): _decode(item_kind, item, f"{path}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(kind):
        return _decode_record(cast(type, kind), value, path)
    return _decode_plain(kind, value, path)


def _decode_union(kinds: tuple[Any, ...], value: Json, path: str) -> object:
    if value is None:
        _expect(type(None) in kinds, path, value, "a value is required")
        return None
    candidates = [kind for kind in kinds if kind is not type(None)]
    if len(candidates) == 1:
        return _decode(candidates[0], value, path)
    # A tagged union: each record type names itself in a class constant `kind`.
    tag = value.get("kind") if isinstance(value, dict) else None
    for kind in candidates:
        if _tag(kind) == tag:
            return _decode(kind, value, path)
    known = ", ".join(str(_tag(kind)) for kind in candidates)
    raise RecordInvalid(f"{path}.kind".lstrip("."), tag, f"use one of {known}")


def _tag(kind: type) -> object:
    for field in dataclasses.fields(kind):
        if field.name == "kind":
            return encode(field.default)
    return None


def _decode_tuple(kinds: tuple[Any, ...], value: Json, path: str) -> tuple[object, ...]:
    if len(kinds) != 2 or kinds[1] is not Ellipsis:
        raise TypeError(f"{path}: the codec reads tuples of one type, tuple[X, ...], not tuple{list(kinds)}")
    _expect(isinstance(value, (list, tuple)), path, value, "a list is expected")
    return tuple(_decode(kinds[0], item, f"{path}[{index}]") for index, item in enumerate(value))


@functools.cache
def _fields(kind: type) -> tuple[tuple[str, Any, bool], ...]:
    hints = typing.get_type_hints(kind)
    return tuple(
        (
            field.name,
            hints[field.name],
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        )
        for field in dataclasses.fields(kind)
        if field.init
    )


def _decode_record(kind: type, value: Json, path: str) -> object:
    _expect(isinstance(value, dict), path, value, "an object is expected")
    fields = _fields(kind)
    unknown = sorted(set(value) - {field.name for field in dataclasses.fields(kind)})
    _expect(
        not unknown,
        _join(path, unknown[0] if unknown else ""),
        "present",
        "this field is not known; remove it",
    )
    for field in dataclasses.fields(kind):
        if not field.init and field.name in value:
            fixed = encode(field.default)
            _expect(value[field.name] == fixed, _join(path, field.name), value[field.name], f"it is always {fixed!r}")
    arguments = {}
    for name, hint, required in fields:
        if name in value:
            arguments[name] = _decode(hint, value[name], _join(path, name))
        else:
            _expect(not required, _join(path, name), "missing", "this field is required")
    try:
        return kind(**arguments)
    except RecordInvalid as error:
        raise RecordInvalid(_join(path, error.field), error.value, error.cure) from None


def _decode_json(value: Json, path: str) -> Json:
    """A value of no fixed kind, as every store and server can be sent it; null is none."""
    if isinstance(value, dict):
        return {_decode_text(key, path): _decode_json(item, _join(path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_decode_json(item, f"{path}[{at}]") for at, item in enumerate(value)]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return _decode_plain(kind, value, path)
    raise RecordInvalid(path, value, "a text, a number, true, false, a list or a table is expected")


def _decode_plain(kind: Any, value: Json, path: str) -> object:
    if kind is float:
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_INTEGER
        fits = whole or (isinstance(value, float) and math.isfinite(value))
        _expect(fits, path, value, "a finite number is expected")
        return float(value)
    if kind is int:
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_INTEGER
        _expect(whole, path, value, "a whole number of at most 64 bits is expected")
        return value
    if kind is bool:
        _expect(isinstance(value, bool), path, value, "true or false is expected")
        return value
    if kind is str:
        return _decode_text(value, path)
    if kind is datetime:
        return _decode_time(value, path)
    if kind is timedelta:
        return _decode_duration(value, path)
    if kind is UUID:
        return _decode_uuid(value, path)
    try:
        return kind(value)
    except ValueError:
        raise RecordInvalid(path, value, f"use one of {', '.join(str(item.value) for item in kind)}") from None


def _decode_text(value: Json, path: str) -> str:
    """A text that every store can hold."""
    if not isinstance(value, str):
        raise RecordInvalid(path or "document", value, "a text is expected")
    cure = fault_of_text(value)
    if cure is not None:
        raise RecordInvalid(path or "document", value, cure)
    return value


def _decode_uuid(value: Json, path: str) -> UUID:
    try:
        found = UUID(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None or str(found) != value.lower():
        raise RecordInvalid(path, value, "a UUID is expected, e.g. 019b76da-a800-7000-8000-000000000000")
    return found


def _decode_duration(value: Json, path: str) -> timedelta:
    seconds = _decode_plain(float, value, path)
    try:
        return timedelta(seconds=cast(float, seconds))
    except OverflowError:
        raise RecordInvalid(path, value, "a duration in seconds is expected, of less than a billion days") from None


def _decode_time(value: Json, path: str) -> datetime:
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise RecordInvalid(path, value, "an ISO 8601 time is expected, e.g. 2026-01-31T12:00:00Z") from None
    _expect(time.tzinfo is not None, path, value, "the time is naive; add its offset, e.g. Z")
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise RecordInvalid(path, value, "a time between the years 1 and 9999 UTC is expected") from None


def _expect(fits: bool, path: str, value: Json, cure: str) -> None:
    if not fits:
        raise RecordInvalid(path or "document", value, cure)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
