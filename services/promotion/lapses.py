"""When what is in force lapses: what it promised was of a time that is over.

Under a rolling promise a week's thresholds are those that its own period certified, and nothing is
kept in force because it was luckier:

- The newest attempt, made since the champion came into force, certified nothing.
- No attempt was made for twice the window that the champion's certificate rests on, which is of
  four periods at least (`evidence.certification.rolling`).

What a season has certified stays so while it lasts:

- The newest attempt is not of the champion's season, and certified nothing.
- No attempt was made for two quarters since the season was opened.

Then nothing is kept until the next attempt certifies something. Certificates from before promises
were declared do not lapse: the shares of δ that they spent hold together.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from evidence.certification.rolling import LEAST_PERIODS, in_force_until
from evidence.certification.season import QUARTER
from knowgate._bundles.bundle import read_document
from knowgate._bundles.bundle_documents import BundleDocument, SeasonMark
from knowgate._records.records import Window
from knowgate.errors import BundleRefused, RecordInvalid
from knowgate.spec import PromiseKind
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
    newest = next((one for one in attempts[:1] if one.created_at >= in_force_since), None)
    nothing = newest if newest is not None and newest.status in CERTIFIED_NOTHING else None
    if certificate.season is not None:
        return _season_over(certificate.season, nothing, now)
    if certificate.promise is not PromiseKind.ROLLING:
        return None
    if nothing is not None:
        return f"the newest attempt certified nothing: bundle {nothing.id[:12]}, {nothing.status.value}"
    length = max(certificate.cohort.length, LEAST_PERIODS * every)
    since = max(champion.created_at, in_force_since)
    until = in_force_until(since, Window(start=since - length, end=since))
    if now > until:
        return f"its certificate lasted until {until:%Y-%m-%d %H:%M} UTC, twice its window, and no attempt was made"
    return None


def season_of(record: BundleRecord) -> SeasonMark | None:
    """The season of a bundle's certificate; None for one of none, or that cannot be read."""
    try:
        certificate = read_document(record.document).certificate
    except (BundleRefused, RecordInvalid):
        return None
    return None if certificate is None else certificate.season


def _season_over(season: SeasonMark, nothing: BundleRecord | None, now: datetime) -> str | None:
    if nothing is not None and season_of(nothing) != season:
        name = f"bundle {nothing.id[:12]}, {nothing.status.value}"
        return f"season {season.number} is over, and the newest attempt certified nothing: {name}"
    until = season.opened_at + 2 * QUARTER
    if now > until:
        return f"season {season.number} and a quarter more ended at {until:%Y-%m-%d %H:%M} UTC, and no attempt was made"
    return None
