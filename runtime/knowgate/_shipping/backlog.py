"""What the service does not have yet: the segments of this process and of dead ones, oldest first.

This is the reading half of the spool. A segment is deleted only when it is sealed and the service
has acknowledged it to its end. Everything here runs under the spool's lock.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from knowgate._shipping import ownership, recovery, segment
from knowgate._shipping.ownership import Ownership
from knowgate._shipping.recovery import Recovered
from knowgate._shipping.segment import Entry

logger = logging.getLogger("knowgate.spool")


@dataclass(slots=True, kw_only=True, eq=False)
class OpenSegment:
    """One segment and how far it is written and shipped, in bytes from its start."""

    path: Path
    size: int  # committed
    shipped: int  # acknowledged
    sealed: bool  # nothing is appended any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Entries of one segment, in the order in which they were appended."""

    entries: tuple[Entry, ...]
    segment: Path


class Backlog:
    """The segments of one folder that this process owns."""

    def __init__(self, directory: Path, *, aside_seconds: float) -> None:
        self.directory = directory
        self._aside_seconds = aside_seconds
        self.own = ownership.own_new(directory)
        self.torn_bytes = 0
        self.damaged_bytes = 0
        self._owned = [self.own]
        self._segments: list[OpenSegment] = []

    @property
    def unshipped_bytes(self) -> int:
        return sum(item.size - item.shipped for item in self._segments)

    @property
    def held_bytes(self) -> int:
        return sum(item.size for item in self._segments)

    def adopt(self) -> int:
        """Takes over the segments of processes that died; returns how many. Copies of damaged ones
        end with time.
        """
        recovery.forget_aside(self.directory, older_than_s=self._aside_seconds)
        adopted = ownership.adopt(self.directory, {owned.writer for owned in self._owned})
        self._owned.extend(adopted)
        segments = [self._recovered(path) for owned in adopted for path in owned.segments()]
        self._segments[:0] = segments
        for item in segments:
            self._remove_if_shipped(item)
        return len(segments)

    def add(self, item: OpenSegment) -> None:
        """A segment that this process appends to from now on."""
        self._segments.append(item)

    def seal(self, item: OpenSegment) -> None:
        """Nothing more comes into this segment."""
        item.sealed = True
        self._remove_if_shipped(item)

    def batch(self, *, max_entries: int, max_bytes: int) -> Batch | None:
        """The oldest unacknowledged entries, at least one; None when there are none."""
        while True:
            oldest = next((item for item in self._segments if item.shipped < item.size), None)
            if oldest is None:
                return None
            read = _read_entries(oldest, max_entries, max_bytes)
            if read:
                return Batch(entries=read, segment=oldest.path)
            self._repair(oldest)

    def acknowledge(self, batch: Batch, entries: int) -> None:
        """The service has the first `entries` of `batch`."""
        item = next((item for item in self._segments if item.path == batch.segment), None)
        if item is None:
            return
        item.shipped = batch.entries[entries - 1].end
        if item.sealed and item.shipped >= item.size:
            self._remove_if_shipped(item)  # first of all: on a full disk it is what makes room again
            return
        try:
            segment.write_offset(item.path, item.shipped)
        except OSError as failure:
            # Only a crash would tell the difference: the service is then sent again what it has,
            # and drops it.
            logger.warning("how far %s is shipped cannot be written down: %s", item.path, failure)

    def release(self) -> None:
        """Lets go of every segment; what is left is anybody's."""
        for item in list(self._segments):
            self.seal(item)
        self._on_each_owned(Ownership.release)

    def abandon(self) -> None:
        """In a forked child: the segments stay the parent's, and die with it."""
        self._on_each_owned(Ownership.close)

    def _on_each_owned(self, act: Callable[[Ownership], None]) -> None:
        owned, self._owned = self._owned, []
        for one in owned:
            act(one)

    def _recovered(self, path: Path) -> OpenSegment:
        recovered = recovery.recover(path)
        self._count(path, recovered)
        return OpenSegment(path=path, size=recovered.size, shipped=recovered.shipped, sealed=True)

    def _repair(self, item: OpenSegment) -> None:
        """Bytes that were once on disk cannot be read back: the disk lost them. What is whole goes
        on.

        Whoever still appends to the file appends to the one that was set aside, and finds this
        segment sealed.
        """
        recovered = recovery.recover(item.path, shipped=item.shipped)
        self._count(item.path, recovered)
        item.sealed = True
        if recovered.damaged:
            item.size, item.shipped = recovered.size, recovered.shipped
            self._remove_if_shipped(item)
            return
        # The bytes are as they should be, and yet no entry was read: nobody knows why, so they are
        # kept out of the way.
        logger.error("%s cannot be read; it is set aside as %s", item.path, recovery.set_aside(item.path))
        segment.remove(item.path)
        self._segments.remove(item)

    def _count(self, path: Path, recovered: Recovered) -> None:
        if recovered.torn:
            logger.warning("%d bytes of an unfinished write at the end of %s were cut", recovered.torn, path)
        self.torn_bytes += recovered.torn
        self.damaged_bytes += recovered.damaged

    def _remove_if_shipped(self, item: OpenSegment) -> None:
        if item.sealed and item.shipped >= item.size and item in self._segments:
            segment.remove(item.path)
            self._segments.remove(item)


def _read_entries(item: OpenSegment, max_entries: int, max_bytes: int) -> tuple[Entry, ...]:
    length = item.size - item.shipped
    with item.path.open("rb") as file:
        file.seek(item.shipped)
        content = file.read(min(length, max_bytes))
        whole = segment.entries(content, item.shipped)
        taken = tuple(entry for _, entry in zip(range(max_entries), whole, strict=False))
        if taken or len(content) == length:
            return taken
        # The first entry alone is larger than a batch.
        content += file.read(length - len(content))
        return tuple(entry for _, entry in zip(range(1), segment.entries(content, item.shipped), strict=False))
