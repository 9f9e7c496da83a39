"""When a training is due: at its turn, and once for each need, a pause apart, whoever looks and how
often.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import Engine

from factories import make_decision, make_label
from knowgate._records.ids import new_id
from knowgate._records.records import Attempt, Role
from services.asked_training import ask_training
from services.clock import SimulatedClock
from services.declaration.cascade_file import parse_cascade
from services.errors import Refused
from services.jobs.job import JobContext, run_due
from services.jobs.train import TrainJob, train_asked
from services.next_attempt import NextAttempt, due_attempt, next_attempt
from services.settings import Settings
from store.engine import reading, transaction
from store.jobs import job_runs
from store.jobs.job_runs import Claim, JobRun
from store.jobs.occasions import TrainingReason
from store.releases import cascades, rings
from store.releases.rings import Spoken
from store.traffic import decisions, labels
from store.watching import alerts
from store.watching.alerts import AlertRecord
from tests.services.deployment_of_jobs import TWO_TIERS

DAY = timedelta(days=1)
START = datetime(2026, 3, 5, tzinfo=UTC)  # a Thursday: weeks since the epoch begin on one
FEWEST = 2 * 32  # (1 − .05)ⁿ ≤ .2, and half of the prompts teach

CASCADE = f"""
name = "quiz"
{TWO_TIERS}
[targets]
value = 0.05
delta = 0.2
[horizons]
gold = "1d"
"""


class TrainedAs(TrainJob):
    """The job, but for the trainer: it ends as it is asked to, or dies."""

    def __init__(self) -> None:
        self.outcome: str | None = "certified"
        self.labels_needed: int | None = None

    def run(self, context: JobContext, claim: Claim) -> str:
        if self.outcome is None:
            raise RuntimeError("the trainer died")
        with transaction(context.engine) as session:
            job_runs.fence(session, claim)
            needed = self.labels_needed if self.outcome == "not_attempted" else None
            job_runs.finish(session, claim, self.outcome, now=context.clock.now(), labels_needed=needed)
        return self.outcome


class Deployment:
    """One cascade whose first decision is made at `START`, and any number of schedulers."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine, self.clock, self.job = engine, SimulatedClock(START), TrainedAs()
        self.settings = settings
        self.context = self.scheduler("first")
        self.apply(CASCADE)
        self.labelled(1)

    def scheduler(self, owner: str) -> JobContext:
        return JobContext(engine=self.engine, settings=self.settings, clock=self.clock, owner=owner)

    def apply(self, text: str) -> None:
        with transaction(self.engine) as session:
            cascades.apply_cascade(session, parse_cascade(text), now=self.clock.now())

    def at(self, days: float) -> None:
        self.clock.set(START + days * DAY)

    def labelled(self, count: int, *, tiers: tuple[int, ...] = (0, 1)) -> None:
        """Decisions of this moment with labels of their tiers."""
        now = self.clock.now()
        made = []
        for _ in range(count):
            key = new_id(now)
            both = (
                Attempt(tier=0, role=Role.SUPERSEDED, model="tiny"),
                Attempt(tier=1, role=Role.SERVED, model="huge"),
            )
            made.append(make_decision(now, id=key, cascade="quiz", external_id=None, attempts=both))
        bare = make_label(cascade="quiz", correct=1.0, labelled_at=now)
        said = [replace(bare, decision_id=one.id, tier=tier) for one in made for tier in tiers]
        with transaction(self.engine) as session:
            decisions.add_decisions(session, made, received_at=now)
            labels.add_labels(session, said, received_at=now)

    def ring(self, rule: str, *, since: datetime | None = None) -> None:
        now = self.clock.now()
        spoken = Spoken(since=since, until=now)
        with transaction(self.engine) as session:
            waiting = [one.id for one in alerts.alerts(session, "quiz", open_only=True) if one.rule == rule]
            if waiting and waiting[0] is not None:
                rings.add_ring(session, waiting[0], cause="again", details="{}", spoken=spoken, now=now)
            else:
                record = AlertRecord(cascade="quiz", rule=rule, cause="p_t moved", details="{}", opened_at=now)
                alerts.open_alert(session, record, spoken)

    def tick(self) -> list[str]:
        return [outcome.outcome for outcome in run_due(self.context, self.job)]

    @property
    def runs(self) -> list[JobRun]:
        """Oldest first."""
        with reading(self.engine) as session:
            return list(job_runs.job_runs(session, "quiz", job="train"))[::-1]

    @property
    def reasons(self) -> list[tuple[str, float]]:
        """Why each training was made, and how many days after the start."""
        return [(str(run.reason), (run.window.end - START) / DAY) for run in self.runs]

    @property
    def coming(self) -> NextAttempt:
        with reading(self.engine) as session:
            coming = next_attempt(session, "quiz", now=self.clock.now())
        assert coming is not None
        return coming


