"""The fingerprints of the models that were ever read. Few exist, so they are read as a whole."""

from collections.abc import Iterable

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


def add_fingerprints(session: Session, found: Iterable[Fingerprint]) -> tuple[str, ...]:
    """Keep these fingerprints; the SHA-256s under which they are known, in order. Those that are
    there change nothing.
    """
    known = {fingerprint_id(one): one for one in found}
    rows = [{"sha256": key, "document": codec.encode(known[key])} for key in sorted(known)]
    dialects.insert_new(session, FingerprintRow, rows, returning="sha256")
    return tuple(sorted(known))
