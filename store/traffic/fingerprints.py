"""The fingerprints of the models that were ever read. Few exist, so they are read as a whole."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from knowgate._records.records import Fingerprint
from knowgate._wire import codec
from store import dialects
from store.tables import FingerprintRow
from store.traffic.decision_rows import fingerprint_id


def fingerprints(session: Session) -> dict[str, Fingerprint]:
    """Every fingerprint by the SHA-256 under which attempts refer to it."""
    return {row.sha256: codec.decode(Fingerprint, row.document) for row in session.scalars(select(FingerprintRow))}


def add_fingerprint(session: Session, fingerprint: Fingerprint) -> str:
    """Keep a fingerprint; the SHA-256 under which it is known. One that is there
    changes nothing.
    """
    key = fingerprint_id(fingerprint)
    row = {"sha256": key, "document": codec.encode(fingerprint)}
    dialects.insert_new(session, FingerprintRow, [row], returning="sha256")
    return key
