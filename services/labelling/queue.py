"""Which answers to label next, drawn by a coin whose chance is logged.

A label helps an estimate only when the chance that it was made is known, so rows are drawn by a
keyed coin and not by whoever looks interesting; the propensity goes with the row and comes back
with its label. All answers of one decision are drawn together: the drop compares them. Where every
answer of a decision is the same text the drop is 0 whatever the truth, so such a row is left out
unless it is asked for. Answers that a trusted source has labelled are left out too; what a grader
has said of them waits for a trusted label to correct it. Left out as well is what teaches nothing:
answers of models that the cascade does not declare (a decision whose first tier ran one is left out
whole, as in training) and erased decisions.

The coin of a decision never changes: drawn again at a higher rate, a window gives the same rows and
more. A propensity holds for one rate per cohort, so choose it once.

With a budget in place of a rate the chances differ, and are spent where labels tell most
(`evidence.estimation.label_allocation`): an explored decision stands for 1 / run_propensity others,
so its labels are worth that much more than those of an escalated one; and what lies near a
threshold decides whether a bolder or a safer one would keep its promise. Where the drop is asked
for, a decision whose last tier did not run, or ran by an unknown coin, tells nothing and is never
drawn.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import numpy as np
import numpy.typing as npt
from sqlalchemy.orm import Session

from evidence.estimation.label_allocation import label_propensities
from knowgate._records.records import Decision, Reason, Window
from knowgate.spec import CascadeSpec, TargetKind
from services.errors import InputInvalid
from services.labelling.aim import Aim
from services.outcome_tables.columns import IntArray
from store.ledger.erased import erased_between
from store.releases import cascades
from store.traffic import decisions
from store.traffic.examples import Examples, labelled
from store.traffic.undeclared import undeclared

PERSON = b"kg.label"
FAR = 0.25  # the worth of a row far from every threshold, where one at a threshold has 1


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedAnswer:
    """One answer to label. Its label is to carry `label_propensity`."""

    decision_id: UUID
    external_id: str | None
    tier: int
    model: str
    slice: str | None
    prompt: str | None
    answer: str | None
    label_propensity: float


def label_queue(
    session: Session,
    cascade: str,
    window: Window,
    *,
    as_of: datetime,
    key: bytes,
    rate: float | None = None,
    budget: float | None = None,
    aim: Aim | None = None,
    agreements: bool = False,
) -> tuple[QueuedAnswer, ...]:
    """Unlabelled answers of the decisions whose coin falls below their chance, oldest first.

    The chance is `rate` for all, or one of each decision's own that sum to `budget` decisions,
    spent for `aim` (None = what the cascade's target asks for). Raises CascadeUnknown, and
    InputInvalid unless one of the two is given.
    """
    if (rate is None) == (budget is None):
        raise InputInvalid("--rate and --budget: give one of the two")
    spec = cascades.cascade(session, cascade)
    examples = labelled(session, cascade, window, as_of=as_of, trusted=spec.targets.trusted)
    teaching = _teaching(session, examples, spec, window)
    open_rows = [
        rows
        for rows in (rows[teaching[rows]] for rows in _by_decision(examples))
        if np.isnan(examples.correct[rows]).any() and (agreements or not _agree(examples, rows))
    ]
    by_id = {one.id: one for one in decisions.decisions_between(session, cascade, window, as_of=as_of)}
    of_rows = [by_id[examples.ids[rows[0]]] for rows in open_rows]
    if budget is None:
        chances = [rate or 0.0] * len(open_rows)
    else:
        whole = [spec.last in examples.tier[rows] for rows in open_rows]
        chances = _chances(of_rows, whole, spec, budget, aim)
    chosen = [
        (rows, decision, chance)
        for rows, decision, chance in zip(open_rows, of_rows, chances, strict=True)
        if label_coin(key, decision.id) < chance
    ]
    return tuple(
        _queued(examples, row, decision.external_id, chance)
        for rows, decision, chance in chosen
        for row in rows
        if np.isnan(examples.correct[row])
    )


def worth(decision: Decision, spec: CascadeSpec, aim: Aim) -> float:
    """How much the labels of one decision tell: 0 = nothing, 1 = of an escalated one at a
    threshold.
    """
    tell = FAR + (1.0 - FAR) * _nearness(decision, spec.exploration_width)
    if aim is Aim.ACCURACY:
        return tell
    last = next((attempt for attempt in decision.attempts if attempt.tier == spec.last), None)
    if last is None or last.run_propensity is None or len(decision.attempts) < 2:
        return 0.0
    return tell / last.run_propensity


def _teaching(session: Session, examples: Examples, spec: CascadeSpec, window: Window) -> npt.NDArray[np.bool_]:
    """[n] whether a label of the attempt would teach anything."""
    foreign = undeclared(examples, spec)
    begun = examples.at_tier(0)
    astray = (begun >= 0) & foreign[begun] if examples.rows else np.zeros(0, dtype=np.bool_)
    erased = erased_between(session, spec.name, window)
    gone = np.fromiter((one in erased for one in examples.ids), dtype=np.bool_, count=examples.rows)
    return np.asarray(~foreign & ~gone & ~astray[examples.decision], dtype=np.bool_)


def _chances(
    of_rows: Sequence[Decision], whole: Sequence[bool], spec: CascadeSpec, budget: float, aim: Aim | None
) -> list[float]:
    """Chances that sum to the budget; `whole` says whose last tier's answer teaches: without it a
    drop is unknown.
    """
    drops = spec.targets.kind is TargetKind.MAX_ACCURACY_DROP
    sought = aim or (Aim.DROP if drops else Aim.ACCURACY)
    worths = [
        worth(decision, spec, sought) if last or sought is Aim.ACCURACY else 0.0
        for decision, last in zip(of_rows, whole, strict=True)
    ]
    if not any(worths):
        return [0.0] * len(of_rows)
    chances: list[float] = label_propensities(worths, budget).tolist()
    return chances


def _nearness(decision: Decision, width: float) -> float:
    """1 where a signal stands at the threshold it met, 0 from `width` on."""
    distances = [
        abs(gate.value - gate.threshold)
        for attempt in decision.attempts
        if attempt.verdict is not None
        for gate in attempt.verdict.gates
        if gate.value is not None and (gate.threshold < 1.0 if gate.gate is Reason.OOD else gate.threshold > 0.0)
    ]
    return max(0.0, 1.0 - min(distances) / width) if distances else 0.0


def label_coin(key: bytes, decision_id: UUID) -> float:
    """A number in [0, 1), uniform over decision ids, fixed for one id."""
    digest = hashlib.blake2b(decision_id.bytes, digest_size=8, key=key, person=PERSON).digest()
    return float(int.from_bytes(digest, "big") >> 11) / 2.0**53


def _by_decision(examples: Examples) -> Iterator[IntArray]:
    order = np.arange(examples.rows)
    yield from np.split(order, np.flatnonzero(np.diff(examples.decision)) + 1) if examples.rows else ()


def _agree(examples: Examples, rows: IntArray) -> bool:
    answers = set(examples.answer[rows])
    return len(rows) > 1 and len(answers) == 1 and None not in answers


def _queued(examples: Examples, row: int, external_id: str | None, chance: float) -> QueuedAnswer:
    return QueuedAnswer(
        decision_id=examples.ids[row],
        external_id=external_id,
        tier=int(examples.tier[row]),
        model=examples.model[row],
        slice=examples.slice[row],
        prompt=examples.prompt[row],
        answer=examples.answer[row],
        label_propensity=chance,
    )
