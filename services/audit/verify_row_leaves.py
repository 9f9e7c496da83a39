"""Leaves that speak of all the rows of a batch: their root over the rows' hashes, and each row
against its own.

A row that is not what was sealed is named; in which column it differs no hash can say. A row whose
salt was taken is left to the leaf of its own that the erasure wrote.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from services.audit.findings import Findings
from services.audit.named_rows import RowsRead
from services.audit.verify_rows import report_missing
from store.batches import batched
from store.ledger.leaf_reading import PAGE, RawLeaf, rows_beside
from store.sealing import coverage, merkle, row_leaves, row_texts
from store.sealing.coverage import Cover
from store.sealing.row_leaves import Said, Sealed

_LEAF = "ledger_leaf"
_COMPARED = 1000  # rows at a time: so few stay in the processor's cache
ALTERED = "the row was altered: it is not what was sealed of it"


@dataclass(frozen=True, slots=True, kw_only=True)
class _RowLeaf:
    leaf: RawLeaf
    cover: Cover
    said: Said


def check_row_leaves(
    session: Session, findings: Findings, rows: RowsRead, covers: Sequence[Cover], page: Sequence[RawLeaf]
) -> Iterator[RawLeaf]:
    """Checks those of a page's leaves that speak of many rows; what stands for the rows of them
    whose salts were taken.
    """
    for group in _groups(findings, page):
        beside = rows_beside(session, [one.leaf for one in group])
        alike: dict[tuple[Any, ...], list[Sealed]] = {}
        for one in group:
            sealed = _sealed(findings, one, beside.get(one.leaf.id))
            rows.of_batches.add(one.cover.kind, [row.subject for row in sealed])
            yield from _emptied(rows, one, sealed)
            if one.cover in covers:
                alike.setdefault((one.cover, one.said.columns, one.said.parts), []).extend(sealed)
        for (cover, columns, parts), sealed_alike in alike.items():
            for some in batched(sealed_alike, _COMPARED):
                _compare(session, findings, cover, (columns, parts), some)


def _groups(findings: Findings, page: Sequence[RawLeaf]) -> Iterator[list[_RowLeaf]]:
    """These leaves, together no more than about a page of rows at a time."""
    group: list[_RowLeaf] = []
    rows = 0
    for leaf in page:
        cover = coverage.of_kind(leaf.kind) if leaf.of_rows and isinstance(leaf.kind, str) else None
        if cover is None or leaf.emptied:
            continue
        try:
            said = row_leaves.read_payload(leaf.payload)
        except (ValueError, KeyError, TypeError) as error:
            if leaf.fault() is None:  # otherwise that it was altered is said already
                findings.problem("leaves", _LEAF, leaf.id, f"its payload is none of {leaf.kind}: {error!r}")
            continue
        group.append(_RowLeaf(leaf=leaf, cover=cover, said=said))
        rows += said.rows
        if rows >= PAGE:
            yield group
            group, rows = [], 0
    if group:
        yield group


def _sealed(findings: Findings, one: _RowLeaf, beside: Any) -> tuple[Sealed, ...]:
    try:
        sealed = row_leaves.unpacked(beside, one.said.rows)
        root = merkle.root([row.hash for row in sealed]).hex()
    except (ValueError, TypeError) as error:
        findings.problem("leaves", _LEAF, one.leaf.id, f"the rows beside it cannot be read ({error})")
        return ()
    if root != one.said.root:
        findings.problem("leaves", _LEAF, one.leaf.id, f"its root is not over its rows of {one.cover.kind}")
    return sealed


def _emptied(rows: RowsRead, one: _RowLeaf, sealed: Sequence[Sealed]) -> Iterator[RawLeaf]:
    for row in sealed:
        if row.salt is None:
            rows.emptied.add((one.cover.kind, row.subject))
            yield one.leaf.of_row(row.subject, row.hash.hex())


def _compare(
    session: Session,
    findings: Findings,
    cover: Cover,
    columns: tuple[Sequence[str], Sequence[str]],
    sealed: Sequence[Sealed],
) -> None:
    keys = {}
    for row in sealed:
        try:
            keys[row.subject] = cover.key(row.subject)
        except (ValueError, TypeError, OverflowError):
            findings.problem("rows", cover.kind, row.subject, "its leaf names no row by this")
    try:
        texts = row_texts.read_texts(session, cover, list(keys.values()), *columns)
    except (KeyError, ValueError) as error:
        findings.problem("rows", cover.kind, "*", f"leaves name a column that is not there: {error}")
        return
    report_missing(session, findings, cover, keys.keys() - texts.keys())
    for row in sealed:
        if row.salt is None or row.subject not in texts:
            continue
        text = texts[row.subject]
        if text is None or merkle.content_hash(row.salt, text) != row.content:
            findings.problem("rows", cover.kind, row.subject, ALTERED)
