"""The fingerprints of the models that were ever read. Few exist, so they are read as a whole."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from knowgate import codec
from knowgate.records import Fingerprint
from store.tables import FingerprintRow


def fingerprints(session: Session) -> dict[str, Fingerprint]:
    """Every fingerprint by the SHA-256 under which attempts refer to it."""
    return {row.sha256: codec.decode(Fingerprint, row.document) for row in session.scalars(select(FingerprintRow))}
