"""What a setting's text may be: each function reads one kind of value, and raises ValueError for any other."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from knowgate.networks import is_network
from services.durations import parse_duration


def text(value: str) -> str:
    return value


def place(value: str) -> str:
    """A URL as it is, a folder as its full path: the database keeps it, and is read from other folders."""
    return value if "://" in value else str(Path(value).absolute())


def whole(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        number = int(value)
        if not low <= number <= high:
            raise ValueError
        return number

    return parse


def url(*schemes: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if not value.startswith(schemes):
            raise ValueError
        _ = urlsplit(value).port  # a password whose marks are not percent-encoded stands where the port should
        return value

    return parse


def networks(value: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in value.split(","))
    if not all(map(is_network, found)):
        raise ValueError
    return found


def positive_duration(value: str) -> timedelta:
    duration = parse_duration(value)
    if duration <= timedelta():
        raise ValueError
    return duration


def retention(value: str) -> timedelta:
    duration = parse_duration(value)
    if duration < timedelta(days=1):
        raise ValueError
    return duration


def key(value: str) -> bytes:
    encoded = value.encode()
    if not 16 <= len(encoded) <= 64:
        raise ValueError
    return encoded


def secret(value: str) -> bytes:
    if len(value) < 16:
        raise ValueError
    return value.encode()


def bearer(value: str) -> str:
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError
    return value


def private_key(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", value.lower()):
        raise ValueError
    return value.lower()


def amount(value: str) -> float:
    number = float(value)
    if not 0.0 <= number < float("inf"):
        raise ValueError
    return number


def engine(value: str) -> str:
    if value not in ("local", "ray"):
        raise ValueError
    return value


def level(value: str) -> str:
    if value not in ("debug", "info", "warning", "error"):
        raise ValueError
    return value
