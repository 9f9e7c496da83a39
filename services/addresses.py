"""Addresses that a declaration or an option may name: what the clients that are to ask there take
as well.

Refused where they are written, since later each would be a request that fails, with nobody there to
correct it.
"""

import re
from urllib.parse import urlsplit

import httpx2

from knowgate._wire.networks import fault_of_host

ROOT_EXPECTED = "it is a root that paths are added to: leave out what follows ? or #"
EXPECTED = "an http:// or https:// address is expected, e.g. http://host:8000/v1"


def is_address(url: str) -> bool:
    """Whether it is an http(s) URL, its scheme in lower case, with a host and a port that can be.

    >>> is_address("http://host:8000/v1"), is_address("HTTP://host"), is_address("http://...")
    (True, False, False)
    """
    if not url.startswith(("http://", "https://")) or not url.isprintable() or re.search(r"[\s\\]", url):
        return False
    try:
        parts = urlsplit(url)
        return _is_host(parts.hostname or "") and parts.port != 0 and bool(httpx2.URL(url).host)
    except (ValueError, httpx2.InvalidURL):  # a port that is no number, brackets that do not close
        return False


def host_of(url: str) -> str:
    """The host of what is an address."""
    return urlsplit(url).hostname or ""


def holds_credentials(url: str) -> bool:
    """Whether a user or a password stands before the host; of what is no address
    too, since that must not be shown either.

    >>> holds_credentials("http://user:pw@host/v1"), holds_credentials("http://host/@")
    (True, False)
    """
    return "@" in re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0]


def is_root(url: str) -> bool:
    """Whether paths can be added to its end: there is no query and no fragment, which may also hold
    a secret.
    """
    return not set(url) & set("?#")


def fault_of_root(url: str) -> str | None:
    """What is wrong with an address that paths are to be added to; None where nothing is.

    >>> fault_of_root("http://127.0.0.1:8000/v1?key=x")
    'it is a root that paths are added to: leave out what follows ? or #'
    """
    if not is_address(url):
        return EXPECTED
    return fault_of_host(host_of(url)) if is_root(url) else ROOT_EXPECTED


def _is_host(host: str) -> bool:
    """An IPv6 address, or a name that the network has a form of. A percent sign has a place in the
    former's zone alone. Raises UnicodeError.
    """
    return ":" in host or ("%" not in host and bool(host.encode("idna").decode("idna")))
