"""Spans of gateway, API and jobs, read by an OTLP listener on loopback as a collector reads them;
and nothing of them where nobody asks.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from sqlalchemy import Engine

from services.clock import SimulatedClock
from services.jobs.job import JobContext, run_due, run_sweep
from services.jobs.seal import SealJob
from services.settings import Settings, traces_wanted
from services.telemetry.spans import tracing
from tests.servers import Answering, answering
from tests.services.conftest import NOW
from tests.services.gateway.cast import asked, at_work, stored
from tests.services.gateway.small_server import EVENTS
from tests.services.populated import populate

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLER = {"traceparent": f"00-{TRACE}-{SPAN}-01"}


@dataclass
class Collector:
    """What was sent to it, span by span."""

    spans: list[Span] = field(default_factory=list)
    services: set[str] = field(default_factory=set)
    paths: set[str] = field(default_factory=set)

    def named(self, name: str) -> Span:
        (found,) = [span for span in self.spans if span.name == name]
        return found


def attributes_of(span: Span) -> dict[str, Any]:
    """Its attributes."""
    return {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in span.attributes}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Named by the standard variable."""
    heard = Collector()

    class Handler(Answering, BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
            heard.paths.add(self.path)
            for resource in body.resource_spans:
                known = {one.key: one.value.string_value for one in resource.resource.attributes}
                heard.services.add(known["service.name"])
                heard.spans += [span for scope in resource.scope_spans for span in scope.spans]
            self.answer(200, b"", "application/x-protobuf")

    with answering(Handler) as url:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url.removesuffix("/v1"))
        yield heard


@contextmanager
def traced(role: str) -> Iterator[None]:
    with tracing(role, wanted=traces_wanted()):
        yield


def test_a_callers_trace_goes_through_the_gateway_to_each_tier(
    collector: Collector, sqlite_url: str, settings: Settings
) -> None:
    with traced("gateway"), at_work(sqlite_url, settings, {}) as world:
        world.small.p_t = 0.4
        answer = asked(world, CALLER, metadata={"external_id": "q1"})
        assert answer.status_code == 200
        stored(world, "q1")
        assert httpx2.get(f"{world.control}/v1/cascades", headers=CALLER).status_code == 200
        decision = answer.headers["knowgate-decision"]
        upstream = [world.small.traceparents[0], world.large.traceparents[0]]
    assert collector.paths == {"/v1/traces"} and collector.services == {"knowgate-gateway"}
    request, small, large = (collector.named(name) for name in ("POST /v1/chat/completions", "chat tiny", "chat huge"))
    assert request.trace_id.hex() == TRACE and request.parent_span_id.hex() == SPAN
    assert request.kind == Span.SPAN_KIND_SERVER
    for call, header in zip((small, large), upstream, strict=True):
        assert call.kind == Span.SPAN_KIND_CLIENT and call.parent_span_id == request.span_id
        assert header == f"00-{TRACE}-{call.span_id.hex()}-01"
    assert attributes_of(request) == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "trivia",
        "gen_ai.response.model": "huge",
        "gen_ai.response.id": decision,
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 1,
        "knowgate.cascade": "trivia",
        "knowgate.tier": 1,
        "knowgate.reason": "p_t",
    }
    said = attributes_of(small)
    assert said["gen_ai.request.model"] == "tiny" and said["gen_ai.usage.input_tokens"] == 7
    listed, shipped = collector.named("GET /v1/cascades"), collector.named("POST /v1/decisions")
    assert listed.parent_span_id.hex() == SPAN and attributes_of(listed)["http.route"] == "/v1/cascades"
    assert attributes_of(shipped)["http.response.status_code"] == 200
    assert not [span for span in collector.spans if "metrics" in span.name or "Which city" in str(span)]


def test_a_tier_that_fails_says_so_and_a_decision_without_a_caller_is_of_our_trace(
    collector: Collector, sqlite_url: str, settings: Settings
) -> None:
    with traced("gateway"), at_work(sqlite_url, settings, {}) as world:
        world.small.status = 400
        assert asked(world, metadata={"external_id": "q1"}).status_code == 200
        decision = stored(world, "q1")
    request, small = collector.named("POST /v1/chat/completions"), collector.named("chat tiny")
    assert small.status.code == Status.STATUS_CODE_ERROR and attributes_of(small)["error.type"] == "refused"
    assert request.status.code != Status.STATUS_CODE_ERROR
    assert (decision.trace_id, decision.span_id) == (request.trace_id.hex(), request.span_id.hex())


def test_a_stream_is_one_span_to_its_last_byte(collector: Collector, sqlite_url: str, settings: Settings) -> None:
    with traced("gateway"), at_work(sqlite_url, settings, {}) as world:
        world.small.p_t, world.large.events = 0.4, EVENTS
        assert "[DONE]" in asked(world, CALLER, stream=True).text
    request, large = collector.named("POST /v1/chat/completions"), collector.named("chat huge")
    assert large.parent_span_id == request.span_id and large.trace_id.hex() == TRACE
    said = attributes_of(request)
    assert said["knowgate.reason"] == "p_t" and said["gen_ai.response.model"] == "huge"
    assert said["gen_ai.usage.output_tokens"] == 2


def test_without_spans_the_callers_trace_goes_on_as_it_came(sqlite_url: str, settings: Settings) -> None:
    with traced("gateway"), at_work(sqlite_url, settings, {}) as world:
        world.small.p_t = 0.4
        assert asked(world, CALLER).status_code == 200
        assert asked(world, {"traceparent": "00-none-of-that-01"}).status_code == 200
        assert world.small.traceparents == [CALLER["traceparent"], None] == world.large.traceparents


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_window_and_a_sweep_that_found_work_are_spans_and_one_that_found_none_is_not(
    collector: Collector, engine: Engine, settings: Settings
) -> None:
    populate(engine, NOW)
    context = JobContext(engine=engine, settings=settings, clock=SimulatedClock(NOW), owner="a")
    with traced("scheduler"):
        (outcome,) = run_due(context, SealJob())
        for done in (3, 0):
            run_sweep(context, _Sweep(done))
    job, sweep = collector.named("job seal"), collector.named("job tidy")
    assert attributes_of(job) == {
        "knowgate.job": "seal",
        "knowgate.cascade": outcome.cascade,
        "knowgate.window.start": outcome.window.start.isoformat(),
        "knowgate.window.end": outcome.window.end.isoformat(),
        "knowgate.job.outcome": outcome.outcome,
    }
    assert attributes_of(sweep) == {"knowgate.job": "tidy", "knowgate.job.done": 3}
    assert sweep.start_time_unix_nano <= sweep.end_time_unix_nano and collector.services == {"knowgate-scheduler"}


class _Sweep:
    name = "tidy"

    def __init__(self, done: int) -> None:
        self._done = done

    def run(self, context: JobContext) -> int:
        return self._done


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_SERVICE_NAME": "knowgate"}, False),
    ],
)
def test_the_standard_variables_say_whether_spans_are_made(environ: dict[str, str], wanted: bool) -> None:
    assert traces_wanted(environ) is wanted


def test_where_nobody_asks_nothing_of_the_library_is_loaded() -> None:
    asks = """
import sys
from services.telemetry import spans
with spans.tracing("api", wanted=False), spans.span("x", spans.Kind.SERVER, {}) as attributes_of:
    spans.note({"a": 1})
    assert attributes_of is None and spans.carried() == {} and not spans.is_on()
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""
    subprocess.run([sys.executable, "-c", asks], check=True)