@pytest.fixture
def quiz(engine: Engine, settings: Settings) -> Deployment:
    return Deployment(engine, settings)


def test_before_the_first_decision_nothing_comes(engine: Engine) -> None:
    with transaction(engine) as session:
        cascades.apply_cascade(session, parse_cascade(CASCADE), now=START)
    with reading(engine) as session:
        assert next_attempt(session, "quiz", now=START) is None
        assert due_attempt(session, "quiz", now=START + 30 * DAY) is None


def test_its_turn_comes_when_a_period_has_ended_and_missed_ones_are_one(quiz: Deployment) -> None:
    quiz.at(3)
    assert (quiz.coming.at, quiz.coming.occasion.reason) == (START + 7 * DAY, TrainingReason.SCHEDULE)
    assert quiz.tick() == []
    quiz.at(7)
    assert quiz.tick() == ["certified"] and quiz.tick() == []
    quiz.at(29)
    assert quiz.tick() == ["certified"]
    assert quiz.reasons == [("schedule", 7.0), ("schedule", 28.0)]
    assert quiz.coming.at == START + 35 * DAY


@pytest.mark.parametrize("rule", ["drift", "savings"])
def test_a_ring_trains_once_what_rang_can_be_learned_whoever_sees_it(quiz: Deployment, rule: str) -> None:
    quiz.at(7)
    quiz.tick()
    quiz.at(10)
    quiz.ring(rule)
    quiz.at(10.1)
    assert quiz.tick() == [], "what rang is younger than the label horizon"
    assert (quiz.coming.at, str(quiz.coming.occasion.reason)) == (START + 11 * DAY, rule)
    quiz.at(11.1)
    assert quiz.tick() == ["certified"]
    for owner in ("second", "started again"):
        assert run_due(quiz.scheduler(owner), quiz.job) == ()
    assert quiz.reasons == [("schedule", 7.0), (rule, 11.1)]
    assert quiz.runs[-1].why == f"{rule} alert of 2026-03-15 00:00 UTC: p_t moved"
    quiz.at(14)
    assert quiz.tick() == ["certified"], "the turn comes as it would have"


def test_what_an_alarm_has_seen_for_long_can_be_learned_at_once(quiz: Deployment) -> None:
    quiz.at(7)
    quiz.tick()
    quiz.at(10)
    quiz.ring("savings", since=START + 8 * DAY)
    assert quiz.tick() == ["certified"] and quiz.reasons[-1] == ("savings", 10.0)


def test_a_turn_that_came_before_what_rang_could_be_learned_does_not_answer_it(quiz: Deployment) -> None:
    quiz.at(13.5)
    quiz.ring("drift")
    quiz.at(14)
    quiz.tick()
    quiz.at(15)
    assert quiz.tick() == ["certified"] and quiz.tick() == []
    assert quiz.reasons == [("schedule", 14.0), ("drift", 15.0)]


def test_two_schedulers_that_saw_the_same_ring_at_different_times_train_once(quiz: Deployment) -> None:
    quiz.at(7)
    quiz.tick()
    quiz.at(10)
    quiz.ring("drift")
    quiz.at(11)
    (seen,) = quiz.job.due(quiz.context, "quiz")
    quiz.at(11.01)
    (seen_later,) = quiz.job.due(quiz.scheduler("second"), "quiz")
    assert seen.window != seen_later.window
    claims = []
    for due in (seen, seen_later):
        with transaction(quiz.engine) as session:
            claims.append(
                job_runs.claim(
                    session,
                    "train",
                    "quiz",
                    due.window,
                    owner="either",
                    lease=timedelta(minutes=5),
                    now=quiz.clock.now(),
                    occasion=due.occasion,
                )
            )
    assert claims[0] is not None and claims[1] is None


