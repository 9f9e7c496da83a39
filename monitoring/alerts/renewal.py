"""Open alerts sent again to each Alertmanager that hears of them.

One that lost its memory, or was declared later, so knows what is open; and what we no longer renew,
since we are gone, ends there by itself. An alert whose messages still wait is left to them.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from knowgate._records.receivers import Hears
from knowgate.errors import RecordInvalid
from monitoring.alerts.addressees import Addressee, hearing
from monitoring.alerts.alertmanager import Alertmanager, alert_of
from monitoring.alerts.asking import NotReceived
from monitoring.alerts.deliveries import Sending, checked_client
from monitoring.alerts.messages import message_of
from monitoring.names import Rule
from store.engine import reading
from store.errors import RecordUnreadable
from store.releases.cascades import cascade, cascade_names
from store.releases.rings import rings_of
from store.watching.alert_acts import acts_of, looked_after
from store.watching.alerts import AlertRecord, alerts
from store.watching.deliveries import Fate, deliveries

log = logging.getLogger("knowgate.deliveries")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    """What one Alertmanager hears."""

    cascade: str
    to: Addressee
    alerts: tuple[Mapping[str, Any], ...]


def renew(engine: Engine, sending: Sending, *, now: datetime) -> int:
    """Tell each Alertmanager what is open; of how many alerts it was taken."""
    with reading(engine) as session:
        rounds = [one for name in cascade_names(session) for one in _rounds(session, name, sending, now)]
    if not rounds:
        return 0
    return sum(asyncio.run(_tell_all(rounds, sending)))


def _rounds(session: Session, name: str, sending: Sending, now: datetime) -> Sequence[_Round]:
    try:
        spec = cascade(session, name)
    except RecordUnreadable:
        return ()  # said by whatever reads it for its own sake
    alerts_by_receiver: dict[Addressee, list[Mapping[str, Any]]] = {}
    for record in alerts(session, name, open_only=True):
        for to in hearing(spec, Hears.ALERTS, Rule(record.rule).severity):
            if to.keeps_silences and not _waits(session, record, to):
                alerts_by_receiver.setdefault(to, []).append(_as_it_is(session, record, sending, now))
    return [_Round(cascade=name, to=to, alerts=tuple(said)) for to, said in alerts_by_receiver.items()]


def _waits(session: Session, record: AlertRecord, to: Addressee) -> bool:
    assert record.id is not None  # it is stored
    own = (one for one in deliveries(session, record.id) if one.receiver == to.key)
    return any(one.fate is Fate.WAITING for one in own)


def _as_it_is(session: Session, record: AlertRecord, sending: Sending, now: datetime) -> Mapping[str, Any]:
    assert record.id is not None  # it is stored
    ring = rings_of(session, [record.id])[-1]
    seen = looked_after(acts_of(session, [record.id]), ring.rang_at)
    said = None if seen is None else f"{seen.by}: {seen.reason}"
    return alert_of(message_of(record, ring, ring.answer), now=now, public_url=sending.public_url, acknowledged=said)


async def _tell_all(rounds: Sequence[_Round], sending: Sending) -> list[int]:
    async with checked_client(sending.networks, sending.timeout_s) as client:

        async def tell(one: _Round) -> int:
            try:
                root = one.to.address(sending.variables)
                await Alertmanager(client=client, root=root, timeout_s=sending.timeout_s).post(one.alerts)
            except (NotReceived, RecordInvalid) as error:
                log.warning("receiver %s of %s did not hear what is open: %s", one.to.key, one.cascade, error)
                return 0
            return len(one.alerts)

        return await asyncio.gather(*map(tell, rounds))
