"""Signed heads: what the whole ledger was at a seal, kept where whoever can change the database
cannot.

A head is a C2SP checkpoint (tlog-checkpoint) in a signed note: the origin, the number of sealed
batches, and the RFC 6962 root over their hashes; the signature is Ed25519 by the key that signs
bundles. It says all that there was before it: a batch that was cut off, and a root or a row that
was altered and its chain computed anew, no longer lead to it. Without a key the note carries no
signature: then it is worth what its place is worth.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import fsspec

from knowgate._bundles import signing
from services.audit.findings import Findings
from services.errors import InputInvalid
from store.ledger.leaf_reading import RawBatch
from store.sealing import merkle

ORIGIN = "knowgate.ledger"  # also the name of the key
_ED25519 = b"\x01"
_KEY_ID_BYTES = 4
_SIGNATURE = "\N{EM DASH} "


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the ledger was when so many batches were sealed."""

    batches: int
    root: bytes  # over the batches' hashes
    last: str  # hex hash of the last batch: a head's name in its folder
    signatures: tuple[bytes, ...] = ()  # each a key's id and its signature; of more than one key where keys changed

    @property
    def text(self) -> str:
        """What is signed: the lines of a checkpoint."""
        return f"{ORIGIN}\n{self.batches}\n{base64.b64encode(self.root).decode()}\nbatch {self.last}\n"

    @property
    def note(self) -> str:
        """The file."""
        signed = (f"{_SIGNATURE}{ORIGIN} {base64.b64encode(one).decode()}\n" for one in self.signatures)
        return f"{self.text}\n{''.join(signed)}"

    @property
    def name(self) -> str:
        """Where it lies in its folder: never the place of another head, so none is ever
        overwritten.
        """
        return f"{self.batches:012d}-{self.last[:16]}.head"


def head_of(hashes: Sequence[str], signing_key: str | None) -> Head:
    """The head over the hashes of all batches so far, signed where there is a key."""
    root = merkle.root([bytes.fromhex(item) for item in hashes])
    head = Head(batches=len(hashes), root=root, last=hashes[-1] if hashes else merkle.GENESIS)
    if signing_key is None:
        return head
    signature = bytes.fromhex(signing.sign(signing_key, head.text.encode()))
    key_id = _key_id(signing.public_key_of(signing_key))
    return replace(head, signatures=(key_id + signature,))


def read_head(place: str) -> Head:
    """The head in a file, or at an fsspec URL. Raises InputInvalid for what is none."""
    try:
        with fsspec.open(place, "rb") as file:
            note = file.read(10_000).decode()
        return parse_head(note)
    except FileNotFoundError as error:
        raise InputInvalid(f"{place} is not there: name the file or fsspec URL of an exported head") from error
    except (OSError, ValueError, ImportError) as error:
        raise InputInvalid(f"{place} is no head of a ledger: {error}") from error


def parse_head(note: str) -> Head:
    """The head of a note; signatures of others stay unread. Raises ValueError."""
    if "\r" in note:
        raise ValueError("its lines end as another system ends them, so no signature holds: fetch it anew")
    text, separator, signatures = note.partition("\n\n")
    lines = text.split("\n")
    if not separator or len(lines) != 4 or lines[0] != ORIGIN or not lines[3].startswith("batch "):
        raise ValueError(f"a note of four lines is expected, the first of them {ORIGIN}")
    root = _base64(lines[2])
    if len(root) != 32 or not lines[1].isdecimal() or lines[1] != str(int(lines[1])):
        raise ValueError("its second line is a number of batches, its third a SHA-256 in base64")
    signed = [_signed(line) for line in signatures.splitlines()]
    return Head(
        batches=int(lines[1]),
        root=root,
        last=lines[3].removeprefix("batch "),
        signatures=tuple(one for name, one in signed if name == ORIGIN),
    )


def _signed(line: str) -> tuple[str, bytes]:
    """Who signed, and what a line of signatures holds. Raises ValueError for a line
    that is none.
    """
    name, _, signed = line.removeprefix(_SIGNATURE).partition(" ")
    if not line.startswith(_SIGNATURE) or len(signature := _base64(signed)) <= _KEY_ID_BYTES:
        raise ValueError(f"{line[:40]!r} stands where signatures do")
    return name, signature


def check_signature(findings: Findings, head: Head, public_key: str) -> None:
    """A head that is not signed by the key is a problem."""
    if not head.signatures:
        findings.problem("head", "head", head.batches, "it is not signed")
    elif not any(signing.verify(public_key, head.text.encode(), one[_KEY_ID_BYTES:].hex()) for one in head.signatures):
        findings.problem("head", "head", head.batches, "its signature is not this key's over what it says")


def check_head(findings: Findings, sealed: Sequence[RawBatch], head: Head) -> None:
    """Whether the database's first batches are those that the head was made of."""
    findings.checked("head", 1)
    if len(sealed) < head.batches:
        missing = f"{len(sealed)} batches are there, the head was made of {head.batches}: the last ones were cut off"
        findings.problem("head", "ledger_batch", head.batches, missing)
        return
    hashes = [str(batch.hash) for batch in sealed[: head.batches]]
    try:
        root = merkle.root([bytes.fromhex(item) for item in hashes])
    except ValueError:
        root = b""
    if root != head.root or (hashes and hashes[-1] != head.last):
        findings.problem("head", "ledger_batch", head.batches, "the batches up to here are not those of the head")


def _key_id(public_key: str) -> bytes:
    named = ORIGIN.encode() + b"\n" + _ED25519 + bytes.fromhex(public_key)
    return hashlib.sha256(named).digest()[:_KEY_ID_BYTES]


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"{text[:20]!r} is no base64") from error
