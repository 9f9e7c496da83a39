"""What a runtime tells its control plane: what became of an assignment, and then, every minute or
so, that it is there, with how much waits in its spool. Who is silent is gone.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from importlib.metadata import PackageNotFoundError, version

from knowgate._serving.sources import Source
from knowgate._shipping.client import Acknowledgement
from knowgate._shipping.spool import Spool
from knowgate.errors import ServiceUnreachable

logger = logging.getLogger("knowgate.follower")

SAID_AGAIN_S = 60.0


class LastWord:
    """The last acknowledgement of one runtime, and whether the source has heard it."""

    def __init__(
        self, runtime: str, *, clock: Callable[[], datetime], interval_s: float, spool: Spool | None = None
    ) -> None:
        self._runtime = runtime
        self._clock = clock
        self._again_s = SAID_AGAIN_S + interval_s  # it speaks after a poll
        self._spool = spool
        self._said: Acknowledgement | None = None  # last, heard or not
        self._unheard = False

    def say(self, generation: int | None, bundle: str | None, *, reason: str | None) -> None:
        """What became of an assignment, unless that was said already; None: it names no
        generation.
        """
        said = self._said
        if generation is None:
            return
        if said is not None and (generation, bundle, reason) == (said.generation, said.bundle, said.reason):
            return
        self._unheard = True
        self._said = Acknowledgement(
            runtime=self._runtime,
            generation=generation,
            bundle=bundle,
            accepted=reason is None,
            reason=reason,
            acknowledged_at=self._clock(),
            version=_version(),
            again_s=self._again_s,
        )

    def say_again(self) -> None:
        """What was said last, where that was a while ago, or the clock has been set back since."""
        if self._said is None or self._unheard:
            return
        now = self._clock()
        if not timedelta() <= now - self._said.acknowledged_at < timedelta(seconds=SAID_AGAIN_S):
            self._said, self._unheard = replace(self._said, acknowledged_at=now), True

    def send(self, source: Source, cascade: str) -> None:
        """Tells the source what it has not heard yet; what it does not hear now waits."""
        if self._said is None or not self._unheard:
            return
        said, spool = self._said, self._spool
        if spool is not None:
            waiting, refused = spool.unshipped_bytes, spool.refused + spool.rejected
            said = replace(said, unshipped_bytes=waiting, refused_rows=refused)
        try:
            source.acknowledge(cascade, said)
            self._unheard = False
        except ServiceUnreachable as error:
            logger.warning("the acknowledgement waits for the next poll: %s", error)


def _version() -> str | None:
    """Of the wheel; None where it runs from a folder that was not installed."""
    try:
        return version("knowgate")
    except PackageNotFoundError:
        return None
