"""Spans of OpenTelemetry, where the environment asks for them; nothing else knows the library, and
where nobody asks, nothing of it is loaded.

On by the standard variables (`settings.traces_wanted`); what these say of exporter, sampler and
resource, the SDK reads itself, as its specification has it. The provider is our own and not the
process's, which belongs to whatever else is loaded (MLflow has spans of its own). Texts of errors
are left out, since they may repeat what somebody asked: `error.type` names the kind.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Any

from services.telemetry import gen_ai

log = logging.getLogger("knowgate.traces")

Attributes = Mapping[str, Any]
TRACEPARENT = "traceparent"


class Kind(Enum):
    """Which side of a call a span is of."""

    SERVER = "SERVER"
    CLIENT = "CLIENT"
    INTERNAL = "INTERNAL"


class OpenSpan:
    """One span that is under way."""

    def __init__(self, span: Any) -> None:
        self._span = span

    def note(self, attributes: Attributes) -> None:
        """Adds what is known by now; None is left out."""
        self._span.set_attributes(_known(attributes))

    def named(self, name: str) -> None:
        """Gives it a better name."""
        self._span.update_name(name)

    def failed(self, kind: str) -> None:
        """Says that it came to nothing, by the kind of error alone."""
        from opentelemetry.trace import StatusCode

        self._span.set_attribute(gen_ai.ERROR, kind)
        self._span.set_status(StatusCode.ERROR)


class _Spans:
    """What makes spans and sends them."""

    def __init__(self, role: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        resource = Resource.create()
        if str(resource.attributes["service.name"]).startswith("unknown_service"):
            resource = resource.merge(Resource({"service.name": f"knowgate-{role}"}))
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self.tracer = self._provider.get_tracer("knowgate")
        self.propagator = TraceContextTextMapPropagator()

    def end(self) -> None:
        """Sends what is left."""
        self._provider.shutdown()


_on: _Spans | None = None


@contextmanager
def tracing(role: str, *, wanted: bool) -> Iterator[None]:
    """Spans of this process, one of a kind (`role`), for the length of the block, where they are
    `wanted`; what is left is sent at its end. Without the extra `otel` there are none, and the log
    says so: a variable that is set for a whole cluster must not keep a service from its start.
    """
    global _on
    if wanted:
        try:
            _on = _Spans(role)
        except ImportError as error:
            log.warning("OTEL_… asks for traces, and the extra `otel` is not installed (%s): there are none", error)
    try:
        yield
    finally:
        ending, _on = _on, None
        if ending is not None:
            ending.end()


def is_on() -> bool:
    """Whether spans are made."""
    return _on is not None


@contextmanager
def span(
    name: str, kind: Kind, attributes: Attributes, *, headers: Mapping[str, str] | None = None
) -> Iterator[OpenSpan | None]:
    """A span for the length of the block, within the caller's trace where `headers` name one, else
    within the span that is under way; None where there are none.
    """
    on = _on
    if on is None:
        yield None
        return
    from opentelemetry.trace import SpanKind

    context = None if headers is None else on.propagator.extract(headers)
    with on.tracer.start_as_current_span(
        name,
        context=context,
        kind=SpanKind[kind.value],
        attributes=_known(attributes),
        record_exception=False,
        set_status_on_exception=False,
    ) as made:
        open_span = OpenSpan(made)
        try:
            yield open_span
        except BaseException as error:
            open_span.failed(type(error).__name__)
            raise


def happened(name: str, attributes: Attributes, *, began_ns: int) -> None:
    """A span of what is over, from `began_ns` (of time.time_ns) until now."""
    if _on is not None:
        _on.tracer.start_span(name, start_time=began_ns, attributes=_known(attributes)).end(time.time_ns())


def note(attributes: Attributes) -> None:
    """Adds to the span that is under way, if any."""
    if _on is not None:
        from opentelemetry.trace import get_current_span

        get_current_span().set_attributes(_known(attributes))


def carried() -> dict[str, str]:
    """The headers that continue the span under way elsewhere."""
    headers = dict[str, str]()
    if _on is not None:
        _on.propagator.inject(headers)
    return headers


def _known(attributes: Attributes) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}
