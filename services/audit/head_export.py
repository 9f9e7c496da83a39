"""Putting heads where they are kept: a folder or an object store, one file per head, none ever
overwritten; or a webhook, whose receiver keeps what it is sent.
"""

import asyncio
import logging

import fsspec
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from knowgate._wire.shown import masked, shown_url
from monitoring.alerts.asking import ask
from monitoring.alerts.deliveries import TIMEOUT_S, checked_client
from services.audit.heads import Head, head_of
from services.errors import InputInvalid, Refused
from services.settings import Settings
from store.engine import reading
from store.ledger import ledger

log = logging.getLogger("knowgate.ledger")


def export_head(engine: Engine, settings: Settings) -> str | None:
    """Put the newest head into KNOWGATE_HEADS_URL; its place, None where it is there or could not
    be put there.
    """
    head = _newest(engine, settings)
    if head is None:
        return None
    try:
        return _put_away(head, settings)
    except Exception as error:  # noqa: BLE001 whatever a file system of any kind raises: sealing must not end by it
        what = masked(str(error)).replace(settings.heads_url, shown_url(settings.heads_url))
        log.error("the head of batch %d could not be put into KNOWGATE_HEADS_URL: %s", head.batches, what)
        return None


def missing_head(engine: Engine, settings: Settings) -> str | None:
    """Why the newest head is not where it should be; None where it is, where nothing is sealed, or
    a webhook has it.
    """
    head = _newest(engine, settings)
    if head is None or _is_webhook(settings.heads_url):
        return None
    try:
        if _is_there(_place(head, settings.heads_url)):
            return None
    except Exception as error:  # noqa: BLE001 as above
        return f"the head of batch {head.batches} cannot be looked for: {masked(str(error))}"
    return f"the head of batch {head.batches} is not in {shown_url(settings.heads_url)}"


def newest_head(session: Session, settings: Settings) -> Head:
    """The head over all batches so far. Raises Refused where nothing is sealed."""
    hashes = ledger.batch_hashes(session)
    if not hashes:
        raise Refused("nothing is sealed yet, so the ledger has no head: the scheduler seals every ten minutes")
    return head_of(hashes, settings.signing_key)


def _newest(engine: Engine, settings: Settings) -> Head | None:
    try:
        with reading(engine) as session:
            return newest_head(session, settings)
    except Refused:
        return None


def _is_webhook(heads_url: str) -> bool:
    return heads_url.startswith(("http://", "https://"))


def _place(head: Head, heads_url: str) -> str:
    return f"{heads_url.rstrip('/')}/{head.name}"


def _is_there(place: str) -> bool:
    filesystem, path = fsspec.core.url_to_fs(place)
    return bool(filesystem.exists(path))


def _put_away(head: Head, settings: Settings) -> str | None:
    """Its place; None where it is there."""
    if _is_webhook(settings.heads_url):
        asyncio.run(_post_head(head, settings))
        return shown_url(settings.heads_url)
    place = _place(head, settings.heads_url)
    if _is_there(place):
        return None
    put_head(head, place)
    return place


async def _post_head(head: Head, settings: Settings) -> None:
    """Send a head to a webhook, through the door of all messages. Raises NotReceived; the next seal
    sends the newest again.
    """
    headers = {"Content-Type": "text/plain; charset=utf-8", "Knowgate-Head": head.name}
    async with checked_client(settings.outgoing_networks, TIMEOUT_S) as client:
        content = head.note.encode()
        await ask(client, "POST", settings.heads_url, timeout_s=TIMEOUT_S, content=content, headers=headers)


def put_head(head: Head, place: str) -> None:
    """Write a head to a file or an fsspec URL. Raises InputInvalid."""
    try:
        with fsspec.open(place, "wb", auto_mkdir=True) as file:
            file.write(head.note.encode())
    except (OSError, ValueError, ImportError) as error:
        raise InputInvalid(f"{place} cannot be written ({error}); name a file or an fsspec URL") from error
