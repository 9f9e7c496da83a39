"""Statements that contradict each other, and are therefore not taken.

A label is a statement of one source about one attempt, made at a time. The newest of a source is in
force; of two that were made at the same time neither is newer, so where they differ no rule could
choose, and whichever came last would win by chance. Neither is stored (or, if one is there, the
other is not), and the cure is a later `labelled_at` for the correction. Two that say the same, one
with its grader's name, do not contradict.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from store import dialects
from store.batches import batched
from store.tables import LabelRow, WaitingLabelRow

_CHUNK = 1000  # rows in one IN list
CONTRADICTS = "another label of its source and time says otherwise"
Said = Mapping[str, Any]


class Statement(Protocol):
    """What is said of an answer."""

    @property
    def correct(self) -> float: ...

    @property
    def label_propensity(self) -> float | None: ...


def contradict(one: Statement, other: Statement) -> bool:
    """Whether two statements of one source, attempt and time cannot both hold; an unknown
    propensity fits any.
    """
    return _differ((one.correct, one.label_propensity), (other.correct, other.label_propensity))


def newest_first(label: Any) -> tuple[ColumnElement[Any], ...]:
    """The order in which labels of one attempt and source are in force.

    Of those that say the same of one time, one that tells its propensity or grader goes before one
    that leaves it out.
    """
    return (
        label.labelled_at.desc(),
        label.label_propensity.is_(None),
        label.grader.is_(None),
        label.received_at.desc(),
        label.arrival.desc(),
    )


def hold_statements(session: Session, cascades: Iterable[str]) -> None:
    """Let no other transaction store labels of these cascades until this one ends: it could
    contradict them unseen.
    """
    for name in sorted(cascades):
        dialects.lock(session, f"knowgate.statements.{name}")


def contradicted(session: Session, rows: Sequence[Said], waiting: Sequence[Said]) -> dict[UUID, str]:
    """Per arrival of a new label that contradicts a stored one or another of these: what the other
    says.
    """
    contradictions = _among(
        rows, _of_attempt, _stored(session, LabelRow, "decision_id", {row["decision_id"] for row in rows})
    )
    for name in ("decision_id", "external_id"):
        named = [row for row in waiting if row[name] is not None]
        stored = _stored(session, WaitingLabelRow, name, {row[name] for row in named})
        contradictions |= _among(named, _of_name, (row for row in stored if row["parked"] is None))
    return contradictions


def contradicting(rows: Sequence[Said]) -> frozenset[UUID]:
    """The arrivals of labels of these that contradict each other about one attempt."""
    return frozenset(_among(rows, _of_attempt, ()))


def _among(rows: Sequence[Said], key: Callable[[Said], Hashable], stored: Iterable[Said]) -> dict[UUID, str]:
    wanted = {key(row) for row in rows}
    before: dict[Hashable, list[Said]] = {}
    for row in stored:
        if key(row) in wanted:
            before.setdefault(key(row), []).append(row)
    fresh = [row for row in rows if not any(_repeats(row, other) for other in before.get(key(row), ()))]
    contradictions = _against(fresh, key, before)
    beside: dict[Hashable, list[Said]] = {}
    for row in fresh:
        if row["arrival"] not in contradictions:  # what a stored one speaks against speaks against no other
            beside.setdefault(key(row), []).append(row)
    return contradictions | _against([row for row in fresh if row["arrival"] not in contradictions], key, beside)


def _against(
    rows: Sequence[Said], key: Callable[[Said], Hashable], others: Mapping[Hashable, Sequence[Said]]
) -> dict[UUID, str]:
    contradictions = {}
    for row in rows:
        other = next((other for other in others.get(key(row), ()) if _differ(_said(row), _said(other))), None)
        if other is not None:
            contradictions[row["arrival"]] = in_words(other["correct"], other["label_propensity"], other["grader"])
    return contradictions


def in_words(correct: float, label_propensity: float | None, grader: str | None) -> str:
    """What a label says, for a message.

    >>> in_words(1.0, 0.5, "anna")
    'correct 1 (label_propensity 0.5, grader anna)'
    """
    beside = [] if label_propensity is None else [f"label_propensity {_exact(label_propensity)}"]
    beside += [] if grader is None else [f"grader {grader}"]
    return f"correct {_exact(correct)}" + (f" ({', '.join(beside)})" if beside else "")


def _exact(value: float) -> str:
    """With every digit: two that differ in the last would be shown as one."""
    return repr(value).removesuffix(".0")


def _stored(
    session: Session, model: type[LabelRow | WaitingLabelRow], name: str, values: Collection[Any]
) -> Iterator[Said]:
    columns = list(dialects.table_of(model).c)
    place = dialects.table_of(model).c[name]
    for chunk in batched(sorted(values), _CHUNK):
        query = select(*columns).where(place.in_(chunk))
        yield from (dict(row) for row in session.execute(query).mappings())


def _of_attempt(row: Said) -> Hashable:
    return row["decision_id"], row["tier"], row["source"], row["labelled_at"]


def _of_name(row: Said) -> Hashable:
    return row["cascade"], row["decision_id"], row["external_id"], row["tier"], row["source"], row["labelled_at"]


def _said(row: Said) -> tuple[float, float | None]:
    return row["correct"], row["label_propensity"]


def _repeats(row: Said, other: Said) -> bool:
    return _said(row) == _said(other) and row["grader"] == other["grader"]


def _differ(one: tuple[float, float | None], other: tuple[float, float | None]) -> bool:
    chances = {one[1], other[1]} - {None}
    return one[0] != other[0] or len(chances) > 1
