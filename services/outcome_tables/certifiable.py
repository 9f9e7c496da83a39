"""What an outcome table must not be, if thresholds are to be certified on it.

A certificate on broken input is worse than none: each check names what is wrong and the cure.
Missing labels are not among them (they count as the worst case), but a tier that ran on some
queries by an unlogged choice is.
"""

from collections import Counter
from datetime import datetime

import numpy as np

from knowgate._records.arrays import BoolArray, FloatArray
from knowgate._records.records import Reason
from knowgate.policy import GATES_OF, PolicyKind
from services.errors import Refused, TableInvalid
from services.outcome_tables.contradictions import refuse_contradictions
from services.outcome_tables.outcomes import OutcomeTable


def signals_of(kind: PolicyKind) -> tuple[str, ...]:
    """The columns of an outcome table that a kind of policy cannot do without."""
    if kind is PolicyKind.SCORE:
        return ("p_t",)
    return tuple(str(gate) for gate in GATES_OF[kind] if gate is not Reason.OOD)


def refuse_uncertifiable(table: OutcomeTable, kind: PolicyKind, now: datetime) -> None:
    """Raises TableInvalid for P(T) of several kinds, signals or outcomes that are constant or
    absent, several models in one tier, times ahead of `now`, labels older than their question, runs
    without a known chance, and chances or roles that the rows contradict.
    """
    if np.isfinite(table.forecast).any() and not np.isfinite(table.correct).any():
        raise Refused(
            "not identified: the table has labels of sources that are not trusted and none of gold or human; label a"
            " sample drawn by `knowgate labels queue`, or say --trust and certify agreement with that source"
        )
    refuse_untelling(table, kind)
    _refuse_mixed_models(table)
    _refuse_the_future(table, now)
    _refuse_labels_before_their_question(table)
    _refuse_unknown_coins(table)
    refuse_contradictions(table)


def refuse_untelling(table: OutcomeTable, kind: PolicyKind) -> None:
    """Raises TableInvalid for P(T) of several kinds, or signals or outcomes that are constant or
    absent.
    """
    for tier in range(table.tiers - 1):
        if "p_t" in signals_of(kind):
            refuse_mixed_kinds(tier, table)
        for gate in signals_of(kind):
            _refuse_constant(gate, tier, getattr(table, gate)[:, tier])
        _refuse_one_class(table, tier)
    _refuse_a_wrong_last_tier(table)


def refuse_mixed_kinds(tier: int, table: OutcomeTable) -> None:
    """Raises TableInvalid where the P(T) of one tier is of several kinds."""
    sent = table.p_t_kind[np.isfinite(table.p_t[:, tier]), tier]
    kinds = {"none said" if kind is None else str(kind) for kind in sent}
    if len(kinds) > 1:
        raise TableInvalid(
            f"p_t_kind of tier {tier} is {' and '.join(sorted(kinds))}: thresholds of one kind of P(T) mean nothing for"
            " another; keep the rows of one kind alone"
        )


def _refuse_constant(gate: str, tier: int, values: FloatArray) -> None:
    known = values[np.isfinite(values)]
    if known.size == 0:
        raise TableInvalid(f"{gate} is empty for tier {tier}: fill the column or choose another --rule")
    if known.min() == known.max():
        raise TableInvalid(
            f"{gate} is {known[0]:g} in every row of tier {tier}: a constant tells no query from another;"
            " give the signal or choose another --rule"
        )


def _refuse_one_class(table: OutcomeTable, tier: int) -> None:
    known = table.correct[:, tier][np.isfinite(table.correct[:, tier])]
    if known.size == 0:
        raise TableInvalid(f"correct is empty for tier {tier}: label its answers")
    if known.min() == known.max() and known[0] in (0.0, 1.0):
        verdict = "right" if known[0] == 1.0 else "wrong"
        raise TableInvalid(
            f"all {known.size} labelled answers of tier {tier} are {verdict}: one class tells nothing of thresholds;"
            " check the grader, or give more labels"
        )


def _refuse_a_wrong_last_tier(table: OutcomeTable) -> None:
    """All right may be what the labels mean (agreement with it); all wrong would let everything be
    retained.
    """
    known = table.correct[:, -1][np.isfinite(table.correct[:, -1])]
    if known.size == 0:
        raise TableInvalid(f"correct is empty for tier {table.tiers - 1}, the last: label its answers")
    if known.max() == 0.0:
        raise TableInvalid(
            f"all {known.size} labelled answers of tier {table.tiers - 1}, the last, are wrong: nothing can be lost"
            " against it; check the grader"
        )


def _refuse_mixed_models(table: OutcomeTable) -> None:
    for tier in range(table.tiers):
        models = Counter(table.model[table.ran[:, tier], tier])
        if len(models) > 1:
            counts = ", ".join(f"{name} on {rows} queries" for name, rows in models.most_common(4))
            raise TableInvalid(
                f"model of tier {tier} is not one: {counts}; a certificate speaks of one model per tier, so certify"
                " each model's queries alone, or give one name if it is one model"
            )


def _refuse_the_future(table: OutcomeTable, now: datetime) -> None:
    limit = np.datetime64(now.replace(tzinfo=None), "us")
    for name, times in (("labelled_at", table.labelled_at), ("occurred_at", table.occurred_at)):
        ahead = np.asarray(times > limit, dtype=np.bool_)  # NaT is not
        if ahead.any():
            query = int(np.argwhere(ahead)[0][0])
            first = np.max(times[query])
            raise TableInvalid(
                f"{name} of query {table.query_ids[query]!r} is {first}Z, after now ({now.isoformat()}):"
                " correct the clock that wrote it, or its offset"
            )


def _refuse_labels_before_their_question(table: OutcomeTable) -> None:
    early = np.argwhere(table.labelled_at < table.occurred_at[:, np.newaxis])  # NaT is not
    if early.size:
        query, tier = early[0]
        raise TableInvalid(
            f"labelled_at of query {table.query_ids[query]!r} on tier {tier} is {table.labelled_at[query, tier]}Z,"
            f" before the query was asked (occurred_at {table.occurred_at[query]}Z): correct the clock that wrote"
            " either, or its offset"
        )


def _refuse_unknown_coins(table: OutcomeTable) -> None:
    known: BoolArray = np.isfinite(table.run_propensity)
    some: BoolArray = np.asarray(known.any(axis=0), dtype=np.bool_)
    for tier in range(table.tiers):
        ran: BoolArray = table.answered[:, tier]
        if some[tier] and not known[ran, tier].all():
            query = table.query_ids[np.flatnonzero(ran & ~known[:, tier])[0]]
            raise TableInvalid(
                f"run_propensity of query {query!r} on tier {tier} is null while others have one: what is unknown"
                " cannot be weighed; log the coin, or leave such queries out and say so"
            )
        if not ran.all() and not some[tier]:
            raise TableInvalid(
                f"tier {tier} did not run on {int((~ran).sum())} of {table.queries} queries (first:"
                f" {table.query_ids[np.flatnonzero(~ran)[0]]!r}) and run_propensity does not say by what chance it ran"
                " on the others; give it, or leave those queries out and say so"
            )
    labelled, chance = np.isfinite(table.correct), np.isfinite(table.label_propensity)
    if chance.any() and not chance[labelled].all():
        query = table.query_ids[np.argwhere(labelled & ~chance)[0][0]]
        raise TableInvalid(
            f"label_propensity of query {query!r} is null while others have one: give the chance of every label (1"
            " where all are labelled)"
        )
