"""Certified thresholds from an outcome table: what `knowgate certify` computes.

The path of candidates comes from signals alone, so no row is spent on learning it: one gate is walked from the
highest threshold down, several gates or tiers open together at equal quantile levels. `knowgate.policy`
decides which rows a candidate retains. A `score` has to be learned first: a hashed half of the rows teaches it and
the other half certifies, and the answer says so. A label that is missing counts as the worst case, unless its
propensity says by what chance it was seen.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from evidence import (
    Certification,
    CertificationRows,
    CertificationStatus,
    Target,
    certify_policy,
    gain_document,
    signal_gain,
)
from evidence import thresholds_as_objects as as_objects
from knowgate import codec
from knowgate.bundle_documents import SignalGain
from knowgate.policy import BoolArray, FloatArray, PolicyKind
from services.errors import InputInvalid
from services.history.certifiable import signals_of
from services.history.outcomes import OutcomeTable
from services.history.score_of_table import TableScore, learn_score

RULES = (PolicyKind.P_T, PolicyKind.P_IK, PolicyKind.GATES, PolicyKind.SCORE)
FEWEST_COMPARED = 20  # labelled rows that show both signals
COMPARED_AT = 0.5  # the retained share at which signals are compared where nothing is certified
Signals = list[dict[str, FloatArray]]


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
    learned_on: int  # queries kept out of the test because they taught the score
    score: list[dict[str, Any]] | None  # per non-last tier the weights that the thresholds are on
    gains: list[dict[str, Any]]  # of each signal that the rule looks at over P(T) alone, on the labelled tested rows


def certify_table(
    table: OutcomeTable, *, rule: PolicyKind, target: Target, delta: float, min_retained_share: float
) -> CertifiedThresholds:
    """Certify `rule` on the table's rows.

    Raises InputInvalid for a rule that nothing in a table can certify, or whose signal is nowhere in the table. What
    else a table must not be, `services.history.certifiable` says.
    """
    if rule not in RULES:
        raise InputInvalid(f"rule is {rule}: an outcome table certifies {', '.join(RULES)}")
    gates = signals_of(rule)
    for tier in range(table.tiers - 1):
        for gate in gates:
            if not np.isfinite(getattr(table, gate)[:, tier]).any():
                raise InputInvalid(f"{gate} is empty for tier {tier}: fill the column or choose another --rule")
    learned = learn_score(table) if rule is PolicyKind.SCORE else None
    tested = np.ones(table.queries, dtype=np.bool_) if learned is None else ~learned.taught
    signals: Signals = (
        [{gate: getattr(table, gate)[tested, tier] for gate in gates} for tier in range(table.tiers - 1)]
        if learned is None
        else [{"score": scores[tested]} for scores in learned.scores]
    )
    answer = certify_policy(
        rule,
        signals,
        _rows(table, tested),
        target,
        delta,
        min_retained_share=min_retained_share,
        learned_on=() if learned is None else {str(query) for query in table.query_ids[learned.taught]},
    )
    return _printed(answer, learned, _gains(table, tested, signals, answer.retained_share))


def _gains(table: OutcomeTable, tested: BoolArray, signals: Signals, share: float) -> tuple[SignalGain, ...]:
    """What p_ik and score add to P(T) where the table has it too; at the certified share, or at a half."""
    found = []
    for tier, shown in enumerate(signals):
        p_t, correct = table.p_t[tested, tier], table.correct[tested, tier]
        for name in ("p_ik", "score"):
            values = shown.get(name, np.full(len(p_t), np.nan))
            known = np.isfinite(values) & np.isfinite(p_t) & np.isfinite(correct)
            right = correct[known] >= 0.5
            if known.sum() >= FEWEST_COMPARED and right.any() and not right.all():
                gain = signal_gain(values[known], p_t[known], right, share=share or COMPARED_AT)
                found.append(gain_document(tier, name, gain))
    return tuple(found)


def _rows(table: OutcomeTable, tested: BoolArray) -> CertificationRows:
    ids = tuple(str(query) for query in table.query_ids[tested])
    correct = table.correct[tested]
    if not (np.isfinite(table.run_propensity).any() or np.isfinite(table.label_propensity).any()):
        return CertificationRows(correct=correct, ids=ids)
    # The chance that a whole row is known: every tier ran, and one coin labelled its answers. Without a known coin for
    # labels they were all owed: a row that ran is then observed, and a label that is missing there the worst case.
    propensity, observed = np.ones(table.queries), table.complete
    if np.isfinite(table.run_propensity).any():
        propensity = np.prod(_coins(table.run_propensity, table.ran), axis=1)
    if np.isfinite(table.label_propensity).any():
        propensity = propensity * np.min(_coins(table.label_propensity, table.ran), axis=1)
        observed = np.asarray(np.isfinite(table.correct).all(axis=1), dtype=np.bool_)
    return CertificationRows(correct=correct, propensity=propensity[tested], observed=observed[tested], ids=ids)


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


def _printed(answer: Certification, learned: TableScore | None, gains: tuple[SignalGain, ...]) -> CertifiedThresholds:
    return CertifiedThresholds(
        status=answer.status,
        thresholds=as_objects(answer.thresholds),
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
        learned_on=0 if learned is None else int(learned.taught.sum()),
        score=None if learned is None else [codec.encode(model) for model in learned.models],
        gains=[codec.encode(gain) for gain in gains],
    )
