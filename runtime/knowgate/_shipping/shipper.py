"""The shipper: takes batches from the spool to the service, at least once, and lets go only after
the acknowledgement.

What the service refuses is never retried for ever and never silently lost: an entry it names in its
receipt, one that alone makes the service answer 400, 413 or 422, or one this version cannot read,
goes to `rejected.jsonl` beside the segments, with its vectors and the reason. Where nothing shows
that such an answer is the service's own and about what was sent, it must come three times, with
waits between: a bit that flips on the way is no verdict. Everything else that goes wrong (no
answer, one that was changed on its way, 401, 404, 409, 429, 5xx) is waited out, with a jittered
back-off, for as long as it takes.
"""

import json
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Protocol
from uuid import UUID

from knowgate._models.features import Float16Array
from knowgate._records.receipts import Undeclared
from knowgate._records.records import Decision, Label
from knowgate._shipping.client import Receipt
from knowgate._shipping.parcels import Parcel, Refusal, batches, opened, packed, readable
from knowgate._shipping.spool import Spool
from knowgate._wire.backoff import next_delay
from knowgate.errors import ServiceUnreachable

logger = logging.getLogger("knowgate.shipper")

POISON = frozenset({400, 413, 422})  # statuses that blame the batch, not the moment
BLAMED = 3  # times until an answer that may not be the service's own is believed
MOST_CAUSES = 100  # of undeclared attempts that are logged
DRAINING_RETRY_S = 0.25


class Sink(Protocol):
    """Where batches go: `knowgate._shipping.client.Client`, or anything that answers as it does."""

    def send_decisions(
        self, decisions: Sequence[Decision], vectors: Mapping[int, Float16Array] | None = None
    ) -> Receipt: ...

    def send_labels(self, labels: Sequence[Label]) -> Receipt: ...


