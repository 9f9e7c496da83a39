"""What the database says of every cascade and of the jobs, for Prometheus: every process tells the
same.

A figure stands until a newer one comes, for weeks where labels stay away. So its rows and its time
stand beside it, as do the times of jobs and runtimes: seconds since 1970, from which a query makes
an age (`time() - …`).
"""

import logging
from collections.abc import Iterator
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from knowgate._bundles.assignment import Assignment, Mode
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


class DeploymentCollector(Collector):
    """Reads anew at every scrape."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        with reading(self._engine) as session:
            names = tuple(cascades.cascade_names(session))
            yield from _assignments(session, names)
            yield from _alerts_and_labels(session, names)
            yield from _figures(session, names)
            yield from _runtimes(session, names)
            yield from _jobs(session, names)

    def describe(self) -> list[Metric]:
        return []  # nothing is read from the database at registration


def _assignments(session: Session, names: tuple[str, ...]) -> Iterator[Metric]:
    generation = _gauge("knowgate_assignment_generation", "Generation of the assignment in force.", "cascade")
    mode = _gauge("knowgate_assignment_mode", "1 for the mode that the assignment is in, else 0.", "cascade", "mode")
    unreadable = _gauge("knowgate_assignment_unreadable", "1 where the stored assignment cannot be read.", "cascade")
    for name in names:
        now, unread = _assignment(session, name)
        unreadable.add_metric([name], float(unread))
        if now is None:
            continue
        generation.add_metric([name], now.generation)
        for each in Mode:
            mode.add_metric([name, each.value], float(now.mode is each))
    return iter((generation, mode, unreadable))


def _assignment(session: Session, name: str) -> tuple[Assignment | None, bool]:
    """The assignment, and whether it cannot be read: no other cascade's figures wait for that."""
    try:
        return assignments.assignment(session, name), False
    except RecordUnreadable as error:
        log.error("/metrics leaves out what is in force: %s", error)
        return None, True


def _alerts_and_labels(session: Session, names: tuple[str, ...]) -> Iterator[Metric]:
    opened = _gauge("knowgate_open_alerts", "Alerts that are open.", "cascade", "rule")
    waiting = _gauge("knowgate_waiting_labels", "Labels without their decision.", "cascade")
    for name in names:
        for alert in alerts.alerts(session, name, open_only=True):
            opened.add_metric([name, alert.rule], 1)
        waiting.add_metric([name], labels.waiting_count(session, name))
    return iter((opened, waiting))


def _figures(session: Session, names: tuple[str, ...]) -> Iterator[Metric]:
    of = ("cascade", "name", "mature")
    value = _gauge("knowgate_figure", "Newest figure of a whole cascade; read its rows and its time beside it.", *of)
    rows = _gauge("knowgate_figure_rows", "Rows that the newest figure was computed from.", *of)
    end = _gauge(
        "knowgate_figure_window_end_timestamp_seconds", "End of the window of decision time it is a figure of.", *of
    )
    computed = _gauge("knowgate_figure_computed_timestamp_seconds", "When it was computed.", *of)
    for name in names:
        for row in newest_figures(session, name):
            key = [name, row.name, str(row.mature).lower()]
            value.add_metric(key, row.value if row.value is not None else float("nan"))
            rows.add_metric(key, row.n)
            end.add_metric(key, row.window.end.timestamp())
            computed.add_metric(key, row.computed_at.timestamp())
    return iter((value, rows, end, computed))


def _runtimes(session: Session, names: tuple[str, ...]) -> Iterator[Metric]:
    of = ("cascade", "runtime")
    seen = _gauge("knowgate_runtime_last_seen_timestamp_seconds", "When a runtime last acknowledged.", *of)
    generation = _gauge("knowgate_runtime_generation", "Generation that a runtime serves.", *of)
    refused = _gauge("knowgate_runtime_refused", "1 where a runtime refused the generation it was given.", *of)
    for name in names:
        for said in assignments.acknowledgements(session, name):
            seen.add_metric([name, said.runtime], said.at.timestamp())
            generation.add_metric([name, said.runtime], said.generation)
            refused.add_metric([name, said.runtime], float(not said.accepted))
    return iter((seen, generation, refused))


def _jobs(session: Session, names: tuple[str, ...]) -> Iterator[Metric]:
    ticked = _gauge("knowgate_job_last_tick_timestamp_seconds", "When a scheduler last let the job look.", "job")
    went_well = _gauge("knowgate_job_last_success_timestamp_seconds", "When that last went well.", "job")
    failures = CounterMetricFamily("knowgate_job_failures", "Ticks of the job that failed.", labels=["job"])
    done = _gauge("knowgate_job_done_until_timestamp_seconds", "End of its last finished window.", "cascade", "job")
    for tick in job_ticks(session):
        ticked.add_metric([tick.job], tick.ticked_at.timestamp())
        failures.add_metric([tick.job], tick.failures)
        _add_time(went_well, [tick.job], tick.succeeded_at)
    for name in names:
        for job in WINDOWED:
            _add_time(done, [name, job], job_runs.watermark(session, job, name))
    return iter((ticked, went_well, failures, done))


def _add_time(gauge: GaugeMetricFamily, key: list[str], time: datetime | None) -> None:
    """A time that there is not yet has no sample: 0 would be an age of decades."""
    if time is not None:
        gauge.add_metric(key, time.timestamp())


def _gauge(name: str, documentation: str, *of: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, labels=list(of))
