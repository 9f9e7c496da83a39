"""What sources that are not trusted said, beside the trusted labels of the same answers: counted
where the rows lie, in one pass over the labels.

The statement counts answers that are alike: by who said what, and what the trusted label says. Few
rows come back however long the window is; what is asked of them are sums.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Subquery, case, func, select
from sqlalchemy.orm import Session

from knowgate._records.records import LabelSource, Window
from store import dialects, partitions
from store.labelling.graders import GraderError
from store.labelling.in_force import labels_in_force
from store.tables import AttemptRow, DecisionRow
from store.traffic.uncertified import CERTIFIABLE

_DECISION = dialects.table_of(DecisionRow)
_ATTEMPT = dialects.table_of(AttemptRow)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """How many answers have both, and how many of the strongest verdicts on them are wrong;
    requests that no certificate covers are left out.
    """

    answers: int
    wrong: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """What was said of a window's answers that have a trusted label too."""

    earlier: Compared
    recent: Compared
    graders: tuple[GraderError, ...]  # each that is named, by name, of the whole window


@dataclass(frozen=True, slots=True, kw_only=True)
class _Alike:
    """Answers of which the same is said: exactly half right counts as right."""

    recent: bool
    certifiable: bool
    right: bool
    said: tuple[tuple[bool, str | None], ...]  # the strongest first: right or not, and the grader
    answers: int


def verdicts(
    session: Session,
    cascade: str,
    window: Window,
    *,
    as_of: datetime,
    trusted: Collection[LabelSource],
    since: datetime | None = None,
) -> Verdicts:
    """The verdicts on a window of decision time, as they were known at `as_of`; decisions from
    `since` on are recent, all of them where it is None.
    """
    ids = (partitions.first_id(window.start), partitions.first_id(window.end))
    first = partitions.first_id(since or window.start)
    others = [source for source in LabelSource if source not in trusted]
    alike: list[_Alike] = []
    if others:
        alike = [_alike(row) for row in session.execute(_counted(_answers(ids, as_of), cascade, first, as_of, others))]
    return Verdicts(
        earlier=_compared(one for one in alike if not one.recent),
        recent=_compared(one for one in alike if one.recent),
        graders=_graders(alike, window, as_of),
    )


def _answers(ids: tuple[UUID, UUID], as_of: datetime) -> Subquery:
    """A row per labelled answer: what each source says of it in the end, and by whom."""
    newest = labels_in_force(ids, as_of, tuple(LabelSource), each=True)
    said = [
        func.max(case((newest.c.source == source.value, value))).label(f"{source.value}_{name}")
        for source in LabelSource
        for name, value in (("correct", newest.c.correct), ("grader", newest.c.grader))
    ]
    of = (newest.c.decision_id, newest.c.tier)
    return select(*of, *said).where(newest.c.place == 1).group_by(*of).subquery()


def _counted(
    answers: Subquery, cascade: str, recent: UUID, as_of: datetime, others: Sequence[LabelSource]
) -> Select[Any]:
    """How many answers are alike, of those that have both; in the order of `_Alike`."""
    known = [answers.c[f"{source.value}_correct"] for source in LabelSource if source not in others]
    said = [answers.c[f"{source.value}_correct"] for source in others]
    facts = (
        select(
            (_DECISION.c.id >= recent).label("recent"),
            CERTIFIABLE.label("certifiable"),
            (_first(known) >= 0.5).label("right"),
            *((one >= 0.5).label(f"said_{at}") for at, one in enumerate(said)),
            *(answers.c[f"{source.value}_grader"].label(f"by_{at}") for at, source in enumerate(others)),
        )
        .select_from(answers)
        .join(_DECISION, _DECISION.c.id == answers.c.decision_id)
        .join(_ATTEMPT, (_ATTEMPT.c.decision_id == answers.c.decision_id) & (_ATTEMPT.c.tier == answers.c.tier))
        .where(
            _first(known).is_not(None),
            _first(said).is_not(None),
            _DECISION.c.cascade == cascade,
            _DECISION.c.received_at <= as_of,
        )
        .subquery()
    )
    return select(*facts.c, func.count()).group_by(*facts.c)


def _first(known: Sequence[ColumnElement[float]]) -> ColumnElement[float]:
    """The first that is there."""
    return known[0] if len(known) == 1 else func.coalesce(*known)


def _alike(row: Sequence[Any]) -> _Alike:
    recent, certifiable, right, *said, answers = row
    half = len(said) // 2
    pairs = zip(said[:half], said[half:], strict=True)
    return _Alike(
        recent=bool(recent),
        certifiable=bool(certifiable),
        right=bool(right),
        said=tuple((bool(verdict), grader) for verdict, grader in pairs if verdict is not None),
        answers=answers,
    )


def _compared(alike: Iterable[_Alike]) -> Compared:
    counted = [one for one in alike if one.certifiable]
    wrong = sum(one.answers for one in counted if one.said[0][0] != one.right)
    return Compared(answers=sum(one.answers for one in counted), wrong=wrong)


def _graders(alike: Sequence[_Alike], window: Window, as_of: datetime) -> tuple[GraderError, ...]:
    counts: dict[str, dict[tuple[bool, bool], int]] = {}
    for one in alike:
        for verdict, grader in one.said:
            if grader is not None:
                of = counts.setdefault(grader, dict.fromkeys(((a, b) for a in (True, False) for b in (True, False)), 0))
                of[one.right, verdict] += one.answers
    return tuple(
        GraderError(
            grader=grader,
            measured_at=as_of,
            window=window,
            wrong=of[False, False] + of[False, True],
            wrong_called_right=of[False, True],
            right=of[True, True] + of[True, False],
            right_called_wrong=of[True, False],
        )
        for grader, of in sorted(counts.items())
    )
