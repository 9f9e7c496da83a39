"""`cascade.toml` to a cascade's specification; `services.declaration.cascade_text` writes it back.

The file has the records' own shape, so a key is documented where its field is. All that is wrong is
collected and reported at once, each by its path (`tiers[1].prices[0].since`), its value and the
cure, because a file is edited once per message. An unknown key is refused: a silently ignored
`exploration_rat` is a rate somebody believes in.
"""

import dataclasses
import difflib
import json
import re
import tomllib
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, cast

from knowgate._records.receivers import Receiver
from knowgate._wire import codec
from knowgate._wire.networks import PRIVATE
from knowgate._wire.shown import shown_url
from knowgate.errors import RecordInvalid
from knowgate.policy import PolicyKind
from knowgate.spec import CERTIFIABLE_KINDS, CascadeSpec, TierSpec
from services.declaration.cascade_faults import further_faults
from services.durations import EXPECTED, parse_duration
from services.errors import CascadeFileInvalid

T = TypeVar("T")
SHOWN = 80  # characters of a key or a value that a message shows


def read_cascade_file(path: str | Path, *, webhook_networks: Sequence[str] = PRIVATE) -> CascadeSpec:
    """The cascade that the file declares.

    Raises CascadeFileInvalid, which holds one line per fault.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        fault = (
            f"line {line} holds the byte {error.object[error.start]:#04x}, which is not UTF-8: save the file as UTF-8"
        )
        raise CascadeFileInvalid(str(path), (fault,)) from None
    except OSError as error:
        raise CascadeFileInvalid(str(path), (f"it cannot be read ({error.strerror}): check the path",)) from None
    return parse_cascade(text, name=str(path), webhook_networks=webhook_networks)


def parse_cascade(text: str, *, name: str = "cascade.toml", webhook_networks: Sequence[str] = PRIVATE) -> CascadeSpec:
    """The cascade that the TOML text declares; `name` is the file's in messages, `webhook_networks`
    the setting.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CascadeFileInvalid(name, (f"it is not TOML: {error}",)) from None
    except RecursionError:
        fault = "it nests too deeply to be read: lists and tables of a cascade nest three deep"
        raise CascadeFileInvalid(name, (fault,)) from None
    except ValueError:  # Python's own limit, below which reading a number takes no time to speak of
        fault = "it holds a whole number of thousands of digits: whole numbers have at most 64 bits"
        raise CascadeFileInvalid(name, (fault,)) from None
    faults: list[str] = []
    spec = cast(
        CascadeSpec, _Reader(faults=faults, webhook_networks=webhook_networks).record(CascadeSpec, document, "")
    )
    if not faults:
        faults.extend(unreadable_later(spec))
    if faults:
        raise CascadeFileInvalid(name, tuple(faults))
    return spec


def unreadable_later(spec: CascadeSpec) -> Iterator[str]:
    """What a deployment that keeps this cascade could not read back: a net under all that is
    checked by name.
    """
    try:
        codec.decode(CascadeSpec, codec.encode(spec))
    except RecordInvalid as error:
        yield f"{error.field} is {_tell(error.value)}: {error.cure}"


class _Bad:
    """Stands where a value could not be read; its fault is on the list already."""


