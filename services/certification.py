"""Certified thresholds from an outcome table: what `knowgate certify` computes.

The path of candidates comes from scores alone, so no row is spent on learning it: one gate is walked from the
highest threshold down, several gates or tiers open together at equal quantile levels. `knowgate.policy`
decides which rows a candidate retains. A query whose last tier or label is missing counts as the worst case, unless
its propensities say by what chance it was seen.
"""

from dataclasses import dataclass

import numpy as np

from evidence import (
    Candidate,
    Certification,
    CertificationRows,
    CertificationStatus,
    Target,
    Thresholds,
    certify_path,
    certify_single_gate,
    equal_quantile_path,
    thresholds_as_objects,
)
from knowgate.policy import GATES_OF, BoolArray, FloatArray, Policy, PolicyKind, kept_tiers
from services.errors import InputInvalid
from services.history.outcomes import OutcomeTable

RULES = (PolicyKind.P_T, PolicyKind.P_IK, PolicyKind.GATES)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedThresholds:
    """The object that `knowgate certify --json` prints."""

    status: CertificationStatus
    thresholds: list[dict[str, float] | None]  # one object of gate → value per non-last tier; None retains nothing
    retained_share: float
    estimated_drop: float
    drop_upper_bound: float
    epsilon: float | None  # None where the target is a retained accuracy
    delta: float
    n: int
    test: str
    labels_needed: int | None
    least_escalation: float | None
    retained_accuracy: float | None
    retained_accuracy_lower_bound: float | None
    rows_assumed_wrong: int  # retained without a known outcome: counted as the worst case


def certify_table(
    table: OutcomeTable, *, rule: PolicyKind, target: Target, delta: float, min_retained_share: float
) -> CertifiedThresholds:
    """Certify `rule` on the table's rows.

    Raises InputInvalid where a signal that the rule needs is nowhere in the table, or for a rule that has to be
    learned (`score`): a table has no other rows to learn it on than those that must stay untouched.
    """
    signals = _signals(table, rule)
    rows = _rows(table)
    if table.tiers == 2 and len(signals[0]) == 1:
        (gate, scores), *_ = signals[0].items()
        answer = certify_single_gate(gate, scores, rows, target, delta, min_retained_share=min_retained_share)
    else:
        candidates = (_candidate(rule, signals, thresholds) for thresholds in equal_quantile_path(signals))
        answer = certify_path(candidates, rows, target, delta, min_retained_share=min_retained_share)
    return _printed(answer)


def _signals(table: OutcomeTable, rule: PolicyKind) -> list[dict[str, FloatArray]]:
    """Per non-last tier the columns that the rule's gates look at."""
    if rule not in RULES:
        raise InputInvalid(f"rule is {rule}: an outcome table certifies {', '.join(RULES)}; train to get a score")
    gates = [str(gate) for gate in GATES_OF[rule] if gate != "ood"]
    columns = [{gate: getattr(table, gate)[:, tier] for gate in gates} for tier in range(table.tiers - 1)]
    for tier, column in enumerate(columns):
        for gate, values in column.items():
            if not np.isfinite(values).any():
                raise InputInvalid(f"{gate} is empty for tier {tier}: fill the column or choose another --rule")
    return columns


def _rows(table: OutcomeTable) -> CertificationRows:
    ids = tuple(str(query) for query in table.query_ids)
    if not (np.isfinite(table.run_propensity).any() or np.isfinite(table.label_propensity).any()):
        return CertificationRows(correct=table.correct, ids=ids)
    # The chance that a whole row is known: every tier ran, and one coin labelled its answers.
    run = np.prod(_coins(table.run_propensity, table.ran), axis=1)
    propensity = run * np.min(_coins(table.label_propensity, table.ran), axis=1)
    return CertificationRows(
        correct=table.correct,
        propensity=propensity,
        observed=np.isfinite(table.correct).all(axis=1),
        ids=ids,
    )


def _coins(propensity: FloatArray, ran: BoolArray) -> FloatArray:
    """[n, k] the coins' chances, also where they fell against a run.

    A tier that did not run has no row to carry its propensity. Such a row weighs nothing whatever its chance was, so
    the tier's smallest known chance stands in, which keeps the largest weight right.
    """
    filled = propensity.copy()
    for tier in range(propensity.shape[1]):
        known = propensity[ran[:, tier], tier]
        if known.size and np.isfinite(known).all():
            filled[~ran[:, tier], tier] = known.min()
    return filled


def _candidate(rule: PolicyKind, signals: list[dict[str, FloatArray]], thresholds: Thresholds) -> Candidate:
    policy = Policy.of(rule, tuple(thresholds_as_objects(thresholds)))
    return Candidate(thresholds=thresholds, kept=kept_tiers(policy, signals))


def _printed(answer: Certification) -> CertifiedThresholds:
    return CertifiedThresholds(
        status=answer.status,
        thresholds=thresholds_as_objects(answer.thresholds),
        retained_share=answer.retained_share,
        estimated_drop=answer.estimated_drop,
        drop_upper_bound=answer.drop_upper_bound,
        epsilon=answer.epsilon,
        delta=answer.delta,
        n=answer.n,
        test=str(answer.test),
        labels_needed=answer.labels_needed,
        least_escalation=answer.least_escalation,
        retained_accuracy=answer.retained_accuracy,
        retained_accuracy_lower_bound=answer.retained_accuracy_lower_bound,
        rows_assumed_wrong=answer.rows_assumed_wrong,
    )
