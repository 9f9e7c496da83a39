"""What must hold after all faults, compared id by id with what was acknowledged and answered."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import Engine

from knowgate import Decision, Window
from services.audit.verify import verify_ledger
from services.windows import EPOCH
from store.engine import reading, transaction
from store.jobs import job_runs, outbox
from store.ledger import ledger
from store.releases import bundles, certifications
from store.traffic import decisions, labels
from store.watching import figures
from tests.faults.traffic import ASKED, CASCADE, Acknowledged
from tests.vector_cast import check_readable

ALWAYS = Window(start=EPOCH, end=datetime(2100, 1, 1, tzinfo=UTC))


def until(reached: Callable[[], bool], what: str, *, within_s: float) -> None:
    """Waits for what has to come."""
    deadline = time.monotonic() + within_s
    while not reached():
        assert time.monotonic() < deadline, f"{what}: not within {within_s} s"
        time.sleep(0.25)


def check_acknowledged(engine: Engine, acknowledged: Acknowledged, erased: Sequence[UUID] = ()) -> Counter[str]:
    """Every decision, label and vector is there once, and is what was sent; of what was erased
    there is the row alone.
    """
    wanted = acknowledged.decisions
    there = Counter[UUID]()
    changed = 0
    with reading(engine) as session:
        for stored in decisions.decisions_between(session, CASCADE, ALWAYS):
            there[stored.id] += stored.id in wanted
            if stored.id in erased:
                assert stored.external_id is None and stored.prompt_hash is None
            elif stored.id in wanted:
                changed += _as_sent(stored) != _as_sent(wanted[stored.id])
        missing = sum(there[one] == 0 for one in wanted)
        assert wanted and not missing, f"{missing} acknowledged decisions are not there"
        assert max(there.values()) == 1, "a decision is there twice"
        assert not changed, f"{changed} decisions are not as they were sent"
        said = Counter[tuple[UUID, int]]()
        values: dict[tuple[UUID, int], float] = {}
        for decision_id in wanted:
            for label in labels.labels_of(session, decision_id):
                said[label.decision_id, label.tier] += 1
                values[label.decision_id, label.tier] = label.correct
    lost = sum(values.get(key) != correct for key, correct in acknowledged.labels.items())
    assert acknowledged.labels and not lost, f"{lost} acknowledged labels are not there"
    assert set(said.values()) == {1}, "a label is there twice"
    vectors = [one for one in acknowledged.vectors if one.id not in erased]
    check_readable(engine, vectors, CASCADE)
    return Counter(decisions=len(wanted), labels=len(acknowledged.labels), vectors=len(vectors))


def check_answered(engine: Engine, answered: dict[UUID, str], not_spooled: int) -> Counter[str]:
    """Every answer's decision is there once, but for those that the gateway counted as not kept."""
    with reading(engine) as session:
        found = {one.id: one.external_id for one in decisions.decisions_between(session, ASKED, ALWAYS)}
    missing = answered.keys() - found.keys()
    assert answered and len(missing) <= not_spooled, f"{len(missing)} answers are lost, {not_spooled} were counted"
    assert sum(found[one] != name for one, name in answered.items() if one in found) == 0, "an answer is another's"
    return Counter(answers=len(answered), answers_counted_as_not_kept=len(missing))


def check_jobs(engine: Engine) -> Counter[str]:
    """No window's job took effect twice, δ was spent once per attempt, and the ledger holds."""
    with transaction(engine) as session:
        while ledger.seal(session, now=datetime.now(UTC) + timedelta(hours=3)) is not None:
            pass
    with reading(engine) as session:
        verified = verify_ledger(session)
        assert verified.problems == ()
        trained = [run for run in job_runs.job_runs(session, CASCADE, job="train", limit=10_000) if run.finished_at]
        effects = certifications.certifications(session, CASCADE)
        watched = [run for run in job_runs.job_runs(session, CASCADE, job="monitor", limit=10_000) if run.finished_at]
        made = figures.figures(session, CASCADE, names=["queries"])
    with_effect = [run for run in trained if run.outcome not in ("no_data", "not_attempted")]
    assert len(effects) == len(with_effect) > 0, "one attempt per trained window"
    assert [effect.attempt for effect in effects] == list(range(1, len(effects) + 1)), "δ was spent once per attempt"
    windows = Counter((row.window.start, row.window.end, row.tier, row.slice, row.mature) for row in made)
    assert set(windows.values()) == {1} and len({run.window.start for run in watched}) == len(watched)
    taken_over = sum(run.token > 1 for run in (*trained, *watched))
    return Counter(trainings=len(effects), windows_watched=len(watched), windows_taken_over=taken_over)


def check_registered(engine: Engine, mlflow_url: str) -> Counter[str]:
    """MLflow has one version of every bundle, but for what was made since the last look."""
    from mlflow.tracking import MlflowClient

    waiting = {one.key for one in waiting_for_mlflow(engine)}
    with reading(engine) as session:
        made = {one.id for one in bundles.bundles(session, CASCADE)}
    client = MlflowClient(mlflow_url, mlflow_url)
    versions = Counter(
        one.tags["knowgate.bundle"] for one in client.search_model_versions(f"name = 'knowgate.{CASCADE}'")
    )
    assert made - waiting <= versions.keys() <= made and set(versions.values()) <= {1}
    return Counter(versions_in_mlflow=len(versions))


def waiting_for_mlflow(engine: Engine) -> Sequence[outbox.OutboxMessage]:
    """What MLflow has not heard yet."""
    with reading(engine) as session:
        return [one for one in outbox.messages(session, "mlflow") if one.done_at is None]


def trained_windows(engine: Engine) -> int:
    """How many certifications there are."""
    with reading(engine) as session:
        return len(certifications.certifications(session, CASCADE))


def _as_sent(decision: Decision) -> Decision:
    """Without what the store adds and where a vector lay in its batch."""
    attempts = tuple(replace(attempt, vector=None, cost_usd=None) for attempt in decision.attempts)
    return replace(decision, attempts=attempts)
