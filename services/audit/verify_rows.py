"""The rows against their leaves, both ways: every covered row says what its newest leaf says, and every leaf's row is
there, unless a later leaf says that it was taken away.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from services.audit.findings import Findings
from store import coverage, former_leaves, leaves, states
from store.coverage import Cover, Part, filled
from store.leaf_reading import FORMER, PAGE, RawLeaf, leaves_about
from store.states import Document, State

_ROWS = "rows"
MISSING = "it is in the ledger and not in its table"


def check_rows(session: Session, found: Findings, former_labels: set[str]) -> None:
    """Every row of every covered table against its newest leaf. `former_labels` is emptied of those that are seen."""
    for cover in coverage.COVERED:
        for page in states.pages(session, cover, PAGE):
            found.checked(_ROWS, len(page))
            _check_page(session, found, cover, page, former_labels)
        for parent in states.orphans(session, cover):
            assert cover.part is not None
            found.problem(_ROWS, cover.part.table.name, parent, f"it is of a {cover.kind} that is not there")
    for arrival in sorted(former_labels):
        if not former_leaves.same_label_stands(session, arrival):
            found.problem(_ROWS, "label", arrival, MISSING)


def check_subjects(session: Session, found: Findings, page: Sequence[RawLeaf]) -> None:
    """Whether what the leaves of a page speak of is there."""
    for cover, subjects in _by_table(page).items():
        keys = {}
        for subject in subjects:
            try:
                keys[subject] = cover.key(subject)
            except (ValueError, TypeError, OverflowError):
                found.problem(_ROWS, cover.kind, subject, "its leaf names no row by this")
        missing = keys.keys() - states.present(session, cover, list(keys.values()))
        newest = leaves.newest_of(session, cover.kind, sorted(missing))
        for subject in sorted(missing):
            if subject not in newest or newest[subject].payload != leaves.GONE:
                found.problem(_ROWS, cover.kind, subject, MISSING)


def _by_table(page: Sequence[RawLeaf]) -> dict[Cover, set[str]]:
    named: dict[Cover, set[str]] = {}
    for leaf in page:
        cover = coverage.of_kind(leaf.kind) if isinstance(leaf.kind, str) else None
        former = (
            leaf.version == FORMER and leaf.kind != "decision"
        )  # stated anew at the upgrade, or looked up as labels
        if cover is not None and not former and isinstance(leaf.subject, str):
            named.setdefault(cover, set()).add(leaf.subject)
    return named


def _check_page(
    session: Session, found: Findings, cover: Cover, page: Sequence[State], former_labels: set[str]
) -> None:
    about = leaves_about(session, cover.kind, [state.subject for state in page])
    former = _former_labels(session, cover, page, about)
    for state in page:
        if state.subject in about:
            _compare(found, cover, state, about[state.subject])
        elif state.subject in former:
            _compare_former(found, cover, state, former[state.subject])
        else:
            found.problem(_ROWS, cover.kind, state.subject, "it has no leaf: the row was not written by knowgate")
    if cover.kind in ("label", "waiting_label"):
        former_labels.difference_update(str(state.document.get("arrival")) for state in page)


def _former_labels(
    session: Session, cover: Cover, page: Sequence[State], about: Mapping[str, Any]
) -> dict[str, RawLeaf]:
    """Labels without a leaf of their own, with the one of the former version that goes by their arrival."""
    if cover.kind != "label":
        return {}
    arrivals = {state.subject: str(state.document.get("arrival")) for state in page if state.subject not in about}
    by_arrival = leaves_about(session, "label", sorted(set(arrivals.values())))
    return {
        subject: leaf
        for subject, arrival in arrivals.items()
        for leaf in by_arrival.get(arrival, ())
        if leaf.version == FORMER
    }


def _compare(found: Findings, cover: Cover, state: State, about: Sequence[RawLeaf]) -> None:
    ordered = sorted(about, key=lambda leaf: (leaf.version != FORMER, str(type(leaf.revision)), leaf.revision))
    numbers = [leaf.revision for leaf in ordered if leaf.version != FORMER]
    first = 1 if len(numbers) == len(ordered) else 2  # the former one counts as the first
    if numbers != list(range(first, first + len(numbers))):
        found.problem(_ROWS, cover.kind, state.subject, f"its leaves are numbered {numbers}: one is missing or twice")
    newest = ordered[-1]
    if newest.version == FORMER:
        _compare_former(found, cover, state, newest)
    elif newest.payload == leaves.GONE:
        found.problem(_ROWS, cover.kind, state.subject, "it was taken away, and is there again")
    elif newest.emptied:
        found.problem(_ROWS, cover.kind, state.subject, "its newest leaf is empty")
    else:
        _compare_documents(found, cover, state, _parsed(newest.payload), whole=True)


def _compare_former(found: Findings, cover: Cover, state: State, leaf: RawLeaf) -> None:
    if leaf.emptied:
        return  # erased before there were further leaves: nothing states what is left
    waiting = cover.kind == "waiting_label"
    try:
        said = former_leaves.stated(cover.kind, leaf.payload, waiting=waiting)
    except (ValueError, KeyError, TypeError, AttributeError):
        said = {states.UNREADABLE: True}
    _compare_documents(found, cover, state, said, whole=False)


def _parsed(payload: str) -> Document:
    try:
        said = json.loads(payload)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _compare_documents(found: Findings, cover: Cover, state: State, said: Document, *, whole: bool) -> None:
    """Hold a row against what is said of it; of all its columns where it is the whole row that is said."""
    part = cover.part
    names = [
        name
        for name in (cover.columns if whole else said.keys() - {"attempts"})
        if state.document.get(name) != said.get(name, filled(cover.table, name))
    ]
    if part is not None:
        names += _part_differences(part, state.document[part.named], said.get(part.named), whole)
    if names:
        what = f"the row was altered: {', '.join(sorted(names))} is not what its newest leaf says"
        found.problem(_ROWS, cover.kind, state.subject, what)


def _part_differences(part: Part, stands: Any, said: Any, whole: bool) -> Iterator[str]:
    if part.hashed or not isinstance(said, list):
        if stands != said:
            yield part.named
        return
    if len(stands) != len(said):
        yield f"the number of {part.named} ({len(stands)} for {len(said)})"
        return
    for at, (now, then) in enumerate(zip(stands, said, strict=True)):
        for name in sorted(now.keys() | then.keys() if whole else then.keys()):
            if now.get(name) != then.get(name, filled(part.table, name)):
                yield f"{part.named}[{at}].{name}"
