"""One row out of a file of hidden states, which is deleted whatever becomes of the reading.

The file is safetensors: `hidden_states` [tokens, layers, d] in bf16, fp16 or fp32, its layers in
ascending order, and `token_ids` [tokens]. Engines keep a block's output and its residual stream
apart; where the writer has not added them, the file holds `residual` of the same shape, and the
state is their sum in float32. Only the wanted row is read: a prompt of 8000 tokens is 64 MB a
layer, a row is 8 KB.

The state of the last prompt token is the last row only where the file holds the prompt's tokens,
all of them and no others: with a prefix taken from a cache it holds fewer, with generated tokens
more. So rows, token ids and the prompt's tokens as the server counted them must agree, or there is
no state.

The writer holds an exclusive lock on `<file>.lock` until the file is complete. Without that lock an
incomplete file is known by its length, and looked at again until the deadline.
"""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

import numpy as np

from knowgate._bundles.tensor_file import (
    ITEM_BYTES,
    LENGTH_BYTES,
    TensorEntry,
    TensorHeader,
    header_length,
    parse_header,
    require_size,
)
from knowgate._records.arrays import Float32Array
from knowgate.errors import KnowgateError, RecordInvalid

SUFFIX = ".safetensors"
LOCK_SUFFIX = ".lock"
LOOK_AGAIN_S = 0.002
MAX_HEADER_BYTES = 2**20
STATES, RESIDUAL, TOKENS = "hidden_states", "residual", "token_ids"
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
STATE_TYPES = ("F16", "BF16", "F32")


class StatesUnreadable(KnowgateError):
    """A file of hidden states that is not there, not complete, or not what it should be."""


class _Incomplete(Exception):
    """The writer is not done."""


def take_state(path: Path, *, prompt_tokens: int | None, layer: int, layers: int, deadline: float) -> Float32Array:
    """The state [d] of the last prompt token at the `layer`-th of `layers` in ascending order; the
    file is deleted.

    `prompt_tokens` is how many tokens the server counted. Waits for a file that is being written
    until `deadline` (of time.monotonic). Raises StatesUnreadable.
    """
    try:
        while True:
            try:
                with _locked(path), _opened(path) as file:
                    state = _read(file, os.fstat(file.fileno()).st_size, prompt_tokens, layer=layer, layers=layers)
                break
            except (_Incomplete, FileNotFoundError) as error:
                if time.monotonic() >= deadline:
                    why = "is not there" if isinstance(error, FileNotFoundError) else f"is incomplete ({error})"
                    raise StatesUnreadable(f"{path.name} {why}; is {path.parent} the server's folder?") from error
                time.sleep(LOOK_AGAIN_S)
    except PermissionError as error:
        raise StatesUnreadable(f"{path.name} cannot be read: {_whose(path)}") from error
    except OSError as error:
        raise StatesUnreadable(f"{path.name} cannot be read: {error}") from error
    except RecordInvalid as error:
        raise StatesUnreadable(f"{path.name} is no file of hidden states: {error}") from error
    finally:
        discard(path)
    return state


def discard(path: Path) -> None:
    """Deletes a file of states and its lock, where they are there."""
    for left in (path, path.with_name(path.name + LOCK_SUFFIX)):
        with suppress(OSError):
            left.unlink()


def discard_left_overs(folder: Path, *, older_than_s: float) -> int:
    """Deletes the files of requests that nobody took; returns how many. Files of other tensors
    stay.
    """
    removed = 0
    for path in folder.glob(f"*{SUFFIX}*"):
        with suppress(OSError, StatesUnreadable):
            if path.lstat().st_mtime >= time.time() - older_than_s:
                continue
            if path.name.endswith(SUFFIX) and not _is_of_another_kind(path):
                path.unlink()
                removed += 1
            elif path.name.endswith(SUFFIX + LOCK_SUFFIX):
                path.unlink()
    return removed


