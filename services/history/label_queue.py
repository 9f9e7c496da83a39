"""Which answers to label next, drawn by a coin whose chance is told.

A label helps an estimate only when the chance that it was made is known, so rows are drawn by a keyed coin and not by
whoever looks interesting; the propensity goes with the row and comes back with its label. All answers of one decision
are drawn together: the drop compares them. Where every answer of a decision is the same text the drop is 0 whatever
the truth, so such a row is left out unless it is asked for. Answers that somebody has labelled are left out too.

The coin of a decision never changes: drawn again at a higher rate, a window gives the same rows and more. A propensity
holds for one rate per cohort, so choose it once.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import numpy as np
from sqlalchemy.orm import Session

from knowgate.records import Window
from services.history.columns import IntArray
from store import cascades, decisions
from store.examples import Examples, labelled

PERSON = b"kg.label"


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
    rate: float,
    key: bytes,
    agreements: bool = False,
    limit: int | None = None,
) -> tuple[QueuedAnswer, ...]:
    """Unlabelled answers of the decisions whose coin falls below `rate`, oldest first, at most `limit` decisions.

    Raises CascadeUnknown.
    """
    cascades.cascade(session, cascade)
    examples = labelled(session, cascade, window, as_of=as_of)
    chosen = [
        rows
        for rows in _by_decision(examples)
        if label_coin(key, examples.ids[rows[0]]) < rate
        and np.isnan(examples.correct[rows]).any()
        and (agreements or not _agree(examples, rows))
    ]
    names = {
        decision.id: decision.external_id
        for decision in decisions.decisions_between(session, cascade, window, as_of=as_of)
    }
    return tuple(
        _queued(examples, row, names[examples.ids[row]], rate)
        for rows in chosen[:limit]
        for row in rows
        if np.isnan(examples.correct[row])
    )


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


def _queued(examples: Examples, row: int, external_id: str | None, rate: float) -> QueuedAnswer:
    return QueuedAnswer(
        decision_id=examples.ids[row],
        external_id=external_id,
        tier=int(examples.tier[row]),
        model=examples.model[row],
        slice=examples.slice[row],
        prompt=examples.prompt[row],
        answer=examples.answer[row],
        label_propensity=rate,
    )
