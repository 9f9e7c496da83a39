"""What a vector shard is, byte by byte: one safetensors file with one tensor and two things said
about it.

Decisions:
- One tensor, `hidden` [n, d] float16, little-endian, row after row. `__metadata__` holds `ids` (a
  JSON list, one per row) and `fingerprint` (the canonical JSON of what the vectors are hidden
  states of; left out where it is unknown).
- The header is padded with spaces, as the format allows, until the first row lies on a page
  boundary: a row of 4096 dimensions is then two pages of the disk and not three.
- A header is checked as a whole before a row is believed: its length, its tensor, offsets, dtype,
  the number of ids and the file's size. Whatever does not fit is refused with the file, what was
  found and the cure.
- A fingerprint that differs is refused by the field's name with both values. A shard without one,
  written before shards carried any, contradicts nothing; the rows in SQL say what it holds, and
  compaction writes that into it.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from knowgate._records.records import Fingerprint
from knowgate._wire import codec
from knowgate.errors import RecordInvalid
from store.errors import FingerprintDiffers, ShardRefused

Float16Array = npt.NDArray[np.float16]
TENSOR = "hidden"
ERASED = "erased/"  # how the id of a row begins whose vector was overwritten with zeros
ITEM_BYTES = 2
_PAGE = 4096
_HEADER_LIMIT = 100_000_000  # the format's own limit
_FIRST_READ = 1 << 16  # holds the whole header of a small shard, so that it takes one request
_RESTORE = "restore it from a backup"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardHeader:
    """What a shard says of itself, checked."""

    offset: int  # of the first row, bytes from the start of the file
    rows: int
    dimension: int
    fingerprint: Fingerprint | None  # None = written before shards carried one
    ids: str | None  # JSON; parsed where it is asked for, since a large shard has megabytes of them


def header_bytes(shape: tuple[int, int], ids: Sequence[str], fingerprint: Fingerprint | None) -> bytes:
    """All that comes before the first row of a shard of this shape [n, d]."""
    metadata = {"ids": json.dumps(list(ids), separators=(",", ":"))}
    if fingerprint is not None:
        metadata["fingerprint"] = codec.canonical(fingerprint).decode()
    end = shape[0] * shape[1] * ITEM_BYTES
    tensor = {"dtype": "F16", "shape": list(shape), "data_offsets": [0, end]}
    document = json.dumps({"__metadata__": metadata, TENSOR: tensor}, separators=(",", ":")).encode()
    length = -(-(8 + len(document)) // _PAGE) * _PAGE - 8
    return length.to_bytes(8, "little") + document.ljust(length)


def parse_header(url: str, size: int, fetch: Callable[[int, int], bytes]) -> ShardHeader:
    """The checked header of a file of `size` bytes; `fetch(start, end)` reads some of them. Raises
    ShardRefused.
    """
    first = fetch(0, min(size, _FIRST_READ))
    length = int.from_bytes(first[:8], "little")
    if len(first) < 8 or not 0 < length <= min(_HEADER_LIMIT, size - 8):
        most = max(0, min(_HEADER_LIMIT, size - 8))
        fault = f"its header would have {length} bytes of {most}"
        raise ShardRefused(f"{url} is not a safetensors file: {fault}; {_RESTORE}")
    text = first[8 : 8 + length] if len(first) >= 8 + length else first[8:] + fetch(len(first), 8 + length)
    try:
        document = json.loads(text)
        tensors = {name: value for name, value in document.items() if name != "__metadata__"}
        metadata = document.get("__metadata__", {})
        (name,) = tensors
        tensor = tensors[name]
        dtype, (rows, dimension), (begin, end) = tensor["dtype"], tensor["shape"], tensor["data_offsets"]
        fields = (name, dtype, *(int(number) for number in (rows, dimension, begin, end)))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ShardRefused(f"{url} is not a vector shard ({error!r}); {_RESTORE}") from error
    return _checked(url, size, 8 + length, fields, metadata)


def parse_ids(url: str, header: ShardHeader) -> tuple[str, ...]:
    """The ids of a shard's rows, in their order; none where it carries none. Raises
    ShardRefused.
    """
    if header.ids is None:
        return ()
    try:
        ids = tuple(str(name) for name in json.loads(header.ids))
    except (ValueError, TypeError, RecursionError) as error:
        raise ShardRefused(f"{url} has ids that cannot be read ({error}); {_RESTORE}") from error
    if len(ids) != header.rows:
        raise ShardRefused(f"{url} names {len(ids)} ids for {header.rows} rows; {_RESTORE}")
    return ids


def require_fingerprint(url: str, found: Fingerprint | None, wanted: Fingerprint | None) -> None:
    """Raises FingerprintDiffers, by the field's name and both values, where both are known and
    differ.
    """
    if found is None or wanted is None or found == wanted:
        return
    field = next(f.name for f in fields(Fingerprint) if getattr(found, f.name) != getattr(wanted, f.name))
    raise FingerprintDiffers(url, field, getattr(wanted, field), getattr(found, field))


def _checked(url: str, size: int, offset: int, fields: tuple[Any, ...], metadata: Any) -> ShardHeader:
    name, dtype, rows, dimension, begin, end = fields
    if name != TENSOR:
        raise ShardRefused(f"{url} holds a tensor {name!r}, {TENSOR!r} is expected: write it with write_shard")
    if dtype != "F16":
        raise ShardRefused(f"{url} holds {dtype}, F16 is expected: write it with write_shard")
    if rows < 1 or dimension < 1 or begin != 0 or end != rows * dimension * ITEM_BYTES:
        fault = f"shape [{rows}, {dimension}] and data_offsets [{begin}, {end}]"
        raise ShardRefused(f"{url} has {fault}, which do not belong together; {_RESTORE}")
    if size != offset + end:
        kind = "is cut off" if size < offset + end else "has a tail"
        raise ShardRefused(f"{url} {kind}: it has {size} bytes, its header speaks of {offset + end}; {_RESTORE}")
    fingerprint = metadata.get("fingerprint") if isinstance(metadata, dict) else None
    ids = metadata.get("ids") if isinstance(metadata, dict) else None
    return ShardHeader(
        offset=offset,
        rows=rows,
        dimension=dimension,
        fingerprint=None if fingerprint is None else _fingerprint(url, fingerprint),
        ids=ids if isinstance(ids, str) else None,
    )


def _fingerprint(url: str, text: str) -> Fingerprint:
    try:
        return codec.decode(Fingerprint, codec.parse(text.encode()))
    except (RecordInvalid, AttributeError, UnicodeEncodeError) as error:
        raise ShardRefused(f"{url} has a fingerprint that cannot be read ({error}); {_RESTORE}") from error
