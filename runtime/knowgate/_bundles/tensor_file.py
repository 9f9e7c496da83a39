"""The header of a safetensors file, read strictly: bundles, bodies with vectors and engines' states
all come as one.

The format's own readers are lenient where it matters here: of a name given twice they keep the
last. This one refuses that, and tensors that overlap, leave a hole or end before or after the file
does. It reads the header alone, so that one row can be taken out of a file of many megabytes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from knowgate._wire import codec
from knowgate._wire.storable import LARGEST_INTEGER
from knowgate.errors import RecordInvalid

MAX_HEADER_BYTES = 100 * 2**20  # the format's own limit
LENGTH_BYTES = 8  # of the number that says how long the header is
METADATA = "__metadata__"
ITEM_BYTES = (
    dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3"), 1)
    | dict.fromkeys(("I16", "U16", "F16", "BF16"), 2)
    | dict.fromkeys(("I32", "U32", "F32"), 4)
    | dict.fromkeys(("I64", "U64", "F64"), 8)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorEntry:
    """Where one tensor lies; offsets count from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorHeader:
    """What a file says of itself."""

    entries: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]
    start: int  # of the first tensor, in bytes from the beginning of the file
    size: int  # that the whole file must have


def header_length(beginning: bytes) -> int:
    """How many bytes of header follow the first eight. Raises RecordInvalid for more than the
    format allows.
    """
    length = int.from_bytes(beginning[:LENGTH_BYTES], "little")
    if length > MAX_HEADER_BYTES:
        raise RecordInvalid("header", f"{length} bytes", "this is no safetensors file")
    return length


def parse_header(written: bytes) -> TensorHeader:
    """The header in these bytes, which follow the file's first eight. Raises RecordInvalid."""
    if not (written.startswith(b"{") and written.rstrip(b" ").endswith(b"}")):
        raise RecordInvalid("header", written[:20], "safetensors has JSON there, padded with spaces")
    document = codec.parse(written)
    metadata = document.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise RecordInvalid(METADATA, metadata, "safetensors has an object of texts there")
    entries = {name: _entry(name, item) for name, item in document.items()}
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != end:
            raise RecordInvalid(name, [entry.begin, entry.end], f"tensors lie end to end, so it begins at {end}")
        end = entry.end
    start = LENGTH_BYTES + len(written)
    return TensorHeader(entries=entries, metadata=metadata, start=start, size=start + end)


def require_tensor_file(content: bytes) -> TensorHeader:
    """The header of the file in `content`. Raises RecordInvalid where it is cut off, goes on, or is
    no such file.
    """
    length = header_length(content)
    if len(content) < LENGTH_BYTES + length:
        raise RecordInvalid("header", f"{len(content)} bytes", "the file is cut off, or no safetensors file")
    header = parse_header(content[LENGTH_BYTES : LENGTH_BYTES + length])
    require_size(header, len(content))
    return header


def require_size(header: TensorHeader, size: int) -> None:
    """Raises RecordInvalid for a file of another size than its header says."""
    if size != header.size:
        raise RecordInvalid("file", f"{size} bytes", f"its header tells of {header.size}")


def _entry(name: str, entry: object) -> TensorEntry:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise RecordInvalid(name, entry, "a tensor has dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    item = ITEM_BYTES.get(dtype) if isinstance(dtype, str) else None
    if item is None:
        raise RecordInvalid(f"{name}.dtype", dtype, f"use one of {', '.join(ITEM_BYTES)}")
    if not _are_whole(shape):
        raise RecordInvalid(f"{name}.shape", shape, "whole numbers of at least 0 are expected")
    if not _are_whole(offsets) or len(offsets) != 2 or offsets[1] - offsets[0] != math.prod(shape) * item:
        cure = f"a {dtype} tensor of the shape {shape} has {math.prod(shape) * item} bytes"
        raise RecordInvalid(f"{name}.data_offsets", offsets, cure)
    return TensorEntry(dtype=dtype, shape=tuple(shape), begin=offsets[0], end=offsets[1])


def _are_whole(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value <= LARGEST_INTEGER for value in values)
