"""Messages about alerts, sent to the webhooks that a cascade declares: at least once, signed, tried again.

1. Claim what is due, and commit: a second worker sees the claim.
2. Send each message, without a transaction around it.
3. Say how it went, each in a transaction of its own. What failed is due again later, twice as late each time; after a
   day and a half it is given up, and the row keeps when and why. A message that cannot be sent delays none but those
   of the same alert to the same receiver, which hears of it in the order of events.

Messages are signed as Standard Webhooks has it: a receiver checks them with that library, and drops what it has seen
before by `webhook-id`. Without a secret the signature header is left out. A redirect is an error: the address that was
declared is the one that is trusted.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import httpx
from sqlalchemy import Engine
from standardwebhooks import Webhook

from knowgate.networks import reachable
from knowgate.shown import masked, shown_url
from store.deliveries import DeliveryRecord, claim_due_deliveries, finish_delivery
from store.engine import transaction
from store.errors import ClaimLost

log = logging.getLogger("knowgate.deliveries")

TIMEOUT_S = 10.0
LEASE = timedelta(minutes=5)  # more than a batch takes when every receiver is silent
BATCH = 20
_TOLD_AT_MOST = 300  # characters of an error that are kept


class CheckedTransport(httpx.HTTPTransport):
    """Connects to addresses that were looked at: a name may stand for another one a moment later."""

    def __init__(self, networks: Sequence[str]) -> None:
        super().__init__(trust_env=False)
        self._networks = networks

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer of the first address that takes the connection. Raises httpx.ConnectError where none may be."""
        host, port = request.url.host, request.url.port or (443 if request.url.scheme == "https" else 80)
        try:
            *others, last = reachable(host, port, self._networks)
        except (OSError, UnicodeError) as error:
            raise httpx.ConnectError(str(error)) from error
        request.extensions = {**request.extensions, "sni_hostname": host}  # certificates are of the name
        for address in others:
            request.url = request.url.copy_with(host=address)
            with suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return super().handle_request(request)
        request.url = request.url.copy_with(host=last)
        return super().handle_request(request)


def deliver_due(
    engine: Engine, *, owner: str, secret: bytes | None, now: datetime, networks: Sequence[str] = ()
) -> int:
    """Send the messages that are due at `now`; how many were received.

    `owner` names this process in the claims; `networks` are where webhooks may lie, of what is refused otherwise.
    """
    with transaction(engine) as session:
        claimed = claim_due_deliveries(session, owner=owner, now=now, lease=LEASE, limit=BATCH)
    received = 0
    if not claimed:
        return received
    transport = CheckedTransport(networks)
    with httpx.Client(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False, transport=transport) as client:
        for delivery in claimed:
            error = _send(client, delivery, secret, now)
            received += error is None
            _finish(engine, delivery, error, now)
    return received


def headers_of(delivery: DeliveryRecord, secret: bytes | None, now: datetime) -> Mapping[str, str]:
    """The headers of one message at `now`."""
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "knowgate",
        "Knowgate-Event": delivery.event,
        "webhook-id": str(delivery.id),
        "webhook-timestamp": str(int(now.timestamp())),
    }
    if secret is not None:
        headers["webhook-signature"] = Webhook(secret).sign(str(delivery.id), now.astimezone(UTC), delivery.payload)
    return headers


def _send(client: httpx.Client, delivery: DeliveryRecord, secret: bytes | None, now: datetime) -> str | None:
    """None when the receiver answered 2xx, else what went wrong."""
    try:
        answer = client.post(
            delivery.url, content=delivery.payload.encode(), headers=dict(headers_of(delivery, secret, now))
        )
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
        told = f"{type(error).__name__}: {error}".replace(delivery.url, shown_url(delivery.url))
        return masked(told)[:_TOLD_AT_MOST]
    return None if answer.is_success else f"the receiver answered {answer.status_code}"


def _finish(engine: Engine, delivery: DeliveryRecord, error: str | None, now: datetime) -> None:
    if error is not None:
        log.warning(
            "message %s to %s failed at try %d: %s", delivery.id, shown_url(delivery.url), delivery.attempts, error
        )
    try:
        with transaction(engine) as session:
            finish_delivery(session, delivery, now=now, error=error)
    except ClaimLost:
        log.warning("message %s took longer than its lease; its new owner finishes it", delivery.id)
