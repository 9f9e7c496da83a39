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
from knowgate._records.records import Role, Window
from knowgate.spec import CascadeSpec, TargetKind
from services.errors import InputInvalid
from services.labelling.aim import Aim
from services.outcome_tables.columns import FloatArray, IntArray
from store.ledger.erased import erased_between
from store.releases import cascades
from store.traffic import decisions
from store.traffic.attempt_columns import taken, uuids
from store.traffic.example_columns import Examples
from store.traffic.examples import labelled
from store.traffic.newest import blocks
from store.traffic.undeclared import undeclared

PERSON = b"kg.label"
_READ = ("role", "model", "revision", "slice", "prompt", "answer", "answer_key", "correct", "run_propensity")
_BLOCK = 20_000  # decisions that are read at once
BoolArray = npt.NDArray[np.bool_]


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
    drawing = _Drawing(spec=spec, aim=aim or _aim_of(spec), key=key, as_of=as_of)
    if budget is not None:
        parts = [_open(session, part, drawing).worth for part in blocks(session, cascade, window, size=_BLOCK)]
        worths = np.concatenate(parts) if parts else np.zeros(0)
        rate = label_rate(worths, budget) if len(worths) else 0.0
    wanted = spec.exploration_rate if rate is None else rate
    return tuple(
        answer
        for part in blocks(session, cascade, window, size=_BLOCK)
        for answer in _drawn(session, part, drawing, wanted)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawing:
    """What is drawn for, and by which coin."""

    spec: CascadeSpec
    aim: Aim
    key: bytes
    as_of: datetime


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Open:
    """The decisions of a window that a label would teach something of."""

    examples: Examples
    teaching: BoolArray  # [attempts]
    decisions: IntArray  # [n] their numbers in the examples
    worth: FloatArray  # [n]


def _open(session: Session, window: Window, drawing: _Drawing) -> _Open:
    spec = drawing.spec
    examples = labelled(session, spec.name, window, as_of=drawing.as_of, columns=_READ, trusted=spec.targets.trusted)
    teaching = _teaching(session, examples, spec, window)
    waiting = np.bincount(examples.decision[teaching & np.isnan(examples.correct)], minlength=examples.decisions)
    chosen = np.flatnonzero(waiting)
    return _Open(
        examples=examples, teaching=teaching, decisions=chosen, worth=_worths(examples, teaching, drawing)[chosen]
    )


def _drawn(session: Session, window: Window, drawing: _Drawing, rate: float) -> Iterator[QueuedAnswer]:
    found = _open(session, window, drawing)
    examples = found.examples
    first = np.flatnonzero(np.diff(examples.decision, prepend=-1))
    chances = np.minimum(1.0, rate * found.worth)
    coins = [label_coin(drawing.key, one) for one in uuids(examples.ids[first[found.decisions]])]
    of_decision = np.full(examples.decisions, np.nan)
    drawn = np.asarray(coins) < chances
    of_decision[found.decisions[drawn]] = chances[drawn]
    rows = np.flatnonzero(found.teaching & np.isnan(examples.correct) & ~np.isnan(of_decision[examples.decision]))
    ids = uuids(examples.ids[rows])
    names = decisions.external_ids_of(session, set(ids))
    for row, decision_id in zip(rows.tolist(), ids, strict=True):
        chance = float(of_decision[examples.decision[row]])
        yield _queued(examples, row, decision_id, names[decision_id], chance)


def _worths(examples: Examples, teaching: BoolArray, drawing: _Drawing) -> FloatArray:
    """[decisions] how likely each is to be drawn, beside one that tells of the drop and whose last
    tier ran for certain, or by an unknown coin; of its attempts those count that teach.
    """
    n, spec = examples.decisions, drawing.spec
    if drawing.aim is Aim.ACCURACY:
        return np.ones(n)
    at = examples.decision
    last = teaching & (examples.tier == spec.last)
    tells = (np.bincount(at[teaching], minlength=n) >= 2) & (np.bincount(at[last], minlength=n) > 0)
    chosen = last | (teaching & (examples.role == Role.EXPLORATION))
    chance = np.full(n, np.inf)  # one coin ran all that a coin ran
    np.minimum.at(chance, at[chosen], examples.run_propensity[chosen])
    with np.errstate(divide="ignore"):
        worth = np.where(np.isnan(chance), 1.0, 1.0 / chance)
    return np.where(tells & ~_agree(examples, teaching, spec), worth, LEVEL)


def _aim_of(spec: CascadeSpec) -> Aim:
    return Aim.DROP if spec.targets.kind is TargetKind.MAX_ACCURACY_DROP else Aim.ACCURACY


def _teaching(session: Session, examples: Examples, spec: CascadeSpec, window: Window) -> BoolArray:
    """[n] whether a label of the attempt would teach anything."""
    foreign = undeclared(examples, spec)
    begun = examples.at_tier(0)
    astray = (begun >= 0) & foreign[begun] if examples.rows else np.zeros(0, dtype=np.bool_)
    erased = erased_between(session, spec.name, window)
    gone = np.zeros(examples.rows, dtype=np.bool_)
    if erased:
        gone = np.fromiter((one in erased for one in examples.uuids()), dtype=np.bool_, count=examples.rows)
    return np.asarray(examples.answered & ~foreign & ~gone & ~astray[examples.decision], dtype=np.bool_)


def label_coin(key: bytes, decision_id: UUID) -> float:
    """A number in [0, 1), uniform over decision ids, fixed for one id."""
    digest = hashlib.blake2b(decision_id.bytes, digest_size=8, key=key, person=PERSON).digest()
    return float(int.from_bytes(digest, "big") >> 11) / 2.0**53


def _agree(examples: Examples, teaching: BoolArray, spec: CascadeSpec) -> BoolArray:
    """[decisions] whether every tier ran and gave the same answer: then the drop is 0 whatever the
    truth.
    """
    n, at = examples.decisions, examples.decision
    first = taken(examples.answer_key, examples.at_tier(0)[at])
    same = teaching & (examples.answer_key == first) & (first != -1)
    ran = np.bincount(at[teaching], minlength=n) == len(spec.tiers)
    return np.asarray(ran & (np.bincount(at[same], minlength=n) == len(spec.tiers)), dtype=np.bool_)


def _queued(examples: Examples, row: int, decision_id: UUID, external_id: str | None, chance: float) -> QueuedAnswer:
    return QueuedAnswer(
        decision_id=decision_id,
        external_id=external_id,
        tier=int(examples.tier[row]),
        model=examples.model[row],
        slice=examples.slice[row],
        prompt=examples.prompt[row],
        answer=examples.answer[row],
        label_propensity=chance,
    )
