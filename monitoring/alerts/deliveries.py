"""Messages to receivers: at least once, in the order of events, tried again.

1. Claim what is due, with what is to be said now, and commit: a second worker sees the claim.
2. Send them side by side, without a transaction around it. Each has ten seconds in all: a receiver
   that is silent, sends a byte a second or never comes to an end holds up nobody.
3. Say how it went, each in a transaction of its own, with a row for the try. What failed is due
   again later, twice as late each time; when it is too old it is given up, and the row keeps when
   and why. A message that cannot be sent delays none but those of the same alert to the same
   receiver, which hears of it in the order of events.

A webhook's messages are signed as Standard Webhooks has it: a receiver checks them with that
library, and drops what it has seen before by `webhook-id`. Without a secret the signature header is
left out. Of the answer the status alone is read. A redirect is an error: the address that was
declared is the one that is trusted.
"""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx2
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from standardwebhooks import Webhook

from knowgate._records.receivers import ReceiverKind
from knowgate._shipping.client import JSON_MEDIA_TYPE
from knowgate._wire.networks import PRIVATE
from knowgate._wire.shown import shown_url
from knowgate.backends.checked import checked_async_client
from knowgate.errors import RecordInvalid
from monitoring.alerts.addressees import Addressee, addressee
from monitoring.alerts.alertmanager import Alertmanager
from monitoring.alerts.asking import NotReceived, ask
from monitoring.alerts.messages import SILENCED, message_in, text_of
from monitoring.alerts.through_apprise import ThroughApprise
from store.engine import transaction
from store.errors import ClaimLost, RecordUnreadable
from store.releases.cascades import cascade
from store.releases.rings import rings_of
from store.watching.deliveries import GIVE_UP_AFTER, DeliveryRecord, claim_due_deliveries, finish_delivery

log = logging.getLogger("knowgate.deliveries")

TIMEOUT_S = 10.0  # for one message, from the look-up of its host to the status
LEASE = timedelta(minutes=5)  # far more than a batch takes when every receiver is silent
BATCH = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """With what messages are sent."""

    owner: str  # names this process in the claims
    secret: bytes | None = None  # signs what webhooks get
    networks: Sequence[str] = PRIVATE  # where receivers may lie, of what is refused otherwise
    variables: Mapping[str, str] | None = None  # that hold addresses; None = the process's
    public_url: str | None = None  # where our pages are
    timeout_s: float = TIMEOUT_S
    give_up_after: timedelta = GIVE_UP_AFTER


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message that was claimed, with what is known of it now."""

    delivery: DeliveryRecord
    to: Addressee | None  # None = it is no longer declared
    done: str | None  # about the ring it tells of


def deliver_due(engine: Engine, sending: Sending, *, now: datetime) -> int:
    """Send the messages that are due at `now`; how many were received."""
    with transaction(engine) as session:
        claimed = claim_due_deliveries(session, owner=sending.owner, now=now, lease=LEASE, limit=BATCH)
        outgoing = [_outgoing(session, delivery) for delivery in claimed]
    if not outgoing:
        return 0
    errors = asyncio.run(_send_all(outgoing, sending, now))
    for one, error in zip(outgoing, errors, strict=True):
        _finish(engine, one.delivery, error, now, sending.give_up_after)
    return errors.count(None)


def headers_of(delivery: DeliveryRecord, secret: bytes | None, now: datetime) -> Mapping[str, str]:
    """The headers of one message to a webhook at `now`."""
    headers = {
        "Content-Type": JSON_MEDIA_TYPE,
        "User-Agent": "knowgate",
        "Knowgate-Event": delivery.event,
        "webhook-id": str(delivery.id),
        "webhook-timestamp": str(int(now.timestamp())),
    }
    if secret is not None:
        headers["webhook-signature"] = Webhook(secret).sign(str(delivery.id), now.astimezone(UTC), delivery.payload)
    return headers


def checked_client(networks: Sequence[str], timeout_s: float) -> httpx2.AsyncClient:
    """A client that connects only where receivers may lie."""
    return checked_async_client(networks, timeout=timeout_s, trust_env=False)


def _outgoing(session: Session, delivery: DeliveryRecord) -> Outgoing:
    try:
        to = addressee(cascade(session, delivery.cascade), delivery.receiver)
    except RecordUnreadable:
        to = None
    return Outgoing(delivery=delivery, to=to, done=_done(session, delivery))


def _done(session: Session, delivery: DeliveryRecord) -> str | None:
    """What the service did about the ring that a message tells of."""
    said = json.loads(delivery.payload).get("ring")
    if delivery.alert_id is None or said is None:
        return None
    rings = rings_of(session, [delivery.alert_id])
    return next((ring.answer for ring in rings if ring.number == said["number"]), None)


async def _send_all(outgoing: Sequence[Outgoing], sending: Sending, now: datetime) -> list[str | None]:
    through = ThroughApprise.made(sending.timeout_s, sending.networks)
    async with checked_client(sending.networks, sending.timeout_s) as client:
        return await asyncio.gather(*(_error_of(_Door(client, through, sending, now), one) for one in outgoing))


async def _error_of(door: "_Door", one: Outgoing) -> str | None:
    """None when the receiver took it, else what went wrong."""
    try:
        await door.send(one)
    except NotReceived as error:
        return str(error)
    except RecordInvalid as error:  # of the environment
        return f"{error.field} is {error.value}: {error.cure}"
    return None


@dataclass(frozen=True, slots=True)
class _Door:
    """How a message leaves, by its receiver's kind."""

    client: httpx2.AsyncClient
    through: ThroughApprise
    sending: Sending
    now: datetime

    async def send(self, one: Outgoing) -> None:
        if one.to is None:
            raise NotReceived(f"receiver {one.delivery.receiver} is not declared any more, or cannot be read")
        address = one.to.address(self.sending.variables)
        payload, public_url, timeout_s = one.delivery.payload, self.sending.public_url, self.sending.timeout_s
        if one.to.kind is ReceiverKind.ALERTMANAGER:
            there = Alertmanager(client=self.client, root=address, timeout_s=timeout_s)
            await there.tell(payload, one.done, now=self.now, public_url=public_url)
        elif one.to.kind is ReceiverKind.APPRISE:
            if one.delivery.event == SILENCED:
                return  # written for who kept silences itself, before this receiver was declared otherwise
            message = message_in(payload, one.done)
            await self.through.send(address, text_of([message], public_url), message.severity)
        else:
            headers = headers_of(one.delivery, self.sending.secret, self.now)
            await ask(self.client, "POST", address, timeout_s=timeout_s, content=payload.encode(), headers=headers)


def _finish(engine: Engine, delivery: DeliveryRecord, error: str | None, now: datetime, age: timedelta) -> None:
    if error is not None:
        where, tries = shown_url(delivery.receiver), delivery.attempts
        log.warning("message %s to %s failed at try %d: %s", delivery.id, where, tries, error)
    try:
        with transaction(engine) as session:
            finish_delivery(session, delivery, now=now, error=error, give_up_after=age)
    except ClaimLost:
        log.warning("message %s took longer than its lease; its new owner finishes it", delivery.id)
