"""A pair on disk: `assignment.json`, and beside it `<id>.safetensors` for each bundle it names.

Where bundles are signed, `<id>.sig` holds the signature in hex. This is what `Cascade.load` reads,
what a followed folder looks like, and what a follower keeps as the last good pair. Every file is
written aside and renamed, bundles before the assignment that names them: a reader at any moment
finds a pair that holds.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from knowgate._bundles.bundle import Bundle
from knowgate._bundles.pair import Pair, verified_assignment, verified_bundle
from knowgate.errors import AssignmentRefused, BundleRefused

ASSIGNMENT_NAME = "assignment.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFile:
    """A bundle as it came, unverified: its bytes, and its detached signature in hex."""

    content: bytes
    signature: str | None


def read_pair(folder: Path, *, cascade: str | None = None, public_key: str | None = None) -> Pair:
    """The verified pair in `folder`. Raises AssignmentRefused or BundleRefused, also where a file
    is missing.
    """
    try:
        content = (folder / ASSIGNMENT_NAME).read_bytes()
    except OSError as error:
        raise AssignmentRefused(
            f"{folder / ASSIGNMENT_NAME} cannot be read ({error.strerror}); give its folder"
        ) from error
    assignment = verified_assignment(content, cascade=cascade, public_key=public_key)
    return Pair(
        assignment=assignment,
        champion=_read_named(folder, assignment.champion, public_key),
        challenger=_read_named(folder, assignment.challenger, public_key),
    )


def read_bundle_file(folder: Path, bundle_id: str) -> BundleFile:
    """A bundle's bytes and signature, unverified. Raises BundleRefused where the file
    is missing.
    """
    try:
        content = (folder / f"{bundle_id}.safetensors").read_bytes()
    except OSError as error:
        raise BundleRefused(
            f"bundle {bundle_id} cannot be read from {folder} ({error.strerror}); put it there"
        ) from error
    try:
        signature = (folder / f"{bundle_id}.sig").read_text().strip()
    except OSError:
        signature = None
    return BundleFile(content=content, signature=signature)


def keep_bundle(folder: Path, bundle_id: str, file: BundleFile) -> None:
    """Writes a verified bundle."""
    if file.signature is not None:
        _write_whole(folder / f"{bundle_id}.sig", file.signature.encode())
    _write_whole(folder / f"{bundle_id}.safetensors", file.content)


def keep_assignment(folder: Path, content: bytes) -> None:
    """Writes a verified assignment whose bundles are kept already."""
    _write_whole(folder / ASSIGNMENT_NAME, content)


def forget_others(folder: Path, keep: Iterable[str | None]) -> None:
    """Deletes kept bundles that are not of `keep`, so that a runtime that lives for years does not
    fill its disk.
    """
    kept = set(keep)
    for pattern in ("*.safetensors", "*.sig"):
        for path in folder.glob(pattern):
            is_bundle = len(path.stem) == 64 and set(path.stem) <= set("0123456789abcdef")
            if is_bundle and path.stem not in kept:
                path.unlink(missing_ok=True)


def _read_named(folder: Path, bundle_id: str | None, public_key: str | None) -> Bundle | None:
    if bundle_id is None:
        return None
    file = read_bundle_file(folder, bundle_id)
    return verified_bundle(file.content, bundle_id=bundle_id, signature=file.signature, public_key=public_key)


def _write_whole(path: Path, content: bytes) -> None:
    # The pid keeps processes that share a folder off each other's unfinished files.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
