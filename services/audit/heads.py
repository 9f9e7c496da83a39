"""Signed heads: what the whole ledger was at a seal, kept where whoever can change the database
cannot.

A head is a C2SP checkpoint (tlog-checkpoint) in a signed note: the origin, the number of sealed
batches, and the RFC 6962 root over their hashes; the signature is Ed25519 by the key that signs
bundles. It says all that there was before it: a batch that was cut off, and a root or a row that
was altered and its chain computed anew, no longer lead to it. Without a key the note carries no
signature: then it is worth what its place is worth. Whoever else looked at the ledger may add lines
of their own (`services.audit.witnesses`).
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
ED25519 = b"\x01"
KEY_ID_BYTES = 4
_SIGNATURE = "\N{EM DASH} "


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the ledger was when so many batches were sealed."""

    batches: int
    root: bytes  # over the batches' hashes
    last: str  # hex hash of the last batch: a head's name in its folder
    signatures: tuple[bytes, ...] = ()  # each a key's id and its signature; of more than one key where keys changed
    others: tuple[tuple[str, bytes], ...] = ()  # the same of others, each with its name

    @property
    def text(self) -> str:
        """What is signed: the lines of a checkpoint."""
        return f"{ORIGIN}\n{self.batches}\n{base64.b64encode(self.root).decode()}\nbatch {self.last}\n"

    @property
    def note(self) -> str:
        """The file."""
        lines = [*((ORIGIN, one) for one in self.signatures), *self.others]
        signed = (f"{_SIGNATURE}{name} {base64.b64encode(one).decode()}\n" for name, one in lines)
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
    named = key_id(ORIGIN, ED25519, signing.public_key_of(signing_key))
    return replace(head, signatures=(named + signature,))


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
    """The head of a note. Raises ValueError."""
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
        others=tuple((name, one) for name, one in signed if name != ORIGIN),
    )


def _signed(line: str) -> tuple[str, bytes]:
    """Who signed, and what a line of signatures holds. Raises ValueError for a line
    that is none.
    """
    name, _, signed = line.removeprefix(_SIGNATURE).partition(" ")
    if not line.startswith(_SIGNATURE) or len(signature := _base64(signed)) <= KEY_ID_BYTES:
        raise ValueError(f"{line[:40]!r} stands where signatures do")
    return name, signature


def check_signature(findings: Findings, head: Head, public_key: str) -> None:
    """A head that is not signed by the key is a problem."""
    if not head.signatures:
        findings.problem("head", "head", head.batches, "it is not signed")
    elif not any(signing.verify(public_key, head.text.encode(), one[KEY_ID_BYTES:].hex()) for one in head.signatures):
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


def key_id(name: str, kind: bytes, public_key: str) -> bytes:
    """What stands before the signatures of a key: four bytes."""
    return hashlib.sha256(name.encode() + b"\n" + kind + bytes.fromhex(public_key)).digest()[:KEY_ID_BYTES]


def verifier_key(public_key: str) -> str:
    """The public key as tools for signed notes read it."""
    named = key_id(ORIGIN, ED25519, public_key).hex()
    return f"{ORIGIN}+{named}+{base64.b64encode(ED25519 + bytes.fromhex(public_key)).decode()}"


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"{text[:20]!r} is no base64") from error
