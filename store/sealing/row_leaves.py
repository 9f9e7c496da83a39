"""One leaf for all the rows of a batch: a Merkle root over their salted hashes, no copy of what
they say.

Decisions and labels come by the thousand and never change, so their rows themselves are what the
ledger speaks of. The leaf's payload names the columns, how many rows there are, and their root;
beside it stands `rows`: per row its salt and its content hash, then the rows' subjects. Nothing but
the payload is under the leaf's own hash, the rest is under the root that it names.

- A row's text is the JSON list of its columns in the payload's order, its parts as a list of such
  lists behind them; values are as a leaf of one row says them (`store.sealing.states`), null
  stands.
- content = SHA-256(salt || text); what lies under the root is
  SHA-256("knowgate.row.v1\\n" || subject || "\\n" || content).
- Erasing takes a row's salt: zeros stand for it. Its content hash stays, and so the root holds.

A leaf's id carries the time at which its rows were received, to the millisecond. So a row finds its
leaf by its own `received_at`, without an index of rows.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from knowgate._records.ids import new_id
from store.sealing import merkle, row_texts, states
from store.sealing.coverage import Cover
from store.sealing.inserts import inserts, table_of
from store.tables import LedgerLeafRow

VERSION = 3  # of leaves that speak of many rows
SALT_BYTES = 16
ERASED = bytes(SALT_BYTES)  # in place of a salt
_ENTRY = SALT_BYTES + 32
BETWEEN = ".."  # the first and the last row's subject: what the leaf's own is made of


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What a leaf holds of one row."""

    subject: str
    salt: bytes | None  # None = erased
    content: bytes

    @property
    def hash(self) -> bytes:
        """What lies under the root."""
        return merkle.row_hash(self.subject.encode(), self.content)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A leaf's payload."""

    columns: tuple[str, ...]
    parts: tuple[str, ...]  # the columns of the rows' parts
    root: str  # hex
    rows: int


def note_batch(
    session: Session, cover: Cover, rows: Iterable[Mapping[str, Any]], parts: Mapping[Any, Sequence[Mapping[str, Any]]]
) -> None:
    """The leaves of rows that were just inserted: one per cascade and time of receipt."""
    batches: dict[tuple[str, datetime], list[Mapping[str, Any]]] = {}
    for row in rows:
        batches.setdefault((row.get("cascade", ""), row["received_at"]), []).append(row)
    write = row_texts.writer(cover, cover.columns, _part_columns(cover))
    made = []
    for (cascade, received_at), batch in sorted(batches.items()):
        texts = sorted(zip(states.subjects(cover, batch, raw=False), write(batch, parts), strict=True))
        made.append(leaf_row(cover, cascade, received_at, texts))
    for insert, parameters in inserts(session, table_of(LedgerLeafRow), made):
        session.execute(insert, parameters)


def leaf_row(cover: Cover, cascade: str, received_at: datetime, texts: Sequence[tuple[str, bytes]]) -> dict[str, Any]:
    """The row of one leaf; `texts`: subjects in their order, each with its row's text."""
    random = os.urandom(SALT_BYTES * len(texts))
    salts = [random[at : at + SALT_BYTES] for at in range(0, len(random), SALT_BYTES)]
    sealed = [
        Sealed(subject=subject, salt=salt, content=merkle.content_hash(salt, text))
        for salt, (subject, text) in zip(salts, texts, strict=True)
    ]
    said = {
        "columns": list(cover.columns),
        "parts": list(_part_columns(cover)),
        "root": merkle.root([one.hash for one in sealed]).hex(),
        "rows": len(sealed),
    }
    payload = json.dumps(said, sort_keys=True, separators=(",", ":"))
    salt, key = os.urandom(SALT_BYTES), new_id(received_at)
    subject = f"{sealed[0].subject}{BETWEEN}{sealed[-1].subject}"
    about = merkle.header(key, cover.kind, cascade, subject, 1)
    return {
        "id": key,
        "version": VERSION,
        "cascade": cascade,
        "kind": cover.kind,
        "subject": subject,
        "revision": 1,
        "hash": merkle.leaf_hash(about, merkle.content_hash(salt, payload.encode())).hex(),
        "salt": salt.hex(),
        "payload": payload,
        "content": None,
        "batch": None,
        "rows": packed(sealed),
    }


def packed(sealed: Sequence[Sealed]) -> bytes:
    """What stands beside the payload."""
    fixed = b"".join((one.salt or ERASED) + one.content for one in sealed)
    return fixed + "\n".join(one.subject for one in sealed).encode()


def unpacked(rows: Any, count: int) -> tuple[Sealed, ...]:
    """What `packed` made. Raises ValueError or TypeError for what is none of its."""
    held, fixed = bytes(rows), _ENTRY * count
    subjects = held[fixed:].decode().split("\n")
    if len(subjects) != count:
        raise ValueError(f"{len(subjects)} rows are named, it was written of {count}")
    return tuple(_entry(held[_ENTRY * at : _ENTRY * (at + 1)], subject) for at, subject in enumerate(subjects))


def without_salt(rows: bytes, index: int) -> bytes:
    """The same with the salt of one row taken."""
    return rows[: _ENTRY * index] + ERASED + rows[_ENTRY * index + SALT_BYTES :]


def read_payload(payload: Any) -> Said:
    """What a leaf says. Raises ValueError, KeyError or TypeError for what is none of ours."""
    said = json.loads(payload)
    if not isinstance(said["rows"], int) or not isinstance(said["root"], str):
        raise ValueError("rows is a number and root a text")
    return Said(
        columns=tuple(map(str, said["columns"])),
        parts=tuple(map(str, said["parts"])),
        root=said["root"],
        rows=said["rows"],
    )


def _entry(held: bytes, subject: str) -> Sealed:
    salt = held[:SALT_BYTES]
    return Sealed(subject=subject, salt=None if salt == ERASED else salt, content=held[SALT_BYTES:])


def _part_columns(cover: Cover) -> tuple[str, ...]:
    return () if cover.part is None else cover.part.columns


def leaf_ids(received_at: datetime) -> tuple[UUID, UUID]:
    """Between which ids the leaf of rows lies that were received then; the second is excluded."""
    millis = new_id(received_at).int >> 80
    return UUID(int=millis << 80), UUID(int=(millis + 1) << 80)
