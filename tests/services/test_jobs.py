"""Jobs: due windows follow from what is finished; an effect is single; a failure is released and tried again."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, update

from knowgate import Window, codec
from knowgate.errors import RecordInvalid
from services.checkup import State, examine
from services.clock import SimulatedClock
from services.jobs.job import RETRY_AFTER, JobContext, run_due
from services.jobs.one_cascade import OneCascade
from services.jobs.seal import SealJob
from services.jobs.windows import due_windows, floor_time, last_due_window
from services.settings import Settings
from services.vector_retention import forget_expired
from store import cascades, job_runs, ledger, shard_moves
from store.engine import reading, transaction
from store.job_runs import Claim
from store.tables import CascadeVersionRow

HOUR = timedelta(hours=1)
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
times = st.integers(1_600_000_000, 1_900_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@pytest.fixture
def context(engine: Engine, settings: Settings, clock: SimulatedClock) -> JobContext:
    return JobContext(engine=engine, settings=settings, clock=clock, owner="test")


class CountingJob:
    """Counts its effects; fails as often as it is told."""

    name = "counting"

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.effects: list[Window] = []

    def cascades(self, context: JobContext) -> Sequence[str]:
        return ("trivia",)

    def due(self, context: JobContext, cascade: str) -> Iterable[Window]:
        now = context.clock.now()
        with reading(context.engine) as session:
            done = job_runs.watermark(session, self.name, cascade) or now - 2 * HOUR
        return list(due_windows(every=HOUR, done_until=done, now=now))

    def run(self, context: JobContext, claim: Claim) -> str:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("no luck")
        with transaction(context.engine) as session:
            job_runs.fence(session, claim)
            job_runs.finish(session, claim, "counted", now=context.clock.now())
        self.effects.append(claim.window)
        return "counted"


def spoil(engine: Engine, name: str, tokens: int = 10**26) -> None:
    """Stores a cascade beside `trivia` that nothing reads back, as one that was applied before it was refused."""
    with transaction(engine) as session:
        spec = cascades.cascade(session, "trivia")
        cascades.apply_cascade(session, replace(spec, name=name), now=NOW)
        held = {**codec.encode(spec), "name": name, "alarms": {"max_tokens": tokens}}
        session.execute(update(CascadeVersionRow).where(CascadeVersionRow.cascade == name).values(spec=held))


class ReadingJob(CountingJob):
    """Reads the cascade to tell what is due, as jobs do."""

    def cascades(self, context: JobContext) -> Sequence[str]:
        with reading(context.engine) as session:
            return cascades.cascade_names(session)

    def due(self, context: JobContext, cascade: str) -> Iterable[Window]:
        with reading(context.engine) as session:
            cascades.cascade(session, cascade)
        return super().due(context, cascade)


@pytest.mark.usefixtures("trivia")
def test_a_cascade_that_cannot_be_read_stops_no_other(context: JobContext, caplog: pytest.LogCaptureFixture) -> None:
    spoil(context.engine, "spoilt")  # before trivia, in order of names
    outcomes = run_due(context, ReadingJob())
    assert [(outcome.cascade, outcome.outcome) for outcome in outcomes] == 2 * [("trivia", "counted")]
    assert "counting leaves out spoilt" in caplog.text and "alarms.max_tokens is 1000" in caplog.text
    with pytest.raises(RecordInvalid, match=r"alarms\.max_tokens"):  # a command that names it is told
        run_due(context, OneCascade(ReadingJob(), "spoilt"))


@pytest.mark.usefixtures("trivia")
def test_a_cascade_that_cannot_be_read_keeps_its_vectors_and_stops_no_other(
    context: JobContext, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(context.engine, "spoilt")
    counts = iter((3, 0))
    asked: list[str] = []

    def forget(session: object, cascade: str, *, before: datetime) -> int:
        asked.append(cascade)
        return next(counts)

    monkeypatch.setattr(shard_moves, "forget_vectors", forget)
    assert forget_expired(context.engine, timedelta(days=90), now=NOW) == 3
    assert asked == ["trivia", "trivia"]
    assert "no vectors of spoilt are forgotten" in caplog.text and "apply a good file again" in caplog.text


@pytest.mark.usefixtures("trivia")
def test_the_doctor_names_the_cascade_that_cannot_be_read_and_looks_at_the_others(
    engine: Engine, settings: Settings, database_url: str
) -> None:
    spoil(engine, "spoilt")
    found = {finding.check: finding for finding in examine(replace(settings, database_url=database_url), now=NOW)}
    assert found["spoilt"].state is State.BAD and "alarms.max_tokens" in found["spoilt"].found
    assert "apply a good file again" in str(found["spoilt"].cure)
    assert found["trivia"].state is State.OK


@given(times, st.integers(1, 500), st.integers(0, 40))
def test_due_windows_are_aligned_whole_and_gapless(start: datetime, minutes: int, count: int) -> None:
    every = timedelta(minutes=minutes)
    now = start + every * count
    found = list(due_windows(every=every, done_until=start, now=now))
    assert all(floor_time(window.start, every) == window.start and window.end <= now for window in found)
    assert all(one.end == other.start for one, other in pairwise(found))
    last = last_due_window(every=every, done_until=start, now=now)
    assert last == (found[-1] if found else None)


@pytest.mark.usefixtures("trivia")
def test_every_window_takes_effect_once(context: JobContext) -> None:
    job = CountingJob()
    assert [outcome.outcome for outcome in run_due(context, job)] == ["counted", "counted"]
    assert run_due(context, job) == ()
    assert len(job.effects) == 2


@pytest.mark.usefixtures("trivia")
def test_a_failed_window_is_tried_again_later_and_keeps_the_order(context: JobContext, clock: SimulatedClock) -> None:
    job = CountingJob(failures=1)
    assert [outcome.outcome for outcome in run_due(context, job)] == ["failed"], "later windows wait for it"
    assert run_due(context, job) == (), "not before its time"
    clock.set(clock.now() + RETRY_AFTER)
    assert [outcome.outcome for outcome in run_due(context, job)] == ["counted", "counted"]


@pytest.mark.usefixtures("trivia")
def test_a_window_that_somebody_holds_is_left_to_them_until_their_lease_ends(
    context: JobContext, clock: SimulatedClock
) -> None:
    job = CountingJob()
    (first, *_) = job.due(context, "trivia")
    with transaction(context.engine) as session:
        held = job_runs.claim(
            session, job.name, "trivia", first, owner="other", lease=timedelta(minutes=2), now=clock.now()
        )
    assert held is not None
    assert run_due(context, job) == ()
    clock.set(clock.now() + timedelta(minutes=3))
    assert len(run_due(context, job)) == 2
    with pytest.raises(job_runs.ClaimLost), transaction(context.engine) as session:
        job_runs.fence(session, held)


@pytest.mark.usefixtures("trivia")
def test_sealing_leaves_nothing_open(context: JobContext, clock: SimulatedClock) -> None:
    with transaction(context.engine) as session:
        ledger.append_leaf(session, "trivia", "note", "x", "{}", now=clock.now())
    (outcome,) = run_due(context, SealJob())
    assert outcome.outcome == "sealed 1 leaves"
    with reading(context.engine) as session:
        assert ledger.unsealed(session) == ()
