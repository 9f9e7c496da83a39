"""Durations as people write them: `7d`, `12h`, `10m`, `30s`, and sums such as `1d12h`; from 0.001s
to 3650d.
"""

import re
from datetime import timedelta

UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}  # seconds
LEAST = timedelta(milliseconds=1)
LONGEST = timedelta(days=3650)  # far beyond any horizon, and any time plus or minus one is still a time
A_DURATION = "a duration such as 7d, 12h, 10m, 30s or 1d12h, of at most 3650d,"
EXPECTED = f"{A_DURATION} is expected"
_WHOLE = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?[dhms])+")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)([dhms])")


def parse_duration(text: str) -> timedelta:
    """The duration that `text` names.

    Raises ValueError, whose message says what is expected.

    >>> parse_duration("1d12h")
    datetime.timedelta(days=1, seconds=43200)
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError(EXPECTED)
    seconds = sum(float(count) * UNITS[unit] for count, unit in _PART.findall(text))
    if seconds > LONGEST.total_seconds():
        raise ValueError("a duration of at most 3650d (10 years) is expected")
    if 0 < seconds < LEAST.total_seconds():
        raise ValueError("a duration of at least 0.001s is expected")
    return timedelta(seconds=seconds)


def format_duration(duration: timedelta) -> str:
    """The shortest text that `parse_duration` reads back.

    >>> format_duration(timedelta(hours=36)), format_duration(timedelta(milliseconds=1))
    ('1d12h', '0.001s')
    """
    if duration.microseconds:
        return f"{duration.total_seconds():.6f}".rstrip("0") + "s"
    seconds = int(duration.total_seconds())
    parts = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
