"""Messages through the library Apprise: Slack, e-mail, PagerDuty, Teams and about a hundred more.

Each is sent by a process of its own (`monitoring.alerts.apprise_child`), which is ended when its
time is over: the library asks with timeouts between two bytes, which a receiver that sends a byte a
second never comes to.
"""

import asyncio
import importlib.util
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from knowgate._records.receivers import Severity
from knowgate._wire.shown import masked
from monitoring.alerts.asking import ERROR_AT_MOST, NotReceived
from monitoring.alerts.messages import Text

MISSING = (
    "the library Apprise is not installed where the scheduler runs: install knowgate-control with its extra `notify`,"
    " as in pip install -e '.[notify]'"
)
_READY_WITHIN_S = 60.0  # to load the library, on a machine that has other things to do
_AT_ONCE = 4  # processes
_SHORTEST_SECRET = 4  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class ThroughApprise:
    """How messages go through Apprise."""

    timeout_s: float  # for one, without what the library takes to load
    networks: Sequence[str]  # where receivers may lie, of what is refused otherwise
    room: asyncio.Semaphore

    @classmethod
    def made(cls, timeout_s: float, networks: Sequence[str]) -> "ThroughApprise":
        return cls(timeout_s=timeout_s, networks=networks, room=asyncio.Semaphore(_AT_ONCE))

    async def send(self, address: str, text: Text, severity: Severity) -> None:
        """Send one message. Raises NotReceived."""
        if importlib.util.find_spec("apprise") is None:
            raise NotReceived(MISSING)
        job = {
            "address": address,
            "title": text.title,
            "body": text.body,
            "severity": severity.value,
            "timeout_s": self.timeout_s,
            "networks": list(self.networks),
        }
        async with self.room:
            error = await self._run(job)
        if error is not None:
            raise NotReceived(without_address(error, address)[:ERROR_AT_MOST])

    async def _run(self, job: dict[str, Any]) -> str | None:
        pipe = asyncio.subprocess.PIPE
        command = (sys.executable, "-m", "monitoring.alerts.apprise_child")
        child = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
        )
        assert child.stdout is not None  # it is a pipe
        try:
            async with asyncio.timeout(_READY_WITHIN_S):
                if await child.stdout.readline() != b"ready\n":
                    return "Apprise could not be loaded"
            async with asyncio.timeout(self.timeout_s):
                said, _ = await child.communicate(json.dumps(job).encode() + b"\n")
            return _outcome(said)
        except TimeoutError:
            return f"the receiver had not answered after {self.timeout_s:g} s"
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()


def _outcome(said: bytes) -> str | None:
    r"""What went wrong, by the last line that the process wrote; a plugin may have written before.

    >>> _outcome(b"a plugin's line\nnull\n"), _outcome(b'"refused"\n'), _outcome(b"what?")
    (None, 'refused', 'Apprise ended without a word of what became of the message')
    """
    lines = said.splitlines()
    try:
        error = json.loads(lines[-1])
    except (IndexError, ValueError):
        return "Apprise ended without a word of what became of the message"
    return None if error is None else str(error)


def without_address(error: str, address: str) -> str:
    """What went wrong without anything of the address but its scheme and host.

    >>> without_address("No answer of json://me:hunter2@h/T0KEN: T0KEN", "json://me:hunter2@h/T0KEN")
    'No answer of …: …'
    """
    rest = address.partition("://")[2]
    said = error.replace(address, "…")
    for part in sorted(re.split(r"[/?&=:@#,]", rest), key=len, reverse=True):
        if len(part) >= _SHORTEST_SECRET:
            said = said.replace(part, "…")
    return masked(said)
