"""The door to certified thresholds: a policy's gates over signals.

It only gathers the evidence on each candidate; `evidence.certification.walk` decides which is
certified, and `knowgate.policy` what a candidate retains. Where a path opens step by step, its
candidates are tallied together (`evidence.certification.nested_path`), so a million rows take a
second; a path that does not open so is walked candidate by candidate.
"""

from collections.abc import Collection, Sequence

from evidence.certification.certificate import Certification, Target, Thresholds
from evidence.certification.certification_rows import CertificationRows
from evidence.certification.nested_path import Signals, entry_points, is_nested, nested_tallies
from evidence.certification.path import path_of
from evidence.certification.tally import tally_of
from evidence.certification.walk import MIN_RETAINED_SHARE, walk_path
from evidence.certification.worth import Saves, worth_of
from evidence.errors import InvalidInputError, OverlapError
from evidence.inputs import BoolArray, level, same_length
from knowgate.policy import Policy, PolicyKind, kept_tiers


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
    saves: Saves | None = None,
) -> Certification:
    """Certify the thresholds of a policy of `kind`, for any number of gates and tiers.

    Args: signals, per non-last tier its gates' values [n], NaN = missing (the fallback decides,
    else it escalates); path, conservative first, all gates opening together at 480 equal quantile
    levels unless given (`path_of`); ran [n, tiers], where each tier ran: one that did not may have
    kept anything, and counts as having kept; saves, where of all that is certified not the boldest
    is taken but what saves most.

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
    path = path_of(kind, signals) if path is None else path
    policies = [Policy(kind=kind, rules=thresholds, fallback=fallback) for thresholds in path]
    if is_nested(policies):
        tallies = nested_tallies(path, entry_points(policies, signals, ran), rows, delta)
    else:
        tallies = (tally_of(rows, kept_tiers(policy, signals, ran), delta, policy.rules) for policy in policies)
    if saves is None:
        return walk_path(tallies, rows, target, delta, min_retained_share)

    def worth(thresholds: Thresholds) -> float:
        return worth_of(Policy(kind=kind, rules=thresholds, fallback=fallback), signals, saves, ran=ran).value

    return walk_path(tallies, rows, target, delta, min_retained_share, worth=worth)


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
