"""The rows against their leaves, both ways: every covered row says what its newest leaf says, and
every leaf's row is there, unless a later leaf says that it was taken away.

A further leaf is believed only where there can be one: `store.sealing.changes` says what may become
of a row.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Any

from sqlalchemy.orm import Session

from services.audit.findings import Findings
from services.audit.named_rows import RowsRead
from store.batches import batched
from store.ledger import former_leaves
from store.ledger.leaf_reading import FORMER, PAGE, RawLeaf, leaves_about
from store.sealing import changes, coverage, leaves, row_texts, states
from store.sealing.coverage import Cover, Part, filled
from store.sealing.states import Document, State, same

_ROWS = "rows"
MISSING = "it is in the ledger and not in its table"
NO_LEAF = "it has no leaf: the row was not written by knowgate"
EMPTY = "its newest leaf is empty"
NOT_ERASED = "its leaves were emptied, and it was not erased"


def check_rows(
    session: Session, findings: Findings, covers: Sequence[Cover], former_labels: set[str], read: RowsRead
) -> None:
    """Every row of these tables against its newest leaf. `former_labels`: arrivals that former
    leaves name; `read`: what leaves of batches were found to say.
    """
    unseen = set(former_labels)
    for cover in covers:
        for page in _pages(session, findings, cover, former_labels, read):
            _check_page(session, findings, cover, page, former_labels, read)
            if cover.kind in ("label", "waiting_label"):
                unseen.difference_update(str(state.document.get("arrival")) for state in page)
        for parent in states.orphans(session, cover):
            assert cover.part is not None
            findings.problem(_ROWS, cover.part.table.name, parent, f"it is of a {cover.kind} that is not there")
        if repeated := read.of_batches.repeated(cover.kind):
            findings.problem(_ROWS, cover.kind, "*", f"{repeated} rows are in the leaves of two batches")
    for arrival in sorted(unseen):
        if not former_leaves.same_label_stands(session, arrival):
            findings.problem(_ROWS, "label", arrival, MISSING)


def _pages(
    session: Session, findings: Findings, cover: Cover, former_labels: set[str], read: RowsRead
) -> Iterator[list[State]]:
    """The rows of a table that are to be looked at by themselves: not those of which the leaf of
    their batch says all.
    """
    if not cover.by_batch or (cover.kind == "label" and former_labels):
        for page in states.pages(session, cover, PAGE):
            findings.checked(_ROWS, len(page))
            yield page
        return
    for named in row_texts.subjects(session, cover, PAGE):
        findings.checked(_ROWS, len(named))
        keys = []
        for subject in read.looked_at_singly(cover.kind, named):
            try:
                keys.append(cover.key(subject))
            except (ValueError, TypeError, OverflowError):
                findings.problem(_ROWS, cover.kind, subject, NO_LEAF)
        if keys:
            yield states.read_states(session, cover, keys)


def check_subjects(session: Session, findings: Findings, covers: Sequence[Cover], page: Sequence[RawLeaf]) -> None:
    """Whether what the leaves of a page speak of is there, where its table is."""
    for cover, subjects in _by_table(page).items():
        if cover not in covers:
            continue
        keys = {}
        for subject in subjects:
            try:
                keys[subject] = cover.key(subject)
            except (ValueError, TypeError, OverflowError):
                findings.problem(_ROWS, cover.kind, subject, "its leaf names no row by this")
        report_missing(session, findings, cover, keys.keys() - states.present(session, cover, list(keys.values())))


def report_missing(session: Session, findings: Findings, cover: Cover, missing: AbstractSet[str]) -> None:
    """Rows that leaves speak of and that are not there, unless a leaf says that they were taken
    away and they may be.
    """
    newest = leaves.newest_of(session, cover.kind, sorted(missing))
    for subject in sorted(missing):
        if subject not in newest or newest[subject].payload != leaves.GONE:
            findings.problem(_ROWS, cover.kind, subject, MISSING)
        elif not changes.of(cover.kind).ends:
            what = "a leaf says that it was taken away; rows of this table are kept"
            findings.problem(_ROWS, cover.kind, subject, what)


def check_rows_about(session: Session, findings: Findings, covers: Sequence[Cover], page: Sequence[RawLeaf]) -> None:
    """The rows that the leaves of a page speak of, against their newest leaves."""
    for cover, subjects in _by_table(page).items():
        if cover not in covers:
            continue
        keys = []
        for subject in sorted(subjects):
            with suppress(ValueError, TypeError, OverflowError):  # `check_subjects` names it
                keys.append(cover.key(subject))
        for some in batched(keys, PAGE):
            stand = states.read_states(session, cover, some)
            findings.checked(_ROWS, len(stand))
            _check_page(session, findings, cover, stand, set(), None)


def _by_table(page: Sequence[RawLeaf]) -> dict[Cover, set[str]]:
    named: dict[Cover, set[str]] = {}
    for leaf in page:
        cover = coverage.of_kind(leaf.kind) if isinstance(leaf.kind, str) else None
        former = (
            leaf.version == FORMER and leaf.kind != "decision"
        )  # stated anew at the upgrade, or looked up as labels
        if cover is not None and not former and not leaf.of_rows and isinstance(leaf.subject, str):
            named.setdefault(cover, set()).add(leaf.subject)
    return named


def _check_page(
    session: Session,
    findings: Findings,
    cover: Cover,
    page: Sequence[State],
    former_labels: set[str],
    read: RowsRead | None,
) -> None:
    """`read`: what the leaves of batches say of these rows; None where that was not gathered."""
    subjects = [state.subject for state in page]
    about = leaves_about(session, cover.kind, subjects)
    former = _former_labels(session, cover, page, about, former_labels)
    sealed = None if read is None else read.of_batches.among(cover.kind, subjects)
    for at, state in enumerate(page):
        own = about.get(state.subject, [])
        if _lacks_first(cover, own) if sealed is None else sealed[at]:
            _check_further(findings, cover, state, own, read)
        elif own:
            _compare(findings, cover, state, own)
        elif state.subject not in former:
            findings.problem(_ROWS, cover.kind, state.subject, NO_LEAF)
        if state.subject in former:
            _compare_former(findings, cover, state, former[state.subject])


def _lacks_first(cover: Cover, own: Sequence[RawLeaf]) -> bool:
    """Whether a row's first leaf must be that of its batch."""
    return cover.by_batch and bool(own) and all(leaf.version != FORMER and leaf.revision != 1 for leaf in own)


