"""How an address is shown: to people, in logs, in errors, in answers.

An address may be a secret: a database's carries a password, a webhook's whole path lets anybody
post, a query string may hold a token. What is shown names the place and none of these.
"""

import logging
import re

MARK = "…"  # stands for what is not shown; no declaration takes an address that ends so
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*://"
_WITH_USER = re.compile(rf"({_SCHEME})\S*@")  # to the last @: a password may hold any other mark
_WITH_QUERY = re.compile(rf"({_SCHEME}[^\s?#'\"<>]*)[?#][^\s'\"<>)\]]*")


def shown_url(url: str) -> str:
    """An address without user, password, query and fragment; of an http(s) address the host alone.

    >>> shown_url("https://hooks.example.com/services/T0/B0/secret")
    'https://hooks.example.com/…'
    >>> shown_url("postgresql+psycopg://me:pa/ss@db:5432/knowgate?sslpassword=x")
    'postgresql+psycopg://***@db:5432/knowgate?…'
    >>> shown_url("sqlite:///var/knowgate.db")
    'sqlite:///var/knowgate.db'
    """
    scheme, mark, rest = url.partition("://")
    if not mark:
        return f"***@{url.rpartition('@')[2]}" if "@" in url else url
    _, at, rest = rest.rpartition("@")
    place = re.split(r"[?#]", rest, maxsplit=1)[0]
    after = f"?{MARK}" if len(place) < len(rest) else ""
    if scheme.lower() in ("http", "https"):
        host, slash, path = place.partition("/")
        place, after = f"{host}{slash}", MARK if path or after else ""
        place = place if slash or not after else f"{place}/"
    return f"{scheme}://{'***@' if at else ''}{place}{after}"


def masked(text: str) -> str:
    """A text whose addresses show no user, password or query: an error's, a log line's, a
    traceback's.

    >>> masked("no answer from http://me:pw@mlflow:5000/api?token=x, try again")
    'no answer from http://***@mlflow:5000/api?… try again'
    """
    return _WITH_QUERY.sub(rf"\1?{MARK}", _WITH_USER.sub(r"\1***@", text)) if "://" in text else text


class MaskingFormatter(logging.Formatter):
    """Log lines as `masked` shows them, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, masked as a whole."""
        return masked(super().format(record))
