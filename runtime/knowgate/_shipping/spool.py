"""The spool: a decision is on disk before its query counts as logged, a label before it counts as
said; both leave the disk once the service has them.

Every process appends to segments of its own. One writer thread takes what has gathered, writes it
and calls fsync once for all of it (group commit); `append` returns when that is done, so what was
appended survives `kill -9` and a power cut. Segments of processes that died are adopted and shipped
with the rest, without what is no whole entry.

A segment ends when it is full or `segment_seconds` old, whichever comes first. A segment that has
ended is deleted once the service has all of it, so nobody's prompt lies on this disk much longer
than it has to.

The spool never grows past `max_bytes` (per process, adopted segments included). When it is full,
the overflow policy says what gives way: `drop_newest` refuses the new decision with SpoolRefused
and counts it in `refused`, since a cascade must go on serving while its control plane is down;
`block` waits for the shipper, for those who would rather stop than lose a row.
"""

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from knowgate._models.features import Float16Array
from knowgate._records.records import Decision, Label
from knowgate._shipping import segment
from knowgate._shipping.backlog import Backlog, Batch, OpenSegment
from knowgate.errors import RecordInvalid, SpoolRefused

__all__ = ["Batch", "Overflow", "Spool"]

logger = logging.getLogger("knowgate.spool")
_open_spools: "weakref.WeakSet[Spool]" = weakref.WeakSet()


class Overflow(StrEnum):
    """What gives way when the spool is full: the newest decision, or the caller's time."""

    DROP_NEWEST = "drop_newest"
    BLOCK = "block"


@dataclass(slots=True, eq=False)
class _Pending:
    frame: bytes
    durable: bool
    done: bool = False
    error: OSError | None = None


