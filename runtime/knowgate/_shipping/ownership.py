"""Whose segments are whose: one lock file per writing process, held with flock for as long as it
lives.

A writer's segments are named `<writer>.<number>.segment`, its lock `<writer>.lock`. The kernel lets
go of the lock when the process dies, however it dies; whoever then gets the lock has adopted the
segments. A lock file is deleted only by its holder, and a holder makes sure that the file it locked
is still the one at that path, so two processes never own the same segments.
"""

import fcntl
import os
import secrets
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """A held lock on one writer's segments."""

    directory: Path
    writer: str
    descriptor: int

    def segments(self) -> list[Path]:
        """The writer's segments, oldest first."""
        return sorted(self.directory.glob(f"{self.writer}.*.segment"))

    def segment_path(self, number: int) -> Path:
        return self.directory / f"{self.writer}.{number:06d}.segment"

    def release(self) -> None:
        """Lets go; what is left of the segments is then anybody's. Takes the lock file away when
        nothing is left.
        """
        if not self.segments():
            for stray in self.directory.glob(f"{self.writer}.*.offset*"):
                stray.unlink(missing_ok=True)
            _lock_path(self.directory, self.writer).unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Closes the descriptor only; in a forked child this leaves the parent's lock held."""
        os.close(self.descriptor)


def own_new(directory: Path) -> Ownership:
    """A fresh writer for this process: its pid, for people who look at the folder, and a random
    part.
    """
    while True:
        ownership = _own(directory, f"{os.getpid()}-{secrets.token_hex(6)}")
        if ownership is not None:
            return ownership


def adopt(directory: Path, owned: set[str]) -> list[Ownership]:
    """Every writer of the folder whose process is gone, apart from those in `owned`."""
    writers = {path.name.split(".")[0] for pattern in ("*.segment", "*.lock") for path in directory.glob(pattern)}
    adopted = []
    for writer in sorted(writers - owned):
        ownership = _own(directory, writer)
        if ownership is None:
            continue
        if ownership.segments():
            adopted.append(ownership)
        else:
            ownership.release()
    return adopted


def _own(directory: Path, writer: str) -> Ownership | None:
    path = _lock_path(directory, writer)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        same = path.stat().st_ino == os.fstat(descriptor).st_ino
    except (BlockingIOError, FileNotFoundError):
        same = False  # held by a living process, or deleted by its last holder in between
    if not same:
        os.close(descriptor)
        return None
    return Ownership(directory=directory, writer=writer, descriptor=descriptor)


def _lock_path(directory: Path, writer: str) -> Path:
    return directory / f"{writer}.lock"
