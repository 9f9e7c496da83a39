"""What the decisions that came after a risk alarm say of a bundle: what would it have lost on them?

After a stop nothing is retained, and every tier runs on the share that is observed, so the rows say
it of any bundle (`monitoring.alarms.logged_columns`). X and the test are those of certification:
what nobody knows counts as wrong.
"""

import logging
from dataclasses import replace
from datetime import datetime

from evidence.certification.known_outcomes import certification_rows
from evidence.certification.tally import tally_of
from knowgate._bundles.bundle import Bundle
from monitoring.alarms.logged_columns import LoggedColumns, kept_by
from monitoring.alarms.looks import SinceRing
from monitoring.rows.cohorts import Cohort
from monitoring.words import short

log = logging.getLogger("knowgate.monitoring")


def look_since_ring(cohort: Cohort, bundle: Bundle, *, rang_at: datetime, look: int, level: float) -> SinceRing:
    """Test the bundle on a mature cohort at this level."""
    targets = cohort.spec.targets
    bare = SinceRing(
        rang_at=rang_at,
        window=cohort.window,
        decisions=cohort.size,
        look=look,
        level=level,
        target=targets.kind,
        target_value=targets.value,
    )
    if len(bundle.tiers) != cohort.spec.last:
        log.warning("bundle %s is of another chain of tiers than %s", short(bundle.id), cohort.spec.name)
        return bare
    columns = LoggedColumns.of(cohort)
    if not columns.tells:
        return bare
    kept = kept_by(columns, bundle, cohort.spec)
    evidence = tally_of(certification_rows(columns.logged()), kept, level).on(targets.kind)
    return replace(
        bare,
        n=evidence.basis(targets.value).n,
        estimate=evidence.estimate,
        shown=evidence.shown(targets.value, level),
    )
