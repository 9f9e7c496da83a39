"""One row out of a file of hidden states, which is deleted whatever becomes of the reading.

The file is safetensors: `hidden_states` [tokens, layers, d] in bf16, fp16 or fp32. Engines keep a block's output and
its residual stream apart; where the writer has not added them, the file holds `residual` of the same shape, and the
state is their sum in float32. Only the wanted row is read: a prompt of 8000 tokens is 64 MB a layer, a row is 8 KB.

The writer holds an exclusive lock on `<file>.lock` until the file is complete. Without that lock an incomplete file is
told by its length, and looked at again until the deadline.
"""

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from knowgate.arrays import Float32Array
from knowgate.errors import KnowgateError

LOCK_SUFFIX = ".lock"
LOOK_AGAIN_S = 0.002
MAX_HEADER_BYTES = 2**20
ITEM_BYTES = {"F16": 2, "BF16": 2, "F32": 4}


class StatesUnreadable(KnowgateError):
    """A file of hidden states that is not there, not complete, or not what it should be."""


class _Incomplete(Exception):
    """The writer is not done."""


def take_row(path: Path, *, row: int | None, layer: int, layers: int, deadline: float) -> Float32Array:
    """The state [d] of token `row` (None = the last one) and the `layer`-th of `layers`; the file is deleted.

    Waits for a file that is being written until `deadline` (of time.monotonic). Raises StatesUnreadable.
    """
    try:
        while True:
            try:
                with _locked(path), path.open("rb") as file:
                    return _read(file, path.stat().st_size, row=row, layer=layer, layers=layers)
            except (_Incomplete, FileNotFoundError) as error:
                if time.monotonic() >= deadline:
                    why = "is not there" if isinstance(error, FileNotFoundError) else f"is incomplete ({error})"
                    raise StatesUnreadable(f"{path.name} {why}; is {path.parent} the server's folder?") from error
                time.sleep(LOOK_AGAIN_S)
    except OSError as error:
        raise StatesUnreadable(f"{path.name} cannot be read: {error}") from error
    finally:
        for left in (path, path.with_name(path.name + LOCK_SUFFIX)):
            with suppress(OSError):
                left.unlink()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Shares the writer's lock, where there is one."""
    try:
        import fcntl

        lock = path.with_name(path.name + LOCK_SUFFIX).open("rb")
    except (ImportError, FileNotFoundError):
        yield
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _Incomplete("its writer holds the lock") from error
        yield


def _read(file: BinaryIO, size: int, *, row: int | None, layer: int, layers: int) -> Float32Array:
    header, start = _header(file, size)
    state = _row(file, header, start, "hidden_states", row=row, layer=layer, layers=layers)
    if "residual" in header:
        residual = _row(file, header, start, "residual", row=row, layer=layer, layers=layers)
        if residual.shape != state.shape:
            raise StatesUnreadable(f"residual is {residual.shape}, hidden_states {state.shape}: shapes must agree")
        state = state + residual
    return state


def _header(file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or (length <= MAX_HEADER_BYTES and size < 8 + length):
        raise _Incomplete(f"{size} bytes")
    if length > MAX_HEADER_BYTES:
        raise StatesUnreadable(f"the header claims {length} bytes: not a safetensors file")
    try:
        header = json.loads(file.read(length))
        ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise StatesUnreadable(f"the header is no safetensors header: {error!r}") from error
    if size < 8 + length + max(ends, default=0):
        raise _Incomplete(f"{size} bytes")
    return header, 8 + length


def _row(
    file: BinaryIO, header: dict[str, Any], start: int, name: str, *, row: int | None, layer: int, layers: int
) -> Float32Array:
    try:
        dtype, (tokens, written, d) = header[name]["dtype"], header[name]["shape"]
        begin, end = header[name]["data_offsets"]
        item = ITEM_BYTES[dtype]
        whole = all(type(number) is int for number in (begin, end, tokens, written, d))
        fits = whole and min(begin, tokens, written, d) >= 0 and end - begin == math.prod((tokens, written, d, item))
    except (KeyError, ValueError, TypeError) as error:
        raise StatesUnreadable(f"no {name} [tokens, layers, d] in bf16, fp16 or fp32: {error!r}") from error
    if not fits or written != layers:
        raise StatesUnreadable(f"{name} holds {written} layers in {end - begin} bytes; {layers} layers are configured")
    at = tokens - 1 if row is None else row
    if not 0 <= at < tokens:
        raise StatesUnreadable(f"{name} holds {tokens} tokens, the prompt has {at + 1}; is prefix caching on?")
    file.seek(start + begin + (at * layers + layer) * d * item)
    return _as_float32(file.read(d * item), dtype)


def _as_float32(content: bytes, dtype: str) -> Float32Array:
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(content, dtype="<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(content, dtype="<f2" if dtype == "F16" else "<f4").astype(np.float32)