def test_a_training_that_died_is_taken_up_again_on_its_own_window(quiz: Deployment) -> None:
    quiz.at(7)
    quiz.tick()
    quiz.at(10)
    quiz.ring("savings")
    quiz.at(11)
    quiz.job.outcome = None
    assert quiz.tick() == ["failed"]
    quiz.at(11.5)
    quiz.job.outcome = "certified"
    assert [outcome.outcome for outcome in run_due(quiz.scheduler("second"), quiz.job)] == ["certified"]
    assert quiz.reasons == [("schedule", 7.0), ("savings", 11.0)]


def test_a_training_that_dies_at_every_try_stands_in_the_way_of_no_turn(quiz: Deployment) -> None:
    quiz.at(7)
    quiz.tick()
    quiz.at(10)
    quiz.ring("savings")
    quiz.at(11)
    quiz.job.outcome = None
    quiz.tick()
    quiz.at(14)
    quiz.job.outcome = "certified"
    assert quiz.tick() == ["certified"] and quiz.tick() == []
    assert [run.reason for run in quiz.runs if run.finished_at] == [TrainingReason.SCHEDULE] * 2


def test_alarms_that_ring_in_a_row_train_once_a_period_each_and_a_pause_apart(quiz: Deployment) -> None:
    quiz.at(7)
    quiz.tick()
    for hour in range(7 * 24, 13 * 24, 6):
        quiz.at(hour / 24 + 0.01)
        quiz.ring("savings" if hour < 10 * 24 else "drift")
        quiz.tick()
    assert [(reason, int(at)) for reason, at in quiz.reasons] == [("schedule", 7), ("savings", 8), ("drift", 11)]
    assert quiz.coming.at == START + 14 * DAY, "its turn, before either calls again"


def test_a_kind_of_alarm_calls_again_when_a_period_has_passed_since_it_was_answered(quiz: Deployment) -> None:
    quiz.apply(CASCADE + '[schedule]\ntrain_every = "28d"\ntrain_pause = "3d"\n')
    for day, outcome in ((7, "certified"), (10, "not_attempted"), (13, "certified")):
        quiz.at(day)
        quiz.job.outcome = outcome
        quiz.ring("savings")
        quiz.at(day + 1)
        quiz.tick()
    reasons = [reason for reason, _ in quiz.reasons]
    assert reasons == ["schedule", "savings", "savings"], "the second showed nothing"
    quiz.at(20)
    quiz.ring("savings")
    assert quiz.coming.at == START + 35 * DAY, "its turn: two days before the alarm calls again"


@pytest.mark.slow
def test_a_pause_as_long_as_a_period_leaves_the_turns_alone(quiz: Deployment) -> None:
    quiz.apply(CASCADE + '[schedule]\ntrain_pause = "8d"\n')
    quiz.labelled(10 * FEWEST)
    for hour in range(0, 15 * 24, 6):
        quiz.at(hour / 24)
        quiz.ring("drift")
        quiz.tick()
    assert quiz.reasons == [("schedule", 7.0), ("schedule", 14.0)]


def test_a_turn_that_comes_right_after_a_need_was_attempted_is_left_out(quiz: Deployment) -> None:
    quiz.at(7)
    quiz.tick()
    quiz.at(12.5)
    quiz.ring("drift")
    quiz.at(13.5)
    quiz.tick()
    quiz.at(14)
    assert quiz.tick() == [] and quiz.coming.at == START + 21 * DAY


@pytest.mark.parametrize("outcome", ["not_attempted", "no_data"])
def test_and_is_made_where_the_need_was_not_attempted(quiz: Deployment, outcome: str) -> None:
    quiz.at(7)
    quiz.tick()
    quiz.at(12.5)
    quiz.ring("drift")
    quiz.at(13.5)
    quiz.job.outcome = outcome
    quiz.tick()
    quiz.at(14)
    assert quiz.tick() == [outcome]


