"""A segment brought back to whole entries: those of a process that died, or one whose bytes the
disk lost.

Nothing that might be somebody's decision is cut without a copy. Where more was found than an
unfinished write, the file as it was stays beside the segments as `<segment>.corrupt`, for a person
to look at, and the whole entries of it, those behind the damage too, become the segment. Ships
twice rather than never: an offset that does not fit counts as none. Such copies hold decisions that
no erasure reaches, so they do not stay for ever.
"""

import logging
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from knowgate._shipping import segment
from knowgate._shipping.segment import MAGIC

logger = logging.getLogger("knowgate.spool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """A segment that now holds whole entries alone, and what it held beside them."""

    size: int
    shipped: int  # acknowledged, in bytes from its start as it is now
    torn: int  # bytes cut of an unfinished write at its end
    damaged: int  # bytes cut that were something else once; a copy of the file was set aside


def recover(path: Path, *, shipped: int | None = None) -> Recovered:
    """Takes out of the segment at `path` what is no whole entry. `shipped`: how far, where that is
    not for its offset file to say.
    """
    content = path.read_bytes()
    spans = list(_whole_entries(content))
    acknowledged = _acknowledged(path, content, spans) if shipped is None else shipped
    start = len(MAGIC) if content.startswith(MAGIC) else 0
    last = spans[-1][1] if spans else start
    whole = sum(end - begin for begin, end in spans)
    torn = len(content) - last if _is_torn(content, last) else 0
    damaged = len(content) - start - whole - torn
    size = last
    if damaged:
        kept = b"".join((MAGIC, *(content[begin:end] for begin, end in spans))) if spans else b""
        size = len(kept)
        _rewrite(path, kept)
    elif torn:
        _truncate(path, size)
    behind = sum(end - begin for begin, end in spans if end <= acknowledged)
    recovered = Recovered(size=size, shipped=min(size, len(MAGIC) + behind), torn=torn, damaged=damaged)
    if damaged and behind:
        segment.write_offset(path, recovered.shipped)
    return recovered


def set_aside(path: Path) -> Path:
    """A second name for the file at `path`, which survives whatever becomes of the first."""
    aside, number = path.with_suffix(".corrupt"), 0
    while aside.exists() and not aside.samefile(path):
        number += 1
        aside = path.with_suffix(f".{number}.corrupt")
    if not aside.exists():
        try:
            os.link(path, aside)
        except OSError:  # a file system without links
            shutil.copy2(path, aside)
    os.utime(aside)  # its time is a person's to look at it, and counts from now
    return aside


def forget_aside(directory: Path, *, older_than_s: float) -> None:
    """Deletes the files that were set aside so long ago."""
    latest = time.time() - older_than_s
    for path in directory.glob("*.corrupt"):
        try:
            if path.stat().st_mtime < latest:
                path.unlink()
                logger.warning("%s was set aside %.1f days ago: it is deleted now", path, older_than_s / 86_400)
        except OSError:  # another process was there first; else it is tried again
            continue


def _whole_entries(content: bytes) -> Iterator[tuple[int, int]]:
    """Where the whole entries begin and end, also those behind what is none."""
    position: int | None = len(MAGIC)
    while position is not None:
        end = segment.end_of_entry(content, position)
        if end is not None:
            yield position, end
        position = end if end is not None else segment.next_entry(content, position + 1)


def _is_torn(content: bytes, last: int) -> bool:
    """Whether what lies behind the last whole entry is an unfinished write, or the beginning of an
    empty segment.
    """
    tail = content[last:]
    if last == 0:
        return MAGIC.startswith(tail.rstrip(b"\0"))
    return segment.is_unfinished(tail)


def _acknowledged(path: Path, content: bytes, spans: list[tuple[int, int]]) -> int:
    offset, sure = segment.read_offset(path)
    ends = {len(MAGIC), len(content), *(edge for span in spans for edge in span)}
    if offset > len(content) or not (sure or offset in ends):
        logger.warning("how far %s was shipped is spoilt (%d of %d): it is shipped again", path, offset, len(content))
        segment.forget_offset(path)
        return 0
    return offset


def _rewrite(path: Path, content: bytes) -> None:
    """The file that is there keeps its bytes under another name: a writer that has it open loses
    nothing either.
    """
    fresh = path.with_suffix(".segment-new")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    aside = set_aside(path)
    segment.forget_offset(path)  # it is one of the file as it was
    fresh.replace(path)
    logger.error("%s was damaged: its whole entries are shipped, the file as it was is %s; look at it", path, aside)


def _truncate(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)
        os.fsync(file.fileno())
