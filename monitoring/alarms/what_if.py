"""What another bundle would have done with the decisions of a window: how many it would have kept,
what that would have cost, and how much oftener the answers would have been right.

Routes come from the bundle's own policy and models over what was logged
(`monitoring.alarms.logged_columns`). Where a tier did not run, or a state that the bundle would
look at is not stored, its route is not known: such decisions are counted and left out. States are
stored of a keyed sample, so what is left is one too.

Costs of a tier that did not run are that tier's mean. Accuracy changes on changed routes alone: it
is their share times the mean difference there, self-normalised over the coins that showed both
answers. A label that was owed and is missing counts as either: the interval reaches over both.
"""

from dataclasses import dataclass

import numpy as np

from evidence.certification.certification_rows import CertificationRows
from evidence.certification.known_outcomes import certification_rows
from evidence.costs.break_even import break_even
from evidence.errors import InvalidInputError, NotIdentifiedError
from evidence.estimation.estimates import Estimate, self_normalised
from knowgate._bundles.bundle import Bundle
from knowgate._records.arrays import BoolArray, FloatArray, IntArray
from knowgate._records.records import Reason, Window
from monitoring.alarms.logged_columns import LoggedColumns, kept_by
from monitoring.rows.cohorts import Cohort
from monitoring.rows.pairing import numbers_at
from monitoring.words import short

ROUTES = 1000  # changed routes that are listed
CONFIDENCE = 0.9
_OF_A_STATE = (Reason.P_IK, Reason.OOD, Reason.SCORE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedRoute:
    """A decision that would have been served by another tier."""

    decision: str
    served: int
    would_serve: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyChange:
    """By how much the share of right answers would have changed, over all decisions compared."""

    value: float | None  # of what is known; None where nothing is
    lower: float | None
    upper: float | None
    confidence: float
    known: int  # changed routes of which both answers are labelled
    why_not: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """One bundle over one window, beside what was served."""

    cascade: str
    bundle: str
    window: Window
    decisions: int  # of the window, at most the newest 20,000
    compared: int  # whose route under the bundle is known
    kept_share: float  # before the last tier, as served
    would_keep_share: float
    savings_usd: float | None  # of the last tier's bill, as served; None where it never ran or was free
    would_save_usd: float | None
    accuracy_change: AccuracyChange
    changed: int
    routes: tuple[ChangedRoute, ...]  # the first of them


def what_if(cohort: Cohort, bundle: Bundle) -> WhatIf:
    """The bundle over a cohort. Raises InvalidInputError for a bundle of another chain of tiers, or
    where no decision can be compared.
    """
    if len(bundle.tiers) != cohort.spec.last:
        raise InvalidInputError(f"bundle {short(bundle.id)} is of another chain of tiers than {cohort.spec.name}")
    columns = LoggedColumns.of(cohort) if cohort.size else None
    if columns is None or not columns.n:
        raise InvalidInputError(f"{cohort.spec.name} made no decision in the window: name another, or more days")
    kept = kept_by(columns, bundle, cohort.spec)
    known = _known(columns, bundle, kept)
    if not known.any():
        raise InvalidInputError(
            f"no decision of the window shows what bundle {short(bundle.id)} would have done with it"
        )
    changed = known & (kept != columns.served)
    last = cohort.spec.last
    costs = numbers_at(columns.attempts, "usd", columns.at)
    routes = tuple(
        ChangedRoute(decision=columns.ids[row], served=int(columns.served[row]), would_serve=int(kept[row]))
        for row in np.flatnonzero(changed)[:ROUTES]
    )
    return WhatIf(
        cascade=cohort.spec.name,
        bundle=bundle.id,
        window=cohort.window,
        decisions=columns.n,
        compared=int(known.sum()),
        kept_share=float((columns.served[known] < last).mean()),
        would_keep_share=float((kept[known] < last).mean()),
        savings_usd=_savings(costs[known], columns.served[known]),
        would_save_usd=_savings(costs[known], kept[known]),
        accuracy_change=_accuracy_change(columns, kept, known),
        changed=int(changed.sum()),
        routes=routes,
    )


def _known(columns: LoggedColumns, bundle: Bundle, kept: IntArray) -> BoolArray:
    """[n] the tiers up to the kept one ran, and the states that the bundle would look at are
    stored.
    """
    known = np.ones(columns.n, dtype=np.bool_)
    stored = np.array([isinstance(shard, str) for shard in [*columns.attempts["shard"], None]])
    for tier, gates in enumerate(bundle.document.policy.rules):
        reached = kept >= tier
        if gates is None:
            continue
        known &= ~reached | columns.ran[:, tier] | (kept > tier)
        if any(gate.signal in _OF_A_STATE for gate in gates):
            known &= ~reached | stored[columns.at[:, tier]]
    return known


def _savings(costs: FloatArray, kept: IntArray) -> float | None:
    """Of the last tier's bill; what a tier costs that did not run is the mean of where it did."""
    seen = np.isfinite(costs)
    if not seen.any(axis=0).all():
        return None
    means = np.where(seen, costs, 0.0).sum(axis=0) / seen.sum(axis=0)
    filled = np.where(seen, costs, means)
    return break_even(filled, kept).savings if filled[:, -1].sum() > 0.0 else None


def _accuracy_change(columns: LoggedColumns, kept: IntArray, known: BoolArray) -> AccuracyChange:
    rows = certification_rows(columns.logged())
    changed = known & (kept != columns.served)
    bare = AccuracyChange(value=None, lower=None, upper=None, confidence=CONFIDENCE, known=0)
    if not changed.any():
        return AccuracyChange(value=0.0, lower=0.0, upper=0.0, confidence=CONFIDENCE, known=0)
    # Of one answer the accuracy is the last tier's less X, so what changes is a difference of X.
    change = (rows.outcome(columns.served) - rows.outcome(kept))[changed]
    share = float(changed.sum() / known.sum())
    labelled = np.isfinite(change)
    try:
        low, high = (_mean(rows, changed, np.where(labelled, change, worst)) for worst in (-1.0, 1.0))
        value = _mean(rows, changed, change) if (rows.seen[changed] & labelled).any() else None
    except NotIdentifiedError as error:
        return AccuracyChange(value=None, lower=None, upper=None, confidence=CONFIDENCE, known=0, why_not=str(error))
    if low.lower is None or high.upper is None:
        return bare
    return AccuracyChange(
        value=None if value is None else share * value.value,
        lower=share * low.lower,
        upper=share * high.upper,
        confidence=CONFIDENCE,
        known=int((rows.seen[changed] & labelled).sum()),
        why_not=None if value is not None else "no changed route has both of its answers labelled",
    )


def _mean(rows: CertificationRows, changed: BoolArray, change: FloatArray) -> Estimate:
    """The mean over the changed routes of what their coins showed."""
    chance = np.asarray(np.ones(rows.n) if rows.propensity is None else rows.propensity, dtype=np.float64)[changed]
    seen = rows.seen[changed] & np.isfinite(change)
    return self_normalised(
        np.where(seen, change, np.nan),
        seen,
        np.where(np.isfinite(chance), chance, 1.0),
        confidence=CONFIDENCE,
        reach=(-1.0, 1.0),
    )
