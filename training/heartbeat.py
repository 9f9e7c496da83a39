"""Keep a trainer's claim alive while it works, from a thread of its own.

A heartbeat that finds the claim lost only stops: the fence inside the publishing transaction is
what keeps a lost claim from taking effect, and it needs no help from here.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from store.engine import transaction
from store.errors import ClaimLost
from store.jobs.job_runs import Claim, heartbeat

log = logging.getLogger("knowgate.training")


@contextmanager
def kept_alive(
    engine: Engine, claim: Claim | None, *, lease: timedelta, clock: Callable[[], datetime]
) -> Iterator[None]:
    """Renew the claim three times per lease while the block runs."""
    if claim is None:
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_beat, args=(engine, claim, lease, clock, over), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _beat(engine: Engine, claim: Claim, lease: timedelta, clock: Callable[[], datetime], over: threading.Event) -> None:
    while not over.wait(lease.total_seconds() / 3):
        try:
            with transaction(engine) as session:
                heartbeat(session, claim, lease=lease, now=clock())
        except ClaimLost as lost:
            log.warning("%s", lost)
            return
        except SQLAlchemyError as error:
            log.warning("heartbeat failed, trying again: %s", error)
