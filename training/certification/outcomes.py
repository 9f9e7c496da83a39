"""What a window's rows know, as it was logged: `evidence.certification.known_outcomes` says what
certification makes of it.
"""

from typing import Any

import numpy as np

from evidence.certification.certification_rows import CertificationRows
from evidence.certification.known_outcomes import LoggedRows, agreeing, certification_rows, ended_early
from knowgate.spec import TargetKind
from training.rows.dataset import CascadeRows


def logged_rows(rows: CascadeRows) -> LoggedRows:
    """The n decisions as they were logged."""
    return LoggedRows(
        ids=rows.ids,
        ran=rows.ran,
        agrees=agreeing([tier.answer.tolist() for tier in rows.tiers]),
        correct=_of_tiers(rows, "correct"),
        label_propensity=_of_tiers(rows, "label_propensity"),
        run_propensity=_of_tiers(rows, "run_propensity"),
        exploration_rate=rows.exploration_rate,
        apart=rows.coins_apart,
        early=ended_early(_of_tiers(rows, "role")),
        forecast=_of_tiers(rows, "forecast"),
        label_source=_of_tiers(rows, "label_source"),
        forecast_source=_of_tiers(rows, "forecast_source"),
    )


def testable(rows: CascadeRows, error: float | None = None) -> CertificationRows | None:
    """The rows as evidence sees them; None where no row's outcomes are known at all.

    `error` is how often a forecast is assumed to be wrong
    (`evidence.certification.known_outcomes.forecast_error`), from rows that do not certify.
    """
    last = rows.tiers[-1]
    if rows.n == 0 or not (last.ran & np.isfinite(last.correct)).any():
        return None
    return certification_rows(logged_rows(rows), error)


def labelled_decisions(rows: CascadeRows, kind: TargetKind) -> int:
    """How many decisions are labelled, as `store.labelling.known` counts them: at the first tier
    and, for a drop, the last.
    """
    correct = np.isfinite(_of_tiers(rows, "correct"))
    return int((correct[:, 0] & (correct[:, -1] if kind is TargetKind.MAX_ACCURACY_DROP else True)).sum())


def _of_tiers(rows: CascadeRows, name: str) -> Any:
    """[n, tiers] a column of all tiers."""
    return np.column_stack([getattr(tier, name) for tier in rows.tiers])