def _check_further(
    findings: Findings, cover: Cover, state: State, own: Sequence[RawLeaf], read: RowsRead | None
) -> None:
    """A row whose first leaf is that of its batch: it has one of its own only once it is erased."""
    if read is not None and (cover.kind, state.subject) not in read.emptied:
        for leaf in own:
            what = f"leaf {leaf.revision} states it anew: that never changes once it was written"
            findings.problem(_ROWS, cover.kind, state.subject, what)
        return
    if state.document.get("erased_at") is None:
        findings.problem(_ROWS, cover.kind, state.subject, NOT_ERASED)
    if own:
        _compare(findings, cover, state, own, first=2)
    else:
        findings.problem(_ROWS, cover.kind, state.subject, EMPTY)


def _former_labels(
    session: Session, cover: Cover, page: Sequence[State], about: Mapping[str, Any], named: set[str]
) -> dict[str, RawLeaf]:
    """Labels with the leaf of the former version that goes by their arrival; one with a leaf of its
    own has to say the same as both.
    """
    if cover.kind != "label":
        return {}
    arrivals = {state.subject: str(state.document.get("arrival")) for state in page}
    wanted = {arrival for subject, arrival in arrivals.items() if subject not in about or arrival in named}
    by_arrival = leaves_about(session, "label", sorted(wanted))
    return {
        subject: leaf
        for subject, arrival in arrivals.items()
        for leaf in by_arrival.get(arrival, ())
        if leaf.version == FORMER
    }


