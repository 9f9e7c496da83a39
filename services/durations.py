"""Durations as people write them: `7d`, `12h`, `10m`, `30s`, and sums such as `1d12h`."""

import re
from datetime import timedelta

UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1), "s": timedelta(seconds=1)}
EXPECTED = "a duration such as 7d, 12h, 10m, 30s or 1d12h is expected"
_WHOLE = re.compile(r"(?:\d+(?:\.\d+)?[dhms])+")
_PART = re.compile(r"(\d+(?:\.\d+)?)([dhms])")


def parse_duration(text: str) -> timedelta:
    """The duration that `text` names.

    Raises ValueError, whose message says what is expected.

    >>> parse_duration("1d12h")
    datetime.timedelta(days=1, seconds=43200)
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError(EXPECTED)
    return sum((float(count) * UNITS[unit] for count, unit in _PART.findall(text)), timedelta())


def format_duration(duration: timedelta) -> str:
    """The shortest text that `parse_duration` reads back.

    >>> format_duration(timedelta(hours=36))
    '1d12h'
    """
    if duration.microseconds:
        return f"{duration.total_seconds():g}s"
    seconds = int(duration.total_seconds())
    parts = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
