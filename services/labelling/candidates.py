"""Answers that a grader has not labelled yet."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import numpy as np
from sqlalchemy.orm import Session

from knowgate._records.records import LabelSource, Window
from store.ledger.erased import erased_between
from store.releases import cascades
from store.traffic import decisions
from store.traffic.examples import labelled
from store.traffic.label_sources import labels_by_source


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One answer to grade. `answer` is its text, or its keyed hash, as the cascade's privacy keeps
    it.
    """

    decision_id: UUID
    external_id: str | None
    tier: int
    prompt: str | None
    answer: str | None


def candidates(
    session: Session, cascade: str, window: Window, *, as_of: datetime, source: LabelSource, tier: int | None = None
) -> tuple[Candidate, ...]:
    """The window's answers that `source` has said nothing of at `as_of`, of all tiers or one.
    Raises CascadeUnknown.

    An erased decision has no answer to grade, and its owner wants none graded: it is left out, as
    if it had not been.
    """
    cascades.cascade(session, cascade)
    examples = labelled(session, cascade, window, as_of=as_of, columns=("role", "prompt", "answer"))
    labels = labels_by_source(session, cascade, window, as_of=as_of)
    said = {(labels.decision_id[row], int(labels.tier[row])) for row in np.flatnonzero(labels.source == source.value)}
    erased = erased_between(session, cascade, window)
    externals = decisions.external_ids_between(session, cascade, window, as_of=as_of)
    answered, ids = examples.answered, examples.uuids()
    return tuple(
        Candidate(
            decision_id=ids[row],
            external_id=externals[ids[row]],
            tier=int(examples.tier[row]),
            prompt=examples.prompt[row],
            answer=examples.answer[row],
        )
        for row in range(examples.rows)
        if answered[row]
        and ids[row] not in erased
        and (ids[row], int(examples.tier[row])) not in said
        and tier in (None, int(examples.tier[row]))
    )