class Shipper:
    """Ships one spool to one service, on a thread of its own.

    A batch holds at most `batch_entries` decisions or labels and about `batch_bytes`; `linger_s` is
    how long a first one waits for company.

        with Spool("var/spool") as spool, Shipper(spool, Client(url, token)) as shipper:
            ...  # on SIGTERM: raise SystemExit, which leaves the block and drains
    """

    def __init__(
        self,
        spool: Spool,
        sink: Sink,
        *,
        batch_entries: int = 500,
        batch_bytes: int = 8 * 2**20,
        linger_s: float = 0.5,
        retry_s: float = 1.0,
        retry_bound_s: float = 60.0,
        drain_s: float = 10.0,
    ) -> None:
        self.spool = spool
        self.sink = sink
        self.batch_entries = batch_entries
        self.batch_bytes = batch_bytes
        self.linger_s = linger_s
        self.retry_s = retry_s
        self.retry_bound_s = retry_bound_s
        self.drain_s = drain_s
        self.shipped = 0  # entries the service has taken since this shipper was made
        self.undeclared = 0  # attempts of other models than are declared: stored, and nothing is learned from them
        self._causes: set[tuple[str, int, str, str]] = set()  # of those, as they were logged
        self.vectors_dropped = 0  # hidden states that were not finite; their decisions were shipped without them
        self.last_error: str | None = None  # of the last try; None = it went well
        self._blamed: Counter[UUID | Label] = Counter()  # by answers that may not be the service's own
        self._random = Random()
        self._shipping = threading.Lock()
        self._stopping = threading.Event()
        self._hurried = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def rejected(self) -> int:
        """Entries that went to rejected.jsonl since the spool was opened."""
        return self.spool.rejected

    def start(self) -> "Shipper":
        """Starts the thread; starting it again does nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="knowgate-shipper", daemon=True)
            self._thread.start()
        return self

    def ship_batch(self) -> bool:
        """Ships one batch now, on this thread; False when there is none. Raises
        ServiceUnreachable.
        """
        with self._shipping:
            batch = self.spool.batch(max_entries=self.batch_entries, max_bytes=self.batch_bytes)
            if batch is None:
                return False
            # Labels after decisions, whatever their order: where they alternate, what goes at every
            # change would be a request for each record.
            entries = sorted(map(opened, batch.entries), key=_is_label)
            refused = [entry for entry in entries if isinstance(entry, Refusal)]
            for parcels in batches(entry for entry in entries if isinstance(entry, Parcel)):
                refused += self._deliver(parcels)
            for refusal in refused:  # now that all of it is delivered: one that is tried again repeats none
                self._reject(refusal)
            self.shipped += len(batch.entries) - len(refused)
            self.spool.acknowledge(batch, entries=len(batch.entries))
            return True

    def drain(self, timeout_s: float) -> bool:
        """Ships everything now, without lingering or long back-offs; False when time ran out first.

        What is left stays in the spool, and the next process ships it.
        """
        deadline = time.monotonic() + timeout_s
        self.start()
        self.spool.flush()
        self._hurried.set()
        try:
            return self.spool.wait_until_shipped(max(0.0, deadline - time.monotonic()))
        finally:
            self._hurried.clear()

    def close(self) -> None:
        """Stops after the batch under way."""
        self._stopping.set()
        self._hurried.set()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> "Shipper":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.drain(self.drain_s)
        self.close()

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                self.spool.adopt()
                if self.spool.wait_for_unshipped(0.25):
                    self._hurried.wait(self.linger_s)
                    while not self._stopping.is_set() and self.ship_batch():
                        failures, self.last_error = 0, None
                elif self.spool.closed:
                    return
                continue
            except ServiceUnreachable as error:
                self.last_error = str(error)
                logger.warning("shipping waits: %s", error)
            except Exception as error:  # a thread that dies would stop all shipping without a word
                self.last_error = repr(error)
                logger.exception("shipping failed")
            self._back_off(failures)
            failures += 1

    def _back_off(self, failures: int) -> None:
        if self._hurried.is_set():
            self._stopping.wait(DRAINING_RETRY_S)
            return
        delay = next_delay(
            base_s=self.retry_s, failures=failures, bound_s=self.retry_bound_s, jitter=0.5, random=self._random
        )
        self._hurried.wait(delay)

    def _deliver(self, parcels: Sequence[Parcel]) -> list[Refusal]:
        """Delivers these, or raises; a batch the service blames as a whole is halved until the
        culprit is alone.
        """
        if not parcels:
            return []
        try:
            receipt = self._send(parcels)
        except ServiceUnreachable as error:
            if error.status not in POISON:
                raise
            if len(parcels) == 1:
                self._blame(parcels[0].key, error)
                return [Refusal(entry=parcels[0].entry, reason=str(error))]
            middle = len(parcels) // 2
            return self._deliver(parcels[:middle]) + self._deliver(parcels[middle:])
        self._tell_undeclared(receipt.undeclared)
        if receipt.vectors_dropped:
            self.vectors_dropped += receipt.vectors_dropped
            logger.warning("%d hidden states hold NaN or infinity and were left out", receipt.vectors_dropped)
        if any(not 0 <= rejection.index < len(parcels) for rejection in receipt.rejected):
            raise ServiceUnreachable("the receipt rejects rows that were not sent; is the url a knowgate's?")
        return [
            Refusal(
                entry=parcels[rejection.index].entry,
                reason=f"{rejection.field} is {rejection.value}: {rejection.cure}",
            )
            for rejection in receipt.rejected
        ]

    def _send(self, parcels: Sequence[Parcel]) -> Receipt:
        labels = [parcel.record for parcel in parcels if isinstance(parcel.record, Label)]
        if not labels:
            return self.sink.send_decisions(*packed(parcels))
        receipt = self.sink.send_labels(labels)
        for name in receipt.ambiguous:
            logger.warning("several decisions share the external id %s: its label is of the newest of them", name)
        return receipt

    def _tell_undeclared(self, undeclared: Sequence[Undeclared]) -> None:
        """Counts them, and logs each cause once: the next batch would only say the same."""
        for one in undeclared:
            self.undeclared += one.attempts
            cause = (one.cascade, one.tier, one.model, one.declared)
            if cause not in self._causes and len(self._causes) < MOST_CAUSES:
                self._causes.add(cause)
                logger.error(
                    "cascade %s, tier %d: attempts are of the model %r, and %r is declared: they are stored and teach "
                    "nothing; correct `models`, or cascade.toml",
                    *cause,
                )

    def _blame(self, key: UUID | Label, error: ServiceUnreachable) -> None:
        """Raises `error`, so that the entry is sent again, until its blame is to be believed."""
        self._blamed[key] += 1
        if error.unsure and self._blamed[key] < BLAMED:
            raise error
        del self._blamed[key]

    def _reject(self, refusal: Refusal) -> None:
        """Moves an entry aside, fsynced before the segment is let go."""
        row = {"at": datetime.now(UTC).isoformat(), "reason": refusal.reason, **readable(refusal.entry)}
        line = json.dumps(row).encode() + b"\n"
        path = self.spool.directory / "rejected.jsonl"
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.spool.rejected += 1
        logger.warning("an entry was rejected and kept in %s: %s", path, refusal.reason)


def _is_label(parcel: Parcel | Refusal) -> bool:
    return isinstance(parcel, Parcel) and isinstance(parcel.record, Label)