def require_folder(folder: Path) -> None:
    """Raises RecordInvalid where `folder` is there and its files can be neither read nor deleted by
    this process.

    The server makes it where it is missing; it writes files that only its own user may read.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise RecordInvalid("folder", str(folder), "it is no folder; give the server's shared_storage_path")
    try:
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        cure = f"states that are read are deleted, and here they cannot be ({error.strerror}): {_whose(folder)}"
        raise RecordInvalid("folder", str(folder), cure) from error
    for path in folder.glob(f"*{SUFFIX}"):
        if not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
            raise RecordInvalid("folder", str(folder), f"it holds {path.name}, which cannot be read: {_whose(path)}")


def _whose(path: Path) -> str:
    """Whose file this is, and what to do about it."""
    try:
        status = path.stat()
        said = f"it is of user {status.st_uid} with mode {status.st_mode & 0o7777:04o}"
    except OSError as error:
        said = f"its owner is not known ({error.strerror})"
    return f"{said}, and this process is of user {os.geteuid()}: run the server and this process as one user"


def _is_of_another_kind(path: Path) -> bool:
    """Whether this is a safetensors file without states, such as a model's weights in a folder
    named by mistake.
    """
    with _opened(path) as file:
        try:
            length = header_length(file.read(LENGTH_BYTES))
            return length > MAX_HEADER_BYTES or STATES not in parse_header(file.read(length)).entries
        except RecordInvalid:  # cut off, or damaged
            return False


def _opened(path: Path) -> BinaryIO:
    """The file itself, and only a file: a link would lead out of the folder, a pipe would be waited
    for.
    """
    file = os.open(path, _FLAGS)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise StatesUnreadable(f"{path.name} cannot be read: it is no file")
    return os.fdopen(file, "rb")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Shares the writer's lock, where there is one."""
    try:
        import fcntl

        lock = _opened(path.with_name(path.name + LOCK_SUFFIX))
    except (ImportError, FileNotFoundError):
        yield
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _Incomplete("its writer holds the lock") from error
        yield


def _read(file: BinaryIO, size: int, prompt_tokens: int | None, *, layer: int, layers: int) -> Float32Array:
    header = _header(file, size)
    entry = _states(header, STATES)
    tokens, written, _ = entry.shape
    if written != layers:
        raise StatesUnreadable(f"{STATES} holds {written} layers; {layers} layers are configured")
    _require_the_prompt(header, tokens, prompt_tokens)
    state = _last_row(file, header, entry, layer)
    if RESIDUAL in header.entries:
        residual = _states(header, RESIDUAL)
        if residual.shape != entry.shape:
            raise StatesUnreadable(f"{RESIDUAL} is {residual.shape}, {STATES} {entry.shape}: shapes must agree")
        with np.errstate(over="ignore", invalid="ignore"):
            state = state + _last_row(file, header, residual, layer)
    if not np.isfinite(state).all():
        raise StatesUnreadable(f"the state of the last prompt token is not finite in {STATES}")
    return state


def _header(file: BinaryIO, size: int) -> TensorHeader:
    if size < LENGTH_BYTES:
        raise _Incomplete(f"{size} bytes")
    length = header_length(file.read(LENGTH_BYTES))
    if length > MAX_HEADER_BYTES:
        raise StatesUnreadable(f"the header claims {length} bytes: not a file of hidden states")
    if size < LENGTH_BYTES + length:
        raise _Incomplete(f"{size} bytes, cut off within its header")
    header = parse_header(file.read(length))
    if size < header.size:
        raise _Incomplete(f"{size} bytes")
    require_size(header, size)
    return header


def _states(header: TensorHeader, name: str) -> TensorEntry:
    entry = header.entries.get(name)
    if entry is None or entry.dtype not in STATE_TYPES or len(entry.shape) != 3 or 0 in entry.shape:
        given = "missing" if entry is None else f"{entry.dtype} {list(entry.shape)}"
        raise StatesUnreadable(f"{name} is {given}: [tokens, layers, d] in bf16, fp16 or fp32 is expected")
    return entry


def _require_the_prompt(header: TensorHeader, rows: int, prompt_tokens: int | None) -> None:
    """Raises StatesUnreadable where the rows may be of other tokens than the prompt's."""
    ids = header.entries.get(TOKENS)
    if ids is None or ids.dtype not in ("I64", "I32", "U32") or len(ids.shape) != 1:
        given = "missing" if ids is None else f"{ids.dtype} {list(ids.shape)}"
        raise StatesUnreadable(f"{TOKENS} is {given}: whole numbers [tokens] are expected, to tell the rows by")
    if ids.shape[0] != rows:
        raise StatesUnreadable(f"{STATES} holds {rows} tokens, {TOKENS} names {ids.shape[0]}: they must agree")
    if prompt_tokens is None:
        raise StatesUnreadable(f"the answer does not say how many tokens the prompt has; {STATES} holds {rows} tokens")
    if rows != prompt_tokens:
        why = "is prefix caching on?" if rows < prompt_tokens else "the last is not the prompt's last"
        raise StatesUnreadable(f"{STATES} holds {rows} tokens, the prompt has {prompt_tokens}: {why}")


def _last_row(file: BinaryIO, header: TensorHeader, entry: TensorEntry, layer: int) -> Float32Array:
    tokens, layers, d = entry.shape
    item = ITEM_BYTES[entry.dtype]
    file.seek(header.start + entry.begin + ((tokens - 1) * layers + layer) * d * item)
    return _as_float32(file.read(d * item), entry.dtype)


def _as_float32(content: bytes, dtype: str) -> Float32Array:
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(content, dtype="<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(content, dtype="<f2" if dtype == "F16" else "<f4").astype(np.float32)
