"""Messages about alerts, sent to the webhooks that a cascade declares: at least once, signed, tried
again.

1. Claim what is due, and commit: a second worker sees the claim.
2. Send them side by side, without a transaction around it. Each has ten seconds in all: a receiver
   that is silent, sends a byte a second or never comes to an end holds up nobody. Of an answer the
   status alone is read.
3. Say how it went, each in a transaction of its own. What failed is due again later, twice as late
   each time; after a day and a half it is given up, and the row keeps when and why. A message that
   cannot be sent delays none but those of the same alert to the same receiver, which hears of it in
   the order of events.

Messages are signed as Standard Webhooks has it: a receiver checks them with that library, and drops
what it has seen before by `webhook-id`. Without a secret the signature header is left out. A
redirect is an error: the address that was declared is the one that is trusted.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import httpx2
from sqlalchemy import Engine
from standardwebhooks import Webhook

from knowgate._shipping.client import JSON_MEDIA_TYPE
from knowgate._wire.shown import masked, shown_url
from knowgate.backends.checked import CheckedTransport
from store.engine import transaction
from store.errors import ClaimLost
from store.watching.deliveries import GIVE_UP_AFTER, DeliveryRecord, claim_due_deliveries, finish_delivery

log = logging.getLogger("knowgate.deliveries")

TIMEOUT_S = 10.0  # for one message, from the look-up of its host to the status
LEASE = timedelta(minutes=5)  # far more than a batch takes when every receiver is silent
BATCH = 20
_ERROR_AT_MOST = 300  # characters of an error that are kept


def deliver_due(
    engine: Engine,
    *,
    owner: str,
    secret: bytes | None,
    now: datetime,
    networks: Sequence[str] = (),
    give_up_after: timedelta = GIVE_UP_AFTER,
) -> int:
    """Send the messages that are due at `now`; how many were received.

    `owner` names this process in the claims; `networks` are where webhooks may lie, of what is
    refused otherwise.
    """
    with transaction(engine) as session:
        claimed = claim_due_deliveries(session, owner=owner, now=now, lease=LEASE, limit=BATCH)
    if not claimed:
        return 0
    errors = asyncio.run(_send_all(claimed, secret, now, networks))
    for delivery, error in zip(claimed, errors, strict=True):
        _finish(engine, delivery, error, now, give_up_after)
    return errors.count(None)


def headers_of(delivery: DeliveryRecord, secret: bytes | None, now: datetime) -> Mapping[str, str]:
    """The headers of one message at `now`."""
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


async def _send_all(
    claimed: Sequence[DeliveryRecord], secret: bytes | None, now: datetime, networks: Sequence[str]
) -> list[str | None]:
    transport = CheckedTransport(networks, trust_env=False)
    async with httpx2.AsyncClient(timeout=TIMEOUT_S, trust_env=False, transport=transport) as client:
        return await asyncio.gather(*(_send(client, delivery, secret, now) for delivery in claimed))


async def _send(
    client: httpx2.AsyncClient, delivery: DeliveryRecord, secret: bytes | None, now: datetime
) -> str | None:
    """None when the receiver answered 2xx, else what went wrong."""
    headers = dict(headers_of(delivery, secret, now))
    try:
        async with (
            asyncio.timeout(TIMEOUT_S),
            client.stream("POST", delivery.receiver, content=delivery.payload.encode(), headers=headers) as answer,
        ):
            return None if answer.is_success else f"the receiver answered {answer.status_code}"
    except TimeoutError:
        return f"the receiver had not answered after {TIMEOUT_S:g} s"
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, OSError) as error:
        message = f"{type(error).__name__}: {error}".replace(delivery.receiver, shown_url(delivery.receiver))
        return masked(message)[:_ERROR_AT_MOST]


def _finish(
    engine: Engine, delivery: DeliveryRecord, error: str | None, now: datetime, give_up_after: timedelta
) -> None:
    if error is not None:
        log.warning(
            "message %s to %s failed at try %d: %s", delivery.id, shown_url(delivery.receiver), delivery.attempts, error
        )
    try:
        with transaction(engine) as session:
            finish_delivery(session, delivery, now=now, error=error, give_up_after=give_up_after)
    except ClaimLost:
        log.warning("message %s took longer than its lease; its new owner finishes it", delivery.id)
