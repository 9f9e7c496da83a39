"""What the scheduler gives a trainer that it starts: the database, its clock and its claim."""

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from knowgate._wire import codec
from store.engine import transaction
from store.jobs.job_runs import Claim, fence


def add_process(command: argparse.ArgumentParser) -> None:
    """Let a command be given a database and a clock."""
    command.add_argument("--database-url", help="else KNOWGATE_DATABASE_URL")
    command.add_argument("--now", type=aware_time, help="the caller's clock; else the system's")


def clock_from(now: datetime | None) -> Callable[[], datetime]:
    """The scheduler's clock, carried on from the time it gave; the system's where it gave none."""
    if now is None:
        return lambda: datetime.now(UTC)
    began = time.monotonic()
    return lambda: now + timedelta(seconds=time.monotonic() - began)


def claim_from(engine: Engine, text: str | None) -> Claim | None:
    """The claim that the scheduler made for this process; None for a run by hand.

    Raises RecordInvalid for a text that is none, ClaimLost for one that holds no more.
    """
    if text is None:
        return None
    claim = codec.decode(Claim, codec.parse(text), "--claim")
    with transaction(engine) as session:
        fence(session, claim)
    return claim


def aware_time(text: str) -> datetime:
    """A time with its offset."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} is naive; add its offset, e.g. Z")
    return time


def seconds(text: str) -> timedelta:
    """A number of seconds above 0."""
    if not float(text) > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return timedelta(seconds=float(text))
