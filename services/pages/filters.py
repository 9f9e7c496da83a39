"""How templates write times, ids and amounts."""

from collections.abc import Callable, Mapping
from datetime import datetime

from markupsafe import Markup, escape

from knowgate._wire.shown import shown_url
from services.durations import format_duration


def time(value: datetime) -> str:
    """A time in UTC to the minute."""
    return f"{value:%Y-%m-%d %H:%M} UTC"


def short(value: str | None) -> str:
    """The start of a long hash."""
    return "–" if value is None else value[:10]


def number(value: float | None) -> str:
    """An amount, or a dash."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def share(value: float | None) -> str:
    """A share of 1 in percent, or a dash."""
    return "–" if value is None else f"{100 * value:.1f} %".replace("-", "−")


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
    "number": number,
    "share": share,
    "words": words,
    "marked": marked,
    "host": host,
    "duration": format_duration,
}
