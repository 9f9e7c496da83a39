"""What a killed extraction has done already: a folder of parts beside the file it will become.

Decisions:
- A part is a safetensors file of some prompts' results, named by its content's place in the order of work, written
  whole (temporary file, fsync, rename): it is there or it is not, and what is there is not computed again.
- The folder names its job: a hash over prompts, fingerprints, options and tier. Another job refuses it by name instead
  of mixing vectors of two models.
- A lock on the folder that dies with its process: two extractions never write one file.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from knowgate import codec
from training.errors import ExtractionRefused

Tensors = dict[str, npt.NDArray[Any]]  # one row per prompt; "rows" says which prompts


class Parts:
    """The parts of one extraction. Raises ExtractionRefused for a folder of another job or a locked one."""

    def __init__(self, out: Path, job: str) -> None:
        self._folder = out.with_name(f".{out.name}.parts")
        self._out, self._job = out, job
        self._next = 0

    @contextmanager
    def open(self) -> Iterator[None]:
        """Hold the folder while the block runs; it stays until `remove`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ExtractionRefused(
                    f"{self._out} is being written by another process: wait for it, or name another file"
                ) from error
            self._claim()
            yield

    def read(self) -> Tensors | None:
        """All that is done, in the order it was written; None where nothing is."""
        files = sorted(self._folder.glob("part-*.safetensors"))
        self._next = 1 + int(files[-1].stem.removeprefix("part-")) if files else 0
        parts = [part for part in map(_read, files) if part is not None]
        if not parts:
            return None
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def write(self, tensors: Tensors) -> None:
        """Add one part."""
        write_whole(self._folder / f"part-{self._next:08d}.safetensors", save(tensors))
        self._next += 1

    def remove(self) -> None:
        """The file is complete."""
        shutil.rmtree(self._folder)

    def _claim(self) -> None:
        named = self._folder / "job"
        held = named.read_text(encoding="ascii") if named.exists() else None
        if held is None or not any(self._folder.glob("part-*")):  # a job that did nothing keeps nobody out
            write_whole(named, self._job.encode())
        elif held != self._job:
            raise ExtractionRefused(
                f"{self._folder} holds parts of another extraction (job {held[:12]}, this one is {self._job[:12]}: "
                "other prompts, model, layers, positions or options): remove the folder to start over, or name another "
                "file"
            )


def job_of(*what: object) -> str:
    """The SHA-256 that an extraction is known by."""
    return hashlib.sha256(codec.canonical(list(what))).hexdigest()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rows_left(count: int, done: Tensors | None) -> Sequence[int]:
    """The prompts that no part holds."""
    if done is None:
        return range(count)
    return [int(row) for row in np.setdiff1d(np.arange(count), done["rows"])]


def _read(path: Path) -> Tensors | None:
    """A part; None where the disk lost what it had promised to keep, so those prompts are asked again."""
    try:
        return load_file(path)
    except (SafetensorError, OSError):
        path.unlink(missing_ok=True)
        return None
