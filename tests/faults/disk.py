"""A disk of a few megabytes that becomes full or read-only while it is used.

Where this user may mount, it is a tmpfs. Elsewhere writing is forbidden to the processes that use
it (RLIMIT_FSIZE), and to everybody by the folder's mode.
"""

import errno
import resource
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

SIZE_MB = 64


class Disk:
    """Mounted for the length of a block. `kind` says what stands for a full disk: tmpfs, or
    rlimit.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kind = "rlimit"

    def __enter__(self) -> Self:
        self.folder.mkdir()
        if _ran("mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(self.folder)):
            self.kind = "tmpfs"
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        if self.kind == "tmpfs":
            _ran("umount", "--lazy", str(self.folder))

    @contextmanager
    def full(self, users: Sequence[int]) -> Iterator[None]:
        """Without a free byte; `users` are the processes that write there."""
        if self.kind == "rlimit":
            with _limited(users):
                yield
            return
        ballast = self.folder / "ballast"
        _fill(ballast)
        try:
            yield
        finally:
            ballast.unlink()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Nothing can be made, changed or removed there."""
        if self.kind == "tmpfs":
            for _ in range(200):  # while a file is being written it is refused
                if _ran("mount", "-o", "remount,ro", str(self.folder)):
                    break
                time.sleep(0.02)
            else:
                raise AssertionError(f"{self.folder} is being written without end")
            try:
                yield
            finally:
                assert _ran("mount", "-o", "remount,rw", str(self.folder))
            return
        self.folder.chmod(0o555)
        try:
            yield
        finally:
            self.folder.chmod(0o755)


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        piece = bytes(1 << 16)
        while piece:
            try:
                file.write(piece)
            except OSError as error:
                assert error.errno == errno.ENOSPC
                piece = piece[: len(piece) // 2]


@contextmanager
def _limited(users: Sequence[int]) -> Iterator[None]:
    before = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in users}
    for pid, (_, hard) in before.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        for pid, limits in before.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


def _ran(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
