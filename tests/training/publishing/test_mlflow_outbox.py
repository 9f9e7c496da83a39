"""What MLflow gets: once per bundle, whatever dies; and nothing waits for it."""

import json
import os
import shlex
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import Engine

from evidence.signals.calibration import ReliabilityBin
from factories import make_certificate
from knowgate._bundles.bundle import Bundle, BundleDocument, write_bundle
from knowgate._records.records import Window
from knowgate.policy import Policy, PolicyKind
from knowgate.spec import CascadeSpec, TierSpec
from store.engine import reading, transaction
from store.jobs.outbox import add_message, messages
from store.jobs.trainer_reports import TrainingOutcome, TrainingStatus
from store.releases.cascades import apply_cascade
from store.releases.promotions import Outcome, PromotionRecord, add_promotion
from store.watching.drift_reports import DAILY, REPORTS, DriftReport, put_report
from tests import servers
from training.publishing.mlflow_outbox import drain_mlflow
from training.publishing.publish import MLFLOW_TOPIC, publish
from training.publishing.records import (
    Curve,
    Figure,
    RiskPoint,
    RunReport,
    SignalReport,
)
from training.publishing.registry import BUNDLE_TAG, REPORTS_TAG, Registry, artifact_location

pytestmark = pytest.mark.xdist_group("mlflow")  # its tables are made once
DEPLOY = Path(__file__).parents[3] / "deploy"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPEC = CascadeSpec(
    name="facts",
    tiers=(TierSpec(name="s", model="small", parameters=1e9), TierSpec(name="l", model="large", parameters=1e10)),
)


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """A tracking store of the test's own."""

    url: str
    client: Any

    def runs(self) -> list[Any]:
        experiment = self.client.get_experiment_by_name("knowgate.facts")
        return [] if experiment is None else list(self.client.search_runs([experiment.experiment_id]))

    def versions(self) -> list[Any]:
        return list(self.client.search_model_versions("name = 'knowgate.facts'"))

    def aliases(self) -> dict[str, str]:
        return {alias: str(at) for alias, at in self.client.get_registered_model("knowgate.facts").aliases.items()}


