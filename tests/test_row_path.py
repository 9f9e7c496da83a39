"""The row's way, step by step, as ARCHITECTURE.md tells it: the real tiny pair, a real database,
MLflow server, API and runtime; only the clock is set by hand. Each check names the step it is
about.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from demo.answers import ModelPair
from demo.facts import Family, load_questions, traffic
from demo.story import spec_of_pair
from knowgate import Window, read_bundle
from knowgate._bundles.bundle_documents import BundleDocument
from knowgate._records.records import Role
from knowgate._wire import codec
from knowgate.spec import CascadeSpec, Horizons, Schedule, Targets
from services.audit.explain import explain
from services.audit.heads import head_of
from services.audit.proofs import prove
from services.audit.replay_stored import replay_window
from services.audit.verify import verify_ledger
from services.simulation.play import Player
from services.simulation.stage import Stage, simulated_settings
from services.simulation.traffic import Asked, Labelling
from store.engine import reading, transaction
from store.jobs import job_runs, outbox
from store.ledger import ledger
from store.releases import assignments, bundles, certifications, promotions
from store.releases.promotions import Outcome
from store.traffic import decisions, examples
from store.watching import drift_reports, figures

START = datetime(2026, 3, 5, tzinfo=UTC)  # windows are aligned to the epoch, a Thursday
SEED = 5
WEEK, STEP = timedelta(days=7), timedelta(days=1)
EVERYTHING = Window(start=START, end=START + 10 * WEEK)


@pytest.fixture
def spec() -> CascadeSpec:
    """The demo's cascade with a generous target: whether a strict one can be met is not what this
    test is about.
    """
    return replace(
        spec_of_pair(),
        targets=replace(Targets(), value=0.1),
        horizons=Horizons(gold=timedelta(days=1)),
        schedule=Schedule(
            train_every=WEEK, train_pause=WEEK, monitor_every=timedelta(days=1), training_window=2 * WEEK
        ),
    )


def questions_at(start: datetime, days: int, per_day: int) -> list[Asked]:
    drawn = traffic(load_questions(), family_mix={Family.COUNTRY_OF: 1.0}, count=days * per_day, seed=SEED)
    gap = timedelta(days=1) / per_day
    return [
        Asked(name=f"{start:%j}-{number}", at=start + gap * number, prompt=question.prompt, slice=str(question.family))
        for number, question in enumerate(drawn)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_a_row_goes_the_whole_way(database_url: str, mlflow_url: str, tmp_path: Path, spec: CascadeSpec) -> None:
    settings = simulated_settings(tmp_path, seed=SEED).model_copy(
        update={"database_url": database_url, "mlflow_url": mlflow_url}
    )
    first_week = questions_at(START, days=7, per_day=350)
    second_week = questions_at(START + WEEK + timedelta(hours=1), days=2, per_day=350)
    asked = {query.prompt for query in first_week + second_week}
    pair = ModelPair(spec.tiers, [question for question in load_questions() if question.prompt in asked])
    with Stage(settings, spec, start=START) as stage:
        player = Player(stage, pair, Labelling(median_delay=timedelta(hours=3)), seed=SEED)
        player.play(first_week, every=STEP)
        check_stored_and_joined(stage, first_week)
        bundle_id = check_trained_and_promoted(stage)
        player.wait(stage.clock.now() + timedelta(hours=1), every=timedelta(hours=1))
        check_registered(stage, bundle_id, mlflow_url)
        check_pushed(stage, bundle_id)
        pair.follow(stage.cascade)
        player.play(second_week, every=STEP)
        player.wait(stage.clock.now() + 2 * STEP, every=STEP)
        check_watched(stage)
        check_proven(stage, bundle_id)


def check_stored_and_joined(stage: Stage, asked: list[Asked]) -> None:
    """decide, spool, ingest, store, join: each query is there once, answered by the last tier while
    the cascade is observed, and labelled.
    """
    with reading(stage.engine) as session:
        stored = list(decisions.decisions_between(session, stage.spec.name, EVERYTHING))
        joined = examples.labelled(session, stage.spec.name, EVERYTHING, as_of=stage.clock.now())
    assert [decision.external_id for decision in stored] == [query.name for query in asked]
    assert {decision.served.tier for decision in stored} == {stage.spec.last}
    verdicts = [attempt.verdict for decision in stored for attempt in decision.attempts if attempt.verdict is not None]
    assert {str(verdict.reason) for verdict in verdicts} == {"observe"}
    assert joined.decisions == len(asked)
    assert (joined.correct == joined.correct).mean() > 0.9, "nearly all labels are in"
    assert all(joined.shard[row] is not None for row in joined.at_tier(0)), "every small-tier attempt has its vector"


def check_trained_and_promoted(stage: Stage) -> str:
    """features, fit, calibrate, certify, promote: one window, one attempt, one bundle, one
    generation.
    """
    name = stage.spec.name
    with reading(stage.engine) as session:
        runs = [run for run in job_runs.job_runs(session, name, job="train") if run.finished_at is not None]
        assert [run.outcome for run in runs] == ["certified"]
        (attempt,) = certifications.certifications(session, name)
        (record,) = bundles.bundles(session, name)
        (promotion,) = promotions.promotions(session, name)
        assert promotion.outcome is Outcome.PROMOTED
        assert promotion.bundle == attempt.bundle == record.id
        bundle = read_bundle(bundles.bundle_content(session, record.id), expected_id=record.id)
        in_force = assignments.assignment(session, name)
    certificate = bundle.document.certificate
    assert certificate is not None
    assert certificate.drop_upper_bound is not None and certificate.drop_upper_bound <= certificate.target_value
    assert certificate.retained_share is not None and certificate.retained_share > 0
    models = bundle.tiers[0]
    assert models is not None and models.document.fingerprint.layer in stage.spec.tiers[0].layers
    assert in_force is not None and in_force.champion == record.id and in_force.generation == 2
    return record.id


def check_registered(stage: Stage, bundle_id: str, mlflow_url: str) -> None:
    """register: the outbox is empty, and MLflow holds run, metrics, model version, alias and the
    very bundle.
    """
    import mlflow

    stage.settle()

    with reading(stage.engine) as session:
        assert all(message.done_at is not None for message in outbox.messages(session, "mlflow"))
        content = bundles.bundle_content(session, bundle_id)
    client = mlflow.MlflowClient(tracking_uri=mlflow_url)
    model = f"knowgate.{stage.spec.name}"
    versions = [
        v for v in client.search_model_versions(f"name='{model}'") if v.tags.get("knowgate.bundle") == bundle_id
    ]
    assert len(versions) == 1
    assert client.get_model_version_by_alias(model, "champion").version == versions[0].version
    run = client.get_run(versions[0].run_id)
    assert run.data.params and run.data.metrics
    mlflow.set_tracking_uri(mlflow_url)
    folder = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id))
    assert any(path.read_bytes() == content for path in folder.rglob("*.safetensors"))


def check_pushed(stage: Stage, bundle_id: str) -> None:
    """push: the live runtime has verified and swapped the pair, and said so."""
    pair = stage.cascade.pair
    assert pair is not None and pair.champion is not None and pair.champion.id == bundle_id
    with reading(stage.engine) as session:
        (acknowledged,) = assignments.acknowledgements(session, stage.spec.name)
    assert (acknowledged.accepted, acknowledged.generation, acknowledged.bundle) == (True, 2, bundle_id)


def check_watched(stage: Stage) -> None:
    """watch: savings of young cohorts, accuracy of mature ones, and a drift report against the
    training window.
    """
    with reading(stage.engine) as session:
        found = figures.figures(session, stage.spec.name)
        reports = drift_reports.reports(session, stage.spec.name)
    whole = [row for row in found if row.slice is None]
    saved = [row for row in whole if row.name == "savings_usd" and row.window.start >= START + WEEK]
    assert saved and any(row.value is not None and row.value > 0 for row in saved)
    accuracy = [row for row in whole if row.name == "accuracy_cascade"]
    assert {row.mature for row in accuracy} == {True, False} or all(row.mature for row in accuracy)
    assert any(row.mature and row.value is not None for row in accuracy)
    assert reports and all(codec.parse(report.document.encode()) for report in reports)


def check_proven(stage: Stage, bundle_id: str) -> None:
    """prove: everything replays, one retained decision is explained, and an altered row is found
    out.
    """
    with transaction(stage.engine) as session:
        while ledger.seal(session, now=stage.clock.now()) is not None:
            pass
    with reading(stage.engine) as session:
        assert verify_ledger(session).problems == ()
        replayed = replay_window(session, stage.spec.name, EVERYTHING)
        retained = [
            decision
            for decision in decisions.decisions_between(session, stage.spec.name, EVERYTHING)
            if decision.served.tier == 0
        ]
        assert replayed.decisions > len(retained) > 0
        assert (replayed.mismatches, replayed.vectors > 0) == (0, True)
        assert any(a.role is Role.EXPLORATION for d in retained for a in d.attempts), "some retained ones are explored"
        explained = explain(session, retained[0])
        assert explained.decision.bundle == bundle_id
        assert explained.replay.matches and explained.replay.vectors == 1
        assert explained.certificate is not None and explained.training_window is not None
        assert [place.proven for place in explained.ledger] == [True]
        head = head_of(ledger.batch_hashes(session), None)
        assert [one.sealed.batch.number for one in prove(session, str(retained[0].id), head).leaves]
        document = bundles.bundle(session, bundle_id).document
        assert codec.decode(BundleDocument, codec.parse(document)).cascade == stage.spec.name
    with stage.engine.begin() as connection:
        connection.execute(text("UPDATE attempt SET p_t = 0.123 WHERE tier = 0 AND role = 'served'"))
    with reading(stage.engine) as session:
        found = verify_ledger(session)
    assert not found.verified and "was altered" in str(found.problems[0])
