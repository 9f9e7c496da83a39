"""What a killed extraction has done already: a folder of parts beside the file it will become.

Decisions:
- A part is a safetensors file of some prompts' results, written whole (temporary file, fsync, rename; one put in an
  object store): it is there or it is not, and what is there is not computed again.
- A part is named by its job and its prompts. Whoever does the same prompts again, after a crash or beside a worker that
  was given up for dead, writes the same file; no two parts can stand in each other's way.
- The folder names its job: a hash over prompts, fingerprints, options and tier. Another job refuses it by name instead
  of mixing vectors of two models.
- A lock beside the result that dies with its process: two extractions on a machine never write one file. Parts may be
  written by processes that do not hold it; they are started by the one that does.
"""

import fcntl
import hashlib
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import numpy.typing as npt
from fsspec.implementations.local import LocalFileSystem
from safetensors import SafetensorError
from safetensors.numpy import load, save

from knowgate import codec
from training.errors import ExtractionRefused

Tensors = dict[str, npt.NDArray[Any]]  # one row per prompt; "rows" says which prompts
_JOB = "job"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartFolder:
    """Where the parts of one job lie; it is sent to whoever writes some."""

    url: str  # a folder or an fsspec URL such as s3://bucket/prefix
    job: str

    def claim(self) -> None:
        """Make the folder this job's. Raises ExtractionRefused where it is another's, or cannot be made."""
        try:
            held = self._claimed_by()
            if held != self.job and not self._names("*"):  # a job that did nothing keeps nobody out
                held = None
            if held is None:
                filesystem, path = self._place(_JOB)
                filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
                self._put(_JOB, self.job.encode())
        except (OSError, ValueError, ImportError) as error:
            raise ExtractionRefused(
                f"parts cannot be kept under {self.url} ({error}): name a folder or an fsspec URL that can be written"
            ) from error
        if held not in (None, self.job):
            raise ExtractionRefused(
                f"{self.url} holds parts of another extraction (job {str(held)[:12]}, this one is {self.job[:12]}: "
                "other prompts, model, layers, positions or options): remove the folder to start over, or name another "
                "file"
            )

    def check(self) -> None:
        """Whether this machine sees the folder that was claimed. Raises ExtractionRefused."""
        if self._claimed_by() != self.job:
            raise ExtractionRefused(
                f"{socket.gethostname()} does not see the parts under {self.url}: write the result on storage that "
                "every machine sees under the same name, or name an fsspec URL for the parts (--parts-url)"
            )

    def holds(self, rows: Sequence[int]) -> bool:
        """Whether the part of these prompts is there."""
        return self._read(self._named(rows)) is not None

    def write(self, tensors: Tensors) -> None:
        """Add one part."""
        writer = f"{socket.gethostname()} {os.getpid()}"  # names a machine whose figures turn out to be wrong
        self._put(self._named(tensors["rows"].tolist()), save(tensors, metadata={"writer": writer}))

    def read(self) -> Tensors | None:
        """All that is done, each prompt once and in their order; None where nothing is."""
        parts = [part for part in map(self._read, self._names(self.job[:16])) if part is not None]
        if not parts:
            return None
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        _, once = np.unique(joined["rows"], return_index=True)  # parts overlap where a lost worker was not dead
        return {name: tensor[once] for name, tensor in joined.items()}

    def remove(self) -> None:
        """The file is complete."""
        filesystem, folder = fsspec.url_to_fs(self.url)
        filesystem.rm(folder, recursive=True)

    def _claimed_by(self) -> str | None:
        filesystem, path = self._place(_JOB)
        try:
            return bytes(filesystem.cat_file(path)).decode("ascii")
        except FileNotFoundError:
            return None

    def _read(self, name: str) -> Tensors | None:
        """A part; None where there is none, or none to be read: its prompts are asked again."""
        filesystem, path = self._place(name)
        try:
            return load(bytes(filesystem.cat_file(path)))
        except SafetensorError:
            filesystem.rm(path)
            return None
        except OSError:
            return None

    def _put(self, name: str, content: bytes) -> None:
        filesystem, path = self._place(name)
        if isinstance(filesystem, LocalFileSystem):
            write_whole(Path(path), content)
        else:
            filesystem.pipe_file(path, content)

    def _names(self, job: str) -> list[str]:
        """The parts that are there, of a job (16 digits of it) or of any ("*")."""
        filesystem, folder = fsspec.url_to_fs(self.url)
        return sorted(str(path).rpartition("/")[2] for path in filesystem.glob(f"{folder}/part-{job}-*.safetensors"))

    def _named(self, rows: Sequence[int]) -> str:
        """The name of these prompts' part."""
        prompts = hashlib.sha256(codec.canonical(list(rows))).hexdigest()[:32]
        return f"part-{self.job[:16]}-{prompts}.safetensors"

    def _place(self, name: str) -> tuple[Any, str]:
        filesystem, folder = fsspec.url_to_fs(self.url)
        return filesystem, f"{folder}/{name}"


class Parts:
    """The parts of one extraction, under a folder beside its file or under `url`.

    Raises ExtractionRefused for a folder of another job or a locked one.
    """

    def __init__(self, out: Path, job: str, url: str | None = None) -> None:
        self._beside = out.absolute().with_name(f".{out.name}.parts")
        self._out = out
        self.folder = PartFolder(url=str(self._beside) if url is None else url.rstrip("/"), job=job)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Hold the folder while the block runs; it stays until `remove`."""
        self._beside.mkdir(parents=True, exist_ok=True)
        with (self._beside / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ExtractionRefused(
                    f"{self._out} is being written by another process: wait for it, or name another file"
                ) from error
            self.folder.claim()
            yield

    def read(self) -> Tensors | None:
        """All that is done, each prompt once and in their order; None where nothing is."""
        return self.folder.read()

    def write(self, tensors: Tensors) -> None:
        """Add one part."""
        self.folder.write(tensors)

    def remove(self) -> None:
        """The file is complete."""
        if self.folder.url != str(self._beside):
            self.folder.remove()
        shutil.rmtree(self._beside)


def job_of(*what: object) -> str:
    """The SHA-256 that an extraction is known by."""
    return hashlib.sha256(codec.canonical(list(what))).hexdigest()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut, whoever else writes it too."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
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