def _compare(findings: Findings, cover: Cover, state: State, about: Sequence[RawLeaf], *, first: int = 1) -> None:
    """A row against its leaves, which are numbered from `first` on."""
    ordered = sorted(about, key=lambda leaf: (leaf.version != FORMER, str(type(leaf.revision)), leaf.revision))
    numbers = [leaf.revision for leaf in ordered if leaf.version != FORMER]
    first = first if len(numbers) == len(ordered) else 2  # the former one counts as the first
    if numbers != list(range(first, first + len(numbers))):
        findings.problem(
            _ROWS, cover.kind, state.subject, f"its leaves are numbered {numbers}: one is missing or twice"
        )
    newest = ordered[-1]
    if ordered[0].version == FORMER and cover.kind in former_leaves.SAID:
        _compare_former(findings, cover, state, ordered[0])
    _check_states(findings, cover, state, ordered)
    if newest.version == FORMER:
        return
    if newest.payload == leaves.GONE:
        findings.problem(_ROWS, cover.kind, state.subject, "it was taken away, and is there again")
    elif newest.emptied:
        findings.problem(_ROWS, cover.kind, state.subject, EMPTY)
    else:
        _compare_documents(findings, cover, state, _parsed(newest.payload), whole=True)


def _check_states(findings: Findings, cover: Cover, state: State, ordered: Sequence[RawLeaf]) -> None:
    """Whether the states that the leaves tell of can have followed each other."""
    may, before = changes.of(cover.kind), None
    for leaf in ordered:
        if leaf.version == FORMER or leaf.emptied or leaf.payload == leaves.GONE:
            before = None
            continue
        said = _parsed(leaf.payload)
        after = {name: said.get(name, filled(cover.table, name)) for name in cover.columns if name not in cover.keys}
        if cover.part is not None:
            after[cover.part.named] = said.get(cover.part.named)
        if before is not None and (names := may.refused(before, after)):
            what = f"leaf {leaf.revision} states another {', '.join(names)}: that never changes once it was written"
            findings.problem(_ROWS, cover.kind, state.subject, what)
        before = after
    emptied = any(leaf.emptied for leaf in ordered) and ordered[-1].version != FORMER
    if cover.kind == "decision" and emptied and state.document.get("erased_at") is None:
        findings.problem(_ROWS, cover.kind, state.subject, NOT_ERASED)


def _compare_former(findings: Findings, cover: Cover, state: State, leaf: RawLeaf) -> None:
    if leaf.emptied:
        return  # erased before there were further leaves: nothing states what is left
    waiting = cover.kind == "waiting_label"
    try:
        said = former_leaves.stated(cover.kind, leaf.payload, waiting=waiting)
    except (ValueError, KeyError, TypeError, AttributeError):
        said = {states.UNREADABLE: True}
    _compare_documents(findings, cover, state, said, whole=False)


def _parsed(payload: str) -> Document:
    try:
        said = json.loads(payload)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _compare_documents(findings: Findings, cover: Cover, state: State, said: Document, *, whole: bool) -> None:
    """Hold a row against what is said of it; of all its columns where it is the whole row that is
    said.
    """
    part = cover.part
    names = [
        name
        for name in (cover.columns if whole else said.keys() - {"attempts"})
        if not same(state.document.get(name), said.get(name, filled(cover.table, name)))
    ]
    if part is not None:
        names += _part_differences(part, state.document[part.named], said.get(part.named), whole)
    if names:
        what = f"the row was altered: {', '.join(sorted(names))} is not what its newest leaf says"
        findings.problem(_ROWS, cover.kind, state.subject, what)


def _part_differences(part: Part, stands: Any, said: Any, whole: bool) -> Iterator[str]:
    if part.hashed or not isinstance(said, list):
        if not same(stands, said):
            yield part.named
        return
    if len(stands) != len(said):
        yield f"the number of {part.named} ({len(stands)} for {len(said)})"
        return
    for at, (now, then) in enumerate(zip(stands, said, strict=True)):
        for name in sorted(now.keys() | then.keys() if whole else then.keys()):
            if not same(now.get(name), then.get(name, filled(part.table, name))):
                yield f"{part.named}[{at}].{name}"
