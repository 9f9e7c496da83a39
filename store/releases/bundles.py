"""Bundles: the content in the database, so that what serves is backed up with what it decided.

A bundle is added once and never changed; only its status and signature are.
"""

import hashlib
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from store import dialects
from store.claims import changed
from store.errors import BundleDamaged, BundleMismatch, BundleUnknown
from store.rejections import storable
from store.rows import Document, record_of, row_of
from store.tables import BundleRow


class BundleStatus(StrEnum):
    CANDIDATE = "candidate"
    CERTIFIED = "certified"
    INFEASIBLE = "infeasible"
    INSUFFICIENT_EVIDENCE = "insufficient_evidence"
    SAVES_NOTHING = "saves_nothing"
    PROMOTED = "promoted"
    REFUSED = "refused"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleRecord:
    """A stored bundle, without its content."""

    id: str  # hex SHA-256 of the content
    cascade: str
    document: Document
    status: BundleStatus
    created_at: datetime
    signature: str | None  # hex Ed25519 over the id


def add_bundle(
    session: Session,
    bundle_id: str,
    cascade: str,
    document_json: str | bytes,
    content: bytes,
    status: BundleStatus,
    now: datetime,
    *,
    signature: str | None = None,
) -> bool:
    """Store a bundle with its ledger leaf; False when it was there already, and then nothing is
    changed.

    Raises BundleMismatch when `content` does not hash to `bundle_id`.
    """
    digest = hashlib.sha256(content).hexdigest()
    if digest != bundle_id:
        raise BundleMismatch(bundle_id, digest)
    row = row_of(
        BundleRow,
        id=bundle_id,
        cascade=cascade,
        document=document_json,
        content=content,
        status=BundleStatus(status),
        signature=signature,
        created_at=now,
    )
    return bool(dialects.insert_new(session, BundleRow, [row], returning="id"))


def bundle(session: Session, bundle_id: str) -> BundleRecord:
    """A bundle without its content. Raises BundleUnknown, BundleDamaged."""
    if not storable(bundle_id):
        raise BundleUnknown(bundle_id)
    try:
        row = session.execute(_records().where(BundleRow.id == bundle_id)).one_or_none()
    except ValueError as error:  # what a column of JSON says of what is none
        raise BundleDamaged(bundle_id, f"its document is no JSON ({error})") from error
    if row is None:
        raise BundleUnknown(bundle_id)
    return record_of(BundleRecord, row)


def bundle_content(session: Session, bundle_id: str) -> bytes:
    """The bundle's file, which is what was stored. Raises BundleUnknown, BundleDamaged."""
    if not storable(bundle_id):
        raise BundleUnknown(bundle_id)
    content = session.scalar(select(BundleRow.content).where(BundleRow.id == bundle_id))
    if content is None:
        raise BundleUnknown(bundle_id)
    digest = hashlib.sha256(content).hexdigest()
    if digest != bundle_id:
        raise BundleDamaged(bundle_id, f"its content has the SHA-256 {digest}")
    return bytes(content)


def bundles(session: Session, cascade: str) -> tuple[BundleRecord, ...]:
    """The cascade's bundles, newest first."""
    query = _records().where(BundleRow.cascade == cascade).order_by(BundleRow.created_at.desc(), BundleRow.id)
    return tuple(record_of(BundleRecord, row) for row in session.execute(query))


def set_bundle_status(session: Session, bundle_id: str, status: BundleStatus) -> None:
    """Raises BundleUnknown."""
    _change(session, bundle_id, {"status": BundleStatus(status).value})


def sign_bundle(session: Session, bundle_id: str, signature: str) -> None:
    """Keep the detached signature, in hex, over the bundle's id. Raises BundleUnknown."""
    _change(session, bundle_id, {"signature": signature})


def _change(session: Session, bundle_id: str, values: dict[str, str]) -> None:
    result = session.execute(update(BundleRow).where(BundleRow.id == bundle_id).values(**values))
    if changed(result) != 1:
        raise BundleUnknown(bundle_id)


def _records() -> Select[Any]:
    return select(*(getattr(BundleRow, field.name) for field in fields(BundleRecord)))
