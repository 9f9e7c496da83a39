"""Labels and verdicts reach the traces of a real MLflow server, each once."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from factories import make_decision, make_label
from knowgate._records.records import Action, Attempt, LabelSource, Reason, Role, Verdict
from knowgate.spec import CascadeSpec, TierSpec
from store.engine import transaction
from store.jobs.outbox import add_message
from store.ledger import ledger
from store.releases.cascades import apply_cascade
from store.traffic.decisions import add_decisions
from store.traffic.evaluations import ASSESSMENTS, EXPORTED, newest_batch
from store.traffic.labels import add_labels
from training.publishing.mlflow_outbox import drain_mlflow

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("mlflow")]
SPEC = CascadeSpec(
    name="questions",
    tiers=(TierSpec(name="s", model="small", parameters=1e9), TierSpec(name="l", model="large", parameters=1e10)),
)
TIERS = (
    Attempt(tier=0, role=Role.SUPERSEDED, model="small", verdict=Verdict(action=Action.ESCALATE, reason=Reason.P_T)),
    Attempt(tier=1, role=Role.SERVED, model="large"),
)


def test_a_label_is_assessed_once_and_what_came_from_mlflow_or_has_no_trace_is_left_out(
    engine: Engine, mlflow_url: str, tmp_path: Path
) -> None:
    made = [sys.executable, "-m", "tests.services.history.mlflow_traces", mlflow_url, str(tmp_path)]
    subprocess.run(made, check=True, capture_output=True)
    trace = json.loads((tmp_path / "traces.jsonl").read_text().splitlines()[0])["info"]["trace_id"]
    now = datetime.now(UTC)
    asked_at = now - timedelta(minutes=5)
    traced, elsewhere = (
        make_decision(asked_at, attempts=TIERS, trace_id=trace_id) for trace_id in (trace.removeprefix("tr-"), "0" * 32)
    )
    said = make_label(of=traced, source=LabelSource.JUDGE, correct=0.25, labelled_at=now, grader="strict@2")
    taken = replace(said, source=LabelSource.HUMAN, origin="mlflow:a-1")
    with transaction(engine) as session:
        apply_cascade(session, SPEC, now=now)
        add_decisions(session, [traced, elsewhere], received_at=now)
        add_labels(session, [said, taken, make_label(of=elsewhere, labelled_at=now)], received_at=now)
        ledger.seal(session, now=now)
    for key in ("first", "again"):
        with transaction(engine) as session:
            add_message(session, ASSESSMENTS, key, str(newest_batch(session)), now=now)
        drained = drain_mlflow(engine, mlflow_url, owner="test")
        assert (drained.registered, drained.failed, drained.last_error) == (1, 0, None)
    from mlflow.tracing.client import TracingClient

    ours = [
        one for one in TracingClient(mlflow_url).get_trace_info(trace).assessments if EXPORTED in (one.metadata or {})
    ]
    assert sorted((one.name, one.value, one.source.source_type, one.rationale) for one in ours) == [
        ("correctness", 0.25, "LLM_JUDGE", None),
        ("knowgate.verdict", 0.0, "CODE", "p_t"),
    ]
    assert {one.source.source_id for one in ours} == {"strict@2", "knowgate.questions"}
    assert {one.metadata["knowgate.decision"] for one in ours} == {str(traced.id)}


def test_an_mlflow_that_is_down_is_asked_again(engine: Engine) -> None:
    now = datetime.now(UTC)
    with transaction(engine) as session:
        apply_cascade(session, SPEC, now=now)
        sent = make_decision(now - timedelta(minutes=1), attempts=TIERS, trace_id="0" * 31 + "1")
        add_decisions(session, [sent], received_at=now)
        ledger.seal(session, now=now)
        add_message(session, ASSESSMENTS, "1", str(newest_batch(session)), now=now)
    drained = drain_mlflow(engine, "http://127.0.0.1:9", owner="test")
    assert (drained.registered, drained.failed) == (0, 1)
    assert "MLflow at http://127.0.0.1:9 did not take it" in str(drained.last_error)
