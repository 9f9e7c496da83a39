"""What the database says of every cascade and of the jobs, for Prometheus: every process tells the
same.

A figure stands until a newer one comes, for weeks where labels stay away. So its rows and its time
stand beside it, as do the times of jobs and runtimes: seconds since 1970, from which a query makes
an age (`time() - …`).

However many ask, the database is read once per `FRESH_S`, which is less than Prometheus' usual
interval; labels are counted once per `COUNTED_S`. Where the database does not answer, that is what
is said, and nothing that was read before: an old figure must not look like a new one.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from services.telemetry.deployment_samples import FAILURES, GAUGES, OF_JOB, Sample, attempt_samples, samples
from store.engine import reading

log = logging.getLogger("knowgate.api")

FRESH_S = 10.0
COUNTED_S = 300.0
UP = "knowgate_database_up"


class DeploymentCollector(Collector):
    """Reads what is not fresh any more."""

    def __init__(self, engine: Engine, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._now = now
        self._lock = threading.Lock()  # who comes while another reads is given what that one read
        self._kept = (_Kept(samples, FRESH_S), _Kept(attempt_samples, COUNTED_S))

    def collect(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {
            name: GaugeMetricFamily(name, about, labels=of) for name, (about, of) in GAUGES.items()
        }
        families[FAILURES] = CounterMetricFamily(FAILURES, "Ticks of the job that failed.", labels=OF_JOB)
        samples = self._fresh_samples()
        for name, key, value in samples or ():
            if value is not None:
                value = value.timestamp() if isinstance(value, datetime) else float(value)
                families[name].add_metric(key, value)
        yield GaugeMetricFamily(UP, "1 where the database answered; 0: nothing of it is shown.", samples is not None)
        yield from families.values()

    def describe(self) -> list[Metric]:
        return []  # nothing is read from the database at registration

    def _fresh_samples(self) -> tuple[Sample, ...] | None:
        """What is fresh, read anew where it is not; None where the database does not answer."""
        with self._lock:
            stale = [kept for kept in self._kept if kept.is_stale]
            if stale:
                try:
                    with reading(self._engine) as session:
                        for kept in stale:
                            kept.read(session, self._now())
                except SQLAlchemyError as error:
                    log.error("/metrics could not read the database: %s", error)
                    return None
            return tuple(sample for kept in self._kept for sample in kept.samples)


class _Kept:
    """Samples, and how long they count as fresh, by the monotonic clock."""

    def __init__(self, source: Callable[[Session, datetime], Iterator[Sample]], fresh_s: float) -> None:
        self._source = source
        self._fresh_s = fresh_s
        self._read_at = -math.inf
        self.samples: tuple[Sample, ...] = ()

    @property
    def is_stale(self) -> bool:
        """Whether it is to be read anew."""
        return time.monotonic() - self._read_at >= self._fresh_s

    def read(self, session: Session, now: datetime) -> None:
        """Reads it. Raises SQLAlchemyError, and what the rows make of themselves."""
        self.samples = tuple(self._source(session, now))
        self._read_at = time.monotonic()
