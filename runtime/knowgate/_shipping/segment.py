"""One file of the spool: what an entry's bytes are, and how much of a file may be believed after a
crash.

A segment is the magic `KGSPOOL1` and then entries; an entry is

    u32 length · u32 CRC-32 of (length, payload) · payload

little-endian; the payload is `u32 header length · header · vectors`, the header one JSON object
{"decision", "vectors": [d, …]}, or {"label", "vectors": []}, the vectors raw little-endian float16
of those lengths, one after the other. The CRC covers the length too, so that a tail of zeros, which
some file systems leave after a power cut, is no valid entry. Entries are only ever appended. What
is no whole entry is torn, the unfinished write that a crash left at the end, or damaged, what a
disk lost. `knowgate._shipping.recovery` takes both out; the entries behind a damaged one are as
good as those before it.

Beside a segment lies `<segment>.offset`: how far the service has acknowledged it, and the CRC-32 of
that text. It is written after the acknowledgement, so a crash between the two ships entries again,
which the service knows by their ids. An offset that is spoilt, or without a CRC (as it was written
before) and at no entry's end, counts as none.
"""

import json
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from knowgate._models.features import Float16Array
from knowgate._records.records import Decision, Label
from knowgate._wire import codec
from knowgate.errors import RecordInvalid, SpoolRefused

MAGIC = b"KGSPOOL1"
FRAME = struct.Struct("<II")
LENGTH = struct.Struct("<I")
MAX_ENTRY_BYTES = 64 * 2**20
# How a header begins, as `framed` writes it; within a text its quotes are escaped.
_PAYLOAD_START = re.compile(rb'\{"(?:decision|label)":')


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One spooled decision or label as its payload; decoded only when it is shipped."""

    payload: bytes
    end: int  # offset in the segment just behind this entry

    def document(self) -> dict[str, Any]:
        """The record as plain JSON, by its kind: `decision` or `label`. Raises RecordInvalid for a
        payload that another version wrote.
        """
        return {name: value for name, value in self._header().items() if name != "vectors"}

    def record(self) -> Decision | Label:
        """Raises RecordInvalid for a record this version cannot hold."""
        ((kind, document),) = self.document().items()
        return codec.decode(Label, document) if kind == "label" else codec.decode(Decision, document)

    def vectors(self) -> tuple[Float16Array, ...]:
        """The decision's own vectors; `Attempt.vector` indexes this. Raises RecordInvalid."""
        lengths = self._header()["vectors"]
        if not isinstance(lengths, list) or not all(type(length) is int and length >= 0 for length in lengths):
            raise RecordInvalid("vectors", lengths, "a list of whole numbers is expected")
        (header_length,) = LENGTH.unpack_from(self.payload)
        values = np.frombuffer(self.payload, dtype="<f2", offset=LENGTH.size + header_length)
        if sum(lengths) != len(values):
            raise RecordInvalid("vectors", lengths, f"the entry holds {len(values)} numbers")
        return tuple(np.split(values, np.cumsum(lengths)[:-1])) if lengths else ()

    def _header(self) -> dict[str, Any]:
        try:
            (header_length,) = LENGTH.unpack_from(self.payload)
            header = json.loads(self.payload[LENGTH.size : LENGTH.size + header_length])
        except (struct.error, ValueError, RecursionError) as error:
            raise RecordInvalid("entry", "header", f"it cannot be read ({error})") from None
        if not isinstance(header, dict) or set(header) not in ({"decision", "vectors"}, {"label", "vectors"}):
            raise RecordInvalid("entry", "header", "another version wrote this entry; ship it with that version")
        return header


