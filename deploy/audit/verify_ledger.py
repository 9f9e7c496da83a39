"""Checks what a knowgate deployment says of its past, with Python's standard library alone
(3.11 or later).

    python3 -I -S verify_ledger.py FILE [--key KEY] [--head HEAD] [--witness KEY ...]

FILE is a proof of `knowgate audit prove`, a comparison of `knowgate audit consistency`, or a folder
of `knowgate audit export`. KEY is the deployment's public key, in hex or as a verifier key
(NAME+ID+KEY); HEAD a head that you kept, which the file must be under. Without KEY a head is worth
what the place is worth that you have it from. Prints what holds; exits with 1 where something
does not, with 2 where it cannot be read. docs/audit.md says what each check means.
"""

import argparse
import base64
import hashlib
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

ORIGIN = "knowgate.ledger"
INCLUSION = "knowgate.proof.v1"
CONSISTENCY = "knowgate.consistency.v1"
EXPORT = "knowgate.audit_export.v1"
DASH = "\N{EM DASH} "


class Wrong(Exception):
    """Something does not hold."""


def require(holds: bool, what: str) -> None:
    if not holds:
        raise Wrong(what)


# Ed25519 (RFC 8032, section 5.1), with points in extended coordinates. Slow, and of public data.

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)
Point = tuple  # X, Y, Z, T


