"""Labels and verdicts are given away where a setting says whereto: each sealed batch once, by the
outbox, under the names of OpenTelemetry's conventions.
"""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from sqlalchemy import Engine

from factories import make_decision, make_label
from knowgate import Action, Attempt, Decision, Reason, Role, Verdict
from services.clock import SimulatedClock
from services.jobs.export import ExportSweep
from services.jobs.job import JobContext
from services.settings import Settings
from store.engine import transaction
from store.jobs.outbox import messages
from store.ledger import ledger
from store.ledger.erasure import erase_decision
from store.traffic.decisions import add_decisions
from store.traffic.evaluations import EVENTS
from store.traffic.labels import add_labels

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
ESCALATED = Verdict(action=Action.ESCALATE, reason=Reason.P_T)
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

pytestmark = pytest.mark.usefixtures("trivia")


@dataclass
class Collector:
    """An OTLP endpoint on loopback; it answers `status`."""

    url: str = ""
    status: int = 200
    bodies: list[Any] = field(default_factory=list)

    def events(self) -> list[dict[str, Any]]:
        """All that was taken, each record with its attributes as values."""
        records = [
            record
            for body in self.bodies
            for resource in body["resourceLogs"]
            for scope in resource["scopeLogs"]
            for record in scope["logRecords"]
        ]
        return [
            record | {one["key"]: next(iter(one["value"].values())) for one in record["attributes"]}
            for record in records
        ]


@pytest.fixture
def collector() -> Iterator[Collector]:
    got = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if got.status == 200:
                got.bodies.append(body)
            self.send_response(got.status)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    got.url = f"http://127.0.0.1:{server.server_address[1]}/v1/logs"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield got
    server.shutdown()
    server.server_close()


@pytest.fixture
def context(engine: Engine, settings: Settings, collector: Collector) -> JobContext:
    on = settings.model_copy(update={"otlp_logs_url": collector.url})
    return JobContext(engine=engine, settings=on, clock=SimulatedClock(NOW), owner="test")


def seal(engine: Engine) -> None:
    with transaction(engine) as session:
        assert ledger.seal(session, now=NOW) is not None


def answered(engine: Engine, minute: int, **changes: Any) -> Decision:
    """A decision that escalated, with a label on what was served."""
    small = Attempt(tier=0, role=Role.SUPERSEDED, model="tiny", verdict=ESCALATED)
    attempts = (small, Attempt(tier=1, role=Role.SERVED, model="huge"))
    sent = make_decision(NOW - timedelta(hours=1, minutes=minute), cascade="trivia", attempts=attempts, **changes)
    said = make_label(of=sent, correct=0.25, labelled_at=NOW - timedelta(minutes=1), grader="ada")
    with transaction(engine) as session:
        add_decisions(session, [sent], received_at=NOW)
        add_labels(session, [said], received_at=NOW)
    return sent


def test_labels_and_verdicts_are_events_of_the_callers_span(
    engine: Engine, context: JobContext, collector: Collector
) -> None:
    sent = answered(engine, 0, trace_id=TRACE, span_id=SPAN)
    seal(engine)
    assert ExportSweep().run(context) == 1
    events = collector.events()
    assert {event["eventName"] for event in events} == {"gen_ai.evaluation.result"}
    assert {event["gen_ai.response.id"] for event in events} == {str(sent.id)}
    assert {(event["traceId"], event["spanId"]) for event in events} == {(TRACE, SPAN)}
    said = next(event for event in events if event["gen_ai.evaluation.name"] == "correctness")
    assert (said["gen_ai.evaluation.score.value"], said["gen_ai.evaluation.score.label"]) == (0.25, "incorrect")
    assert (said["knowgate.label.source"], said["knowgate.label.grader"]) == ("gold", "ada")
    assert said["timeUnixNano"] == f"{int((NOW - timedelta(minutes=1)).timestamp())}000000000"
    (verdict,) = [event for event in events if event["gen_ai.evaluation.name"] == "knowgate.verdict"]
    assert (verdict["gen_ai.evaluation.score.label"], verdict["gen_ai.evaluation.explanation"]) == ("escalate", "p_t")
    assert (verdict["knowgate.tier"], verdict["knowgate.model"]) == ("0", "tiny")


def test_each_batch_is_given_away_once_and_what_was_before_is_not(
    engine: Engine, context: JobContext, collector: Collector
) -> None:
    for minute in (3, 2):
        answered(engine, minute)
        seal(engine)
    off = replace(context, settings=context.settings.model_copy(update={"otlp_logs_url": None}))
    assert ExportSweep().run(off) == 0
    assert ExportSweep().run(context) == 1  # the newest of two
    assert ExportSweep().run(context) == 0
    seal(engine)  # of the message itself
    assert ExportSweep().run(context) == 0
    with transaction(engine) as session:
        assert len(messages(session, EVENTS)) == 1
        ledger.seal(session, now=NOW)
        assert ledger.seal(session, now=NOW) is None
    later = [answered(engine, minute) for minute in (1, 0)]
    seal(engine)
    before = len(collector.events())
    assert ExportSweep().run(context) == 1
    ids = [event["gen_ai.response.id"] for event in collector.events()[before:]]
    assert set(ids) == {str(one.id) for one in later}
    assert all("traceId" not in event for event in collector.events())


def test_an_endpoint_that_is_down_is_asked_again(engine: Engine, context: JobContext, collector: Collector) -> None:
    answered(engine, 0)
    seal(engine)
    collector.status = 503
    assert ExportSweep().run(context) == 0
    assert ExportSweep().run(context) == 0  # not due yet
    with transaction(engine) as session:
        (message,) = messages(session, EVENTS)
    assert (message.done_at, message.attempts) == (None, 1)
    assert "503" in str(message.last_error) and collector.url not in str(message.last_error)
    collector.status = 200
    later = replace(context, clock=SimulatedClock(NOW + timedelta(hours=1)))
    assert ExportSweep().run(later) == 1
    assert collector.events()


def test_what_was_erased_is_not_given_away(engine: Engine, context: JobContext, collector: Collector) -> None:
    gone, kept = answered(engine, 1), answered(engine, 0)
    with transaction(engine) as session:
        erase_decision(session, gone.id, by="ada", now=NOW)
    seal(engine)
    assert ExportSweep().run(context) == 1
    assert {event["gen_ai.response.id"] for event in collector.events()} == {str(kept.id)}
