"""The doors to certified thresholds: a policy's gates over signals, one gate between two tiers, any
list of candidates.

All only gather the evidence on each candidate; `evidence.certification.walk` decides which is
certified, and `knowgate.policy` what a candidate retains. Where a path opens step by step, its
candidates are tallied together (`evidence.certification.nested_path`), so a million rows take a
second; a path that does not open so is walked candidate by candidate.
"""

from collections.abc import Collection, Iterable, Sequence

import numpy.typing as npt

from evidence.certification import path as paths
from evidence.certification.certificate import Certification, Target, Thresholds
from evidence.certification.certification_rows import CertificationRows
from evidence.certification.nested_path import Signals, entry_points, is_nested, nested_tallies
from evidence.certification.path import Candidate, policy_at
from evidence.certification.tally import tally_of
from evidence.certification.walk import MIN_RETAINED_SHARE, walk_path
from evidence.errors import InvalidInputError, OverlapError
from evidence.inputs import BoolArray, level, real_array, same_length
from knowgate.policy import Policy, PolicyKind, kept_tiers


def certify_path(
    candidates: Iterable[Candidate],
    rows: CertificationRows,
    target: Target,
    delta: float,
    *,
    min_retained_share: float = MIN_RETAINED_SHARE,
    learned_on: Collection[str] = frozenset(),
) -> Certification:
    """Certify the boldest candidate that a path supports, for any number of gates and tiers.

    Args: candidates from conservative to bold, lazily if need be; delta, the level of this attempt
    (spend a family's δ with `delta_for_attempt` first); learned_on, ids of rows that probe,
    calibrator, ordering or path have seen.

    Raises OverlapError where a certification row is among `learned_on`, InvalidInputError on bad
    input.

    Examples:
        >>> import numpy as np
        >>> from knowgate.spec import TargetKind
        >>> rows = CertificationRows(correct=np.tile([[1, 1], [1, 1], [0, 1], [1, 1]], (500, 1)))
        >>> scores = np.tile([0.9, 0.8, 0.3, 0.7], 500)
        >>> path = paths.single_gate_path("p_t", scores)
        >>> keep = lambda thresholds: kept_tiers(policy_at(PolicyKind.P_T, thresholds),
        ...     [{"p_t": scores}])
        >>> target = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.02)
        >>> answer = certify_path(paths.candidates_of(path, keep), rows, target, 0.1)
        >>> answer.status.value, answer.thresholds[0][0].value, answer.retained_share
        ('certified', 0.7, 0.75)
    """
    refuse_overlap(rows.ids, learned_on)
    tallies = (tally_of(rows, candidate, delta) for candidate in candidates)
    return walk_path(tallies, rows, target, level("delta", delta), min_retained_share)


def certify_policy(
    kind: PolicyKind,
    signals: Sequence[Signals],
    rows: CertificationRows,
    target: Target,
    delta: float,
    *,
    path: Sequence[Thresholds] | None = None,
    fallback: Policy | None = None,
    ran: BoolArray | None = None,
    min_retained_share: float = MIN_RETAINED_SHARE,
    learned_on: Collection[str] = frozenset(),
) -> Certification:
    """Certify the thresholds of a policy of `kind`, for any number of gates and tiers.

    Args: signals, per non-last tier its gates' values [n], NaN = missing (the fallback decides,
    else it escalates); path, conservative first, all gates opening together at 480 equal quantile
    levels unless given (`path_of`); ran [n, tiers], where each tier ran: one that did not may have
    kept anything, and counts as having kept.

    Raises OverlapError where a certification row is among `learned_on`, InvalidInputError on bad
    input.

    Examples:
        >>> import numpy as np
        >>> from knowgate.spec import TargetKind
        >>> rows = CertificationRows(correct=np.tile([[1, 1], [1, 1], [0, 1], [1, 1]], (500, 1)))
        >>> signals = [{"p_ik": np.tile([0.9, 0.9, 0.2, 0.9], 500), "p_t": np.tile([0.9, 0.8, 0.3,
        ...     0.7], 500)}]
        >>> target = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.02)
        >>> answer = certify_policy(PolicyKind.GATES, signals, rows, target, 0.1)
        >>> answer.status.value, answer.retained_share
        ('certified', 0.75)
    """
    delta = level("delta", delta)
    refuse_overlap(rows.ids, learned_on)
    for tier, shown in enumerate(signals):
        same_length(rows=rows.counted, **{f"{gate} of tier {tier}": column for gate, column in shown.items()})
    if len(signals) != rows.tiers - 1:
        raise InvalidInputError(f"signals are of {len(signals)} tiers, rows of {rows.tiers}; give all but the last's")
    path = paths.path_of(kind, signals) if path is None else path
    policies = [policy_at(kind, thresholds, fallback) for thresholds in path]
    if is_nested(policies):
        tallies = nested_tallies(path, entry_points(policies, signals, ran), rows, delta)
        return walk_path(tallies, rows, target, delta, min_retained_share)
    candidates = (
        Candidate(thresholds=thresholds, kept=kept_tiers(policy, signals, ran))
        for thresholds, policy in zip(path, policies, strict=True)
    )
    return certify_path(candidates, rows, target, delta, min_retained_share=min_retained_share)


def certify_single_gate(
    gate: str,
    scores: npt.ArrayLike,
    rows: CertificationRows,
    target: Target,
    delta: float,
    *,
    path: Sequence[Thresholds] | None = None,
    min_retained_share: float = MIN_RETAINED_SHARE,
    learned_on: Collection[str] = frozenset(),
) -> Certification:
    """Certify one gate between two tiers: what `certify_policy` gives for two tiers and one gate.

    Args: scores [n], NaN = missing (escalates); path, 480 quantiles of the scores unless given (of
    earlier traffic).

    Examples:
        >>> import numpy as np
        >>> from knowgate.spec import TargetKind
        >>> rows = CertificationRows(correct=np.tile([[1, 1], [1, 1], [0, 1], [1, 1]], (500, 1)))
        >>> target = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.02)
        >>> answer = certify_single_gate("p_t", np.tile([0.9, 0.8, 0.3, 0.7], 500), rows, target,
        ...     0.1)
        >>> answer.status.value, answer.thresholds[0][0].value, answer.estimated_drop
        ('certified', 0.7, 0.0)
    """
    scores = real_array("scores", scores, unknown_allowed=True)
    same_length(scores=scores, rows=rows.counted)
    if rows.tiers != 2:
        raise InvalidInputError(f"rows has {rows.tiers} tiers, expected 2; use certify_policy for a longer chain")
    return certify_policy(
        PolicyKind(gate),
        [{gate: scores}],
        rows,
        target,
        delta,
        path=path,
        min_retained_share=min_retained_share,
        learned_on=learned_on,
    )


def refuse_overlap(certification_ids: Collection[str] | None, learned_on: Collection[str]) -> None:
    """Raise OverlapError where a row (by id, or by prompt hash: call it for each) both taught and
    certifies.

    Examples:
        >>> refuse_overlap(["a", "b"], {"c"})
    """
    if not learned_on:
        return
    if certification_ids is None:
        raise InvalidInputError("ids is None while learned_on is given; give each certification row's id")
    both = set(certification_ids) & set(learned_on)
    if both:
        raise OverlapError(
            f"{len(both)} certification rows, {min(both)!r} among them, were learned on; certify on rows that"
            " nothing was learned on (an ordering learned on its own rows breaks its promise with probability .76)"
        )
