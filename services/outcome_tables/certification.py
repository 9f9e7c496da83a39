"""Certified thresholds from an outcome table: what `knowgate certify` computes.

The path of candidates comes from signals alone, so no row is spent on learning it: one gate is
walked from the highest threshold down, several gates or tiers open together at equal quantile
levels. `knowgate.policy` decides which rows a candidate retains. A `score` has to be learned first:
a hashed half of the rows teaches it and the other half certifies, and the answer says so. A label
that is missing counts as the worst case, unless its propensity says by what chance it was seen. Of
a chain of three tiers and more several such paths are walked, and what saves most is taken.

Labels of a grader or of users are not the truth: they are forecasts, which trusted labels drawn by
a known coin correct. Who trusts a grader nevertheless reads what is promised then: agreement
with it.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evidence.certification.certificate import Certification, Target
from evidence.certification.certify import refuse_overlap
from evidence.certification.chain import certify_chain
from evidence.certification.known_outcomes import (
    LoggedRows,
    certification_rows,
    ended_early,
    forecast_error,
    label_basis,
)
from evidence.certification.path import chain_paths
from evidence.certification.worth import Saves
from evidence.costs.break_even import cascade_costs
from evidence.errors import NotIdentifiedError
from evidence.signals.signal_gain import gain_over
from knowgate._bundles.bundle import LabelBasis, SignalGain
from knowgate._bundles.bundle_documents import CertificateStatus
from knowgate._records.arrays import BoolArray, FloatArray
from knowgate._records.records import LabelSource
from knowgate._wire import codec
from knowgate.policy import Policy, PolicyKind
from knowgate.spec import CERTIFIABLE_KINDS, PromiseKind
from services.errors import InputInvalid, Refused
from services.outcome_tables.certifiable import signals_of
from services.outcome_tables.outcomes import OutcomeTable
from services.outcome_tables.score_of_table import TableScore, learn_score

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
    savings: float | None  # of the last tier's cost, on the tested rows; None where nothing says what tiers cost
    learned_on: int  # queries kept out of the test because they taught the score
    score: list[dict[str, Any]] | None  # per non-last tier the weights that the thresholds are on
    gains: list[dict[str, Any]]  # of each signal that the policy looks at over P(T) alone, on the labelled tested rows
    promise: str  # in words: what a certificate would say, and of what it would not
    label_basis: LabelBasis  # whose labels it rests on, and how much on forecasts
    delta_family: float | None = None  # what all attempts of its family may spend together
    attempt: int | None = None  # k of the family; None where the family is this attempt alone
    promise_kind: PromiseKind | None = None  # what δ is the chance against; None where it is of this attempt alone
    unread_columns: tuple[str, ...] = ()  # of the table, that nothing reads


def certify_table(
    table: OutcomeTable,
    *,
    kind: PolicyKind,
    target: Target,
    delta: float,
    min_retained_share: float,
    trusted: Collection[LabelSource] = TRUSTED,
    costs: FloatArray | None = None,
) -> CertifiedThresholds:
    """Certify a policy of `kind` on the table's rows, with the labels of the `trusted` sources for
    truth.

    `costs` [queries, tiers] of a run are what a chain is chosen by, the recorded `cost_usd` unless
    given; where neither says what every tier costs, what keeps most from the last tier is chosen.

    Raises InputInvalid for a kind that nothing in a table can certify, or whose signal is nowhere
    in the table. What else a table must not be, `services.outcome_tables.certifiable` says.
    """
    if kind not in CERTIFIABLE_KINDS:
        raise InputInvalid(f"rule is {kind}: an outcome table certifies {', '.join(CERTIFIABLE_KINDS)}")
    table = table.trusting(trusted)
    gates = signals_of(kind)
    for tier in range(table.tiers - 1):
        for gate in gates:
            if not np.isfinite(getattr(table, gate)[:, tier]).any():
                raise InputInvalid(f"{gate} is empty for tier {tier}: fill the column or choose another --rule")
    learned = learn_score(table) if kind is PolicyKind.SCORE else None
    if learned is not None:
        refuse_overlap(_prompts(table, ~learned.taught), _prompts(table, learned.taught))
    tested = np.ones(table.queries, dtype=np.bool_) if learned is None else ~learned.taught
    signals: Signals = (
        [{gate: getattr(table, gate)[tested, tier] for gate in gates} for tier in range(table.tiers - 1)]
        if learned is None
        else [{"score": scores[tested]} for scores in learned.scores]
    )
    logged = logged_rows(table, tested)
    try:
        rows = certification_rows(logged, forecast_error(logged_rows(table, ~tested)))
    except NotIdentifiedError as error:
        raise Refused(f"not identified: {error}") from error
    chosen = certify_chain(
        kind,
        signals,
        rows,
        target,
        delta,
        paths=chain_paths(kind, signals),
        saves=_saves((table.cost_usd if costs is None else costs)[tested]),
        ran=logged.ran,
        min_retained_share=min_retained_share,
        learned_on=() if learned is None else {str(query) for query in table.query_ids[learned.taught]},
    )
    answer = chosen.certification
    gains = _gains(table, tested, signals, answer.retained_share)
    printed = _printed(kind, answer, learned, gains, label_basis(logged, answer, trusted))
    return replace(printed, savings=chosen.savings, unread_columns=table.ignored)


def _saves(costs: FloatArray) -> Saves:
    """What a policy saves at these costs [n, tiers], NaN = unknown: such a run counts as its tier's
    mean.
    """
    known = np.isfinite(costs)
    if not known.any(axis=0).all() or not costs[known[:, -1], -1].sum() > 0.0:
        return lambda *_: None
    means = np.where(known, costs, 0.0).sum(axis=0) / known.sum(axis=0)
    filled = np.where(known, costs, means)
    return lambda kept, _: 1.0 - float(cascade_costs(filled, kept).sum() / filled[:, -1].sum())


def _prompts(table: OutcomeTable, rows: BoolArray) -> set[str]:
    return {str(prompt) for prompt in table.prompt[rows] if prompt is not None}


def _gains(table: OutcomeTable, tested: BoolArray, signals: Signals, share: float) -> tuple[SignalGain, ...]:
    """What p_ik and score add to P(T) where the table has it too."""
    p_t, correct, slices = table.p_t[tested], table.correct[tested], tuple(table.slice[tested].tolist())
    gains = [
        gain_over(shown[name], p_t[:, tier], correct[:, tier], tier=tier, signal=name, share=share, slices=slices)
        for tier, shown in enumerate(signals)
        for name in ("p_ik", "score")
        if name in shown
    ]
    return tuple(gain for gain in gains if gain is not None)


def promise_of(basis: LabelBasis) -> str:
    """What a certificate on these labels is about.

    >>> trusted = (LabelSource.GOLD, LabelSource.JUDGE)
    >>> promise_of(LabelBasis(trusted=trusted, labels={"judge": 10}, forecasts={})).split(":")[0]
    'agreement with the grader, not being right'
    """
    erring = [source for source in basis.agreement_with if source.value in basis.labels]
    if not erring:
        return "being right, as " + " and ".join(source.value for source in basis.trusted) + " labels tell"
    who = " and ".join("the users' feedback" if one is LabelSource.FEEDBACK else "the grader" for one in erring)
    return f"agreement with {who}, not being right: its labels were trusted, and nothing corrects its errors"


def logged_rows(table: OutcomeTable, which: BoolArray) -> LoggedRows:
    """The queries of the table for which `which` [n] says so, as they were logged."""
    sources = np.where(table.label_source == np.array(None), "gold", table.label_source)[which]
    known, foreseen = np.isfinite(table.correct[which]), np.isfinite(table.forecast[which])
    graded = np.where(known | (table.label_source[which] == np.array(None)), "judge", sources)
    return LoggedRows(
        ids=tuple(str(query) for query in table.query_ids[which]),
        ran=table.answered[which],
        early=ended_early(table.role[which]),
        agrees=table.same_answer[which, :-1] == 1.0,
        correct=table.correct[which],
        label_propensity=table.label_propensity[which],
        run_propensity=table.run_propensity[which],
        exploration_rate=table.exploration_rate[which],
        apart=table.coins_apart[which],
        forecast=table.forecast[which],
        label_source=np.where(known, sources, np.array(None)),
        forecast_source=np.where(foreseen, graded, np.array(None)),
    )


def _printed(
    kind: PolicyKind,
    answer: Certification,
    learned: TableScore | None,
    gains: tuple[SignalGain, ...],
    basis: LabelBasis,
) -> CertifiedThresholds:
    return CertifiedThresholds(
        status=answer.status,
        thresholds=list(Policy(kind=kind, rules=answer.thresholds).thresholds),
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
        savings=None,
        learned_on=0 if learned is None else int(learned.taught.sum()),
        score=None if learned is None else [codec.encode(model) for model in learned.models],
        gains=[codec.encode(gain) for gain in gains],
        promise=promise_of(basis),
        label_basis=basis,
    )
