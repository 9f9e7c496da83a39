"""`knowgate advise --cascade`: what a deployed cascade would keep, save and promise, from the
decisions on which nothing could be kept and its tiers ran all the same.

What would be in force is what its own attempts certify (`services.promotion.prospect`). The advice
beside it is of the same kind as that of an outcome table, and puts nothing in force.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from sqlalchemy.orm import Session

from evidence.certification.certificate import Target
from knowgate._bundles.assignment import Mode
from knowgate._records.records import Window
from knowgate.policy import GATES_OF, PolicyKind
from knowgate.spec import CascadeSpec
from services.advice.advice import Advice, advise
from services.advice.price_lists import rates_of
from services.advice.reasons import Question
from services.errors import InputInvalid
from services.history.export_outcomes import observed_outcomes
from services.labelling.progress import LabelProgress, label_progress
from services.next_attempt import LOOKED_BACK
from services.outcome_tables.outcomes import OutcomeTable
from services.promotion.prospect import Prospect, prospect_of
from store.releases import assignments, cascades


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedAdvice:
    """What is known of a deployed cascade, and what it advises."""

    cascade: str
    mode: Mode | None  # None = nothing is assigned yet
    window: Window  # of decision time that was looked at, old enough for its labels
    observed: int  # decisions of it on which every tier ran though nothing could be kept
    labels: LabelProgress
    prospect: Prospect | None  # what would be in force if it were switched on
    advice: Advice | None
    why_no_advice: str | None
    rule: PolicyKind  # that the advice is of


def advise_on(session: Session, cascade: str, *, now: datetime) -> ObservedAdvice:
    """What the observed decisions of the last periods say. Raises CascadeUnknown."""
    spec = cascades.cascade(session, cascade)
    end = now - spec.horizon  # labels of what came since may still be missing
    window = Window(start=end - LOOKED_BACK * spec.schedule.train_every, end=end)
    table = observed_outcomes(session, cascade, window, as_of=now)
    current = assignments.assignment(session, cascade)
    rule = PolicyKind.P_T if table is None else _rule(table, spec)
    advice, why = _advice(table, spec, rule, now)
    return ObservedAdvice(
        cascade=cascade,
        mode=None if current is None else current.mode,
        window=window,
        observed=0 if table is None else table.queries,
        labels=label_progress(session, cascade, now=now),
        prospect=None if current is None else prospect_of(session, current),
        advice=advice,
        why_no_advice=why,
        rule=rule,
    )


def _rule(table: OutcomeTable, spec: CascadeSpec) -> PolicyKind:
    """The declared rule, or P(T) alone where the rows do not show its signals: without a probe in
    force nothing shows P(IK) and the score.
    """
    shown = all(
        np.isfinite(getattr(table, str(gate))[:, tier]).any()
        for gate in GATES_OF[spec.targets.rule]
        for tier in range(table.tiers - 1)
    )
    return spec.targets.rule if shown and spec.targets.rule is not PolicyKind.SCORE else PolicyKind.P_T


def _advice(
    table: OutcomeTable | None, spec: CascadeSpec, rule: PolicyKind, now: datetime
) -> tuple[Advice | None, str | None]:
    if table is None:
        return None, "no decision was observed yet"
    targets = spec.targets
    question = Question(
        target=Target(kind=targets.kind, value=targets.value),
        delta=targets.delta,
        kind=rule,
        min_retained_share=targets.min_retained_share,
    )
    try:
        return advise(table, rates_of(spec, now), question), None
    except InputInvalid as error:
        return None, str(error)
