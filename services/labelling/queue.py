"""Which answers to label next, drawn by a coin whose chance is logged.

A label helps an estimate only when the chance that it was made is known, so rows are drawn by a
keyed coin and not by whoever looks interesting; the propensity goes with the row and comes back
with its label. All answers of one decision are drawn together: the drop compares them. Answers that
a trusted source has labelled are left out; what a grader has said of them waits for a trusted label
to correct it. Left out as well is what teaches nothing: answers of models that the cascade does not
declare (a decision whose first tier ran one is left out whole, as in training) and erased
decisions.

Explored rows come first. A certificate counts rows that were seen at one rate, so a coin for runs
and a coin for labels multiply: of a retained query the last tier runs with .05, and were its labels
drawn with .05 too, one row in 400 would count. So a row's chance is rate / run_propensity, at most
1: what ran by a coin is labelled so much the likelier, and every decision is known with the same
chance, min(run_propensity, rate). With a budget in place of a rate the rate is the one that costs
about so many decisions (`evidence.estimation.label_allocation`).

What tells nothing of the drop is drawn with a quarter of the rate, where the drop is asked for: a
decision whose last tier did not run, and one whose answers are the same. They tell of accuracies
and teach probes, which would else be learned and judged on queries alone on which the tiers differ.

The coin of a decision never changes: drawn again at a higher rate, a window gives the same rows and
more. A propensity holds for one rate per cohort, so choose it once.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import numpy as np
import numpy.typing as npt
from sqlalchemy.orm import Session

from evidence.estimation.label_allocation import LEVEL, label_rate
from knowgate._records.records import Decision, Role, Window
from knowgate.spec import CascadeSpec, TargetKind
from services.errors import InputInvalid
from services.labelling.aim import Aim
from services.outcome_tables.columns import IntArray
from store.ledger.erased import erased_between
from store.releases import cascades
from store.traffic import decisions
from store.traffic.example_columns import Examples
from store.traffic.examples import labelled
from store.traffic.undeclared import undeclared

PERSON = b"kg.label"
_READ = ("role", "model", "revision", "slice", "prompt", "answer", "correct", "run_propensity")


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
) -> tuple[QueuedAnswer, ...]:
    """Unlabelled answers of the decisions whose coin falls below their chance, oldest first.

    The chance follows from `rate`, or from the rate that costs about `budget` decisions, spent for
    `aim` (None = what the cascade's target asks for); with neither it is the exploration rate.
    Raises CascadeUnknown, and InputInvalid where both are given.
    """
    if rate is not None and budget is not None:
        raise InputInvalid("--rate and --budget: give one of the two")
    spec = cascades.cascade(session, cascade)
    examples = labelled(session, cascade, window, as_of=as_of, columns=_READ, trusted=spec.targets.trusted)
    ids = examples.uuids()
    teaching = _teaching(session, examples, spec, window)
    open_rows = [
        rows
        for rows in (rows[teaching[rows]] for rows in _by_decision(examples))
        if np.isnan(examples.correct[rows]).any()
    ]
    worths = [worth(examples, rows, spec, aim or _aim_of(spec)) for rows in open_rows]
    if budget is not None:
        rate = label_rate(worths, budget) if worths else 0.0
    chances = [min(1.0, (spec.exploration_rate if rate is None else rate) * one) for one in worths]
    drawn = [
        (rows, chance)
        for rows, chance in zip(open_rows, chances, strict=True)
        if label_coin(key, ids[rows[0]]) < chance
    ]
    by_id = {one.id: one for one in decisions.decisions_between(session, cascade, window, as_of=as_of)}
    return tuple(
        _queued(examples, row, by_id[ids[row]], chance)
        for rows, chance in drawn
        for row in rows
        if np.isnan(examples.correct[row])
    )


def worth(examples: Examples, rows: IntArray, spec: CascadeSpec, aim: Aim) -> float:
    """How likely one decision is to be drawn, beside one that tells of the drop and whose last tier
    ran for certain, or by an unknown coin; `rows` are those of its attempts that teach.
    """
    if aim is Aim.ACCURACY:
        return 1.0
    if len(rows) < 2 or spec.last not in examples.tier[rows] or _agree(examples, rows, spec):
        return LEVEL
    chosen = (examples.tier[rows] == spec.last) | (examples.role[rows] == Role.EXPLORATION)
    chance = float(examples.run_propensity[rows[chosen]].min())  # one coin ran all that a coin ran
    return 1.0 if np.isnan(chance) else 1.0 / chance


def _aim_of(spec: CascadeSpec) -> Aim:
    return Aim.DROP if spec.targets.kind is TargetKind.MAX_ACCURACY_DROP else Aim.ACCURACY


def _teaching(session: Session, examples: Examples, spec: CascadeSpec, window: Window) -> npt.NDArray[np.bool_]:
    """[n] whether a label of the attempt would teach anything."""
    foreign = undeclared(examples, spec)
    begun = examples.at_tier(0)
    astray = (begun >= 0) & foreign[begun] if examples.rows else np.zeros(0, dtype=np.bool_)
    erased = erased_between(session, spec.name, window)
    gone = np.fromiter((one in erased for one in examples.uuids()), dtype=np.bool_, count=examples.rows)
    return np.asarray(examples.answered & ~foreign & ~gone & ~astray[examples.decision], dtype=np.bool_)


def label_coin(key: bytes, decision_id: UUID) -> float:
    """A number in [0, 1), uniform over decision ids, fixed for one id."""
    digest = hashlib.blake2b(decision_id.bytes, digest_size=8, key=key, person=PERSON).digest()
    return float(int.from_bytes(digest, "big") >> 11) / 2.0**53


def _by_decision(examples: Examples) -> Iterator[IntArray]:
    order = np.arange(examples.rows)
    yield from np.split(order, np.flatnonzero(np.diff(examples.decision)) + 1) if examples.rows else ()


def _agree(examples: Examples, rows: IntArray, spec: CascadeSpec) -> bool:
    """Whether every tier ran and gave the same answer: then the drop is 0 whatever the truth."""
    answers = set(examples.answer[rows])
    return len(rows) == len(spec.tiers) and len(answers) == 1 and None not in answers


def _queued(examples: Examples, row: int, decision: Decision, chance: float) -> QueuedAnswer:
    return QueuedAnswer(
        decision_id=decision.id,
        external_id=decision.external_id,
        tier=int(examples.tier[row]),
        model=examples.model[row],
        slice=examples.slice[row],
        prompt=examples.prompt[row],
        answer=examples.answer[row],
        label_propensity=chance,
    )
