"""The service's figures in Prometheus' text format.

Counters and times are this process's own; what is true of the deployment is
`services.telemetry.deployment_metrics`.
"""

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """One registry per application, so that two of them in a process do not mix. `deployment` tells
    what all processes tell alike.
    """

    def __init__(self, deployment: Collector) -> None:
        self._registry = CollectorRegistry()
        self._shared = CollectorRegistry()
        self._shared.register(deployment)
        self._database_errors = Counter(
            "knowgate_database_errors", "Requests that the database did not answer.", registry=self._registry
        )
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

    def count_database_error(self) -> None:
        """Counts one request that was sent away, since the database was."""
        self._database_errors.inc()

    def exposition(self) -> tuple[bytes, str]:
        """The text and its content type."""
        return generate_latest(self._registry) + generate_latest(self._shared), CONTENT_TYPE_LATEST
