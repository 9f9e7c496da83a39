"""The service's figures in Prometheus' text format.

Counters and times are this process's own. What is true of a cascade (its generation, its open alerts, its newest
figures) is read from the database when asked for, so that every process tells the same.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from sqlalchemy import Engine

from store import alerts, assignments, cascades, figures, labels
from store.engine import reading

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """One registry per application, so that two of them in a process do not mix."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._rows = Counter(
            "knowgate_rows", "Rows received, by what became of them.", ["kind", "outcome"], registry=self._registry
        )
        self._requests = Counter(
            "knowgate_requests", "Requests answered.", ["method", "route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "knowgate_request_seconds",
            "Time to answer a request.",
            ["method", "route"],
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self._undeclared = Counter(
            "knowgate_undeclared_attempts",
            "Attempts received of a model that the cascade does not declare.",
            ["cascade", "tier"],
            registry=self._registry,
        )
        self._verdicts = Counter(
            "knowgate_verdicts",
            "Verdicts given by /v1/decide.",
            ["cascade", "action", "reason"],
            registry=self._registry,
        )

    def count_batch(self, kind: str, stored: int, duplicates: int, rejected: int) -> None:
        """Counts the rows of one batch."""
        for outcome, count in (("stored", stored), ("duplicate", duplicates), ("rejected", rejected)):
            self._rows.labels(kind=kind, outcome=outcome).inc(count)

    def count_undeclared(self, cascade: str, tier: int, attempts: int) -> None:
        """Counts attempts of one batch that ran another model than the tier declares."""
        self._undeclared.labels(cascade=cascade, tier=str(tier)).inc(attempts)

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one answered request."""
        self._requests.labels(method=method, route=route, status=str(status)).inc()
        self._seconds.labels(method=method, route=route).observe(seconds)

    def count_verdict(self, cascade: str, action: str, reason: str) -> None:
        """Counts one verdict of the sidecar call."""
        self._verdicts.labels(cascade=cascade, action=action, reason=reason).inc()

    def exposition(self, engine: Engine) -> tuple[bytes, str]:
        """The text and its content type."""
        own = generate_latest(self._registry)
        shared = CollectorRegistry()
        shared.register(_CascadeCollector(engine))
        return own + generate_latest(shared), CONTENT_TYPE_LATEST


class _CascadeCollector(Collector):
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        generation = GaugeMetricFamily(
            "knowgate_assignment_generation", "Generation of the assignment in force.", labels=["cascade"]
        )
        opened = GaugeMetricFamily("knowgate_open_alerts", "Alerts that are open.", labels=["cascade", "rule"])
        waiting = GaugeMetricFamily("knowgate_waiting_labels", "Labels without their decision.", labels=["cascade"])
        newest = GaugeMetricFamily(
            "knowgate_figure", "Newest figure of a whole cascade.", labels=["cascade", "name", "mature"]
        )
        with reading(self._engine) as session:
            for name in cascades.cascade_names(session):
                held = assignments.assignment(session, name)
                if held is not None:
                    generation.add_metric([name], held.generation)
                for alert in alerts.alerts(session, name, open_only=True):
                    opened.add_metric([name, alert.rule], 1)
                waiting.add_metric([name], labels.waiting_count(session, name))
                for (figure, mature), value in _newest(figures.figures(session, name)).items():
                    newest.add_metric([name, figure, str(mature).lower()], value)
        yield from (generation, opened, waiting, newest)

    def describe(self) -> list[Metric]:
        return []  # nothing is read from the database at registration


def _newest(rows: tuple[figures.FigureRow, ...]) -> dict[tuple[str, bool], float]:
    found: dict[tuple[str, bool], float] = {}
    for row in sorted(rows, key=lambda row: row.window.end):
        if row.tier is None and row.slice is None and row.value is not None:
            found[row.name, row.mature] = row.value
    return found
