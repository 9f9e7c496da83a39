"""Messages to receivers: what became of each, what a person does about one that was given up,
and a test of all receivers.

The command line, the API and the pages all come here. An address may be a secret: what is shown of
a receiver is its name, or the host of one of `webhooks`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from knowgate._wire.shown import shown_url
from monitoring.alerts.addressees import everybody
from monitoring.alerts.messages import trial_document
from services.errors import Refused
from store.releases import cascades
from store.watching.deliveries import (
    DeliveryRecord,
    DeliveryTry,
    Fate,
    add_trial,
    delivery,
    later_received,
    newest_deliveries,
    revive_delivery,
    tries_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TryStory:
    """How one try went."""

    number: int
    at: datetime
    error: str | None  # None = received


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryStory:
    """A message with its tries: what the API, `--json` and the pages show."""

    id: UUID
    cascade: str
    alert_id: UUID | None  # None = it is about a move of what is in force, or a test
    receiver: str  # its name; of one of `webhooks` scheme and host
    number: int
    event: str
    fate: Fate
    created_at: datetime
    due_at: datetime | None  # when it is tried next
    ended_at: datetime | None  # when it was received or given up
    last_error: str | None
    tries: tuple[TryStory, ...]  # oldest first


def delivery_stories(
    session: Session,
    *,
    cascades: Sequence[str | None] = (None,),
    fates: Sequence[Fate] = tuple(Fate),
    limit: int = 100,
) -> tuple[DeliveryStory, ...]:
    """The messages of these cascades (None = of all) that came to one of these fates, newest
    first.
    """
    found = [one for name in cascades for one in newest_deliveries(session, cascade=name, fates=fates, limit=limit)]
    if len(cascades) > 1:
        found = sorted(found, key=lambda one: (one.created_at, one.id), reverse=True)[:limit]
    return stories_of(session, found)


def retry(session: Session, delivery_id: UUID, *, now: datetime) -> DeliveryStory:
    """Make one that was given up due again: it has one more try.

    Raises DeliveryUnknown, and Refused where it was not given up, or where a later message of the
    same alert has reached its receiver, who would then hear of what is over as if it were news.
    """
    found = delivery(session, delivery_id)
    if found.fate is not Fate.GIVEN_UP:
        raise Refused(f"the message is {found.fate.value}: only one that was given up is tried again by hand")
    if later_received(session, found):
        raise Refused("a later message has reached this receiver: sent now, it would say what is over as if it were so")
    revive_delivery(session, delivery_id, now=now)
    return stories_of(session, (delivery(session, delivery_id),))[0]


def try_receivers(session: Session, cascade: str, *, by: str, now: datetime) -> tuple[DeliveryStory, ...]:
    """Write a test message to every receiver of a cascade; the scheduler's next tick sends it, by
    the same way as any other and with one try. `by`: who asks.

    Raises CascadeUnknown, and Refused where the cascade declares no receiver.
    """
    to = everybody(cascades.cascade(session, cascade))
    if not to:
        raise Refused(f"cascade {cascade} declares no receiver: add one under [[receivers]], as docs/alerts.md shows")
    document = trial_document(cascade, by, now)
    made = [add_trial(session, cascade, one.key, document, now=now) for one in to]
    return stories_of(session, [delivery(session, one) for one in made])


def stories_of(session: Session, found: Sequence[DeliveryRecord]) -> tuple[DeliveryStory, ...]:
    """These messages with their tries, in the same order."""
    tries = tries_of(session, [record.id for record in found])
    return tuple(_story(record, [made for made in tries if made.delivery_id == record.id]) for record in found)


def _story(record: DeliveryRecord, tries: Sequence[DeliveryTry]) -> DeliveryStory:
    return DeliveryStory(
        id=record.id,
        cascade=record.cascade,
        alert_id=record.alert_id,
        receiver=shown_url(record.receiver),
        number=record.number,
        event=record.event,
        fate=record.fate,
        created_at=record.created_at,
        due_at=record.due_at,
        ended_at=record.delivered_at or record.failed_at,
        last_error=record.last_error,
        tries=tuple(TryStory(number=made.number, at=made.at, error=made.error) for made in tries),
    )
