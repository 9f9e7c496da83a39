"""When what is in force lapses under a rolling promise: a week's thresholds are those that its own
period certified, and nothing is kept in force because it was luckier.

- The newest attempt, made since the champion came into force, certified nothing.
- No attempt was made for twice the window that the champion's certificate rests on, which is of
  four periods at least (`evidence.certification.rolling`).

Then nothing is kept until the next attempt certifies something. Other promises do not lapse: what a
season has certified stays so.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from evidence.certification.rolling import LEAST_PERIODS, in_force_until
from knowgate._bundles.bundle_documents import BundleDocument
from knowgate._records.records import Window
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
    if certificate is None or certificate.promise is not PromiseKind.ROLLING:
        return None
    newest = attempts[0] if attempts else None
    if newest is not None and newest.status in CERTIFIED_NOTHING and newest.created_at >= in_force_since:
        return f"the newest attempt certified nothing: bundle {newest.id[:12]}, {newest.status.value}"
    length = max(certificate.cohort.length, LEAST_PERIODS * every)
    since = max(champion.created_at, in_force_since)
    until = in_force_until(since, Window(start=since - length, end=since))
    if now > until:
        return f"its certificate lasted until {until:%Y-%m-%d %H:%M} UTC, twice its window, and no attempt was made"
    return None
