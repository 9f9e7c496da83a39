"""When what is in force lapses: what it promised was of a time that is over.

Under a rolling promise a week's thresholds are those that its own period certified, and nothing is
kept in force because it was luckier:

- The newest attempt, made since the champion came into force, certified nothing. One that somebody
  asked for between two turns does not count: its level is paid back by the next turn, so it and
  what is in force may be chosen between (docs/decisions/0141-when-to-train.md).
- No attempt was made for twice the window that the champion's certificate rests on, which is of
  four periods at least (`evidence.certification.rolling`).

What a season has certified stays so while it lasts:

- The newest attempt is not of the champion's season, and certified nothing.
- No attempt was made for two quarters since the season was opened.

Then nothing is kept until the next attempt certifies something. Certificates from before promises
were declared do not lapse: the shares of δ that they spent hold together.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from evidence.certification.rolling import LEAST_PERIODS, in_force_until
from evidence.certification.season import QUARTER
from knowgate._bundles.bundle import read_document
from knowgate._bundles.bundle_documents import BundleDocument, CertificateDocument, SeasonMark
from knowgate._records.records import Window
from knowgate.errors import BundleRefused, RecordInvalid
from knowgate.spec import PromiseKind
from monitoring.words import short
from store.releases.bundles import BundleRecord, BundleStatus

CERTIFIED_NOTHING = (BundleStatus.INFEASIBLE, BundleStatus.INSUFFICIENT_EVIDENCE, BundleStatus.SAVES_NOTHING)


def lapse_of(
    champion: BundleDocument,
    attempts: Sequence[BundleRecord],
    *,
    in_force_since: datetime,
    every: timedelta,
    now: datetime,
) -> str | None:
    """Why the champion may keep nothing any more; None where it may.

    `attempts` are the cascade's bundles, newest first, and `every` is how long a period is.
    """
    certificate = champion.certificate
    if certificate is None:
        return None
    newest = next(counting(attempts), None)
    since_then = newest is not None and newest.created_at >= in_force_since
    nothing = newest if since_then and newest is not None and newest.status in CERTIFIED_NOTHING else None
    if certificate.season is not None:
        return _season_over(certificate.season, nothing, now)
    if certificate.promise is not PromiseKind.ROLLING:
        return None
    if nothing is not None:
        return f"the newest attempt certified nothing: bundle {short(nothing.id)}, {nothing.status.value}"
    length = max(certificate.cohort.length, LEAST_PERIODS * every)
    since = max(champion.created_at, in_force_since)
    until = in_force_until(since, Window(start=since - length, end=since))
    if now > until:
        return f"its certificate lasted until {until:%Y-%m-%d %H:%M} UTC, twice its window, and no attempt was made"
    return None


def counting(attempts: Iterable[BundleRecord]) -> Iterator[BundleRecord]:
    """Those of the attempts that end what was in force where they certified nothing."""
    return (one for one in attempts if one.status not in CERTIFIED_NOTHING or not _borrowed(certificate_of(one)))


def season_of(record: BundleRecord) -> SeasonMark | None:
    """The season of a bundle's certificate; None for one of none, or that cannot be read."""
    certificate = certificate_of(record)
    return None if certificate is None else certificate.season


def certificate_of(record: BundleRecord) -> CertificateDocument | None:
    """A bundle's certificate; None where it has none, or cannot be read."""
    try:
        return read_document(record.document).certificate
    except (BundleRefused, RecordInvalid):
        return None


def _borrowed(certificate: CertificateDocument | None) -> bool:
    """Whether the attempt's level was borrowed from the next turn, which keeps more than half of
    its own (`evidence.bounds.spending`).
    """
    rolling = certificate is not None and certificate.promise is PromiseKind.ROLLING
    return rolling and certificate is not None and certificate.delta < certificate.delta_family / 2.0


def _season_over(season: SeasonMark, nothing: BundleRecord | None, now: datetime) -> str | None:
    if nothing is not None and season_of(nothing) != season:
        name = f"bundle {short(nothing.id)}, {nothing.status.value}"
        return f"season {season.number} is over, and the newest attempt certified nothing: {name}"
    until = season.opened_at + 2 * QUARTER
    if now > until:
        return f"season {season.number} and a quarter more ended at {until:%Y-%m-%d %H:%M} UTC, and no attempt was made"
    return None
