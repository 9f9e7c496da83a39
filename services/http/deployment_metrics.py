"""What the database says of every cascade and of the jobs, for Prometheus: every process tells the
same.

A figure stands until a newer one comes, for weeks where labels stay away. So its rows and its time
stand beside it, as do the times of jobs and runtimes: seconds since 1970, from which a query makes
an age (`time() - …`).
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from knowgate._bundles.assignment import Mode
from store.engine import reading
from store.errors import RecordUnreadable
from store.jobs import job_runs
from store.jobs.job_ticks import job_ticks
from store.releases import assignments, cascades
from store.traffic import labels
from store.watching import alerts
from store.watching.figures import newest_figures

log = logging.getLogger("knowgate.api")

WINDOWED = ("monitor", "train")  # the jobs whose windows each cascade has
OF_FIGURE = ("cascade", "name", "mature")
OF_RUNTIME = ("cascade", "runtime")
FAILURES = "knowgate_job_failures"
# By name: what it says, and the labels of its samples.
GAUGES: Mapping[str, tuple[str, Sequence[str]]] = {
    "knowgate_assignment_generation": ("Generation of the assignment in force.", ["cascade"]),
    "knowgate_assignment_mode": ("1 for the mode that the assignment is in, else 0.", ["cascade", "mode"]),
    "knowgate_assignment_unreadable": ("1 where the stored assignment cannot be read.", ["cascade"]),
    "knowgate_open_alerts": ("Alerts that are open.", ["cascade", "rule"]),
    "knowgate_waiting_labels": ("Labels without their decision.", ["cascade"]),
    "knowgate_figure": ("Newest figure of a whole cascade; read its rows and its time beside it.", OF_FIGURE),
    "knowgate_figure_rows": ("Rows that the newest figure was computed from.", OF_FIGURE),
    "knowgate_figure_window_end_timestamp_seconds": (
        "End of the window of decision time it is a figure of.",
        OF_FIGURE,
    ),
    "knowgate_figure_computed_timestamp_seconds": ("When it was computed.", OF_FIGURE),
    "knowgate_runtime_last_seen_timestamp_seconds": ("When a runtime last acknowledged.", OF_RUNTIME),
    "knowgate_runtime_generation": ("Generation that a runtime serves.", OF_RUNTIME),
    "knowgate_runtime_refused": ("1 where a runtime refused the generation it was given.", OF_RUNTIME),
    "knowgate_job_last_tick_timestamp_seconds": ("When a scheduler last let the job look.", ["job"]),
    "knowgate_job_last_success_timestamp_seconds": ("When that last went well.", ["job"]),
    "knowgate_job_done_until_timestamp_seconds": ("End of its last finished window.", ["cascade", "job"]),
}
# Of which gauge, of which labels, and the value; None, as of a time that there is not yet, is no
# sample: 0 would be an age of decades.
Sample = tuple[str, Sequence[str], float | datetime | None]


class DeploymentCollector(Collector):
    """Reads anew at every scrape."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {
            name: GaugeMetricFamily(name, about, labels=of) for name, (about, of) in GAUGES.items()
        }
        families[FAILURES] = CounterMetricFamily(FAILURES, "Ticks of the job that failed.", labels=["job"])
        with reading(self._engine) as session:
            for name, key, value in _samples(session):
                if value is not None:
                    value = value.timestamp() if isinstance(value, datetime) else float(value)
                    families[name].add_metric(key, value)
        yield from families.values()

    def describe(self) -> list[Metric]:
        return []  # nothing is read from the database at registration


def _samples(session: Session) -> Iterator[Sample]:
    for tick in job_ticks(session):
        yield "knowgate_job_last_tick_timestamp_seconds", [tick.job], tick.ticked_at
        yield "knowgate_job_last_success_timestamp_seconds", [tick.job], tick.succeeded_at
        yield FAILURES, [tick.job], tick.failures
    for name in cascades.cascade_names(session):
        yield from _assignment(session, name)
        for alert in alerts.alerts(session, name, open_only=True):
            yield "knowgate_open_alerts", [name, alert.rule], 1
        yield "knowgate_waiting_labels", [name], labels.waiting_count(session, name)
        yield from _figures(session, name)
        for said in assignments.acknowledgements(session, name):
            yield "knowgate_runtime_last_seen_timestamp_seconds", [name, said.runtime], said.seen_at
            yield "knowgate_runtime_generation", [name, said.runtime], said.generation
            yield "knowgate_runtime_refused", [name, said.runtime], not said.accepted
        for job in WINDOWED:
            yield "knowgate_job_done_until_timestamp_seconds", [name, job], job_runs.watermark(session, job, name)


def _assignment(session: Session, name: str) -> Iterator[Sample]:
    """What is in force, and whether it cannot be read: no other cascade's figures wait for that."""
    now, unread = None, False
    try:
        now = assignments.assignment(session, name)
    except RecordUnreadable as error:
        log.error("/metrics leaves out what is in force: %s", error)
        unread = True
    yield "knowgate_assignment_unreadable", [name], unread
    if now is not None:
        yield "knowgate_assignment_generation", [name], now.generation
        for mode in Mode:
            yield "knowgate_assignment_mode", [name, mode.value], now.mode is mode


def _figures(session: Session, name: str) -> Iterator[Sample]:
    for row in newest_figures(session, name):
        key = [name, row.name, str(row.mature).lower()]
        yield "knowgate_figure", key, float("nan") if row.value is None else row.value
        yield "knowgate_figure_rows", key, row.n
        yield "knowgate_figure_window_end_timestamp_seconds", key, row.window.end
        yield "knowgate_figure_computed_timestamp_seconds", key, row.computed_at
