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
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, TypeVar, Union, cast
from uuid import UUID

from knowgate._wire import strict_json
from knowgate._wire.storable import LARGEST_INTEGER, fault_of_text
from knowgate.errors import RecordInvalid

T = TypeVar("T")
Json = Any
Reader = Callable[[Json, str], Any]
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
        _expect(value.tzinfo is not None, "document", value.isoformat(), "the time is naive; add its offset, e.g. Z")
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
    return cast(T, _read(_reader(cast(Any, kind)), document, path))


def sendable(document: Json) -> Json:
    """A JSON value whose every text, number and name a store and a server can be sent.

    Raises RecordInvalid with the path of the first that cannot.
    """
    return _read(functools.partial(_read_json, nulls=True), document, "")


def _read(reader: Reader, document: Json, path: str) -> Any:
    try:
        return reader(document, path)
    except RecursionError:
        raise RecordInvalid(path or "document", "nested too deeply", "no record of this kind nests so deeply") from None
    except RecordInvalid as error:
        if error.field:
            raise
        raise RecordInvalid("document", error.value, error.cure) from None


def canonical(value: object) -> bytes:
    """The one byte string of a record: keys sorted, no spaces, no NaN. What is hashed and signed.

    Raises RecordInvalid where a number is not finite.
    """
    try:
        return json.dumps(encode(value), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    except ValueError as error:
        raise RecordInvalid("document", type(value).__name__, f"it has no canonical JSON: {error}") from error


@functools.cache
def _reader(kind: Any) -> Reader:
    """What reads a value of this kind, which stands at a path. Made once per kind: a batch has
    thousands of records of one.
    """
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _union_reader(parts)
    if origin is tuple:
        return _tuple_reader(parts)
    if origin is dict:
        return _table_reader(parts[1])
    if dataclasses.is_dataclass(kind):
        return _record_reader(cast(type, kind))
    return _PLAIN[kind] if kind in _PLAIN else functools.partial(_read_enum, kind)


def _union_reader(kinds: tuple[Any, ...]) -> Reader:
    """One kind or none, or a tagged union: each record type names itself in a class constant
    `kind`.
    """
    may_be_none = type(None) in kinds
    candidates = [kind for kind in kinds if kind is not type(None)]
    one = _reader(candidates[0]) if len(candidates) == 1 else None
    tagged = {} if one else {_tag(kind): _reader(kind) for kind in candidates}

    def read(value: Json, path: str) -> object:
        if value is None:
            _expect(may_be_none, path, value, "a value is required")
            return None
        if one is not None:
            return one(value, path)
        tag = value.get("kind") if isinstance(value, dict) else None
        if not isinstance(tag, str) or tag not in tagged:
            raise RecordInvalid(f"{path}.kind".lstrip("."), tag, f"use one of {', '.join(map(str, tagged))}")
        return tagged[tag](value, path)

    return read


def _tag(kind: type) -> object:
    for field in dataclasses.fields(kind):
        if field.name == "kind":
            return encode(field.default)
    return None


def _tuple_reader(kinds: tuple[Any, ...]) -> Reader:
    if len(kinds) != 2 or kinds[1] is not Ellipsis:
        raise TypeError(f"the codec reads tuples of one type, tuple[X, ...], not tuple{list(kinds)}")
    item_reader = _reader(kinds[0])

    def read(value: Json, path: str) -> object:
        _expect(isinstance(value, (list, tuple)), path, value, "a list is expected")
        return tuple(item_reader(item, f"{path}[{index}]") for index, item in enumerate(value))

    return read


def _table_reader(kind: Any) -> Reader:
    item_reader = _reader(kind)

    def read(value: Json, path: str) -> object:
        _expect(isinstance(value, dict), path, value, "an object is expected")
        return {_read_text(key, path): item_reader(item, f"{path}.{key}") for key, item in value.items()}

    return read


@functools.cache
def _field_readers(kind: type) -> tuple[tuple[str, Reader, bool], ...]:
    """Of the fields that a document sets: name, reader, and whether it must."""
    hints, missing = typing.get_type_hints(kind), dataclasses.MISSING
    return tuple(
        (field.name, _reader(hints[field.name]), field.default is missing and field.default_factory is missing)
        for field in dataclasses.fields(kind)
        if field.init
    )


def _record_reader(kind: type) -> Reader:
    fields = dataclasses.fields(kind)
    known = {field.name for field in fields}
    fixed = {field.name: encode(field.default) for field in fields if not field.init}

    def read(value: Json, path: str) -> object:
        _expect(isinstance(value, dict), path, value, "an object is expected")
        if not value.keys() <= known:
            unknown = min(value.keys() - known)
            raise RecordInvalid(_join(path, unknown), "present", "this field is not known; remove it")
        for name, always in fixed.items():
            if name in value:
                _expect(value[name] == always, _join(path, name), value[name], f"it is always {always!r}")
        arguments = {}
        for name, field_reader, required in _field_readers(kind):  # asked late: a record may hold its own kind
            if name in value:
                arguments[name] = field_reader(value[name], _join(path, name))
            elif required:
                raise RecordInvalid(_join(path, name), "missing", "this field is required")
        try:
            return kind(**arguments)
        except RecordInvalid as error:
            raise RecordInvalid(_join(path, error.field), error.value, error.cure) from None

    return read


def _read_json(value: Json, path: str, *, nulls: bool = False) -> Json:
    """A value of no fixed kind, as every store and server can be sent it; null is none, unless
    `nulls`.
    """
    try:
        return _checked(value, nulls)
    except RecordInvalid as error:
        raise RecordInvalid(f"{path}{error.field}".lstrip(". "), error.value, error.cure) from None


def _checked(value: Json, nulls: bool) -> Json:
    """A path is made for a fault alone: names are the sender's, and may be long."""
    if isinstance(value, (dict, list)):
        for step, item in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(step, str) and (cure := fault_of_text(step)) is not None:
                raise RecordInvalid(" (a key)", step, cure)
            try:
                _checked(item, nulls)
            except RecordInvalid as error:
                at = f".{step}" if isinstance(step, str) else f"[{step}]"
                raise RecordInvalid(f"{at}{error.field}", error.value, error.cure) from None
        return value
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return _PLAIN[kind](value, "")
    if value is None and nulls:
        return value
    raise RecordInvalid("", value, "a text, a number, true, false, a list or a table is expected")


def _read_number(value: Json, path: str) -> float:
    fits = math.isfinite(value) if isinstance(value, float) else _is_whole(value)
    _expect(fits, path, value, "a finite number is expected")
    return float(value)


def _read_whole(value: Json, path: str) -> int:
    _expect(_is_whole(value), path, value, "a whole number of at most 64 bits is expected")
    return cast(int, value)


def _is_whole(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_INTEGER


def _read_truth(value: Json, path: str) -> bool:
    _expect(isinstance(value, bool), path, value, "true or false is expected")
    return cast(bool, value)


def _read_enum(kind: Any, value: Json, path: str) -> object:
    try:
        return kind(value)
    except ValueError:
        raise RecordInvalid(path, value, f"use one of {', '.join(str(item.value) for item in kind)}") from None


def _read_text(value: Json, path: str) -> str:
    """A text that every store can hold."""
    if not isinstance(value, str):
        raise RecordInvalid(path, value, "a text is expected")
    cure = fault_of_text(value)
    if cure is not None:
        raise RecordInvalid(path, value, cure)
    return value


def _read_uuid(value: Json, path: str) -> UUID:
    try:
        parsed = UUID(value) if isinstance(value, str) else None
    except ValueError:
        parsed = None
    if parsed is None or str(parsed) != value.lower():
        raise RecordInvalid(path, value, "a UUID is expected, e.g. 019b76da-a800-7000-8000-000000000000")
    return parsed


def _read_duration(value: Json, path: str) -> timedelta:
    seconds = _read_number(value, path)
    try:
        return timedelta(seconds=seconds)
    except OverflowError:
        raise RecordInvalid(path, value, "a duration in seconds is expected, of less than a billion days") from None


def _read_time(value: Json, path: str) -> datetime:
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise RecordInvalid(path, value, "an ISO 8601 time is expected, e.g. 2026-01-31T12:00:00Z") from None
    _expect(time.tzinfo is not None, path, value, "the time is naive; add its offset, e.g. Z")
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise RecordInvalid(path, value, "a time between the years 1 and 9999 UTC is expected") from None


_PLAIN: dict[Any, Reader] = {
    Any: _read_json,
    float: _read_number,
    int: _read_whole,
    bool: _read_truth,
    str: _read_text,
    datetime: _read_time,
    timedelta: _read_duration,
    UUID: _read_uuid,
}


def _expect(fits: bool, path: str, value: Json, cure: str) -> None:
    if not fits:
        raise RecordInvalid(path, value, cure)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
