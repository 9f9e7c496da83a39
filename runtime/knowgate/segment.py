"""One file of the spool: what an entry's bytes are, and how much of a file may be believed after a crash.

A segment is the magic `KGSPOOL1` and then entries; an entry is

    u32 length · u32 CRC-32 of (length, payload) · payload

little-endian; the payload is `u32 header length · header · vectors`, the header one JSON object {"decision",
"vectors": [d, …]}, the vectors raw little-endian float16 of those lengths, one after the other. The CRC covers the
length too, so that a tail of zeros, which some file systems leave after a power cut, is no valid entry. Entries are
only ever appended; after a crash the file counts up to its last whole entry.

Beside a segment lies `<segment>.offset`: how far the service has acknowledged it. It is written after the
acknowledgement, so a crash between the two ships entries again, which the service knows by their ids.
"""

import json
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from knowgate import codec
from knowgate.errors import RecordInvalid, SpoolRefused
from knowgate.features import Float16Array
from knowgate.records import Decision

MAGIC = b"KGSPOOL1"
FRAME = struct.Struct("<II")
LENGTH = struct.Struct("<I")
MAX_ENTRY_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One spooled decision as its payload; decoded only when it is shipped."""

    payload: bytes
    end: int  # offset in the segment just behind this entry

    def document(self) -> dict[str, Any]:
        """The decision as plain JSON. Raises RecordInvalid for a payload that another version wrote."""
        return self._header()["decision"]  # type: ignore[no-any-return]

    def decision(self) -> Decision:
        """Raises RecordInvalid for a record this version cannot hold."""
        return codec.decode(Decision, self.document())

    def vectors(self) -> tuple[Float16Array, ...]:
        """The decision's own vectors; `Attempt.vector` indexes this. Raises RecordInvalid."""
        lengths = self._header()["vectors"]
        (header_length,) = LENGTH.unpack_from(self.payload)
        values = np.frombuffer(self.payload, dtype="<f2", offset=LENGTH.size + header_length)
        if sum(lengths) != len(values):
            raise RecordInvalid("vectors", lengths, f"the entry holds {len(values)} numbers")
        return tuple(np.split(values, np.cumsum(lengths)[:-1])) if lengths else ()

    def _header(self) -> dict[str, Any]:
        (header_length,) = LENGTH.unpack_from(self.payload)
        header = json.loads(self.payload[LENGTH.size : LENGTH.size + header_length])
        if not isinstance(header, dict) or set(header) != {"decision", "vectors"}:
            raise RecordInvalid("entry", "header", "another version wrote this entry; ship it with that version")
        return header


def framed(decision: Decision, vectors: Sequence[Float16Array] = ()) -> bytes:
    """An entry's bytes. `vectors`: float16 [d] each, lengths may differ.

    Raises SpoolRefused for an entry above 64 MiB.
    """
    header = json.dumps(
        {"decision": codec.encode(decision), "vectors": [len(vector) for vector in vectors]}, separators=(",", ":")
    ).encode()
    raw = b"".join(np.ascontiguousarray(vector, dtype="<f2").tobytes() for vector in vectors)
    payload = LENGTH.pack(len(header)) + header + raw
    if len(payload) > MAX_ENTRY_BYTES:
        raise SpoolRefused(f"decision {decision.id} takes {len(payload)} bytes; an entry holds {MAX_ENTRY_BYTES}")
    return FRAME.pack(len(payload), _crc(payload)) + payload


def entries(content: bytes, offset: int) -> Iterator[Entry]:
    """The whole entries of `content`, which lies at `offset` of its segment; ends before the first that is torn."""
    position = 0
    while position + FRAME.size <= len(content):
        length, crc = FRAME.unpack_from(content, position)
        end = position + FRAME.size + length
        if length > MAX_ENTRY_BYTES or end > len(content):
            return
        payload = content[position + FRAME.size : end]
        if _crc(payload) != crc:
            return
        yield Entry(payload=payload, end=offset + end)
        position = end


def recover(path: Path) -> int:
    """Cuts a dead process's segment behind its last whole entry; returns the number of bytes cut."""
    content = path.read_bytes()
    whole = 0
    if content[: len(MAGIC)] == MAGIC:
        whole = len(MAGIC)
        for entry in entries(content[len(MAGIC) :], len(MAGIC)):
            whole = entry.end
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
            os.fsync(file.fileno())
    return len(content) - whole


def read_offset(path: Path) -> int:
    """How far the segment at `path` was acknowledged; its first entry's offset when nothing is known."""
    try:
        return max(len(MAGIC), int(_offset_path(path).read_text()))
    except (FileNotFoundError, ValueError):
        return len(MAGIC)


def write_offset(path: Path, offset: int) -> None:
    """Remembers an acknowledgement, atomically. A lost write ships entries twice, never not at all."""
    temporary = _offset_path(path).with_suffix(".offset-new")
    temporary.write_text(str(offset))
    temporary.replace(_offset_path(path))


def remove(path: Path) -> None:
    """Deletes a segment that was acknowledged to its end. The offset goes last: without its segment it says nothing."""
    path.unlink(missing_ok=True)
    _offset_path(path).unlink(missing_ok=True)


def _offset_path(path: Path) -> Path:
    return path.with_suffix(".offset")


def _crc(payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(LENGTH.pack(len(payload))))
