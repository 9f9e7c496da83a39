"""How templates write times, ids and amounts (`services.pages.numbers`)."""

from collections.abc import Callable, Mapping
from datetime import datetime

from markupsafe import Markup, escape

from knowgate._wire.shown import shown_url
from monitoring.names import Rule
from services.durations import format_duration
from services.pages import numbers
from services.pages.words import move_word, status_word
from store.releases.promotions import Outcome


def time(value: datetime) -> str:
    """A time in UTC to the minute."""
    return f"{value:%Y-%m-%d %H:%M} UTC"


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


def day(value: datetime, now: datetime) -> str:
    """A day as one says it this year or another, with the hour where it is today."""
    if value.date() == now.date():
        return f"{value:%H:%M} UTC"
    return f"{value:%-d %b}" if value.year == now.year else f"{value:%-d %b %Y}"


def move(value: Outcome) -> str:
    """What a move of what is in force is called."""
    return move_word(value).removesuffix(" to").lower()


def advice(rule: str) -> str:
    """What a person should do about an alert of this rule; nothing of one that is unknown."""
    return Rule(rule).advice if rule in set(Rule) else ""


FILTERS: Mapping[str, Callable[..., str]] = {
    "time": time,
    "advice": advice,
    "day": day,
    "move": move,
    "status": status_word,
    "short": numbers.short,
    "number": numbers.amount,
    "share": numbers.percent,
    "signal": numbers.signal,
    "points": numbers.points,
    "usd": numbers.usd,
    "milliseconds": numbers.milliseconds,
    "thousands": numbers.count,
    "bytes": numbers.byte_size,
    "age": numbers.age,
    "span": numbers.span,
    "words": words,
    "marked": marked,
    "host": host,
    "duration": format_duration,
}
