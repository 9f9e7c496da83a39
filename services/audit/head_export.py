"""Putting heads where they are kept: a folder or an object store, one file per head, none ever overwritten."""

import logging

import fsspec
from sqlalchemy import Engine

from services.audit.heads import Head, head_of
from services.errors import InputInvalid
from services.settings import Settings
from store import ledger
from store.engine import reading

log = logging.getLogger("knowgate.ledger")


def export_head(engine: Engine, settings: Settings) -> str | None:
    """Put the newest head into KNOWGATE_HEADS_URL; its place, None where it is there or could not be put there."""
    with reading(engine) as session:
        hashes = ledger.batch_hashes(session)
    if not hashes:
        return None
    head = head_of(hashes, settings.signing_key)
    place = f"{settings.heads_url.rstrip('/')}/{head.name}"
    try:
        filesystem, path = fsspec.core.url_to_fs(place)
        if filesystem.exists(path):
            return None
        put_head(head, place)
    except Exception as error:  # noqa: BLE001 whatever a file system of any kind raises: sealing must not end by it
        log.error("the head of batch %d could not be put into KNOWGATE_HEADS_URL: %s", head.batches, error)
        return None
    return place


def put_head(head: Head, place: str) -> None:
    """Write a head to a file or an fsspec URL. Raises InputInvalid."""
    try:
        with fsspec.open(place, "wb", auto_mkdir=True) as file:
            file.write(head.note.encode())
    except (OSError, ValueError, ImportError) as error:
        raise InputInvalid(f"{place} cannot be written ({error}); name a file or an fsspec URL") from error
