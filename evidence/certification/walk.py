"""The walk from conservative to bold that chooses certified thresholds.

1. Everything is fixed before the rows are looked at: path, grid, order of rows; and the rows taught
   nothing.
2. Each candidate is tested at the full level δ. The first one that fails ends the walk, and all
   that passed are certified: that any of them is broken needs the first broken candidate to pass,
   which happens with probability ≤ δ. So any of them may be taken: the last one, which is the
   boldest, or the one that is worth most, where what is bolder may cost more.
3. Where none worth having (at least the stated share retained) passed, the rest of the path is
   tested the other way. If every candidate worth having is shown to break the target, it is
   infeasible: wrong with probability ≤ δ too, because one feasible candidate would have to fail its
   test. Else the evidence is insufficient, and what is missing is said.

For a retained accuracy the walk starts where the test has a chance (`retained_rows_to_start`),
which no label decides.

Sources: fixed-sequence testing as in Angelopoulos et al., "Learn then Test" (arXiv 2110.01052),
section 3; the least escalation as in arXiv 2606.29054.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from evidence.certification.certificate import Basis, CandidateFigures, Certification, Target, Thresholds
from evidence.certification.certification_rows import CertificationRows
from evidence.certification.tally import Tally, tally_of_least_drop
from evidence.inputs import level, number
from knowgate._bundles.bundle_documents import CertificateStatus
from knowgate.spec import TargetKind

MIN_RETAINED_SHARE = 0.05
_ESCALATE_ALL = CandidateFigures(
    thresholds=(),
    retained_share=0.0,
    estimated_drop=0.0,
    drop_upper_bound=0.0,
    retained_accuracy=None,
    retained_accuracy_lower_bound=None,
)


@dataclass(slots=True)
class _Progress:
    """What a walk has met so far."""

    passed: Tally | None = None  # the last one
    taken: Tally | None = None  # of those that passed
    worth: float = -math.inf  # of the one that is taken
    stopped: Tally | None = None
    considered: int = 0  # candidates worth having, from the first failure on
    all_broken: bool = True
    cheapest: Tally | None = None
    cheapest_rows: int | None = None


def walk_path(
    tallies: Iterable[Tally],
    rows: CertificationRows,
    target: Target,
    delta: float,
    min_retained_share: float,
    *,
    worth: Callable[[Thresholds], float] | None = None,
) -> Certification:
    """The outcome of a walk over the evidence on each candidate, conservative first; see the
    module's steps.

    `worth` says what each candidate worth having is chosen by, the bolder one of equals; without it
    the boldest is taken.
    """
    delta = level("delta", delta)
    min_retained_share = number("min_retained_share", min_retained_share, low=0.0, high=1.0)
    walk = _Progress()
    for tally in tallies:
        if tally.retained_share == 0.0:
            continue  # escalate all: always true, and no thresholds to certify
        if walk.stopped is None and tally.on(target.kind).testable(target.value, delta):
            if tally.on(target.kind).shown(target.value, delta):
                walk.passed = tally
                if worth is None:
                    walk.taken = tally
                elif tally.retained_share >= min_retained_share:
                    _take_if_worth_more(walk, tally, worth(tally.thresholds))
                continue
            walk.stopped = tally
        if walk.passed is not None and walk.passed.retained_share >= min_retained_share:
            break
        if tally.retained_share >= min_retained_share:
            _look_for_feasibility(walk, tally, target, delta)
    return _answer(walk, rows, target, delta, min_retained_share)


def _take_if_worth_more(walk: _Progress, tally: Tally, worth: float) -> None:
    if worth >= walk.worth:
        walk.taken, walk.worth = tally, worth


def _look_for_feasibility(walk: _Progress, tally: Tally, target: Target, delta: float) -> None:
    walk.considered += 1
    walk.all_broken = walk.all_broken and tally.on(target.kind).missed(target.value, delta)
    needed = tally.on(target.kind).rows_needed(target.value, delta, exact=False)
    if needed is not None and (walk.cheapest_rows is None or needed < walk.cheapest_rows):
        walk.cheapest, walk.cheapest_rows = tally, needed


def _figures(tally: Tally, delta: float) -> CandidateFigures:
    return CandidateFigures(
        thresholds=tally.thresholds,
        retained_share=tally.retained_share,
        estimated_drop=tally.drop.estimate,
        drop_upper_bound=tally.drop.upper_bound(delta),
        retained_accuracy=tally.accuracy.estimate,
        retained_accuracy_lower_bound=tally.accuracy.lower_bound(delta),
    )


def _answer(walk: _Progress, rows: CertificationRows, target: Target, delta: float, min_share: float) -> Certification:
    passed = walk.taken if walk.taken is not None and walk.taken.retained_share >= min_share else None
    least = tally_of_least_drop(rows, delta) if passed is None else None
    looked_at = passed or walk.stopped or walk.cheapest or least
    assert looked_at is not None
    basis = looked_at.on(target.kind).basis(target.value)
    rests_on = None if passed is None and walk.stopped is None else basis
    figures = _ESCALATE_ALL if passed is None else _figures(passed, delta)
    most = target.value if target.kind is TargetKind.MAX_ACCURACY_DROP else 1.0
    status = CertificateStatus.CERTIFIED if passed is not None else _why_not(walk)
    return Certification(
        status=status,
        target=target,
        delta=delta,
        test=basis.test,
        n=basis.n,
        thresholds=figures.thresholds or (None,) * (rows.tiers - 1),
        retained_share=figures.retained_share,
        estimated_drop=figures.estimated_drop,
        drop_upper_bound=min(figures.drop_upper_bound, most),  # the bound is solved to 1 % of a standard error
        retained_accuracy=figures.retained_accuracy,
        retained_accuracy_lower_bound=figures.retained_accuracy_lower_bound,
        stopped_at=None if walk.stopped is None else _figures(walk.stopped, delta),
        labels_needed=0 if passed is not None else _labels_needed(walk, status, basis, rows, target, delta),
        least_escalation=None if least is None else _least_escalation(least, target, delta),
        rows_assumed_wrong=0 if rests_on is None else rests_on.assumed_wrong,
        min_retained_share=min_share,
        rows_forecast=0 if rests_on is None else rests_on.rows_forecast,
        forecast_share=None if rests_on is None else rests_on.forecast_share,
    )


def _why_not(walk: _Progress) -> CertificateStatus:
    none_retains_enough = walk.passed is not None and walk.considered == 0  # what passed retains too little, as all do
    if none_retains_enough or (walk.considered > 0 and walk.all_broken):
        return CertificateStatus.INFEASIBLE
    return CertificateStatus.INSUFFICIENT_EVIDENCE


def _labels_needed(
    walk: _Progress, status: CertificateStatus, basis: Basis, rows: CertificationRows, target: Target, delta: float
) -> int | None:
    """Further labels; None where none would do. The walk has to get past its first failure too."""
    if status is CertificateStatus.INFEASIBLE or walk.cheapest is None:
        return None
    needed = walk.cheapest.on(target.kind).rows_needed(target.value, delta, exact=True)
    if needed is None:
        return None
    if walk.stopped is not None:
        needed = max(needed, walk.stopped.on(target.kind).rows_needed(target.value, delta, exact=False) or 0)
    # Of the rows that were paid for, a test may use only some: more are needed in that proportion.
    return max(1, math.ceil((needed - basis.n) * rows.known / basis.n))


def _least_escalation(best: Tally, target: Target, delta: float) -> float:
    """The share that every policy, however clever, must escalate to meet the target: a lower bound
    at confidence 1 − δ.

    Each escalation lowers the drop by at most 1, so max(0, p₊ − p₋ − ε); for an accuracy a of what
    is retained, at most P(right)/a can be retained.
    """
    if target.kind is TargetKind.MAX_ACCURACY_DROP:
        return max(0.0, best.drop.lower_bound(delta) - target.value)
    return max(0.0, 1.0 - best.accuracy.upper_bound(delta) / target.value)
