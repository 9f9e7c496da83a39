"""What the trainer reports: one record, and a line that a person reads."""

from dataclasses import replace
from datetime import timedelta

import pytest

from factories import make_certificate
from knowgate._bundles.bundle_documents import GainWithinSlices, SignalGain
from knowgate._wire import codec
from services.clock import SimulatedClock
from services.jobs.job import JobContext, JobStopped
from services.jobs.register import TOPIC, RegisterSweep
from services.jobs.train import in_words
from services.jobs.trainer import TrainingDied, run_trainer
from services.settings import Settings
from store.engine import open_engine, transaction
from store.jobs.occasions import Occasion, TrainingReason
from store.jobs.outbox import add_message, claim_messages, finish_message
from store.jobs.trainer_reports import Drained, TrainingOutcome, TrainingStatus

GAIN = SignalGain(
    tier=0,
    signal="score",
    n=900,
    auroc=0.031,
    auroc_low=0.01,
    auroc_high=0.052,
    at_share=0.4,
    accuracy=0.02,
    accuracy_low=-0.001,
    accuracy_high=0.04,
    at_wrong=0.05,
    share=0.1,
    share_low=0.0,
    share_high=0.2,
)
CERTIFICATE = make_certificate(attempt=3, n=900, drop_upper_bound=0.018, retained_share=0.4, gains=(GAIN,))
CERTIFIED = TrainingOutcome(
    status=TrainingStatus.CERTIFIED, cascade="trivia", bundle="ab" * 32, certificate=CERTIFICATE
)


def test_a_certified_outcome_names_its_bundle_its_promise_and_what_signals_add() -> None:
    words = in_words(CERTIFIED)
    assert words.startswith("certified, bundle abababab: retains 40.0 %, drop at most 0.0180, n 900; tier 0 score")
    assert "score over P(T): AUROC +0.031 [+0.010, +0.052]" in words
    assert words.endswith("accuracy of 40 % retained +0.020 [-0.001, +0.040]")


def test_what_a_training_between_two_turns_was_made_for_is_said() -> None:
    turn = Occasion(reason=TrainingReason.SCHEDULE, why="a week has ended")
    asked = Occasion(reason=TrainingReason.ASKED, why="a new market", key="asked:1", asked_by="ada")
    words = in_words(CERTIFIED)
    assert in_words(CERTIFIED, turn) == words and "left out" not in words
    assert in_words(CERTIFIED, asked) == f"{words}; it was made for asked: a new market (ada)"


def test_what_a_signal_adds_beyond_the_slice_stands_beside_what_it_adds_beyond_p_t() -> None:
    within = GainWithinSlices(slices=3, n=800, auroc=0.004, auroc_low=-0.01, auroc_high=0.018)
    certificate = replace(CERTIFICATE, gains=(replace(GAIN, within_slices=within),))
    assert in_words(replace(CERTIFIED, certificate=certificate)).endswith(
        "[-0.001, +0.040], beyond the slice too (within 3 slices) AUROC +0.004 [-0.010, +0.018]"
    )
    assert codec.decode(type(certificate), codec.parse(codec.canonical(certificate))) == certificate


def test_an_outcome_without_a_promise_says_what_would_settle_it_and_what_was_left_out() -> None:
    refused = replace(
        CERTIFIED,
        status=TrainingStatus.INSUFFICIENT_EVIDENCE,
        certificate=replace(CERTIFICATE, gains=()),
        labels_needed=120,
        rows={"p_t_of_another_kind": 12},
    )
    assert in_words(refused) == (
        "insufficient_evidence, attempt 3, n 900, about 120 more labelled decisions would settle it"
        "; 12 decisions left out, their P(T) is of another kind"
    )
    waits = TrainingOutcome(
        status=TrainingStatus.NOT_ATTEMPTED, cascade="trivia", labels_needed=120, rows={"window": 7}
    )
    assert in_words(waits).startswith("not_attempted, 7 mature decisions: it waits for about 120 more labelled ones")
    nothing = TrainingOutcome(status=TrainingStatus.NO_DATA, cascade="trivia", rows={"window": 7})
    assert in_words(nothing) == "no_data, 7 mature decisions"


def test_the_process_that_registers_is_started_where_something_is_due_by_now(
    sqlite_url: str, settings: Settings, clock: SimulatedClock
) -> None:
    context = JobContext(engine=open_engine(sqlite_url), settings=settings, clock=clock, owner="test")
    context.stopping.set()  # which ends the process again
    assert RegisterSweep().run(context) == 0
    with transaction(context.engine) as session:
        add_message(session, TOPIC, "later", "{}", now=clock.now() + timedelta(seconds=1))
    assert RegisterSweep().run(context) == 0
    clock.set(clock.now() + timedelta(seconds=1))
    with pytest.raises(JobStopped):
        RegisterSweep().run(context)


def test_what_waits_by_a_clock_that_was_set_back_is_registered(
    sqlite_url: str, settings: Settings, clock: SimulatedClock
) -> None:
    context = JobContext(engine=open_engine(sqlite_url), settings=settings, clock=clock, owner="test")
    context.stopping.set()  # which ends the process again
    ahead = clock.now() + timedelta(hours=1)
    with transaction(context.engine) as session:
        add_message(session, TOPIC, "ahead", "{}", now=ahead)
        (tried,) = claim_messages(session, TOPIC, owner="test", now=ahead, lease=timedelta(minutes=10))
        finish_message(session, tried, now=ahead, error="MLflow was away")
    with pytest.raises(JobStopped):
        RegisterSweep().run(context)


@pytest.mark.slow
def test_a_report_is_read_as_the_record_that_it_is_and_as_no_other(
    sqlite_url: str, settings: Settings, clock: SimulatedClock
) -> None:
    settings = settings.model_copy(update={"database_url": sqlite_url})
    context = JobContext(engine=open_engine(sqlite_url), settings=settings, clock=clock, owner="test")
    limit = timedelta(minutes=5)
    assert run_trainer(context, "drain-mlflow", [], limit=limit, reports=Drained) == Drained(registered=0, failed=0)
    with pytest.raises(TrainingDied, match=r"drain-mlflow reported what is no TrainingOutcome: .*not known"):
        run_trainer(context, "drain-mlflow", [], limit=limit, reports=TrainingOutcome)
    with pytest.raises(TrainingDied, match="the trainer's none ended with 2: usage"):
        run_trainer(context, "none", [], limit=limit, reports=Drained)
