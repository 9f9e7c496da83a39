"""`knowgate deliveries`: what became of messages to receivers, one more try for one, and a test of
all receivers.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer
from sqlalchemy import Engine

from services.clock import SystemClock
from services.commands.options import AsJson, By
from services.commands.printing import print_record, print_rows
from services.database import database
from services.deliveries import DeliveryStory, delivery_stories, retry, stories_of, try_receivers
from services.errors import InputInvalid, Refused
from services.settings import operator, read_settings
from store.engine import reading, transaction
from store.watching.deliveries import DeliveryRecord, Fate, delivery, newest_deliveries

app = typer.Typer(help="Messages to receivers: what became of them, one more try, a test.", no_args_is_help=True)

SHORT = 8  # of an id's end: it begins with the time, so that messages of one day begin alike
_MANY = 10_000
_OPEN = (Fate.WAITING, Fate.GIVEN_UP)


@app.command("list")
def list_deliveries(
    cascade: Annotated[str | None, typer.Option(help="Of this cascade alone.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Received ones too.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List messages, newest first: those that wait or were given up, unless all are asked for."""
    fates = tuple(Fate) if every else _OPEN
    with database(read_settings()) as engine, reading(engine) as session:
        shown = delivery_stories(session, cascades=(cascade,), fates=fates, limit=limit)
    if as_json:
        print_rows("deliveries", shown, as_json=True, columns=())
        return
    lines = [_line(story) for story in shown]
    print_rows("deliveries", lines, as_json=False, columns=tuple(field.name for field in fields(_Line)))


@app.command("retry")
def retry_delivery(
    delivery: Annotated[str, typer.Argument(metavar="ID", help="The message's id, or the end that `list` shows.")],
    as_json: AsJson = False,
) -> None:
    """Give a message that was given up one more try, at the scheduler's next tick.

    Exits with 3 where it was not given up, or where a later one of the same alert was received.
    """
    with database(read_settings()) as engine, transaction(engine) as session:
        found = _named(newest_deliveries(session, limit=_MANY), delivery)
        story = retry(session, found.id, now=SystemClock().now())
    print_record(story, as_json=as_json)


@app.command("test")
def send_test(
    cascade: Annotated[str, typer.Option(help="Whose receivers.")],
    wait: Annotated[int, typer.Option(min=0, help="Seconds to wait for the scheduler to send it.")] = 90,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Send a test message to every receiver of a cascade, by the way of all messages.

    Exits with 3 where one does not arrive.
    """
    settings = read_settings()
    with database(settings) as engine:
        with transaction(engine) as session:
            who = by or operator(settings)
            sent = [one.id for one in try_receivers(session, cascade, by=who, now=SystemClock().now())]
        shown = _ended(engine, sent, wait)
    if as_json:
        print_rows("deliveries", shown, as_json=True, columns=())
    else:
        lines = [_line(one) for one in shown]
        print_rows("deliveries", lines, as_json=False, columns=("receiver", "fate", "last_error"))
    if any(one.fate is Fate.WAITING for one in shown):
        raise Refused(f"nothing sent it within {wait} s: is `knowgate scheduler` running?")
    if any(one.fate is not Fate.RECEIVED for one in shown):
        raise Refused("a test message did not arrive: last_error says why")


def _ended(engine: Engine, sent: Sequence[UUID], wait_s: float) -> tuple[DeliveryStory, ...]:
    """These messages once all were tried, or when the time is over."""
    deadline = time.monotonic() + wait_s
    while True:
        with reading(engine) as session:
            shown = stories_of(session, [delivery(session, one) for one in sent])
        left = deadline - time.monotonic()
        if left <= 0 or all(one.fate is not Fate.WAITING for one in shown):
            return shown
        time.sleep(min(1.0, left))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A message in a list."""

    id: str
    cascade: str
    receiver: str
    event: str
    fate: Fate
    created_at: datetime
    next_or_end: datetime | None
    tries: int
    last_error: str | None


def _line(story: DeliveryStory) -> _Line:
    return _Line(
        id=str(story.id)[-SHORT:],
        cascade=story.cascade,
        receiver=story.receiver,
        event=story.event,
        fate=story.fate,
        created_at=story.created_at,
        next_or_end=story.due_at or story.ended_at,
        tries=len(story.tries),
        last_error=story.last_error,
    )


def _named(stored: tuple[DeliveryRecord, ...], named: str) -> DeliveryRecord:
    matches = [record for record in stored if len(named) >= SHORT and str(record.id).endswith(named.lower())]
    if len(matches) != 1:
        many = "several messages end so, give more of the id" if matches else "no message has this id"
        raise InputInvalid(f"delivery is {named!r}: {many}; `knowgate deliveries list --all`")
    return matches[0]