def framed(record: Decision | Label, vectors: Sequence[Float16Array] = ()) -> bytes:
    """An entry's bytes. `vectors`: float16 [d] each, lengths may differ; of a decision alone.

    Raises SpoolRefused for an entry above 64 MiB.
    """
    kind = "label" if isinstance(record, Label) else "decision"
    header = json.dumps(
        {kind: codec.encode(record), "vectors": [len(vector) for vector in vectors]}, separators=(",", ":")
    ).encode()
    raw = b"".join(np.ascontiguousarray(vector, dtype="<f2").tobytes() for vector in vectors)
    payload = LENGTH.pack(len(header)) + header + raw
    if len(payload) > MAX_ENTRY_BYTES:
        raise SpoolRefused(f"{named(record)} takes {len(payload)} bytes; an entry holds {MAX_ENTRY_BYTES}")
    return FRAME.pack(len(payload), _crc(payload)) + payload


def named(record: Decision | Label) -> str:
    """A record as a message names it."""
    if isinstance(record, Decision):
        return f"decision {record.id}"
    return f"the label of {record.decision_id or record.external_id}"


def entries(content: bytes, offset: int) -> Iterator[Entry]:
    """The whole entries of `content`, which lies at `offset` of its segment; ends before the first
    that is none.
    """
    position = 0
    while (end := end_of_entry(content, position)) is not None:
        yield Entry(payload=content[position + FRAME.size : end], end=offset + end)
        position = end


def end_of_entry(content: bytes, position: int) -> int | None:
    """Just behind the entry at `position` of `content`; None where no whole one lies there."""
    if position + FRAME.size > len(content):
        return None
    length, crc = FRAME.unpack_from(content, position)
    end = position + FRAME.size + length
    if length > MAX_ENTRY_BYTES or end > len(content) or _crc(content[position + FRAME.size : end]) != crc:
        return None
    return int(end)


def next_entry(content: bytes, position: int) -> int | None:
    """Where the first whole entry at `position` or behind it begins: looked for by how every
    payload begins.
    """
    for found in _PAYLOAD_START.finditer(content, position):
        start = found.start() - LENGTH.size - FRAME.size
        if start >= position and end_of_entry(content, start) is not None:
            return start
    return None


def is_unfinished(content: bytes) -> bool:
    """Whether bytes that are no whole entry are the beginning of one: what a crash leaves of a
    write.

    A damaged length also claims more than there is; the payload, which says its own length, tells
    the two apart.
    """
    written = content.rstrip(b"\0")
    if len(written) < FRAME.size + LENGTH.size:
        return True
    (length, _), (header_length,) = FRAME.unpack_from(written), LENGTH.unpack_from(written, FRAME.size)
    if FRAME.size + length <= len(written):
        return False
    start = FRAME.size + LENGTH.size
    try:
        numbers = sum(json.loads(written[start : start + header_length])["vectors"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return True
    return bool(start + header_length + 2 * numbers > len(content))


def read_offset(path: Path) -> tuple[int, bool]:
    """How far the segment at `path` was acknowledged, its start where nothing is known; and whether
    that is sure.
    """
    try:
        offset, _, crc = _offset_path(path).read_text().partition(" ")
        return int(offset), bool(crc) and zlib.crc32(offset.encode()) == int(crc, 16)
    except (FileNotFoundError, ValueError):  # a text of other bytes too
        return len(MAGIC), True


def write_offset(path: Path, offset: int) -> None:
    """Remembers an acknowledgement, atomically. A lost write ships entries twice, never
    not at all.
    """
    temporary = _offset_path(path).with_suffix(".offset-new")
    temporary.write_text(f"{offset} {zlib.crc32(str(offset).encode()):08x}")
    temporary.replace(_offset_path(path))


def forget_offset(path: Path) -> None:
    """The segment at `path` counts as shipped from its start."""
    _offset_path(path).unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Deletes a segment that was acknowledged to its end. The offset goes last: without its segment
    it says nothing.
    """
    path.unlink(missing_ok=True)
    _offset_path(path).unlink(missing_ok=True)


def _offset_path(path: Path) -> Path:
    return path.with_suffix(".offset")


def _crc(payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(LENGTH.pack(len(payload))))
