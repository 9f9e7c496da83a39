"""Who notices that the scheduler is dead: the service says it, on both databases."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from knowgate import Window
from services.http.heartbeat import Pulse, heartbeat
from store.engine import reading, transaction
from store.jobs import job_runs
from store.jobs.job_ticks import JOB_PATIENCE, put_tick

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def beat(engine: Engine, **ticks: timedelta) -> tuple[Pulse, str]:
    with transaction(engine) as session:
        for job, ago in ticks.items():
            put_tick(session, job, owner="host-1", now=NOW - ago, error=None)
    with reading(engine) as session:
        seen = heartbeat(session, now=NOW)
    return seen.pulse, seen.sentence


def test_before_the_first_tick_nobody_is_missed(engine: Engine) -> None:
    assert beat(engine) == (Pulse.NONE_YET, "No scheduler has run yet.")


@pytest.mark.parametrize(("ago", "pulse"), [(JOB_PATIENCE, Pulse.REGULAR), (JOB_PATIENCE + SECOND, Pulse.STILL)])
def test_a_scheduler_that_no_longer_looks_is_missed(engine: Engine, ago: timedelta, pulse: Pulse) -> None:
    assert beat(engine, monitor=ago, seal=ago)[0] is pulse


def test_it_is_said_since_when_and_what_stands_still(engine: Engine) -> None:
    assert beat(engine, monitor=timedelta(hours=2))[1] == (
        "No scheduler has looked for work since 2026-03-10 10:00 UTC: nothing is watched, trained or sent."
    )


def test_a_job_that_stands_still_beside_others_is_named_and_one_at_work_is_not(engine: Engine) -> None:
    late = beat(engine, monitor=SECOND, train=timedelta(hours=1))
    assert late == (Pulse.BEHIND, "A job stands still: train last came to its end at 2026-03-10 11:00 UTC.")
    with transaction(engine) as session:
        window = Window(start=NOW - timedelta(days=1), end=NOW)
        job_runs.claim(session, "train", "c", window, owner="host-1", lease=timedelta(minutes=5), now=NOW)
    assert beat(engine)[0] is Pulse.REGULAR