BAD = _Bad()
STAND_IN_URL = "http://stand-in"
_MAY_BE_SECRET = re.compile(r"key(?!\w*_variable)|secret|token(?!s)|passw|webhook|^url$", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """Reads tables into records. Where a value cannot be used it is reported and a stand-in takes
    its place, so that what else is wrong is found in the same pass; a file with faults is refused
    in the end, stand-ins and all.
    """

    faults: list[str]
    webhook_networks: Sequence[str]

    def record(self, kind: type, table: object, path: str) -> object:
        if not isinstance(table, dict):
            self._bad(path, table, "a table is expected")
            return _stand_in_record(kind, path)
        hints = typing.get_type_hints(kind)
        fields = {field.name: field for field in dataclasses.fields(kind)}
        for key in table:
            if key not in fields:
                near = difflib.get_close_matches(key, fields, n=1)
                cure = f"did you mean {near[0]}?" if near else f"use one of {', '.join(fields)}"
                self._bad(_join(path, _tell_key(key)), table[key], f"this key is not known; {cure}")
        arguments = {name: self.value(hints[name], table[name], _join(path, name)) for name in fields if name in table}
        for name, field in fields.items():
            if _required(field) and name not in table:
                arguments[name] = self._bad(_join(path, name), None, "this key is required")
            if arguments.get(name) is BAD:
                arguments[name] = _stand_in(kind, field, path)
        return self._made(kind, arguments, path)

    def value(self, kind: Any, value: object, path: str) -> object:
        if typing.get_origin(kind) is types.UnionType:
            return self.value(next(k for k in typing.get_args(kind) if k is not type(None)), value, path)
        if typing.get_origin(kind) is dict:
            return self._free(kind, value, path)
        if typing.get_origin(kind) is tuple:
            if not isinstance(value, list):
                return self._bad(path, value, "a list is expected")
            return self._items(typing.get_args(kind)[0], value, path)
        if dataclasses.is_dataclass(kind):
            return self.record(cast(type, kind), value, path)
        try:
            return _READERS[kind](value) if kind in _READERS else _as_kept(kind, value)
        except ValueError as error:
            return self._bad(path, value, str(error))

    def _free(self, kind: Any, value: object, path: str) -> object:
        """A table whose keys are another program's."""
        try:
            return codec.decode(kind, value, path)
        except RecordInvalid as error:
            return self._bad(error.field, error.value, error.cure)

    def _items(self, kind: Any, values: list[object], path: str) -> tuple[object, ...]:
        """The list's items; those with faults are left out, but tiers, whose number counts."""
        items = []
        for index, value in enumerate(values):
            before = len(self.faults)
            item = self.value(kind, value, f"{path}[{index}]")
            if len(self.faults) == before or kind is TierSpec:
                items.append(item)
            elif kind is str:
                items.append(STAND_IN_URL)  # holds the place, so that later ones keep their number
        return tuple(items)

    def _made(self, kind: type, arguments: dict[str, object], path: str) -> object:
        fields = {field.name: field for field in dataclasses.fields(kind)}
        reported: set[str] = set()
        while True:
            try:
                record = kind(**arguments)
                break
            except RecordInvalid as error:
                self._bad(_join(path, error.field), error.value, error.cure)
                name = error.field.partition(".")[0]
                if name in reported:
                    return _stand_in_record(kind, path)
                reported.add(name)
                arguments[name] = _stand_in(kind, fields[name], path)
        for name, value, cure in further_faults(record, self.webhook_networks):
            self._bad(_join(path, name), value, cure)
        return record

    def _bad(self, path: str, value: object, cure: str) -> object:
        shown = "missing" if value is None else _tell_safely(path, value)
        self.faults.append(f"{path or 'the file'} is {shown}: {cure}")
        return BAD


def _tell_safely(path: str, value: object) -> str:
    """A value that may be a secret, by what its key is called, is not shown: of an address its host
    alone.
    """
    if not _MAY_BE_SECRET.search(path.rpartition(".")[2]) or not isinstance(value, (str, list, dict)):
        return _tell(value)
    if not isinstance(value, str) or "://" not in value:
        return "(not shown)"
    scheme, _, rest = value.partition("://")
    return _tell(f"{scheme}://{shown_url(f'http://{rest}').removeprefix('http://')}")


def _tell(value: object) -> str:
    value = value.value if isinstance(value, Enum) else value
    try:
        return _cut(value.isoformat() if isinstance(value, datetime) else repr(value))
    except (RecursionError, ValueError):  # nested by dotted keys, or a number whose digits nobody has written
        return "too long to show"


def _tell_key(key: str) -> str:
    """A key as the file has to write it: an empty one would not be seen without quotes."""
    return _cut(key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key))


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _read_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("text in quotes is expected")
    return _as_kept(str, value)


def _read_time(value: object) -> datetime:
    if not isinstance(value, datetime):
        raise ValueError("a time without quotes is expected, e.g. 2026-01-31T00:00:00Z")
    if value.tzinfo is None:
        raise ValueError("the time is naive; add its offset, e.g. 2026-01-31T00:00:00Z")
    return _as_kept(datetime, value.isoformat())


def _as_kept(kind: type[T], value: object) -> T:
    """The value as it comes back from where cascades are kept, by the same rules as there.

    Raises ValueError with the cure.
    """
    try:
        return codec.decode(kind, value)
    except RecordInvalid as error:
        raise ValueError(error.cure) from None


def _read_duration(value: object) -> timedelta:
    if not isinstance(value, str):
        raise ValueError(EXPECTED)
    duration = parse_duration(value)
    if duration <= timedelta():
        raise ValueError("a duration above 0 is expected")
    return duration


def _read_rule(value: object) -> PolicyKind:
    if not isinstance(value, str) or value not in CERTIFIABLE_KINDS:
        raise ValueError(f"use one of {', '.join(CERTIFIABLE_KINDS)}")
    return PolicyKind(value)


_READERS: dict[Any, Callable[[object], object]] = {
    PolicyKind: _read_rule,
    str: _read_text,
    datetime: _read_time,
    timedelta: _read_duration,
}


def _required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _stand_in(kind: type, field: "dataclasses.Field[Any]", path: str) -> object:
    """A value that the field can hold, for one that was reported already."""
    if field.name == "endpoint" or (kind is Receiver and field.name == "url"):
        return STAND_IN_URL  # none at all would be reported missing
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    if field.name == "tiers":
        return tuple(_stand_in_record(TierSpec, f"{path}[{index}]") for index in range(2))
    if kind is TierSpec:  # each of its own name, so that none is reported to have another's
        return 1.0 if field.name == "parameters" else f"{field.name} of {path}"
    return {"name": "stand-in", "since": datetime(2000, 1, 1, tzinfo=UTC)}.get(field.name, 1.0)


def _stand_in_record(kind: type, path: str) -> object:
    needed = [
        field for field in dataclasses.fields(kind) if _required(field) or (kind is Receiver and field.name == "url")
    ]
    return kind(**{field.name: _stand_in(kind, field, path) for field in needed})
