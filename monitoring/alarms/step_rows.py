"""What the decisions of a rollout's step say of the challenger, against the promise.

In the shadow step it decided nothing: its own policy is asked again, with signals that its own
models make of what was logged (`monitoring.alarms.logged_columns`). Where it decides a share, what
counts is what it kept of that share, and nothing that the champion decided. X and the tests are
those of certification. For it, what nobody knows counts as wrong; against it, as right.
"""

import logging
from dataclasses import replace
from datetime import datetime

import numpy as np

from evidence.certification.known_outcomes import certification_rows
from evidence.certification.tally import charitable_tally_of, tally_of
from knowgate._bundles.bundle import Bundle
from knowgate.spec import TargetKind
from monitoring.alarms.logged_columns import LoggedColumns, kept_by
from monitoring.alarms.step_looks import StepLook
from monitoring.rows.cohorts import Cohort
from monitoring.words import short

log = logging.getLogger("knowgate.monitoring")


def look_at_step(cohort: Cohort, bundle: Bundle, *, decides: bool, look: int, level: float, at: datetime) -> StepLook:
    """Look at the challenger on a mature cohort; `decides` = it decides a share of the queries."""
    own = cohort.of_bundle(bundle.id) if decides else cohort
    seen = StepLook(at=at, window=cohort.window, decisions=own.size, look=look, level=level)
    if len(bundle.tiers) != cohort.spec.last:
        log.warning("bundle %s is of another chain of tiers than %s", short(bundle.id), cohort.spec.name)
        return seen
    columns = LoggedColumns.of(own)
    if not columns.tells:
        return seen
    kept = columns.served if decides else kept_by(columns, bundle, cohort.spec)
    rows, targets = certification_rows(columns.logged()), cohort.spec.targets
    if not np.any(rows.counted):
        return seen
    for_it = tally_of(rows, kept, level).on(targets.kind)
    against = charitable_tally_of(rows, kept, level).on(targets.kind)
    estimate = for_it.estimate
    drop = targets.kind is TargetKind.MAX_ACCURACY_DROP
    return replace(
        seen,
        n=for_it.basis(targets.value).n,
        estimate=estimate,
        keeps=estimate is not None and (estimate <= targets.value if drop else estimate >= targets.value),
        broken=against.missed(targets.value, level),
    )