def test_enough_labels_call_for_the_first_attempt_before_its_turn(quiz: Deployment) -> None:
    quiz.labelled(FEWEST - 2)
    quiz.labelled(10, tiers=(0,))
    quiz.at(1.5)
    awaited = quiz.coming.labels
    assert awaited is not None and (awaited.known, awaited.needed, awaited.since) == (FEWEST - 1, FEWEST, None)
    assert quiz.tick() == []
    quiz.at(2)
    quiz.labelled(1)
    quiz.at(2.9)
    assert quiz.tick() == [], "labels may still come of it: it is younger than the horizon"
    quiz.at(3.1)
    assert quiz.tick() == ["certified"] and quiz.reasons == [("labels", 3.1)]
    assert quiz.runs[0].why == f"{FEWEST} labelled decisions, {FEWEST} were waited for"


def test_then_twice_as_many_do_whatever_came_of_it(quiz: Deployment) -> None:
    quiz.labelled(FEWEST - 1)
    quiz.at(1.5)
    assert quiz.tick() == ["certified"]
    quiz.labelled(FEWEST - 1)
    quiz.at(2.6)
    assert quiz.tick() == [], "one is missing"
    quiz.labelled(1)
    quiz.at(3.7)
    quiz.job.outcome = "insufficient_evidence"
    assert quiz.tick() == ["insufficient_evidence"]
    quiz.labelled(2 * FEWEST - 1)
    quiz.at(4.8)
    assert quiz.tick() == []
    quiz.labelled(1)
    quiz.at(5.9)
    assert quiz.tick() == ["insufficient_evidence"]
    assert [reason for reason, _ in quiz.reasons] == ["labels"] * 3


def test_an_attempt_that_was_not_made_says_how_many_labels_it_waits_for(quiz: Deployment) -> None:
    quiz.at(7)
    quiz.job.outcome, quiz.job.labels_needed = "not_attempted", 30
    quiz.tick()
    quiz.labelled(29)
    quiz.at(8.5)
    awaited = quiz.coming.labels
    assert awaited is not None and (awaited.known, awaited.needed) == (30, 31)
    assert quiz.tick() == []
    quiz.labelled(1)
    quiz.at(10)
    quiz.job.outcome = "certified"
    assert quiz.tick() == ["certified"] and quiz.reasons[-1][0] == "labels"


def test_after_a_risk_alarm_enough_decisions_since_it_call_for_an_attempt(quiz: Deployment) -> None:
    quiz.labelled(FEWEST)
    quiz.at(7)
    quiz.tick()
    quiz.at(8)
    quiz.ring("risk")
    assert quiz.tick() == [], "nothing that came after it is known yet"
    quiz.at(8.1)
    quiz.labelled(FEWEST)
    quiz.at(8.9)
    awaited = quiz.coming.labels
    assert awaited is not None and (awaited.known, awaited.since) == (0, START + 8 * DAY)
    quiz.at(9.2)
    assert quiz.tick() == ["certified"] and quiz.tick() == []
    run = quiz.runs[-1]
    assert run.reason is TrainingReason.RISK
    assert str(run.why).startswith("risk alarm of 2026-03-13 00:00 UTC: p_t moved; since then 64 labelled decisions")


def test_a_declared_model_that_changed_is_learned_once_enough_is_known_of_it(quiz: Deployment) -> None:
    quiz.labelled(FEWEST)
    quiz.at(7)
    quiz.tick()
    quiz.at(8)
    quiz.apply(CASCADE.replace('"tiny"', '"tinier"').replace("0.05", "0.06"))
    quiz.apply(CASCADE.replace('"tiny"', '"tinier"'))  # other targets are no other models
    quiz.at(8.1)
    quiz.labelled(FEWEST)
    quiz.at(9.2)
    assert quiz.tick() == ["certified"]
    assert quiz.reasons[-1] == ("model", 9.2)
    assert str(quiz.runs[-1].why).startswith("other models were declared at 2026-03-13 00:00 UTC; since then 64")


def test_labels_are_counted_now_and_then_and_not_at_every_tick(quiz: Deployment) -> None:
    quiz.at(1.01)
    assert quiz.tick() == []
    counted = dict(quiz.context.labels_counted)
    quiz.at(1.01 + 0.99 / 24)  # a pause is a day
    quiz.tick()
    assert quiz.context.labels_counted == counted
    quiz.at(1.01 + 1.01 / 24)
    quiz.tick()
    assert quiz.context.labels_counted != counted


