"""The auditor's export: all that the ledger states of a period, with what proves it, in a folder.

    manifest.json    what the folder holds, each file with its SHA-256; the path to the head
    batches.jsonl    the batches that were sealed in the period, one a line, in their order
    leaves.jsonl     all of their leaves, one a line, batch by batch
    head             the signed head that all of it is under

deploy/audit/verify_ledger.py verifies it offline: also that the period is whole, by the batches
before and after it. What may hold an address that is a secret is withheld: its leaf stands there by
its hash, as one does that was erased.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from knowgate import Window
from knowgate._wire import codec
from services.audit.heads import Head
from services.audit.proofs import batch_hashes_under
from services.errors import InputInvalid, Refused
from store.ledger import ledger
from store.ledger.ledger import Leaf, SealedBatch
from store.sealing import merkle, row_leaves
from store.sealing.sealed_rows import SaidRow, rows_of

FORMAT = "knowgate.audit_export.v1"
# Kinds whose rows hold addresses or what tokens are known by.
SECRET = frozenset({"delivery", "delivery_try", "outbox", "token", "sign_in"})
_ADDRESSES = ("webhooks", "receivers")  # of a declaration


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What manifest.json says."""

    format: str
    made_at: datetime
    period: Window
    batches: tuple[int, int]  # the first and the last number
    before: SealedBatch | None  # the period begins after it; None = with the ledger
    after: SealedBatch | None  # the period ends before it; None = the head is of its last batch
    path: tuple[str, ...]  # hex hashes from the last of these batches up to the head's root
    leaves: int
    withheld: int  # of them, that stand there by their hashes
    files: dict[str, str]  # hex SHA-256 by name


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafOfRows(Leaf):
    """A leaf that speaks of many rows, as a line of leaves.jsonl."""

    rows: tuple[SaidRow, ...]


def export_ledger(session: Session, window: Window, head: Head, folder: Path, *, now: datetime) -> Manifest:
    """Write the export of the batches sealed in `window` into `folder`, which is new or empty.

    Raises InputInvalid for another folder, Refused where nothing was sealed then under the head.
    """
    hashes = batch_hashes_under(session, head)
    chain = ledger.batches_in(session, window)
    if not chain or chain[-1].number > head.batches:
        ends = f"the head is of {head.batches} batches" if chain else "nothing was sealed in the period"
        raise Refused(f"{ends}: give a later head, or another period")
    first, last = chain[0].number, chain[-1].number
    after = ledger.sealed_batch(session, last + 1) if last < head.batches else None
    top = chain[-1] if after is None else after
    _make(folder)
    counts = _write_leaves(session, folder / "leaves.jsonl", first, last)
    _write(folder / "batches.jsonl", (_line(batch) for batch in chain))
    (folder / "head").write_text(head.note, encoding="utf-8")
    manifest = Manifest(
        format=FORMAT,
        made_at=now,
        period=window,
        batches=(first, last),
        before=ledger.sealed_batch(session, first - 1) if first > 1 else None,
        after=after,
        path=tuple(step.sibling.hex() for step in merkle.proof(hashes, top.number - 1)),
        leaves=counts[0],
        withheld=counts[1],
        files={name: _sha256(folder / name) for name in ("batches.jsonl", "leaves.jsonl", "head")},
    )
    (folder / "manifest.json").write_text(json.dumps(codec.encode(manifest), indent=1) + "\n", encoding="utf-8")
    return manifest


def withheld(leaf: Leaf) -> Leaf:
    """The leaf without what it says, where that may be a secret."""
    if leaf.payload is None or leaf.salt is None or not _is_secret(leaf):
        return leaf
    content = merkle.content_hash(bytes.fromhex(leaf.salt), leaf.payload.encode()).hex()
    return replace(leaf, salt=None, payload=None, content=content)


def _is_secret(leaf: Leaf) -> bool:
    if leaf.kind in SECRET:
        return True
    return leaf.kind == "cascade_version" and _names_addresses(json.loads(str(leaf.payload)))


def _names_addresses(said: Any) -> bool:
    if isinstance(said, dict):
        return any(said.get(name) for name in _ADDRESSES) or any(map(_names_addresses, said.values()))
    return False


def _write_leaves(session: Session, path: Path, first: int, last: int) -> tuple[int, int]:
    """How many leaves were written, and how many of them without what they say."""
    counts = [0, 0]

    def lines() -> Iterator[str]:
        for number in range(first, last + 1):
            for leaf in ledger.leaves(session, number):
                shown = withheld(leaf)
                counts[0] += 1
                counts[1] += shown is not leaf
                yield _line(_with_rows(session, shown))

    _write(path, lines())
    return counts[0], counts[1]


def _with_rows(session: Session, leaf: Leaf) -> object:
    """The leaf; where it speaks of many rows, with what it says of each."""
    if leaf.version != row_leaves.VERSION or leaf.payload is None:
        return leaf
    return LeafOfRows(**{item.name: getattr(leaf, item.name) for item in fields(leaf)}, rows=rows_of(session, leaf.id))


def _make(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputInvalid(f"{folder} is there and holds something; name a new folder for every export")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputInvalid(f"{folder} cannot be made ({error.strerror}); name a folder that you may make") from None


def _write(path: Path, lines: Iterator[str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(lines)


def _line(record: object) -> str:
    return json.dumps(codec.encode(record), separators=(",", ":")) + "\n"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
