"""`cascade.toml` to a cascade's specification and back.

The file has the records' own shape, so a key is documented where its field is. All that is wrong is collected and
told at once, each by its path (`tiers[1].prices[0].since`), its value and the cure, because a file is edited once
per message. An unknown key is refused: a silently ignored `exploration_rat` is a rate somebody believes in.
"""

import dataclasses
import difflib
import math
import tomllib
import types
import typing
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any, cast

from knowgate.errors import RecordInvalid
from knowgate.spec import CascadeSpec
from services.durations import EXPECTED, format_duration, parse_duration
from services.errors import CascadeFileInvalid

BACKENDS = ("external", "transformers", "openai", "vllm", "sglang")


def read_cascade_file(path: str | Path) -> CascadeSpec:
    """The cascade that the file declares.

    Raises CascadeFileInvalid, which holds one line per fault.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CascadeFileInvalid(str(path), (f"it cannot be read ({error}); check the path",)) from None
    return parse_cascade(text, name=str(path))


def parse_cascade(text: str, *, name: str = "cascade.toml") -> CascadeSpec:
    """The cascade that the TOML text declares; `name` is the file's name in messages."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CascadeFileInvalid(name, (f"it is not TOML: {error}",)) from None
    faults: list[str] = []
    spec = _Reader(faults=faults).record(CascadeSpec, document, "")
    if isinstance(spec, CascadeSpec):
        faults.extend(_further_faults(spec))
    if faults:
        raise CascadeFileInvalid(name, tuple(faults))
    return cast(CascadeSpec, spec)


def format_cascade(spec: CascadeSpec) -> str:
    """The TOML text that declares `spec`, with every key written out."""
    lines: list[str] = []
    _format_table(spec, "", lines)
    return "\n".join(lines).strip() + "\n"


class _Bad:
    """Stands where a value could not be read; its fault is on the list already."""


BAD = _Bad()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    faults: list[str]

    def record(self, kind: type, table: object, path: str) -> object:
        if not isinstance(table, dict):
            return self._bad(path, table, "a table is expected")
        hints = typing.get_type_hints(kind)
        fields = {field.name: field for field in dataclasses.fields(kind)}
        for key in table:
            if key not in fields:
                near = difflib.get_close_matches(key, fields, n=1)
                cure = f"did you mean {near[0]}?" if near else f"use one of {', '.join(fields)}"
                self._bad(_join(path, key), table[key], f"this key is not known; {cure}")
        arguments = {name: self.value(hints[name], table[name], _join(path, name)) for name in fields if name in table}
        for name, field in fields.items():
            required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            if required and name not in table:
                arguments[name] = self._bad(_join(path, name), None, "this key is required")
        if any(value is BAD for value in arguments.values()):
            return BAD
        try:
            return kind(**arguments)
        except RecordInvalid as error:
            return self._bad(_join(path, error.field), error.value, error.cure)

    def value(self, kind: Any, value: object, path: str) -> object:
        if typing.get_origin(kind) is types.UnionType:
            return self.value(next(k for k in typing.get_args(kind) if k is not type(None)), value, path)
        if typing.get_origin(kind) is tuple:
            if not isinstance(value, list):
                return self._bad(path, value, "a list is expected")
            item_kind = typing.get_args(kind)[0]
            items = [self.value(item_kind, item, f"{path}[{index}]") for index, item in enumerate(value)]
            return BAD if any(item is BAD for item in items) else tuple(items)
        if dataclasses.is_dataclass(kind):
            return self.record(cast(type, kind), value, path)
        try:
            return _READERS[kind](value) if kind in _READERS else _read_enum(kind, value)
        except ValueError as error:
            return self._bad(path, value, str(error))

    def _bad(self, path: str, value: object, cure: str) -> object:
        told = "missing" if value is None else _tell(value)
        self.faults.append(f"{path or 'the file'} is {told}: {cure}")
        return BAD


def _tell(value: object) -> str:
    text = value.isoformat() if isinstance(value, datetime) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _read_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("text in quotes is expected")
    return value


def _read_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError("a finite number is expected")
    return float(value)


def _read_whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("a whole number is expected")
    return value


def _read_time(value: object) -> datetime:
    if not isinstance(value, datetime):
        raise ValueError("a time without quotes is expected, e.g. 2026-01-31T00:00:00Z")
    if value.tzinfo is None:
        raise ValueError("the time is naive; add its offset, e.g. 2026-01-31T00:00:00Z")
    return value


def _read_duration(value: object) -> timedelta:
    if not isinstance(value, str):
        raise ValueError(EXPECTED)
    duration = parse_duration(value)
    if duration <= timedelta():
        raise ValueError("a duration above 0 is expected")
    return duration


def _read_enum(kind: type[Enum], value: object) -> Enum:
    try:
        return kind(value)
    except ValueError:
        raise ValueError(f"use one of {', '.join(str(item.value) for item in kind)}") from None


_READERS: dict[Any, Callable[[object], object]] = {
    str: _read_text,
    float: _read_number,
    int: _read_whole,
    datetime: _read_time,
    timedelta: _read_duration,
}


def _further_faults(spec: CascadeSpec) -> list[str]:
    """What the record allows and a file must not say."""
    faults = []
    for index, tier in enumerate(spec.tiers):
        if tier.backend not in BACKENDS:
            faults.append(f"tiers[{index}].backend is {tier.backend!r}: use one of {', '.join(BACKENDS)}")
        if any(layer < 0 for layer in tier.layers):
            faults.append(f"tiers[{index}].layers is {list(tier.layers)}: layers count from 0, the embedding output")
    if not spec.horizons.sources:
        faults.append("horizons.sources is []: name at least one source of labels")
    for index, url in enumerate(spec.webhooks):
        if not url.startswith(("http://", "https://")):
            faults.append(f"webhooks[{index}] is {url!r}: an http:// or https:// address is expected")
    return faults


def _format_table(record: Any, path: str, lines: list[str]) -> None:
    """Plain keys first, then sub-tables: TOML would read a key below a sub-table's head as the sub-table's."""
    later: list[tuple[str, object]] = []
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        nested = dataclasses.is_dataclass(value) or (
            isinstance(value, tuple) and any(dataclasses.is_dataclass(item) for item in value)
        )
        if nested:
            later.append((_join(path, field.name), value))
        elif value is not None:
            lines.append(f"{field.name} = {_format_value(value)}")
    for name, value in later:
        if isinstance(value, tuple):
            for item in value:
                lines.extend(("", f"[[{name}]]"))
                _format_table(item, name, lines)
        else:
            lines.extend(("", f"[{name}]"))
            _format_table(value, name, lines)


def _format_value(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_format_value(item) for item in value)}]"
    if isinstance(value, Enum):
        return _quote(str(value.value))
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, timedelta):
        return _quote(format_duration(value))
    if isinstance(value, datetime):
        return value.isoformat()
    return repr(value)


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char if char >= " " and char != "\x7f" else f"\\u{ord(char):04x}" for char in escaped) + '"'
