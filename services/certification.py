"""Certified thresholds from an outcome table: what `knowgate certify` computes.

The path of candidates comes from signals alone, so no row is spent on learning it: one gate is walked from the
highest threshold down, several gates or tiers open together at equal quantile levels. `knowgate.policy`
decides which rows a candidate retains. A `score` has to be learned first: a hashed half of the rows teaches it and
the other half certifies, and the answer says so. A label that is missing counts as the worst case, unless its
propensity says by what chance it was seen.

Labels of a judge or of users are not the truth: they are forecasts, which trusted labels drawn by a known coin correct.
Whoever trusts a judge nevertheless is told what is promised then: agreement with it.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evidence import (
    CertificateStatus,
    Certification,
    CertificationRows,
    Target,
    certify_policy,
    gain_document,
    refuse_overlap,
    signal_gain,
)
from evidence import thresholds_as_objects as as_objects
from evidence.errors import NotIdentifiedError
from evidence.estimates import joint_label_propensity
from knowgate import codec
from knowgate.bundle import LabelBasis, SignalGain
from knowgate.policy import BoolArray, FloatArray, PolicyKind
from knowgate.records import LabelSource
from knowgate.spec import RULES
from services.errors import InputInvalid, Refused
from services.history.certifiable import signals_of
from services.history.outcomes import OutcomeTable
from services.history.score_of_table import TableScore, learn_score

FEWEST_COMPARED = 20  # labelled rows that show both signals
COMPARED_AT = 0.5  # the retained share at which signals are compared where nothing is certified
TRUSTED = (LabelSource.GOLD, LabelSource.HUMAN)
Signals = list[dict[str, FloatArray]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedThresholds:
    """The object that `knowgate certify --json` prints."""

    status: CertificateStatus
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
    promise: str  # in words: what a certificate would say, and of what it would not
    label_basis: LabelBasis  # whose labels it rests on, and how much on forecasts
    delta_family: float | None = None  # what all attempts of its family may spend together
    attempt: int | None = None  # k of the family; None where the family is this attempt alone
    unread_columns: tuple[str, ...] = ()  # of the table, that nothing reads


def certify_table(
    table: OutcomeTable,
    *,
    rule: PolicyKind,
    target: Target,
    delta: float,
    min_retained_share: float,
    trusted: Collection[LabelSource] = TRUSTED,
) -> CertifiedThresholds:
    """Certify `rule` on the table's rows, with the labels of the `trusted` sources for truth.

    Raises InputInvalid for a rule that nothing in a table can certify, or whose signal is nowhere in the table. What
    else a table must not be, `services.history.certifiable` says.
    """
    if rule not in RULES:
        raise InputInvalid(f"rule is {rule}: an outcome table certifies {', '.join(RULES)}")
    table = table.trusting(trusted)
    gates = signals_of(rule)
    for tier in range(table.tiers - 1):
        for gate in gates:
            if not np.isfinite(getattr(table, gate)[:, tier]).any():
                raise InputInvalid(f"{gate} is empty for tier {tier}: fill the column or choose another --rule")
    learned = learn_score(table) if rule is PolicyKind.SCORE else None
    if learned is not None:
        refuse_overlap(_prompts(table, ~learned.taught), _prompts(table, learned.taught))
    tested = np.ones(table.queries, dtype=np.bool_) if learned is None else ~learned.taught
    signals: Signals = (
        [{gate: getattr(table, gate)[tested, tier] for gate in gates} for tier in range(table.tiers - 1)]
        if learned is None
        else [{"score": scores[tested]} for scores in learned.scores]
    )
    left_out = _forecasts_left_out(table)
    try:
        rows = rows_of_table(table, tested, with_forecasts=left_out is None)
    except NotIdentifiedError as error:
        raise Refused(f"not identified: {error}") from error
    answer = certify_policy(
        rule,
        signals,
        rows,
        target,
        delta,
        min_retained_share=min_retained_share,
        learned_on=() if learned is None else {str(query) for query in table.query_ids[learned.taught]},
    )
    gains = _gains(table, tested, signals, answer.retained_share)
    printed = _printed(answer, learned, gains, _basis(table, tested, answer, trusted, left_out))
    return replace(printed, unread_columns=table.ignored)


def _prompts(table: OutcomeTable, rows: BoolArray) -> set[str]:
    return {str(prompt) for prompt in table.prompt[rows] if prompt is not None}


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


def promise_of(basis: LabelBasis) -> str:
    """What a certificate on these labels is about.

    >>> promise_of(LabelBasis(trusted=(LabelSource.GOLD, LabelSource.JUDGE), labels={"judge": 10}, forecasts={}))
    'agreement with the judge, not being right: its labels were trusted, and nothing corrects its errors'
    """
    erring = [source for source in basis.agreement_with if source.value in basis.labels]
    if not erring:
        return "being right, as " + " and ".join(source.value for source in basis.trusted) + " labels tell"
    who = " and ".join("the users' feedback" if one is LabelSource.FEEDBACK else "the judge" for one in erring)
    return f"agreement with {who}, not being right: its labels were trusted, and nothing corrects its errors"


def _forecasts_left_out(table: OutcomeTable) -> str | None:
    """Why forecasts cannot enter; None where they can, or where there are none."""
    if not np.isfinite(table.forecast).any():
        return None
    chance = table.label_propensity[np.isfinite(table.correct)]
    if chance.size and np.isfinite(chance).all():
        return None
    return (
        "not identified: trusted labels have no known label_propensity, so nothing says how to correct forecasts, and"
        " they are left out; draw trusted labels with `knowgate labels queue`, or trust their source with --trust"
    )


def _basis(
    table: OutcomeTable,
    tested: BoolArray,
    answer: Certification,
    trusted: Collection[LabelSource],
    left_out: str | None,
) -> LabelBasis:
    known, told = np.isfinite(table.correct[tested]), table.label_source[tested]
    named = Counter("gold" if source is None else str(source) for source in told[known])
    foreseen = np.isfinite(table.forecast[tested])
    judged = Counter(
        str(source) if source is not None and not is_known else "judge"
        for source, is_known in zip(told[foreseen], known[foreseen], strict=True)
    )
    return LabelBasis(
        trusted=tuple(source for source in LabelSource if source in trusted),
        labels=dict(named),
        forecasts=dict(judged),
        rows_forecast=answer.rows_forecast,
        forecast_share=answer.forecast_share,
        forecasts_left_out=left_out,
    )


def rows_of_table(table: OutcomeTable, tested: BoolArray, *, with_forecasts: bool) -> CertificationRows:
    """The `tested` [n] queries of the table as certification sees them."""
    ids = tuple(str(query) for query in table.query_ids[tested])
    correct = table.correct[tested]
    if not (np.isfinite(table.run_propensity).any() or np.isfinite(table.label_propensity).any()):
        return CertificationRows(correct=correct, ids=ids)
    # The chance that a whole row is known: every tier ran, and one coin labelled its answers. Without a known coin for
    # labels they were all owed: a row that ran is then observed, and a label that is missing there the worst case.
    run, observed = np.ones(table.queries), table.complete
    if np.isfinite(table.run_propensity).any():
        run = np.prod(_coins(table.run_propensity, table.ran), axis=1)
    propensity = run
    if np.isfinite(table.label_propensity).any():
        propensity = propensity * joint_label_propensity(_label_coins(table), table.coins_apart)
        observed = np.asarray(np.isfinite(table.correct).all(axis=1), dtype=np.bool_)
    if not with_forecasts or not np.isfinite(table.forecast).any():
        return CertificationRows(correct=correct, propensity=propensity[tested], observed=observed[tested], ids=ids)
    return CertificationRows(
        correct=correct,
        propensity=propensity[tested],
        observed=observed[tested],
        ids=ids,
        forecast=table.forecast[tested],
        ran=table.complete[tested],
        run_propensity=run[tested],
    )


def _label_coins(table: OutcomeTable) -> FloatArray:
    """[n, k] the chances of labels. Labels have them and rows without one may not: where some chance is below 1, a
    row without was not drawn, and weighs nothing whatever its chance was."""
    filled = _coins(table.label_propensity, table.ran)
    for tier in range(filled.shape[1]):
        known = filled[np.isfinite(table.correct[:, tier]), tier]
        undrawn = np.isnan(table.correct[:, tier]) & np.isnan(filled[:, tier])
        if known.size and known.min() < 1.0:
            filled[undrawn, tier] = known.min()
    return filled


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


def _printed(
    answer: Certification, learned: TableScore | None, gains: tuple[SignalGain, ...], basis: LabelBasis
) -> CertifiedThresholds:
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
        promise=promise_of(basis),
        label_basis=basis,
    )
