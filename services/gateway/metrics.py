"""The gateway's own figures in Prometheus' text format. They are this process's; what decisions
tell is the control plane's.
"""

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric

from knowgate._records.records import Attempt
from knowgate._serving.cascade import Cascade
from knowgate._shipping.shipper import Shipper
from services.gateway.traffic import Traffic

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class GatewayMetrics:
    """What is counted of one gateway."""

    def __init__(self, tiers: Sequence[str], cascade: Cascade, shipper: Shipper, traffic: Traffic) -> None:
        self._tiers = tuple(tiers)
        self._registry = registry = CollectorRegistry()
        self._answers = Counter(
            "knowgate_gateway_answers", "Requests answered, by what became of them.", ["reason"], registry=registry
        )
        self._requests = Counter(
            "knowgate_gateway_requests",
            "Requests that ask for an answer, by what they were answered.",
            ["path", "status"],
            registry=registry,
        )
        self._repeated = Counter(
            "knowgate_gateway_repeated", "Requests that were given the answer of an earlier one.", registry=registry
        )
        self._upstream = Histogram(
            "knowgate_gateway_upstream_seconds",
            "How long tiers took, all tries together.",
            ["tier"],
            buckets=BUCKETS_S,
            registry=registry,
        )
        self._first = Histogram(
            "knowgate_gateway_first_byte_seconds",
            "From a request's head to the first byte of its answer.",
            ["path"],
            buckets=BUCKETS_S,
            registry=registry,
        )
        self._whole = Histogram(
            "knowgate_gateway_request_seconds",
            "From a request's head to the last byte of its answer.",
            ["path"],
            buckets=BUCKETS_S,
            registry=registry,
        )
        registry.register(_State(self._tiers, cascade, shipper, traffic))

    def observe(self, path: str, status: int, first_s: float, whole_s: float) -> None:
        """Counts one request to the last byte of its answer."""
        self._requests.labels(path=path if status not in (404, 405) else "other", status=str(status)).inc()
        if status == 200:
            self._first.labels(path=path).observe(first_s)
            self._whole.labels(path=path).observe(whole_s)

    def count_answer(self, reason: str, *, repeated: bool = False) -> None:
        """Counts one answer, by the reason that its header says."""
        self._answers.labels(reason=reason).inc()
        if repeated:
            self._repeated.inc()

    def count_attempts(self, attempts: Sequence[Attempt]) -> None:
        """Counts how long the tiers took for one answer."""
        for attempt in attempts:
            if attempt.latency_ms is not None:
                self._upstream.labels(tier=self._tiers[attempt.tier]).observe(attempt.latency_ms / 1e3)

    def exposition(self) -> tuple[bytes, str]:
        """The text and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


class _State:
    """What is so at the moment in which it is asked."""

    def __init__(self, tiers: Sequence[str], cascade: Cascade, shipper: Shipper, traffic: Traffic) -> None:
        self._tiers = tiers
        self._cascade = cascade
        self._shipper = shipper
        self._traffic = traffic

    def collect(self) -> Iterator[Metric]:
        """The gauges, and the counters that others keep."""
        traffic, shipper, pair = self._traffic, self._shipper, self._cascade.pair
        yield _gauge("in_flight", "Requests that are being answered.", traffic.in_flight)
        yield _gauge("most_in_flight", "Requests that may be answered at once.", traffic.most)
        yield _counter("refused", "Requests that there was no room for.", traffic.refused)
        yield _gauge(
            "generation", "Of the assignment in force; 0 = none is.", 0 if pair is None else pair.assignment.generation
        )
        yield _counter("shipped", "Decisions that the control plane has taken.", shipper.shipped)
        yield _counter("not_spooled", "Decisions that the spool did not take.", shipper.spool.refused)
        serving = self._cascade.serving
        if serving is None:
            return
        yield _gauge("explorations", "Explorations waiting or under way.", serving.explorations)
        yield _counter("left_out", "Explorations that were called for and given up.", serving.left_out)
        yield _counter("abandoned", "Queries whose callers left before they were answered.", serving.left)
        runs = CounterMetricFamily("knowgate_gateway_abandoned_runs", "Runs of tiers for these.", labels=["tier"])
        circuit = GaugeMetricFamily(
            "knowgate_gateway_circuit_open", "1 where a tier is left alone, since it failed.", labels=["tier"]
        )
        for name, tier, spent in zip(self._tiers, serving.tiers, serving.abandoned, strict=True):
            runs.add_metric([name], spent.runs)
            circuit.add_metric([name], float(tier.circuit.is_open))
        yield runs
        yield circuit


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"knowgate_gateway_{name}", meaning, value=value)


def _counter(name: str, meaning: str, value: float) -> Metric:
    return CounterMetricFamily(f"knowgate_gateway_{name}", meaning, value=value)
