"""Rows that left the tables as the ledger's verification reads them: where a leaf speaks of one, it
is compared as it lies in its file.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import JSON, select
from sqlalchemy.orm import Session

from store.batches import batched
from store.days.day_files import all_files
from store.days.recall import LeftDecision, decisions_in_file, left_decisions
from store.dialects import is_postgresql, table_of
from store.errors import ShardRefused
from store.sealing import states
from store.sealing.coverage import Cover
from store.tables import AttemptRow, DecisionRow

_UNREADABLE = (ShardRefused, ValueError, TypeError, AttributeError, OverflowError)  # said where files are checked
_CHUNK = 1000
Row = dict[str, Any]


def see_left_rows(session: Session) -> None:
    """From now on what this session reads for verification has rows that left the tables too."""
    session.info[states.LEFT] = _LeftRows(session)


class _LeftRows:
    """What `store.sealing.states` asks for rows that it does not find."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._raw = not is_postgresql(session)

    def rows(self, cover: Cover, keys: Sequence[tuple[Any, ...]]) -> tuple[list[Row], dict[Any, list[Row]]]:
        try:
            left = list(left_decisions(self._session, {key[0] for key in keys}))
        except _UNREADABLE:
            return [], {}
        if cover.kind == "decision":
            parts = {one.decision["id"]: [self._as_read(row) for row in one.attempts] for one in left}
            return [one.decision for one in left], parts
        wanted = set(keys)
        return [row for row in _labels(left) if tuple(row[name] for name in cover.keys) in wanted], {}

    def subjects(self, cover: Cover) -> Iterator[list[str]]:
        """What all of them are named by, a page at a time."""
        try:
            for file in all_files(self._session):
                if file.left_at is not None:
                    for page in batched(list(decisions_in_file(file)), _CHUNK):
                        yield self._named(cover, page)
        except _UNREADABLE:
            return

    def _named(self, cover: Cover, page: Sequence[LeftDecision]) -> list[str]:
        ids = [one.decision["id"] for one in page]
        here = set(self._session.scalars(select(DecisionRow.id).where(DecisionRow.id.in_(ids))))
        left = [one for one in page if one.decision["id"] not in here]
        return [cover.subject(row) for row in (_labels(left) if cover.kind == "label" else (o.decision for o in left))]

    def _as_read(self, row: Row) -> Row:
        """As the driver would give it: of SQLite a document is a text."""
        if not self._raw:
            return row
        documents = [item.name for item in table_of(AttemptRow).c if isinstance(item.type, JSON)]
        return row | {name: json.dumps(row[name]) for name in documents if row[name] is not None}


def _labels(left: Sequence[LeftDecision]) -> Iterator[Row]:
    for one in left:
        yield from one.labels
