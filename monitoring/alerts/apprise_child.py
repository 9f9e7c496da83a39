"""One message through the library Apprise, in a process of its own: `python -m
monitoring.alerts.apprise_child`.

So one that hangs is ended, and what the library holds, threads and memory, goes with the process.
It says `ready`, reads one JSON object (address, title, body, severity, timeout_s, networks) and
answers one line: what went wrong, in JSON, or null. The address travels by standard input, as
process lists show arguments and environments.
"""

import json
import logging
import socket
import sys
from typing import Any

import apprise

from knowgate._wire.networks import reachable

_KINDS = {"critical": apprise.NotifyType.FAILURE, "warning": apprise.NotifyType.WARNING}


class _Heard(logging.Handler):
    """Keeps what the library says went wrong."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def send(job: dict[str, Any]) -> str | None:
    """What went wrong, in the library's words; None where the receiver took the message."""
    heard = _Heard()
    library = logging.getLogger("apprise")
    library.handlers, library.propagate = [heard], False
    asset = apprise.AppriseAsset(app_id="knowgate", app_desc="knowgate", http_redirects=False, async_mode=False)
    receivers = apprise.Apprise(asset=asset)
    if not receivers.add(job["address"]):
        return "; ".join(heard.said) or "Apprise does not know such an address"
    for receiver in receivers:
        receiver.socket_connect_timeout = receiver.socket_read_timeout = float(job["timeout_s"])
    kind = _KINDS.get(job["severity"], apprise.NotifyType.INFO)
    if receivers.notify(title=job["title"], body=job["body"], notify_type=kind, body_format=apprise.NotifyFormat.TEXT):
        return None
    return "; ".join(heard.said) or "the receiver did not take it"


def look_before_connecting(networks: list[str]) -> None:
    """In all of this process, a name that stands for an address that is not asked is refused."""
    resolve = socket.getaddrinfo

    def looked_at(host: Any, *more: Any, **named: Any) -> Any:
        found = resolve(host, *more, **named)
        if not host:
            return found  # an address of this machine, to listen at
        return [one for one in found if reachable(str(one[4][0]), 0, networks)]

    socket.getaddrinfo = looked_at


def main() -> None:
    """One message from standard input."""
    apprise.Apprise().add("json://localhost")  # loads the library's plugins, which takes longest
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    job = json.loads(sys.stdin.readline())
    look_before_connecting(job["networks"])
    try:
        error = send(job)
    except Exception as failure:  # noqa: BLE001  whatever one of its plugins raises, the message was not received
        error = f"{type(failure).__name__}: {failure}"
    sys.stdout.write(json.dumps(error) + "\n")


if __name__ == "__main__":
    main()