def test_a_training_of_a_clock_that_was_set_back_since_does_not_count(quiz: Deployment) -> None:
    quiz.at(70)
    quiz.tick()
    with reading(quiz.engine) as session:
        due = due_attempt(session, "quiz", now=START + 14 * DAY)
    assert due is not None and due.at == START + 14 * DAY


def ask(quiz: Deployment, *, insist: bool = False) -> str:
    return train_asked(quiz.context, "quiz", why="a new market", by="ada", insist=insist, job=quiz.job).outcome


def test_a_person_may_ask_at_any_time_and_who_and_why_are_kept(quiz: Deployment) -> None:
    quiz.labelled(FEWEST)
    quiz.at(7)
    quiz.tick()
    quiz.at(7.1)
    assert [ask(quiz), ask_later(quiz, 7.2)] == ["certified", "certified"], "no pause holds a person up"
    assert quiz.reasons == [("schedule", 7.0), ("asked", 7.1), ("asked", 7.2)]
    made_for = quiz.runs[-1].made_for
    assert str(made_for) == "asked: a new market (ada)"
    quiz.at(14)
    assert quiz.tick() == ["certified"]


def ask_later(quiz: Deployment, days: float) -> str:
    quiz.at(days)
    return ask(quiz)


def test_an_attempt_that_could_show_nothing_is_refused_unless_somebody_insists(quiz: Deployment) -> None:
    quiz.labelled(FEWEST - 2)
    quiz.at(2)
    with pytest.raises(Refused, match=rf"{FEWEST - 1} decisions are old enough.*{FEWEST} are the fewest.*--insist"):
        ask(quiz)
    assert quiz.runs == []
    assert ask(quiz, insist=True) == "certified" and quiz.reasons == [("insisted", 2.0)]


def test_what_is_asked_for_elsewhere_the_scheduler_begins_once(quiz: Deployment) -> None:
    quiz.labelled(FEWEST)
    quiz.at(2)
    asked = partial(ask_training, cascade="quiz", why="a new market", by="ada", insist=False, now=quiz.clock.now())
    with transaction(quiz.engine) as session:
        asked(session)
    with transaction(quiz.engine) as session, pytest.raises(Refused, match=r"is asked for already \(ada asked at"):
        asked(session)
    quiz.at(2.01)
    assert quiz.tick() == ["certified"] and quiz.tick() == []
    assert quiz.reasons == [("asked", 2.01)] and str(quiz.runs[-1].made_for) == "asked: a new market (ada)"
    quiz.at(2.02)
    assert ask(quiz) == "certified", "it may be asked again"
    assert quiz.tick() == []


def test_one_that_is_asked_for_and_dies_is_taken_up_again(quiz: Deployment) -> None:
    quiz.labelled(FEWEST)
    quiz.at(2)
    with transaction(quiz.engine) as session:
        ask_training(session, "quiz", why="a new market", by="ada", insist=False, now=quiz.clock.now())
    quiz.job.outcome = None
    quiz.tick()
    quiz.job.outcome = "certified"
    quiz.at(2.5)
    assert quiz.tick() == ["certified"] and [reason for reason, _ in quiz.reasons] == ["asked"]


def test_after_a_risk_alarm_it_says_since_when_labels_count(quiz: Deployment) -> None:
    quiz.labelled(2 * FEWEST)
    quiz.at(3)
    quiz.ring("risk")
    with pytest.raises(Refused, match=r"0 decisions since 2026-03-08 00:00 UTC are old enough"):
        ask(quiz)


def test_nobody_may_ask_while_a_training_is_under_way_or_waits_for_its_next_try(quiz: Deployment) -> None:
    quiz.labelled(FEWEST)
    quiz.at(7)
    quiz.job.outcome = None
    quiz.tick()
    with pytest.raises(Refused, match=r"under way, or waits for its next try \(first began it"):
        ask(quiz)


def test_a_training_that_has_just_ended_is_in_nobodys_way(quiz: Deployment) -> None:
    quiz.labelled(FEWEST)
    quiz.at(7)
    quiz.tick()
    quiz.at(7.001)
    assert quiz.runs[0].lease_until > quiz.clock.now() and ask(quiz) == "certified"
