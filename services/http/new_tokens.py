"""Making and revoking tokens, by command and by API: what a token may be asked to be."""

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from services.durations import parse_duration
from services.errors import InputInvalid
from services.words import require_words
from store.releases.cascades import cascade_version
from store.tokens import NewToken, TokenRole, add_token

LONGEST_NAME = 100  # characters


def make_token(session: Session, wanted: NewToken, *, now: datetime) -> str:
    """Make a token; its plaintext, which is not kept.

    Raises InputInvalid for a name that says nothing, no cascade at all and an end that is past,
    CascadeUnknown for a cascade that is not there, and TokenNameTaken.
    """
    require_words(name=wanted.name)
    if len(wanted.name) > LONGEST_NAME:
        raise InputInvalid(f"name has {len(wanted.name)} characters: at most {LONGEST_NAME} are expected")
    if wanted.cascades == ():
        raise InputInvalid("cascades: name one at least, or leave it out for all")
    if wanted.expires_at is not None and wanted.expires_at <= now:
        raise InputInvalid(f"expires_at is {wanted.expires_at}: give a time from {now:%Y-%m-%d %H:%M} UTC on")
    for name in wanted.cascades or ():
        cascade_version(session, name)
    return add_token(session, wanted, now=now)


def expiry(duration: str | None, now: datetime) -> datetime | None:
    """When what lasts for a duration expires; None = never. Raises InputInvalid."""
    try:
        lasts = None if duration is None else parse_duration(duration)
    except ValueError as error:
        raise InputInvalid(f"expires_in is {duration!r}: {error}") from None
    if lasts == timedelta():
        raise InputInvalid(f"expires_in is {duration!r}: give more than nothing, or leave it out")
    return None if lasts is None else now + lasts


ROLES = {
    TokenRole.INGEST: "decisions, labels, decide",
    TokenRole.RUNTIME: "assignments, bundles, acknowledgements, decisions",
    TokenRole.READ: "pages, cascades, metrics",
    TokenRole.OPERATOR: "the same, and to act on cascades and alerts",
    TokenRole.ADMIN: "all",
}