@pytest.fixture(scope="module")
def empty_tracking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's own tables, made once: its migrations take seconds."""
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}
    from mlflow.tracking import MlflowClient

    file = tmp_path_factory.mktemp("mlflow") / "empty.db"
    MlflowClient(tracking_uri=f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def tracking(empty_tracking: Path, tmp_path: Path) -> Tracking:
    from mlflow.tracking import MlflowClient

    url = f"sqlite:///{tmp_path}/mlflow.db"
    shutil.copy(empty_tracking, tmp_path / "mlflow.db")
    return Tracking(url=url, client=MlflowClient(tracking_uri=url, registry_uri=url))


def bundle_of(attempt: int = 1) -> Bundle:
    window = Window(start=NOW - timedelta(days=7), end=NOW)
    certificate = make_certificate(attempt=attempt, cohort=window, retained_share=0.4)
    document = BundleDocument(
        cascade=SPEC.name,
        models=tuple(tier.model for tier in SPEC.tiers),
        tiers=(None,),
        policy=Policy.of(PolicyKind.P_T, ({"p_t": 0.9},)),
        certificate=certificate,
        training_window=window,
        rows={"tested": 1000},
        code_version="1",
        created_at=NOW,
    )
    return write_bundle(document, (None,))


def report_of(bundle: Bundle) -> RunReport:
    return RunReport(
        cascade="facts",
        bundle=bundle.id,
        status="certified",
        created_at=NOW,
        parameters={"policy": "p_t", "tier0.layer": "3"},
        figures=(Figure(name="tier0.p_t.auroc", value=0.8, low=0.7, high=0.9),),
        curves=(Curve(name="tier0.validation_loss", values=(0.7, 0.6, 0.55)),),
        signals=(
            SignalReport(
                tier=0,
                signal="p_t",
                reliability=(ReliabilityBin(mean_score=0.5, accuracy=0.4, n=10),),
                risk_coverage=(RiskPoint(retained_share=0.5, risk=0.1), RiskPoint(retained_share=1.0, risk=0.3)),
            ),
        ),
        reason="drift",
        why="p_t moved",
    )


@pytest.fixture
def published(sqlite_engine: Engine) -> Callable[..., Bundle]:
    with transaction(sqlite_engine) as session:
        apply_cascade(session, SPEC, now=NOW)

    def publish_one(attempt: int = 1) -> Bundle:
        bundle = bundle_of(attempt)
        outcome = TrainingOutcome(status=TrainingStatus.CERTIFIED, cascade="facts", bundle=bundle.id)
        publish(sqlite_engine, bundle, report_of(bundle), outcome, claim=None, now=NOW)
        return bundle

    return publish_one


def _drain(engine: Engine, url: str, **changes: Any) -> Any:
    return drain_mlflow(engine, url, **({"owner": "t", "clock": lambda: NOW} | changes))


@pytest.mark.slow
def test_a_bundle_becomes_one_run_with_its_artifacts_and_one_model_version(
    sqlite_engine: Engine, published: Callable[..., Bundle], tracking: Tracking, tmp_path: Path
) -> None:
    bundle = published()
    assert _drain(sqlite_engine, tracking.url).registered == 1
    (run,) = tracking.runs()
    assert run.info.status == "FINISHED"
    assert run.data.tags[BUNDLE_TAG] == bundle.id
    assert (run.data.tags["knowgate.reason"], run.data.tags["knowgate.why"]) == ("drift", "p_t moved")
    assert run.data.params["tier0.layer"] == "3"
    assert run.data.metrics["tier0.p_t.auroc.high"] == 0.9
    history = tracking.client.get_metric_history(run.info.run_id, "tier0.validation_loss")
    assert [point.value for point in history] == [0.7, 0.6, 0.55]
    files = [file for file in (tmp_path / "mlartifacts").rglob("*") if file.is_file()]
    assert {file.suffix for file in files} == {".safetensors", ".json", ".png"}
    assert next(file for file in files if file.suffix == ".safetensors").read_bytes() == bundle.content
    (version,) = tracking.versions()
    assert version.tags[BUNDLE_TAG] == bundle.id and version.run_id == run.info.run_id
    with reading(sqlite_engine) as session:
        assert messages(session, MLFLOW_TOPIC)[0].done_at == NOW


def test_a_drain_killed_after_registering_is_repeated_without_duplicates(
    sqlite_engine: Engine, published: Callable[..., Bundle], tracking: Tracking
) -> None:
    bundle = published()
    Registry(tracking.url).register(report_of(bundle), bundle.content)  # and died before it could say so
    assert _drain(sqlite_engine, tracking.url).registered == 1
    assert _drain(sqlite_engine, tracking.url).registered == 0
    assert len(tracking.runs()) == 1 and len(tracking.versions()) == 1


@pytest.mark.slow
def test_a_drain_killed_while_logging_goes_on_in_the_same_run(
    sqlite_engine: Engine, published: Callable[..., Bundle], tracking: Tracking
) -> None:
    bundle = published()
    experiment = tracking.client.create_experiment(
        "knowgate.facts", artifact_location=artifact_location(tracking.url, "knowgate.facts")
    )
    begun = tracking.client.create_run(experiment, tags={BUNDLE_TAG: bundle.id})
    tracking.client.log_metric(begun.info.run_id, "tier0.validation_loss", 0.7, int(NOW.timestamp() * 1000), 0)
    assert _drain(sqlite_engine, tracking.url).registered == 1
    (run,) = tracking.runs()
    assert run.info.run_id == begun.info.run_id and run.info.status == "FINISHED"
    history = tracking.client.get_metric_history(run.info.run_id, "tier0.validation_loss")
    assert [point.value for point in history] == [0.7, 0.6, 0.55]


def test_aliases_are_what_the_promotions_say(
    sqlite_engine: Engine, published: Callable[..., Bundle], tracking: Tracking
) -> None:
    first, second = published(1), published(2)

    def promote(bundle: str | None, outcome: Outcome, hours: int) -> None:
        record = PromotionRecord(
            cascade="facts",
            bundle=bundle,
            previous=None,
            outcome=outcome,
            reason="checked",
            check="{}",
            generation=hours,
            decided_at=NOW + timedelta(hours=hours),
        )
        with transaction(sqlite_engine) as session:
            add_promotion(session, record)

    promote(first.id, Outcome.PROMOTED, 1)
    promote(second.id, Outcome.REFUSED, 2)
    _drain(sqlite_engine, tracking.url)
    versions = {version.tags[BUNDLE_TAG]: str(version.version) for version in tracking.versions()}
    assert tracking.aliases() == {"champion": versions[first.id]}
    promote(second.id, Outcome.PROMOTED, 3)
    _drain(sqlite_engine, tracking.url)
    assert tracking.aliases() == {"champion": versions[second.id]}
    promote(None, Outcome.ROLLED_BACK, 4)
    _drain(sqlite_engine, tracking.url)
    assert tracking.aliases() == {}


def test_a_registry_that_is_down_leaves_the_message_for_later(
    sqlite_engine: Engine, published: Callable[..., Bundle], tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    published()
    drained = _drain(sqlite_engine, "http://127.0.0.1:9")
    assert (drained.registered, drained.failed) == (0, 1)
    assert "check that the server runs" in str(drained.last_error)
    with reading(sqlite_engine) as session:
        (waiting,) = messages(session, MLFLOW_TOPIC)
    assert waiting.done_at is None and waiting.due_at is not None and waiting.due_at > NOW
    later = _drain(sqlite_engine, tracking.url, clock=lambda: NOW + timedelta(hours=1))
    assert later.registered == 1


@pytest.mark.slow
def test_the_server_of_the_compose_file_takes_what_calls_it_by_its_name_there(
    sqlite_engine: Engine, published: Callable[..., Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    url = services["scheduler"]["environment"]["KNOWGATE_MLFLOW_URL"]
    port = servers.free_port()
    adapted = {"0.0.0.0": "127.0.0.1", "5000": str(port)}
    command = [
        adapted.get(word, word.replace("/var/lib/knowgate", str(tmp_path)))
        for word in shlex.split(services["mlflow"]["command"])
    ]
    bundle = published()
    environment = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "0"}
    with servers.running(
        [sys.executable, "-m", *command], environment=environment, log=tmp_path / "mlflow.log"
    ) as process:
        servers.wait_until_answering(f"http://127.0.0.1:{port}/health", process, within_s=120)
        # Asked as its own proxy, the server is sent the URL and the Host header of the compose
        # file's network.
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        drained = _drain(sqlite_engine, url)
        assert (drained.registered, drained.last_error) == (1, None)
        from mlflow.tracking import MlflowClient

        (version,) = MlflowClient(url, url).search_model_versions("name = 'knowgate.facts'")
        assert version.tags[BUNDLE_TAG] == bundle.id
        stranger = urllib.request.Request(f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=1")
        stranger.add_header("Host", "evil.example")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(stranger, timeout=30)


def test_the_reports_of_a_cascade_are_one_run_with_a_point_and_an_artifact_a_day(
    sqlite_engine: Engine, published: Callable[..., Bundle], tracking: Tracking
) -> None:
    published()
    days = [Window(start=NOW + timedelta(days=day), end=NOW + timedelta(days=day + 1)) for day in range(2)]
    for saved, window in zip((0.25, 0.5), days, strict=True):
        day_figures = [{"cohort": "day", "tier": None, "values": {"savings_usd": saved, "savings_usd.low": None}}]
        day_figures += [{"cohort": "week", "tier": "s", "values": {"ece": 0.125}}]
        drift = {"s": {"columns": [{"column": "p_t", "score": 0.75}]}}
        document = json.dumps({"figures": day_figures, "drift": drift, "evidently": {"name": f"{saved}"}})
        report = DriftReport(
            cascade="facts", window=window, tier=None, name=DAILY, document=document, computed_at=window.end
        )
        payload = json.dumps({"cascade": "facts", "from": window.start.isoformat(), "to": window.end.isoformat()})
        with transaction(sqlite_engine) as session:
            put_report(session, report)
            for again in range(2):  # carried out twice, where a drain was killed before it said so
                add_message(session, REPORTS, f"{window.end} {again}", payload, now=NOW)
    assert _drain(sqlite_engine, tracking.url).registered == 5
    (run,) = [run for run in tracking.runs() if REPORTS_TAG in run.data.tags]
    assert run.data.metrics == {"day.savings_usd": 0.5, "week.s.ece": 0.125, "day.s.drift.p_t": 0.75}
    points = tracking.client.get_metric_history(run.info.run_id, "day.savings_usd")
    assert [(point.value, point.step) for point in points] == [
        (0.25, days[0].start.toordinal()),
        (0.5, days[1].start.toordinal()),
    ]
    artifacts = tracking.client.list_artifacts(run.info.run_id, "reports")
    assert [file.path for file in artifacts] == ["reports/2026-03-01.json", "reports/2026-03-02.json"]
    kept = Path(tracking.client.download_artifacts(run.info.run_id, artifacts[1].path)).read_text()
    assert json.loads(kept) == {"name": "0.5"}
    assert len(tracking.runs()) == 2  # the bundle's own beside it
