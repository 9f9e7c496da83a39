"""Records from JSON rows by pydantic-core: faster than the codec, and no more lenient.

What it takes, the codec takes, with the same value; a test holds them together. What it refuses
says nothing: the codec reads that row again, and names the fault or takes it. So it may refuse
more, and does: of a number beyond 64 bits it does not ask whether it was whole.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TypeVar, Union, cast
from uuid import UUID

from pydantic_core import CoreConfig, CoreSchema, SchemaValidator, ValidationError, core_schema

from knowgate._wire.storable import LARGEST_INTEGER
from knowgate.errors import RecordInvalid

T = TypeVar("T")
_REFUSED = (ValidationError, RecordInvalid)
_NO_NUL = r"^[^\x00]*$"
_WHOLE_UP_TO = 2**53  # up to here a float field may hold a whole number


def quick_reader(kind: type[T], longest: int, long_texts: frozenset[str]) -> Callable[[Any], T | None]:
    """What reads a JSON value as a record of this kind; None where the codec has to.

    `longest`: characters of a text, but of the fields of these names.
    """
    limits = _Limits(longest=longest, long_texts=long_texts)
    config = CoreConfig(allow_inf_nan=False)
    validate = SchemaValidator(_schema(kind, "", limits), config).validate_python

    def read(row: Any) -> T | None:
        try:
            return cast(T, validate(row))
        except _REFUSED:
            return None

    return read


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Limits:
    longest: int
    long_texts: frozenset[str]


def _schema(kind: Any, name: str, limits: _Limits) -> CoreSchema:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        one, *others = [part for part in parts if part is not type(None)]
        if others:
            raise TypeError(f"records of requests hold one kind or none, not {kind}")
        return core_schema.nullable_schema(_schema(one, name, limits))
    if origin is tuple:
        return core_schema.tuple_variable_schema(_schema(parts[0], "", limits), strict=False)
    if dataclasses.is_dataclass(kind):
        return _record(cast(type, kind), limits)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return core_schema.enum_schema(kind, list(kind), sub_type="str")
    if kind is str:
        longest = None if name in limits.long_texts else limits.longest
        return core_schema.str_schema(strict=True, pattern=_NO_NUL, max_length=longest)
    return _PLAIN[kind]


def _record(kind: type, limits: _Limits) -> CoreSchema:
    hints = typing.get_type_hints(kind)
    fields = [
        core_schema.dataclass_field(field.name, _field(field, hints[field.name], limits), kw_only=True)
        for field in dataclasses.fields(kind)
    ]
    return core_schema.dataclass_schema(
        kind,
        core_schema.dataclass_args_schema(kind.__name__, fields, extra_behavior="forbid"),
        [field.name for field in dataclasses.fields(kind)],
        post_init=hasattr(kind, "__post_init__"),
        frozen=True,
        slots=True,
    )


def _field(field: "dataclasses.Field[Any]", hint: Any, limits: _Limits) -> CoreSchema:
    schema, missing = _schema(hint, field.name, limits), dataclasses.MISSING
    if field.default_factory is not missing:
        return core_schema.with_default_schema(schema, default_factory=field.default_factory)
    return schema if field.default is missing else core_schema.with_default_schema(schema, default=field.default)


def _plain(read: Callable[[Any], Any]) -> CoreSchema:
    def checked(value: Any) -> Any:
        try:
            return read(value)
        except (TypeError, AttributeError, OverflowError):
            raise ValueError("the codec says what is wrong") from None

    return core_schema.no_info_plain_validator_function(checked)


def _uuid(text: Any) -> UUID:
    read = UUID(text)
    if str(read) != text.lower():
        raise ValueError
    return read


def _time(text: Any) -> datetime:
    read = datetime.fromisoformat(text)
    if read.tzinfo is None:
        raise ValueError
    return read.astimezone(UTC)


_PLAIN: Mapping[Any, CoreSchema] = {
    float: core_schema.float_schema(strict=True, ge=-_WHOLE_UP_TO, le=_WHOLE_UP_TO),
    int: core_schema.int_schema(strict=True, ge=-LARGEST_INTEGER, le=LARGEST_INTEGER),
    bool: core_schema.bool_schema(strict=True),
    datetime: _plain(_time),
    UUID: _plain(_uuid),
}
