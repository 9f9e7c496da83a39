"""A batch of decisions as one Arrow stream: a row per decision, `attempts` a list of structs.

Columns and members have the names and the meaning that the fields of the JSON body have. They are
read column by column into the values that JSON would have given, and then checked by the one
reader of rows: so there is one set of rules, and a refusal says the same whatever was sent. Null
says what a field that is left out says.

What a stranger's stream may cost is bounded before a value is made: compressed buffers are refused
unread, types are those that decisions need, and the values and the text of all columns are summed
first, since columns and dictionaries may point at the same bytes many times.
"""

import dataclasses
import struct
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

from knowgate._records.records import Decision
from knowgate._wire.strict_json import MOST_VALUES
from services.http.bodies import MOST_ROWS
from services.http.errors import ApiError

ARROW_MEDIA_TYPE = "application/vnd.apache.arrow.stream"
MOST_MESSAGES = 1024  # record batches and dictionaries
MOST_FIELDS = 512
DEEPEST = 16
_REFUSED = (pa.ArrowException, OSError, EOFError, ValueError, KeyError, TypeError, OverflowError, struct.error)
_PER_SECOND: Mapping[str, int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def parse_arrow_body(body: bytes, most_bytes: int) -> list[Any]:
    """The decisions as the JSON rows that say the same; `most_bytes` of text in all. Raises 400 for
    a body that is no such stream, 413 for one that comes to more than a batch may.
    """
    try:
        _require_plain(body)
        with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
            _require_types(reader.schema)
            return _rows(reader, most_bytes)
    except _REFUSED as error:
        cure = "send an Arrow IPC stream with its end, and nothing behind it"
        raise ApiError(400, field="body", value=str(error)[:200], cure=cure) from None


def _rows(batches: Any, most_bytes: int) -> list[Any]:
    rows: list[Any] = []
    values = size = 0
    for batch in batches:
        if len(rows) + batch.num_rows > MOST_ROWS:
            cure = f"send batches of at most {MOST_ROWS} rows"
            raise ApiError(413, field="decisions", value=f"{len(rows) + batch.num_rows} rows", cure=cure)
        batch.validate(full=True)
        for column in batch.columns:
            more, longer = _weight(column)
            values, size = values + more, size + longer
        if values > MOST_VALUES or size > most_bytes:
            cure = f"send batches of at most {MOST_VALUES} values and {most_bytes} bytes of text"
            raise ApiError(413, field="body", value=f"{values} values, {size} bytes", cure=cure)
        columns = [_values(column, kind) for column, kind in _with_kinds(batch.schema, batch.columns, Decision)]
        rows += _members(batch.schema.names, columns, Decision, batch.num_rows)
    return rows


# ------------------------------------------------------------------- what is refused unread


def _require_plain(body: bytes) -> None:
    source = pa.BufferReader(pa.py_buffer(body))
    for number, message in enumerate(pa.ipc.MessageReader.open_stream(source)):
        if number > MOST_MESSAGES:
            cure = f"send a stream of at most {MOST_MESSAGES} record batches and dictionaries"
            raise ApiError(413, field="body", value="more messages", cure=cure)
        if _is_compressed(memoryview(message.metadata)):
            raise ApiError(400, field="body", value="compressed buffers", cure="write the stream uncompressed")
    if source.tell() != len(body):
        raise ValueError(f"{len(body) - source.tell()} bytes behind the end of the stream")


def _is_compressed(message: memoryview) -> bool:
    """Whether a message's buffers are compressed, which pyarrow does not tell before it unpacks
    them: a Message's header is field 2, a DictionaryBatch's data 1, a RecordBatch's compression 3.
    """
    table = _table(message, 0)
    (kind,) = struct.unpack_from("<B", message, _place(message, table, 1))
    if kind not in (2, 3):
        return False
    header = _table(message, _place(message, table, 2))
    batch = _table(message, _place(message, header, 1)) if kind == 2 else header
    return _place(message, batch, 3, needed=False) > 0


def _table(message: memoryview, at: int) -> int:
    return at + int(struct.unpack_from("<I", message, at)[0])


def _place(message: memoryview, table: int, field: int, *, needed: bool = True) -> int:
    """Where a field of a FlatBuffers table stands; 0 = it is not there."""
    vtable = table - struct.unpack_from("<i", message, table)[0]
    if vtable < 0:
        raise ValueError("the metadata points before its start")
    (size,) = struct.unpack_from("<H", message, vtable)
    offset = struct.unpack_from("<H", message, vtable + 4 + 2 * field)[0] if 6 + 2 * field <= size else 0
    if needed and not offset:
        raise ValueError(f"field {field} of the metadata is missing")
    return table + offset if offset else 0


def _require_types(schema: Any) -> None:
    for number, (path, kind) in enumerate(_types("", schema, 0)):
        if number >= MOST_FIELDS:
            raise ApiError(400, field=path, value="more fields", cure=f"send at most {MOST_FIELDS} fields")
        if not _is_leaf(kind):
            cure = "send text, numbers, booleans, times, ids of 16 bytes, structs or lists, and no views"
            raise ApiError(400, field=path, value=str(kind)[:200], cure=cure)


def _types(path: str, fields: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """Every type that is neither struct nor list, with its path."""
    names: set[str] = set()
    for field in fields:
        if field.name in names:
            raise ApiError(400, field=f"{path}{field.name}", value="twice", cure="name each column once")
        names.add(field.name)
        kind, inner, level = field.type, f"{path}{field.name}", depth + 1
        while _is_list(kind):
            kind, level = kind.value_type, level + 1
        if level > DEEPEST:
            raise ApiError(400, field=inner[:200], value="deeper", cure=f"send at most {DEEPEST} levels")
        if pa.types.is_struct(kind):
            yield from _types(f"{inner}.", list(kind), level)
        else:
            yield inner, kind


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_leaf(kind: Any) -> bool:
    if isinstance(kind, pa.UuidType):
        return True
    if isinstance(kind, pa.BaseExtensionType):
        return False
    known = (pa.types.is_null, pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_timestamp)
    if any(is_one(kind) for is_one in known) or _is_text(kind):
        return True
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_fixed_size_binary(kind) and kind.byte_width == 16)


def _weight(array: Any) -> tuple[int, int]:
    """How many values an array comes to, and how many bytes of text."""
    kind, values, size = array.type, len(array), 0
    if pa.types.is_struct(kind) or _is_list(kind):
        for part in array.flatten() if pa.types.is_struct(kind) else [_items(array)]:
            more, longer = _weight(part)
            values, size = values + more, size + longer
    elif _is_text(kind):
        size = _sum(pc.binary_length(array))
    elif pa.types.is_dictionary(kind):
        values += len(array.dictionary)
        longest = pc.binary_length(array.dictionary)
        size = _sum(longest) + _sum(longest.take(array.indices))
    return values, size


def _sum(lengths: Any) -> int:
    return int(pc.sum(lengths).as_py() or 0)


# ------------------------------------------------------------------------- columns to values


def _values(array: Any, kind: Any) -> list[Any]:
    """The JSON values of an array; `kind`: the record or value that its rows are to become."""
    if pa.types.is_struct(array.type):
        children = array.flatten()
        columns = [_values(child, inner) for child, inner in _with_kinds(array.type, children, kind)]
        made: list[Any] = _members([field.name for field in array.type], columns, kind, len(array))
    elif _is_list(array.type):
        starts, items = array.offsets.to_pylist() if len(array) else [0], _values(_items(array), kind)
        places = [start - starts[0] for start in starts]
        made = [items[low:high] for low, high in pairwise(places)]
    else:
        return _plain(array)
    if array.null_count:
        made = [one if valid else None for one, valid in zip(made, array.is_valid().to_pylist(), strict=True)]
    return made


def _items(array: Any) -> Any:
    """What lies between the first and the last offset, that of null lists included."""
    if not len(array):  # there need be no offsets then
        return array.values.slice(0, 0)
    low, high = array.offsets[0].as_py(), array.offsets[len(array)].as_py()
    return array.values.slice(low, high - low)


def _with_kinds(fields: Any, columns: Any, kind: Any) -> Iterator[tuple[Any, Any]]:
    known = _fields(kind)
    for field, column in zip(fields, columns, strict=True):
        yield column, known.get(field.name, (None, False))[0]


def _members(names: list[str], columns: list[list[Any]], kind: Any, count: int) -> list[Any]:
    """An object per row. Null is left out, but where null itself has to be said."""
    if not columns:
        return [{} for _ in range(count)]
    said = {name for name, (_, as_null) in _fields(kind).items() if as_null}
    return [
        {name: value for name, value in zip(names, row, strict=True) if value is not None or name in said}
        for row in zip(*columns, strict=True)
    ]


@cache
def _fields(kind: Any) -> Mapping[str, tuple[Any, bool]]:
    """Per field of a record what it holds, and whether it may be null and has no default."""
    if not dataclasses.is_dataclass(kind):
        return {}
    hints, missing = typing.get_type_hints(kind), dataclasses.MISSING
    return {
        field.name: (_bare(hints[field.name]), _optional(hints[field.name]) and field.default is missing)
        for field in dataclasses.fields(kind)
    }


def _optional(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _bare(hint: Any) -> Any:
    """The kind without `| None` and `tuple`."""
    if _optional(hint):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    return typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else hint


def _plain(array: Any) -> list[Any]:
    kind = array.type
    if pa.types.is_dictionary(kind):
        texts = array.dictionary.to_pylist()
        return [None if at is None else texts[at] for at in array.indices.to_pylist()]
    if pa.types.is_timestamp(kind):
        return _each(array.cast(pa.int64()), _time_writer(kind))
    if isinstance(kind, pa.UuidType):
        array = array.storage
    if pa.types.is_fixed_size_binary(array.type):
        return _each(array, lambda held: str(UUID(bytes=held)))
    if pa.types.is_floating(kind):
        array = array.cast(pa.float64())
    if array.null_count == 0 and (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        return list(array.to_numpy().tolist())
    return list(array.to_pylist())


def _each(array: Any, write: Callable[[Any], str]) -> list[Any]:
    return [None if value is None else write(value) for value in array.to_pylist()]


def _time_writer(kind: Any) -> Callable[[int], str]:
    """What writes a time as JSON does, to the microsecond; without a zone none is made up, and what
    is beyond the calendar stays a number, which the reader of rows refuses as no time.
    """
    epoch, per_second = datetime(1970, 1, 1, tzinfo=None if kind.tz is None else UTC), _PER_SECOND[kind.unit]

    def write(count: int) -> str:
        try:
            return (epoch + timedelta(microseconds=count * 10**6 // per_second)).isoformat()
        except OverflowError:
            return f"{count} {kind.unit} since 1970"

    return write
