"""A chain's thresholds, chosen among several paths by what they save.

Every path was fixed before the rows were looked at and is walked at an equal share of δ, so what
any of them certifies keeps the promise with confidence 1 − δ, whichever is chosen. Retained share
is not what a chain is chosen by: an answer kept by its second tier has paid for the first as well.
What costs follow from no label, so savings may be looked at freely. Thresholds that keep the
promise and save nothing are refused by name: `saves_nothing`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

from evidence.certification.certificate import Certification, Target, Thresholds
from evidence.certification.certification_rows import CertificationRows
from evidence.certification.certify import certify_policy
from evidence.certification.nested_path import Signals
from evidence.certification.walk import MIN_RETAINED_SHARE
from evidence.certification.worth import Saves, saves_most
from evidence.errors import InvalidInputError
from evidence.inputs import BoolArray, level
from knowgate._bundles.bundle_documents import CertificateStatus
from knowgate.policy import Policy, PolicyKind


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainCertification:
    """What was chosen among a chain's paths."""

    certification: Certification
    savings: float | None  # of its thresholds on the rows that certify; None = nothing certified, or costs unknown


def certify_chain(
    kind: PolicyKind,
    signals: Sequence[Signals],
    rows: CertificationRows,
    target: Target,
    delta: float,
    *,
    paths: Sequence[Sequence[Thresholds]],
    saves: Saves,
    fallback: Policy | None = None,
    ran: BoolArray | None = None,
    ends_early: bool = False,
    min_retained_share: float = MIN_RETAINED_SHARE,
    learned_on: Collection[str] = frozenset(),
) -> ChainCertification:
    """Certify along each of the paths at an equal share of δ, and keep what saves most.

    Where every tier answers before it is judged, the boldest that a path certifies saves most of
    it. Where `ends_early`, a gate may end a tier before it answers, so what is bolder may pay for
    answers that it does not keep: then all that a path certifies is compared. Where costs are
    unknown, what keeps most from the last tier is kept. Other arguments and errors are those of
    `certify_policy`.

    Examples:
        >>> import numpy as np
        >>> from evidence.certification.path import chain_paths
        >>> from knowgate.spec import TargetKind
        >>> signals = [{"p_t": np.tile([0.9, 0.8, 0.2, 0.3], 500)}] * 2
        >>> rows = CertificationRows(correct=np.tile([[1, 1, 1]] * 2 + [[0, 1, 1]] * 2, (500, 1)))
        >>> costs = np.array([0.1, 0.3, 1.3])  # of what is kept at each tier, with the tiers before
        >>> chosen = certify_chain(
        ...     PolicyKind.P_T,
        ...     signals,
        ...     rows,
        ...     Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.02),
        ...     0.1,
        ...     paths=chain_paths(PolicyKind.P_T, signals),
        ...     saves=lambda kept, _: 1.0 - float(costs[kept].mean()),
        ... )
        >>> chosen.certification.retained_share, round(chosen.savings, 2)
        (1.0, 0.75)
    """
    if not paths or not all(paths):
        raise InvalidInputError("paths is empty, or holds an empty path; give at least one candidate on each")
    walk = partial(
        certify_policy,
        *(kind, signals, rows, target, level("delta", delta) / len(paths)),
        fallback=fallback,
        ran=ran,
        min_retained_share=min_retained_share,
        learned_on=learned_on,
        saves=saves if ends_early else None,
    )
    walked = [walk(path=path) for path in paths]
    certified = [one for one in walked if one.status is CertificateStatus.CERTIFIED]
    if not certified:
        return ChainCertification(certification=replace(_nearest(walked), delta=delta), savings=None)
    policies = [Policy(kind=kind, rules=one.thresholds, fallback=fallback) for one in certified]
    best, savings = saves_most(policies, signals, saves, ran=ran)
    return _worth_its_cost(replace(certified[best], delta=delta), savings)


def _worth_its_cost(chosen: Certification, savings: float | None) -> ChainCertification:
    saves_nothing = savings is not None and savings <= 0.0
    return ChainCertification(certification=_refused(chosen) if saves_nothing else chosen, savings=savings)


def _nearest(walked: Sequence[Certification]) -> Certification:
    """Of walks that certified nothing the one that the fewest labels would settle; infeasible only
    where all are.
    """
    return min(walked, key=lambda one: (one.status is CertificateStatus.INFEASIBLE, one.labels_needed or float("inf")))


def _refused(one: Certification) -> Certification:
    """What keeps the promise and saves nothing: nothing is retained instead."""
    return replace(
        one,
        status=CertificateStatus.SAVES_NOTHING,
        thresholds=(None,) * len(one.thresholds),
        retained_share=0.0,
        estimated_drop=0.0,
        drop_upper_bound=0.0,
        retained_accuracy=None,
        retained_accuracy_lower_bound=None,
        labels_needed=None,
    )
