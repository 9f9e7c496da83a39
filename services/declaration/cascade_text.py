"""A cascade's specification as the text of a `cascade.toml`, with every key written out."""

import dataclasses
from datetime import timedelta
from enum import Enum
from typing import Any

import tomlkit

from knowgate._wire.shown import shown_url
from knowgate.spec import CascadeSpec
from services.durations import format_duration


def without_secrets(spec: CascadeSpec) -> CascadeSpec:
    """The specification as it may be shown to anybody: of the webhooks and receivers
    their hosts alone.
    """
    return dataclasses.replace(
        spec,
        webhooks=tuple(shown_url(url) for url in spec.webhooks),
        receivers=tuple(receiver.without_secrets() for receiver in spec.receivers),
    )


def format_cascade(spec: CascadeSpec) -> str:
    """The TOML text that declares `spec`, with every key written out."""
    return tomlkit.dumps(_plain(spec))


def _plain(value: Any) -> Any:
    """A value as TOML has it; what is not set is left out."""
    if dataclasses.is_dataclass(value):
        values = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {name: _plain(item) for name, item in values.items() if item is not None}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return format_duration(value) if isinstance(value, timedelta) else value
