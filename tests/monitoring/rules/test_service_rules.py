"""Rules on what runs beside the answers, and on labels: where they are raised and where not."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from monitoring.drift.drift import MissingShift, missing_shift
from monitoring.rules.label_rules import assess_starvation
from monitoring.rules.rules import Standing
from monitoring.rules.service_rules import assess_deliveries, assess_jobs, assess_silence
from monitoring.rules.signal_rules import assess_missing
from store.jobs.job_ticks import JOB_PATIENCE, JobTick
from store.releases.assignments import FORGOTTEN_AFTER, RuntimeState
from store.watching.deliveries import DeliveryRecord

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
RAISED, CLEAR, UNKNOWN = Standing.RAISED, Standing.CLEAR, Standing.UNKNOWN


def tick(job, ago, *, failed=None, failures=0):
    return JobTick(
        job=job,
        owner="host-1",
        ticked_at=NOW - ago,
        succeeded_at=NOW - ago if failed is None else NOW - failed,
        failed_at=None if failed is None else NOW - ago,
        failures=failures,
        last_error=None if failed is None else "disk is full",
        took_s=None,
    )


SECOND = timedelta(seconds=1)
OWN = tick("monitor", SECOND)


def jobs(*ticks, busy=frozenset()):
    return assess_jobs(ticks, busy=busy, now=NOW)


def test_a_job_that_others_have_left_behind_is_named_with_its_last_error():
    said = jobs(OWN, tick("deliver", SECOND, failed=JOB_PATIENCE + SECOND, failures=90), tick("seal", SECOND))
    assert said.standing is RAISED
    assert said.cause == "deliver last came to its end at 2026-03-10 11:44 UTC: disk is full"
    assert said.details == {"jobs": "deliver", "failures": 90}


@pytest.mark.parametrize(("ago", "standing"), [(JOB_PATIENCE, CLEAR), (JOB_PATIENCE + SECOND, RAISED)])
def test_a_job_is_behind_after_its_patience(ago, standing):
    assert jobs(OWN, tick("seal", ago)).standing is standing


def test_a_job_that_is_at_work_is_not_behind():
    assert jobs(OWN, tick("train", 10 * JOB_PATIENCE), busy=frozenset({"train"})).standing is CLEAR


def test_after_the_scheduler_was_away_nothing_is_said_of_its_jobs():
    away = 5 * JOB_PATIENCE
    assert jobs(tick("monitor", away), tick("seal", away)).standing is UNKNOWN
    assert jobs().standing is UNKNOWN


def shift(column, now, before=(0, 500)):
    return missing_shift(column, before, now)


def missing(*shifts: MissingShift | None, escalated=0.98):
    return assess_missing([("small", [one for one in shifts if one])], since=NOW, escalated=escalated)


def test_a_signal_that_went_missing_is_named_with_its_tier_since_when_and_what_it_costs():
    said = missing(shift("p_t", (60, 60)), shift("p_ik", (0, 60)))
    assert said.cause == (
        "at tier small the probability of its answer (P(T)) is missing in 100 % of answers, before in 0 %,"
        " since 2026-03-10 12:00 UTC; 98 % of queries escalate because a signal is missing"
    )
    assert said.details["columns"] == "small.p_t"
    assert missing(shift("p_t", (0, 60)), shift("p_ik", (0, 60))).speaks_of(said.details)
    assert not missing(shift("p_ik", (0, 60))).speaks_of(said.details)


@pytest.mark.parametrize(
    ("before", "now", "standing"),
    [
        ((0, 500), (5, 60), RAISED),
        ((0, 500), (2, 60), CLEAR),  # under five points
        ((100, 500), (15, 60), CLEAR),  # by chance: 20 % and 25 %
        ((0, 500), (49, 49), UNKNOWN),  # too few
        ((0, 49), (60, 60), UNKNOWN),
    ],
)
def test_a_signal_is_missing_beyond_five_points_and_beyond_chance(before, now, standing):
    assert missing(shift("p_t", now, before)).standing is standing


def starved(needed, since, week, near=timedelta(weeks=4)):
    return assess_starvation(needed, since, week, near=near, as_of=NOW)


def test_labels_that_come_too_slowly_are_told_with_how_many_are_needed():
    said = starved(400, 40, 30)
    assert said.standing is RAISED
    assert said.cause == (
        "30 decisions were labelled in the last mature week, and the next certificate needs about 360 more: at this"
        " rate in 12 weeks; 90 a week would do"
    )


@pytest.mark.parametrize(
    ("needed", "since", "week", "standing"),
    [
        (400, 0, 100, CLEAR),  # four weeks
        (401, 0, 100, RAISED),
        (400, 400, 1, CLEAR),
        (None, 0, 1, CLEAR),
        (400, 0, 0, UNKNOWN),  # none come at all: another rule's
    ],
)
def test_labels_starve_where_a_certificate_is_further_than_near(needed, since, week, standing):
    assert starved(needed, since, week).standing is standing


def runtime(name, ago, *, again_s=60.0):
    return RuntimeState(
        cascade="c",
        runtime=name,
        generation=3,
        bundle=None,
        accepted=True,
        detail=None,
        at=NOW - ago,
        heard_at=NOW - ago,
        again_s=again_s,
    )


def test_a_silent_runtime_is_named_with_when_it_was_last_heard_of():
    said = assess_silence([runtime("a", timedelta(minutes=10)), runtime("b", SECOND)], now=NOW)
    assert said.standing is RAISED
    assert said.cause == "a was last heard of at 2026-03-10 11:50 UTC; 1 of 2 are heard of"


@pytest.mark.parametrize(
    ("ago", "again_s", "standing"),
    [
        (timedelta(minutes=3), 60.0, CLEAR),
        (timedelta(minutes=3, seconds=1), 60.0, RAISED),
        (timedelta(minutes=59), 3600.0, CLEAR),  # it polls once an hour
        (timedelta(days=3), None, CLEAR),  # it speaks only when something changes
        (FORGOTTEN_AFTER, 60.0, RAISED),
        (FORGOTTEN_AFTER + SECOND, 60.0, CLEAR),  # gone
    ],
)
def test_a_runtime_is_silent_by_its_own_measure_and_not_for_ever(ago, again_s, standing):
    assert assess_silence([runtime("a", ago, again_s=again_s)], now=NOW).standing is standing
    assert assess_silence([], now=NOW).standing is UNKNOWN


def given_up(receiver, error="the receiver answered 410"):
    return DeliveryRecord(
        id=uuid4(),
        cascade="c",
        alert_id=uuid4(),
        promotion_id=None,
        receiver=receiver,
        number=1,
        event="opened",
        payload="{}",
        attempts=12,
        created_at=NOW,
        due_at=None,
        delivered_at=None,
        failed_at=NOW,
        last_error=error,
    )


def test_messages_that_were_given_up_are_told_per_receiver_without_its_secrets():
    lost = [given_up("https://hooks.example/services/T0SECRET"), given_up("pager", "it was silent for 10 s")] * 2
    said = assess_deliveries(lost, 3)
    assert said.standing is RAISED
    assert said.cause.startswith("of 7 messages of the last day were given up: 2 to https://hooks.example")
    assert "(the receiver answered 410); 2 to pager (it was silent for 10 s)" in said.cause
    assert "T0SECRET" not in said.cause


@pytest.mark.parametrize(("received", "standing"), [(1, CLEAR), (0, UNKNOWN)])
def test_only_a_message_that_arrives_says_that_messages_do(received, standing):
    assert assess_deliveries([], received).standing is standing
