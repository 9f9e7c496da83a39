"""What `/metrics` says of a deployment: every figure with its age, and cheap enough to be asked."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, event

from knowgate import Bundle, Decision, Window
from knowgate._wire import codec
from services.http.metrics import Metrics
from services.promotion.rollout_state import State
from services.telemetry import deployment_metrics
from services.telemetry.deployment_metrics import DeploymentCollector
from services.telemetry.deployment_samples import MOST_RUNTIMES
from store import schema
from store.engine import open_engine, transaction
from store.jobs import job_runs
from store.jobs.job_ticks import put_tick
from store.releases.assignments import FORGOTTEN_AFTER, RuntimeState, add_acknowledgement
from store.watching.figures import FigureRow, put_figures
from tests.services.conftest import NOW
from tests.services.metric_tables import documented, exposed
from tests.services.populated import populate

DAY = timedelta(days=1)


def shown(client: TestClient) -> dict[str, float]:
    lines = [line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def said_by(runtime: str, at: datetime, **changes: Any) -> RuntimeState:
    fields: dict[str, Any] = {"generation": 1, "bundle": None, "accepted": True, "detail": None}
    return RuntimeState(cascade="trivia", runtime=runtime, at=at, **fields | changes)


@pytest.mark.usefixtures("promoted")
def test_metrics_count_rows_and_tell_generations(client: TestClient, decision: Callable[..., Decision]) -> None:
    row = codec.encode(decision())
    client.post("/v1/decisions", json={"decisions": [row, {}]})
    client.post("/v1/decide", json={"cascade": "trivia", "p_t": 0.1})
    client.get("/v1/cascades/with/no/such/address")
    text = client.get("/metrics").text
    assert 'knowgate_rows_total{kind="decisions",outcome="stored"} 1.0' in text
    assert 'knowgate_rows_total{kind="decisions",outcome="rejected"} 1.0' in text
    assert 'knowgate_assignment_generation{cascade="trivia"} 1.0' in text
    assert 'knowgate_verdicts_total{action="escalate",cascade="trivia",reason="p_t"} 1.0' in text
    assert 'route="(none)",status="404"' in text and "no/such" not in text


def test_metrics_say_how_old_a_figure_is_and_of_how_many_rows(
    client: TestClient, engine: Engine, promoted: Bundle
) -> None:
    old, new = (Window(start=NOW - days * DAY, end=NOW - (days - 1) * DAY) for days in (30, 2))
    fields: dict[str, Any] = {"cascade": "trivia", "computed_at": NOW - DAY}
    accuracy: dict[str, Any] = {"name": "accuracy_retained", "mature": True}
    with transaction(engine) as session:
        put_figures(
            session,
            [
                FigureRow(window=old, value=0.5, low=0.4, high=0.6, n=1, **accuracy, **fields),
                FigureRow(window=new, n=0, not_identified="no labels", **accuracy, **fields),
                FigureRow(window=new, value=0.1, n=7, slice="geography", **accuracy, **fields),
                FigureRow(window=old, value=9.0, n=9, name="queries", mature=False, **fields),
                FigureRow(window=new, value=3.0, n=3, name="queries", mature=False, **fields),
            ],
        )
        add_acknowledgement(session, said_by("host-1", NOW, bundle=promoted.id, accepted=False, detail="why"))
        put_tick(session, "monitor", owner="a", now=NOW - DAY, error=None)
        put_tick(session, "monitor", owner="a", now=NOW, error="no luck", took_s=1.5)
        run = job_runs.claim(session, "monitor", "trivia", new, owner="a", lease=DAY, now=NOW)
        assert run is not None
        job_runs.finish(session, run, "watched", now=NOW)
    samples = shown(client)
    of = '{cascade="trivia",mature="true",name="accuracy_retained"}'
    assert [samples[f"knowgate_figure{end}{of}"] for end in ("", "_low", "_high", "_rows")] == [0.5, 0.4, 0.6, 1]
    assert samples[f"knowgate_figure_window_end_timestamp_seconds{of}"] == old.end.timestamp()
    assert samples[f"knowgate_figure_computed_timestamp_seconds{of}"] == (NOW - DAY).timestamp()
    assert samples['knowgate_figure{cascade="trivia",mature="false",name="queries"}'] == 3
    assert samples['knowgate_mode{cascade="trivia",mode="active"}'] == 1
    assert samples['knowgate_mode{cascade="trivia",mode="stopped"}'] == 0
    runtime = '{cascade="trivia",runtime="host-1"}'
    assert samples[f"knowgate_runtime_last_seen_timestamp_seconds{runtime}"] == NOW.timestamp()
    assert samples[f"knowgate_runtime_generation{runtime}"] == 1
    assert samples[f"knowgate_runtime_generations_behind{runtime}"] == 0
    assert samples[f"knowgate_runtime_refused{runtime}"] == 1
    assert samples['knowgate_job_last_tick_timestamp_seconds{job_name="monitor"}'] == NOW.timestamp()
    assert samples['knowgate_job_last_success_timestamp_seconds{job_name="monitor"}'] == (NOW - DAY).timestamp()
    assert samples['knowgate_job_last_duration_seconds{job_name="monitor"}'] == 1.5
    assert samples['knowgate_job_failures_total{job_name="monitor"}'] == 1
    assert (
        samples['knowgate_job_done_until_timestamp_seconds{cascade="trivia",job_name="monitor"}'] == new.end.timestamp()
    )


def test_metrics_say_what_waits_what_is_promised_and_what_the_next_certificate_needs(
    client: TestClient, engine: Engine
) -> None:
    populate(engine, NOW)
    samples, day_ago = shown(client), (NOW - DAY).timestamp()
    assert samples["knowgate_database_up"] == 1
    modes = {mode: samples[f'knowgate_mode{{cascade="trivia",mode="{mode}"}}'] for mode in (*State, "frozen")}
    assert modes == {"observing": 1, "active": 0, "stopped": 0, "frozen": 1}
    assert samples['knowgate_challenger_share{cascade="trivia"}'] == 0
    assert samples['knowgate_open_alerts{cascade="trivia",rule="risk",severity="critical"}'] == 1
    assert samples['knowgate_outbox_waiting{topic="mlflow"}'] == 1
    assert samples['knowgate_outbox_oldest_timestamp_seconds{topic="mlflow"}'] == day_ago
    assert samples['knowgate_outbox_given_up{topic="mlflow"}'] == 0
    assert samples["knowgate_deliveries_waiting"] == 1 and samples["knowgate_deliveries_given_up"] == 0
    assert samples["knowgate_deliveries_oldest_timestamp_seconds"] == day_ago
    assert samples["knowgate_ledger_unsealed_leaves"] > 0
    assert samples["knowgate_ledger_oldest_unsealed_timestamp_seconds"] > day_ago  # leaves go by the machine's clock
    assert samples["knowgate_ledger_last_sealed_timestamp_seconds"] == day_ago
    assert samples['knowgate_promise_allowed{cascade="trivia",kind="max_accuracy_drop"}'] == 0.02
    assert samples['knowgate_promise_delta{cascade="trivia"}'] == 0.1
    assert samples['knowgate_attempt_delta{cascade="trivia"}'] == 0.05
    assert samples['knowgate_attempt_labels_known{cascade="trivia"}'] == 0
    assert samples['knowgate_attempt_labels_needed{cascade="trivia"}'] > 100
    assert samples['knowgate_next_attempt_timestamp_seconds{cascade="trivia"}'] > (NOW - 9 * DAY).timestamp()
    runtime = '{cascade="trivia",runtime="host-1"}'
    for name, value in (("generations_behind", 1), ("silent", 1), ("unshipped_bytes", 4096), ("refused_rows", 1)):
        assert samples[f"knowgate_runtime_{name}{runtime}"] == value


@pytest.mark.usefixtures("promoted")
def test_of_many_runtimes_those_heard_last_are_told_and_of_a_dead_one_nothing(
    client: TestClient, engine: Engine
) -> None:
    with transaction(engine) as session:
        add_acknowledgement(session, said_by("gone", NOW - FORGOTTEN_AFTER - DAY))
        for number in range(MOST_RUNTIMES + 5):
            add_acknowledgement(session, said_by(f"host-{number}", NOW - timedelta(minutes=number)))
    seen = {name for name in shown(client) if name.startswith("knowgate_runtime_generation{")}
    assert len(seen) == MOST_RUNTIMES
    assert 'knowgate_runtime_generation{cascade="trivia",runtime="host-0"}' in seen
    assert not {name for name in seen if "gone" in name or "host-102" in name}


@pytest.mark.usefixtures("promoted")
def test_the_database_is_read_once_for_all_that_ask_within_ten_seconds(
    client: TestClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    first = shown(client)
    assert asked
    asked.clear()
    assert shown(client)['knowgate_mode{cascade="trivia",mode="active"}'] == 1
    assert [statement for statement in asked if "cohort_figure" in statement] == []
    later = time.monotonic() + deployment_metrics.FRESH_S
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert shown(client).keys() == first.keys() | {name for name in shown(client) if "/metrics" in name}, (
        "the same is samples, and that it was asked for"
    )
    assert [statement for statement in asked if "cohort_figure" in statement]
    assert not [statement for statement in asked if "EXISTS" in statement], "labels are counted less often"


def test_a_database_that_is_away_is_told_and_no_old_figure_with_it(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    populate(engine, NOW)
    metrics = Metrics(DeploymentCollector(engine, lambda: NOW))
    schema.downgrade(engine, "base")
    metrics.count_database_error()
    text = metrics.exposition()[0].decode()
    assert "\nknowgate_database_up 0.0" in text and "\nknowgate_database_errors_total 1.0" in text
    assert "knowgate_figure{" not in text and "knowgate_mode{" not in text
    engine.dispose()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # PostgreSQL calls this a fault of ours
def test_a_request_that_the_database_did_not_answer_is_counted(client: TestClient, engine: Engine) -> None:
    schema.downgrade(engine, "base")
    assert client.get("/v1/cascades").status_code == 503
    assert shown(client)["knowgate_database_errors_total"] == 1


def test_the_documentation_tells_every_metric_with_its_kind_and_labels(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    populate(engine, NOW)
    metrics = Metrics(DeploymentCollector(engine, lambda: NOW))
    metrics.count_request("GET", "/healthz", 200, 0.1)
    metrics.count_batch("decisions", 1, 1, 1)
    metrics.count_verdict("trivia", "escalate", "p_t")
    metrics.count_undeclared("trivia", 0, 1)
    assert documented("The API's") == exposed(metrics.exposition()[0].decode())
    engine.dispose()