class Spool:
    """A folder of segments, open for this process.

    `max_bytes` bounds what this process holds; a segment ends at `segment_bytes`, at most a quarter
    of it, or at an age of `segment_seconds` (infinite: never). Copies of damaged segments
    (`*.corrupt`) are deleted `aside_seconds` after they were set aside: a person has so long to
    look at them. `durable=False` lets `append` return before the fsync: a crash then loses the last
    moments. A spool does not survive a fork; open one in every process. Needs flock, so a local
    POSIX file system.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        max_bytes: int = 2**30,
        segment_bytes: int = 16 * 2**20,
        segment_seconds: float = 600.0,
        aside_seconds: float = 30 * 86_400.0,
        overflow: Overflow = Overflow.DROP_NEWEST,
        durable: bool = True,
    ) -> None:
        if not 0 < segment_bytes <= max_bytes // 4:
            raise RecordInvalid("segment_bytes", segment_bytes, f"at most a quarter of max_bytes, {max_bytes // 4}")
        if not segment_seconds > 0:
            raise RecordInvalid("segment_seconds", segment_seconds, "lies above 0; 600 is usual")
        if not aside_seconds > 0:
            raise RecordInvalid("aside_seconds", aside_seconds, "lies above 0; 2592000, 30 days, is usual")
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.max_bytes = max_bytes
        self.segment_bytes = segment_bytes
        self.segment_seconds = segment_seconds
        self.overflow = Overflow(overflow)
        self.durable = durable
        self.refused = 0  # entries that were not taken since this spool was opened
        self.rejected = 0  # entries that the service did not take, which the shipper put aside
        self._pid = os.getpid()
        # Reentrant, so that a signal handler on the main thread may drain while that thread is in
        # `append`.
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        self._work = threading.Condition(lock)
        self._pending: list[_Pending] = []
        self._waiting_bytes = 0  # pending, and being written
        self._closing = False
        self._finished = False  # the writer thread is through
        self._active: tuple[OpenSegment, int] | None = None  # with its file descriptor; the writer thread's own
        self._ends_at = 0.0  # when the active segment is old, on the monotonic clock
        self._numbers = 0
        self._backlog = Backlog(self.directory, aside_seconds=aside_seconds)
        self._backlog.adopt()
        threading.Thread(target=self._write_groups, name="knowgate-spool", daemon=True).start()
        atexit.register(self.close)
        _open_spools.add(self)

    @property
    def closed(self) -> bool:
        return self._closing

    @property
    def torn_bytes(self) -> int:
        """Bytes cut of unfinished writes that crashes left at the end of segments; no append of
        theirs had returned.
        """
        return self._backlog.torn_bytes

    @property
    def damaged_bytes(self) -> int:
        """Bytes that the disk lost or changed; the files that held them were set aside as
        `*.corrupt`.
        """
        return self._backlog.damaged_bytes

    @property
    def held_bytes(self) -> int:
        """What counts against `max_bytes`: segments on disk, and entries on their way there."""
        with self._changed:
            return self._backlog.held_bytes + self._waiting_bytes

    @property
    def unshipped_bytes(self) -> int:
        """What the service has not acknowledged yet."""
        with self._changed:
            return self._backlog.unshipped_bytes + self._waiting_bytes

    def append(
        self, record: Decision | Label, vectors: Sequence[Float16Array] = (), *, durable: bool | None = None
    ) -> None:
        """Takes a label, or a decision with its own vectors (float16 [d] each; `Attempt.vector`
        indexes them).

        Returns once the entry's group is on disk, or at once with `durable=False`. Raises
        SpoolRefused, counted in `refused`, when the spool is full, closed, or the disk fails.
        """
        try:
            self._require_own_process()
            item = _Pending(segment.framed(record, vectors), self.durable if durable is None else durable)
            with self._changed:
                self._make_room(len(item.frame))
                self._pending.append(item)
                self._waiting_bytes += len(item.frame)
                self._work.notify()
                while item.durable and not item.done and not self._finished:
                    self._changed.wait()
            if item.durable and (item.error is not None or not item.done):
                raise SpoolRefused(f"{segment.named(record)} did not reach the disk: {item.error}") from item.error
        except SpoolRefused:
            self.refused += 1
            raise

    def flush(self) -> None:
        """Returns when everything appended so far is on disk, or refused by it."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting_bytes == 0 or self._finished)

    def adopt(self) -> int:
        """Takes over the segments of processes that died; returns how many. The shipper calls it
        now and then.
        """
        with self._changed:
            return 0 if self._closing else self._backlog.adopt()

    def batch(self, *, max_entries: int, max_bytes: int) -> Batch | None:
        """The oldest entries that the service has not acknowledged, at least one; None when there
        are none.
        """
        with self._changed:
            return self._backlog.batch(max_entries=max_entries, max_bytes=max_bytes)

    def acknowledge(self, batch: Batch, *, entries: int) -> None:
        """The service has the first `entries` of `batch`: they are not shipped again."""
        with self._changed:
            if not self._finished:
                self._backlog.acknowledge(batch, entries)
                self._changed.notify_all()

    def wait_for_unshipped(self, timeout_s: float) -> bool:
        """Waits until something can be shipped; False when nothing came, or the spool
        is closing.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._backlog.unshipped_bytes > 0 or self._closing, timeout_s)
            return self._backlog.unshipped_bytes > 0 and not self._closing

    def wait_until_shipped(self, timeout_s: float) -> bool:
        """Waits until the service has everything; False when it did not come to that."""
        with self._changed:
            return self._changed.wait_for(lambda: self._backlog.unshipped_bytes + self._waiting_bytes == 0, timeout_s)

    def close(self) -> None:
        """Writes what is pending and lets go of the segments; what is not shipped, the next process
        ships.
        """
        if os.getpid() != self._pid:
            return
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._work.notify_all()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._finished)
            self._backlog.release()
        atexit.unregister(self.close)

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _require_own_process(self) -> None:
        if os.getpid() != self._pid:
            raise SpoolRefused(f"this spool belongs to process {self._pid}; open one in every process, after the fork")

    def _make_room(self, size: int) -> None:
        if size > self.max_bytes // 4:
            raise SpoolRefused(f"an entry of {size} bytes is above a quarter of max_bytes; raise max_bytes")
        while not self._closing and self.held_bytes + size > self.max_bytes:
            if self.overflow is Overflow.DROP_NEWEST:
                raise SpoolRefused(
                    f"the spool holds {self.held_bytes} of {self.max_bytes} bytes; is the shipper running, and the "
                    "control plane up?"
                )
            self._changed.wait()
        if self._closing:
            raise SpoolRefused("the spool is closed; append before close()")

    def _write_groups(self) -> None:
        try:
            self._write_until_closed()
        finally:  # whatever ends the writer, nobody waits for it
            with self._changed:
                self._finished = True
                self._changed.notify_all()
                self._seal_active()

    def _write_until_closed(self) -> None:
        while True:
            with self._changed:
                while not self._pending and not self._closing:
                    self._work.wait(self._seconds_left())
                    self._seal_old()
                group, self._pending = self._pending, []
            if not group:
                break
            self._commit(group)

    def _commit(self, group: list[_Pending]) -> None:
        content = b"".join(item.frame for item in group)
        error = self._write(content)
        if error is not None:
            logger.error("the spool's disk refused %d entries: %s", len(group), error)
        with self._changed:
            if error is None and self._active is not None and self._active[0].sealed:
                error = self._write(content)  # the file was set aside meanwhile, with what was written to it
            if error is None and self._active is not None:
                self._active[0].size += len(content)
            else:
                self.refused += sum(not item.durable for item in group)
            # After a failed write or fsync nobody knows what the file holds behind `size`: it is
            # not used again.
            if error is not None or (self._active is not None and self._active[0].size >= self.segment_bytes):
                self._seal_active()
            self._seal_old()
            self._waiting_bytes -= len(content)
            for item in group:
                item.done, item.error = True, error
            self._changed.notify_all()

    def _write(self, content: bytes) -> OSError | None:
        try:
            descriptor = self._active_descriptor()
            _write_all(descriptor, content)
            os.fsync(descriptor)
        except OSError as failure:
            return failure
        return None

    def _active_descriptor(self) -> int:
        with self._changed:
            if self._active is not None and self._active[0].sealed:
                self._seal_active()  # it was set aside since its bytes could not be read back
            if self._active is not None:
                return self._active[1]
        path = self._backlog.own.segment_path(self._numbers)
        self._numbers += 1
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        start = len(segment.MAGIC)
        with self._changed:
            self._active = OpenSegment(path=path, size=start, shipped=start, sealed=False), descriptor
            self._ends_at = time.monotonic() + self.segment_seconds
            self._backlog.add(self._active[0])
        _write_all(descriptor, segment.MAGIC)
        _sync_directory(self.directory)
        return descriptor

    def _seconds_left(self) -> float | None:
        """Until the active segment is old, or as long as one can wait; None where there is none."""
        if self._active is None:
            return None
        return min(max(0.0, self._ends_at - time.monotonic()), threading.TIMEOUT_MAX)

    def _seal_old(self) -> None:
        if self._seconds_left() == 0.0:
            self._seal_active()

    def _seal_active(self) -> None:
        if self._active is not None:
            item, descriptor = self._active
            self._active = None
            os.close(descriptor)
            self._backlog.seal(item)

    def _abandon(self) -> None:
        self._backlog.abandon()


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _abandon_in_child() -> None:
    # A forked child inherits the locks: were it to keep them, a dead parent's segments could not be
    # adopted.
    for spool in list(_open_spools):
        spool._abandon()


os.register_at_fork(after_in_child=_abandon_in_child)
