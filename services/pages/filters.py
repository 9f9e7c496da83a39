"""How templates write times, ids and amounts (`services.pages.numbers`)."""

from collections.abc import Callable, Mapping
from datetime import datetime

from markupsafe import Markup, escape

from knowgate._wire.shown import shown_url
from services.durations import format_duration
from services.pages import numbers


def time(value: datetime) -> str:
    """A time in UTC to the minute."""
    return f"{value:%Y-%m-%d %H:%M} UTC"


def short(value: str | None) -> str:
    """The start of a long hash."""
    return "–" if value is None else value[:8]


def words(value: object) -> str:
    """An identifier as words."""
    return str(value).replace("_", " ")


def marked(value: str) -> Markup:
    """Text whose `code` is set as code."""
    parts = [escape(part) for part in value.split("`")]
    return Markup("").join(Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts))


def host(value: str) -> str:
    """An address without what is secret of it."""
    return shown_url(value)


FILTERS: Mapping[str, Callable[..., str]] = {
    "time": time,
    "short": short,
    "number": numbers.amount,
    "share": numbers.percent,
    "points": numbers.points,
    "usd": numbers.usd,
    "milliseconds": numbers.milliseconds,
    "thousands": numbers.count,
    "age": numbers.age,
    "span": numbers.span,
    "words": words,
    "marked": marked,
    "host": host,
    "duration": format_duration,
}