def add(one: Point, other: Point) -> Point:
    a = (one[1] - one[0]) * (other[1] - other[0]) % P
    b = (one[1] + one[0]) * (other[1] + other[0]) % P
    c = 2 * one[3] * other[3] * D % P
    d = 2 * one[2] * other[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def times(factor: int, point: Point) -> Point:
    product: Point = (0, 1, 1, 0)
    while factor:
        if factor & 1:
            product = add(product, point)
        point, factor = add(point, point), factor >> 1
    return product


def equal(one: Point, other: Point) -> bool:
    return (one[0] * other[2] - other[0] * one[2]) % P == 0 and (one[1] * other[2] - other[1] * one[2]) % P == 0


def x_of(y: int, odd: int) -> Any:
    """The x of a point; None where there is none."""
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    if y >= P or (x * x - square) % P or (x == 0 and odd):
        return None
    return P - x if x & 1 != odd else x


def point_of(encoded: bytes) -> Any:
    number = int.from_bytes(encoded, "little")
    y, odd = number & ((1 << 255) - 1), number >> 255
    x = x_of(y, odd)
    return None if x is None else (x, y, 1, x * y % P)


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = (x_of(BASE_Y, 0), BASE_Y, 1, x_of(BASE_Y, 0) * BASE_Y % P)


def ed25519_holds(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the signature is the key's over the message."""
    if len(public) != 32 or len(signature) != 64:
        return False
    key, commitment = point_of(public), point_of(signature[:32])
    factor = int.from_bytes(signature[32:], "little")
    if key is None or commitment is None or factor >= L:
        return False
    challenge = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    return equal(times(factor, BASE), add(commitment, times(challenge, key)))


# Merkle trees (RFC 6962; the verifications are those of RFC 9162, sections 2.1.3.2 and 2.1.4.2).


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def tree_leaf(item: bytes) -> bytes:
    return sha256(b"\x00" + item)


def node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right)


def root_of(items: list) -> bytes:
    """The root over these items; of none that of nothing."""
    nodes = [tree_leaf(item) for item in items]
    while len(nodes) > 1:
        paired = [node(nodes[at], nodes[at + 1]) for at in range(0, len(nodes) - 1, 2)]
        nodes = paired + nodes[len(nodes) - len(nodes) % 2 :]
    return nodes[0] if nodes else sha256(b"")


def root_by_path(item: bytes, index: int, size: int, path: list) -> bytes:
    """The root that a path leads to from an item. Raises Wrong for a path of another shape."""
    require(0 <= index < size, f"place {index} is not among {size}")
    at, last, seen = index, size - 1, tree_leaf(item)
    for sibling in path:
        require(last > 0, "a path is too long")
        if at & 1 or at == last:
            seen = node(sibling, seen)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            seen = node(seen, sibling)
        at, last = at >> 1, last >> 1
    require(last == 0, "a path is too short")
    return seen


def grew_from(older: bytes, size: int, newer: bytes, newer_size: int, path: list) -> bool:
    """Whether a consistency proof leads from one root to the other."""
    if size == newer_size:
        return not path and older == newer
    if not 0 < size < newer_size:
        return False
    path = list(path) if size & (size - 1) else [older, *path]
    if not path:
        return False
    at, last = size - 1, newer_size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    first = second = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            first, second = node(sibling, first), node(sibling, second)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            second = node(second, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and first == older and second == newer


# Heads: C2SP signed notes that hold a checkpoint.


class Head:
    """The lines of a note."""

    def __init__(self, note: str) -> None:
        text, separator, signed = note.partition("\n\n")
        lines = text.split("\n")
        require(bool(separator) and len(lines) == 4 and lines[0] == ORIGIN, f"a head of {ORIGIN} has four lines")
        self.text = (text + "\n").encode()
        self.batches = int(lines[1])
        self.root = base64.b64decode(lines[2], validate=True)
        self.signatures = [
            (name, base64.b64decode(written, validate=True))
            for name, _, written in (line[len(DASH) :].partition(" ") for line in signed.splitlines())
        ]

    def is_signed_by(self, written: str) -> bool:
        """Whether a line of signatures is of this key, in hex or as a verifier key."""
        name, kind, public = key_of(written)
        named = sha256(name.encode() + b"\n" + kind + public)[:4]
        return any(
            holds(self.text, kind, public, signed[4:])
            for who, signed in self.signatures
            if (who, signed[:4]) == (name, named)
        )


def holds(text: bytes, kind: bytes, public: bytes, signed: bytes) -> bool:
    if kind == b"\x04":  # a cosignature: with the time it was made at
        seen = int.from_bytes(signed[:8], "big")
        text, signed = b"cosignature/v1\ntime %d\n" % seen + text, signed[8:]
    return ed25519_holds(public, text, signed)


def key_of(written: str) -> Any:
    """Name, kind and bytes of a public key."""
    name, plus, rest = written.partition("+")
    if not plus:
        return ORIGIN, b"\x01", bytes.fromhex(written)
    key = base64.b64decode(rest.partition("+")[2], validate=True)
    require(len(key) == 33 and key[:1] in (b"\x01", b"\x04"), f"{written[:40]} is no Ed25519 key")
    return name, key[:1], key[1:]


# What a ledger holds.


def hash_of_leaf(leaf: Any) -> bytes:
    """What a leaf hashes to by what it says. Without its payload, which was erased or is withheld,
    by the hash of that.
    """
    if leaf.get("payload") is None:
        content = bytes.fromhex(leaf["hash"] if leaf["version"] == 1 else leaf["content"])
    else:
        salt = bytes.fromhex(leaf["salt"])
        # Or what another leaf hashes could be passed off as a payload.
        json.loads(leaf["payload"])
        require(len(salt) == 16, "a salt has 16 bytes")
        content = sha256(salt + leaf["payload"].encode())
    if leaf["version"] == 1:
        return content
    stated = [leaf["id"], leaf["kind"], leaf["cascade"], leaf["subject"], leaf["revision"]]
    header = json.dumps(stated, separators=(",", ":")).encode()
    return sha256(b"knowgate.leaf.v2\n" + header + b"\n" + content)


def check_leaf(leaf: Any) -> bytes:
    require(hash_of_leaf(leaf).hex() == leaf["hash"], f"{leaf['kind']} {leaf['subject']} does not hash to what it says")
    return bytes.fromhex(leaf["hash"])


def time_of(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def hash_of_row(row: Any, leaf: Any) -> bytes:
    """What stands for a row under the root that the leaf of its batch names."""
    content, named = bytes.fromhex(row["content"]), row["subject"]
    if row.get("text") is not None:
        salt = bytes.fromhex(row["salt"])
        json.loads(row["text"])
        require(len(salt) == 16, "a salt has 16 bytes")
        require(sha256(salt + row["text"].encode()) == content, f"{leaf['kind']} {named} does not hash to what it says")
    return sha256(b"knowgate.row.v1\n" + named.encode() + b"\n" + content)


def check_rows(leaf: Any) -> None:
    """All the rows that a leaf of many speaks of."""
    said, hashes = json.loads(leaf["payload"]), [hash_of_row(row, leaf) for row in leaf["rows"]]
    whole = len(hashes) == said["rows"] and root_of(hashes).hex() == said["root"]
    require(whole, f"the rows of leaf {leaf['id']} are not those it was made of")


def check_row(row: Any, leaf: Any) -> str:
    """The subject of a row, which is among those that the leaf of its batch speaks of."""
    require(leaf["version"] == 3 and leaf.get("payload") is not None, f"leaf {leaf['id']} is not that of a batch")
    said, named = json.loads(leaf["payload"]), row["subject"]
    root = root_by_path(hash_of_row(row, leaf), row["index"], said["rows"], unhex(row["path"]))
    require(root.hex() == said["root"], f"{leaf['kind']} {named} is not among the rows of its leaf")
    return named


def check_batch(batch: Any) -> bytes:
    sealed_at = time_of(batch["sealed_at"])
    said = [batch["number"], batch["previous"], batch["root"], batch["leaves"], sealed_at.isoformat()]
    hashed = sha256("\n".join(map(str, said)).encode())
    require(hashed.hex() == batch["hash"], f"batch {batch['number']} does not hash to what it says")
    return hashed


def unhex(path: list) -> list:
    return [bytes.fromhex(item) for item in path]


# The three kinds of files.


def check_inclusion(proof: Any) -> Iterator[str]:
    head = Head(proof["head"])
    for one in proof["leaves"]:
        leaf, sealed = one["leaf"], one["sealed"]
        batch, named = sealed["batch"], f"{one['leaf']['kind']} {one['leaf']['subject']}"
        hashed = check_leaf(leaf)
        subject = leaf["subject"] if one.get("row") is None else check_row(one["row"], leaf)
        require(subject == proof["subject"], f"{named} is of another subject than {proof['subject']}")
        bare = leaf["version"] == 1 and leaf.get("payload") is None
        require(not bare, f"{named} is an erased leaf of the former version: its hash says nothing of its subject")
        root = root_by_path(hashed, sealed["index"], batch["leaves"], unhex(sealed["path"]))
        require(root.hex() == batch["root"], f"{named} is not in batch {batch['number']}")
        top = root_by_path(check_batch(batch), batch["number"] - 1, head.batches, unhex(one["path"]))
        require(top == head.root, f"batch {batch['number']} is not under the head")
        bare = leaf.get("payload") is None or (one.get("row") or {"text": ""}).get("text") is None
        said = "erased or withheld" if bare else "with what it says"
        yield f"{named}, leaf {leaf['revision']}, {said}, is in batch {batch['number']} of {batch['sealed_at']}"
    require(bool(proof["leaves"]), "the proof holds nothing")


def check_consistency(proof: Any) -> Iterator[str]:
    older, newer = Head(proof["older"]), Head(proof["newer"])
    grew = grew_from(older.root, older.batches, newer.root, newer.batches, unhex(proof["path"]))
    require(grew, "the newer head did not grow out of the older one")
    yield f"the ledger of {newer.batches} batches begins with the {older.batches} of the older head"


def check_export(folder: Path, manifest: Any) -> Iterator[str]:
    for name, said in manifest["files"].items():
        found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        require(found == said, f"{name} is not the file that the manifest names")
    batches = [json.loads(line) for line in (folder / "batches.jsonl").open(encoding="utf-8")]
    head = Head((folder / "head").read_text(encoding="utf-8"))
    yield check_chain(manifest, batches, head)
    yield check_leaves(folder, batches)


def check_chain(manifest: Any, batches: list, head: Head) -> str:
    """The batches follow each other, are all of the period, and are under the head."""
    chain = [batch for batch in (manifest["before"], *batches, manifest["after"]) if batch is not None]
    hashed = [check_batch(batch) for batch in chain]
    for before, batch in pairwise(chain):
        follows = batch["previous"] == before["hash"] and batch["number"] == before["number"] + 1
        require(follows, f"batch {batch['number']} does not follow batch {before['number']}")
    first, last, top = batches[0]["number"], batches[-1]["number"], chain[-1]["number"]
    start, end = time_of(manifest["period"]["start"]), time_of(manifest["period"]["end"])
    before, after = manifest["before"], manifest["after"]
    begins = first == 1 if before is None else time_of(before["sealed_at"]) < start
    ends = last == head.batches if after is None else time_of(after["sealed_at"]) >= end
    require(begins and ends, "the period is not whole: batches before or after these belong to it")
    root = root_by_path(hashed[-1], top - 1, head.batches, unhex(manifest["path"]))
    require(root == head.root, f"batch {top} is not under the head")
    return f"batches {first} to {last} follow each other, are all of {start} to {end}, and are under the head"


def check_leaves(folder: Path, batches: list) -> str:
    """Every batch's leaves are all there, and say what they said."""
    withheld, by_batch = 0, {batch["number"]: [] for batch in batches}
    for line in (folder / "leaves.jsonl").open(encoding="utf-8"):
        leaf = json.loads(line)
        require(leaf["batch"] in by_batch, f"{leaf['kind']} {leaf['subject']} is of none of the batches")
        by_batch[leaf["batch"]].append(check_leaf(leaf))
        if leaf["version"] == 3 and leaf.get("payload") is not None:
            check_rows(leaf)
        withheld += leaf.get("payload") is None
    for batch in batches:
        hashes = sorted(by_batch[batch["number"]])
        whole = len(hashes) == batch["leaves"] and root_of(hashes).hex() == batch["root"]
        require(whole, f"the leaves of batch {batch['number']} are not those it was sealed over")
    count = sum(map(len, by_batch.values()))
    return f"{count} leaves, all that were sealed in these batches; of {withheld} the hash alone (erased or withheld)"


def check(path: Path) -> Iterator[Any]:
    """What holds of the file, line by line, then its head. Raises Wrong."""
    if path.is_dir():
        yield from check_export(path, json.loads((path / "manifest.json").read_text(encoding="utf-8")))
        yield Head((path / "head").read_text(encoding="utf-8"))
        return
    proof = json.loads(path.read_text(encoding="utf-8"))
    ways = {INCLUSION: (check_inclusion, "head"), CONSISTENCY: (check_consistency, "newer")}
    require(proof.get("format") in ways, f"its format is {proof.get('format')!r}, which this script does not know")
    way, head = ways[proof["format"]]
    yield from way(proof)
    yield Head(proof[head])
    if proof["format"] == CONSISTENCY:
        yield Head(proof["older"])


def check_head(head: Head, asked: argparse.Namespace) -> Iterator[str]:
    """Whose head it is."""
    if asked.key is not None:
        require(head.is_signed_by(asked.key), f"the head of {head.batches} batches is not signed by the key")
        yield f"the head of {head.batches} batches is signed by the key"
    for witness in asked.witness:
        require(head.is_signed_by(witness), f"witness {witness.partition('+')[0]} did not sign the head")
        yield f"the head of {head.batches} batches is signed by witness {witness.partition('+')[0]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--key")
    parser.add_argument("--head", type=Path)
    parser.add_argument("--witness", action="append", default=[])
    asked = parser.parse_args()
    try:
        found = list(check(asked.file))
        heads = [one for one in found if isinstance(one, Head)]
        lines = [one for one in found if isinstance(one, str)]
        lines += [line for head in heads for line in check_head(head, asked)]
        if asked.head is not None:
            kept = Head(asked.head.read_text(encoding="utf-8")).text
            require(kept in [head.text for head in heads], "the file is under another head than the one you kept")
            lines.append("it is under the head that you kept")
    except Wrong as wrong:
        print(f"WRONG   {wrong}")
        return 1
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        print(f"cannot be read: {error!r}", file=sys.stderr)
        return 2
    print("\n".join(f"ok      {line}" for line in lines))
    if asked.key is None:
        print("no signature was checked: give --key", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
