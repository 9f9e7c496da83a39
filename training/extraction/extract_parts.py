"""What a killed extraction has done already: a folder of parts beside the file it will become.

Decisions:
- A part is a safetensors file of some prompts' results, written whole (temporary file, fsync,
  rename; one put in an object store): it is there or it is not, and what is there is not computed
  again.
- A part is named by its job and its prompts. Whoever does the same prompts again, after a crash or
  beside a worker that was given up for dead, writes the same file; no two parts can stand in each
  other's way.
- The folder names its job: a hash over prompts, fingerprints, options and tier. Another job refuses
  it by name instead of mixing vectors of two models. Under a URL that is given, each job has a
  folder of its own: what else lies there, other jobs' parts too, is nobody's to read or remove.
- Each back-end of fsspec raises errors of its own (botocore's, google.auth's) that share no base:
  around each use of the storage all are taken, and shown with the folder's name.
- A lock beside the result that dies with its process: two extractions on a machine never write one
  file. Parts may be written by processes that do not hold it; they are started by the one that
  does.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import fsspec
import numpy as np
import numpy.typing as npt
from fsspec.implementations.local import LocalFileSystem
from safetensors import SafetensorError
from safetensors.numpy import load, save

from knowgate._wire import codec
from training.errors import ExtractionRefused, TrainingError

Tensors = dict[str, npt.NDArray[Any]]  # one row per prompt; "rows" says which prompts
_JOB = "job"
_CAN_BE_WRITTEN = "name a folder or an fsspec URL that can be written, and give its credentials"
_GO_ON = "see to that storage and start the same command again; what is done is kept"
_log = logging.getLogger("knowgate.training")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartFolder:
    """Where the parts of one job lie; it is sent to whoever writes some."""

    url: str  # a folder or an fsspec URL such as s3://bucket/prefix
    job: str

    def claim(self) -> None:
        """Make the folder this job's. Raises ExtractionRefused where it is another's, or cannot be
        made.
        """
        with self._using("kept", _CAN_BE_WRITTEN):
            owner = self._claimed_by()
            if owner != self.job and not self._names("*"):  # a job that did nothing keeps nobody out
                owner = None
            if owner is None:
                filesystem, path = self._place(_JOB)
                filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
                self._put(_JOB, self.job.encode())
        if owner not in (None, self.job):
            raise ExtractionRefused(
                f"{self.url} holds parts of another extraction (job {str(owner)[:12]}, this one is {self.job[:12]}: "
                "other prompts, model, layers, positions or options): remove the folder to start over, or name another "
                "file"
            )

    def check(self) -> None:
        """Whether this machine sees the folder that was claimed. Raises ExtractionRefused."""
        with self._using("read", _CAN_BE_WRITTEN):
            seen = self._claimed_by() == self.job
        if not seen:
            raise ExtractionRefused(
                f"{socket.gethostname()} does not see the parts under {self.url}: write the result on storage that "
                "every machine sees under the same name, or name an fsspec URL for the parts (--parts-url)"
            )

    def holds(self, rows: Sequence[int]) -> bool:
        """Whether the part of these prompts is there."""
        with self._using("read", _GO_ON):
            return self._read(self._named(rows)) is not None

    def write(self, tensors: Tensors) -> None:
        """Add one part. Raises ExtractionRefused where the storage does not take it."""
        writer = f"{socket.gethostname()} {os.getpid()}"  # names a machine whose figures turn out to be wrong
        with self._using("written", _GO_ON):
            self._put(self._named(tensors["rows"].tolist()), save(tensors, metadata={"writer": writer}))

    def read(self) -> Tensors | None:
        """All that is done, each prompt once and in their order; None where nothing is."""
        with self._using("read", _GO_ON):
            parts = [part for part in map(self._read, self._names(self.job[:16])) if part is not None]
        if not parts:
            return None
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        _, once = np.unique(joined["rows"], return_index=True)  # parts overlap where a lost worker was not dead
        return {name: tensor[once] for name, tensor in joined.items()}

    def remove(self) -> None:
        """The file is complete: what this job has written goes, and the folder if nothing else lies
        in it.
        """
        filesystem, folder = fsspec.url_to_fs(self.url)
        with suppress(FileNotFoundError):  # it is gone already, or goes meanwhile
            for path in filesystem.ls(folder, detail=False):
                if self._wrote(str(path).rpartition("/")[2]):
                    filesystem.rm(path)
            with suppress(OSError):  # not empty, or on a storage that knows no folders
                filesystem.rmdir(folder)

    def _wrote(self, name: str) -> bool:
        """Whether a file is this job's, or a torn one that a kill left of it (see write_whole)."""
        part = f"part-{self.job[:16]}-"
        return name == _JOB or name.startswith((part, f".{part}", f".{_JOB}."))

    @contextmanager
    def _using(self, done: str, cure: str) -> Iterator[None]:
        try:
            yield
        except TrainingError:
            raise
        except Exception as error:  # see the decisions above
            raise ExtractionRefused(f"parts cannot be {done} under {self.url} ({error}): {cure}") from error

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
    """The parts of one extraction, in a folder beside its file or in one of its own under `url`.

    Raises ExtractionRefused for a folder of another job or a locked one.
    """

    def __init__(self, out: Path, job: str, url: str | None = None) -> None:
        self._beside = out.absolute().with_name(f".{out.name}.parts")
        self._out = out
        own = str(self._beside) if url is None else f"{url.rstrip('/')}/knowgate-parts-{job[:16]}"
        self.folder = PartFolder(url=own, job=job)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Hold the folder while the block runs; it stays until `remove`."""
        with self._opened() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ExtractionRefused(
                    f"{self._out} is being written by another process: wait for it, or name another file"
                ) from error
            self.folder.claim()
            yield

    def _opened(self) -> TextIO:
        try:
            self._beside.mkdir(parents=True, exist_ok=True)
            return (self._beside / "lock").open("w")
        except OSError as error:
            raise ExtractionRefused(
                f"out is {self._out}: nothing can be written beside it ({error}); name a file in a folder that can be "
                "written"
            ) from error

    def remove(self) -> None:
        """The file is complete. Parts that cannot be removed cost room and no result, so they are
        only logged.
        """
        try:
            if self.folder.url != str(self._beside):
                self.folder.remove()
        except Exception as error:  # noqa: BLE001  see the decisions above
            _log.warning("parts under %s cannot be removed (%s): remove that folder", self.folder.url, error)
        shutil.rmtree(self._beside, ignore_errors=True)


def job_of(*what: object) -> str:
    """The SHA-256 that an extraction is known by."""
    return hashlib.sha256(codec.canonical(list(what))).hexdigest()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut, whoever else
    writes it too.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):  # half a file on a full disk would only keep it full
            temporary.unlink()
        raise
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
