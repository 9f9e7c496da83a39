"""A cascade's specification as the text of a `cascade.toml`, with every key written out."""

import dataclasses
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from knowgate.shown import shown_url
from knowgate.spec import CascadeSpec
from services.durations import format_duration


def without_secrets(spec: CascadeSpec) -> CascadeSpec:
    """The specification as it may be shown to anybody: of the webhooks their hosts alone."""
    return dataclasses.replace(spec, webhooks=tuple(shown_url(url) for url in spec.webhooks))


def format_cascade(spec: CascadeSpec) -> str:
    """The TOML text that declares `spec`, with every key written out."""
    lines: list[str] = []
    _format_table(spec, "", lines)
    return "\n".join(lines).strip() + "\n"


def _format_table(record: Any, path: str, lines: list[str]) -> None:
    """Plain keys first, then sub-tables: TOML would read a key below a sub-table's head as the sub-table's."""
    later: list[tuple[str, object]] = []
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        nested = dataclasses.is_dataclass(value) or (
            isinstance(value, tuple) and any(dataclasses.is_dataclass(item) for item in value)
        )
        if nested:
            later.append((f"{path}.{field.name}" if path else field.name, value))
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
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{_quote(name)} = {_format_value(item)}' for name, item in value.items())} }}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
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
