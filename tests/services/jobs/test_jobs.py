"""Jobs: due windows follow from what is finished; an effect is single; a failure is released and
tried again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select, update

from knowgate import Decision, Window, new_id
from knowgate._wire import codec
from knowgate.errors import RecordInvalid
from knowgate.spec import Schedule
from services.audit.heads import parse_head, read_head
from services.audit.verify import verify_ledger
from services.clock import SimulatedClock
from services.declaration.cascade_file import parse_cascade
from services.jobs.job import RETRY_AFTER, JobContext, run_due
from services.jobs.monitor import MonitorJob
from services.jobs.seal import SealJob
from services.jobs.timetable import seal_every
from services.jobs.train import TrainJob, training_window
from services.settings import Settings
from services.upkeep.checkup import State, examine
from services.vectors.retention import forget_expired
from services.windows import eventful_windows, floor_time, last_due_window
from store.engine import reading, transaction
from store.jobs import job_runs
from store.jobs.job_runs import Claim
from store.ledger import ledger
from store.releases import cascades
from store.tables import CascadeVersionRow, VectorPlaceRow, VectorShardRow
from store.traffic import decisions
from store.watching import figures
from tests.services.conftest import CASCADE, due_windows
from tests.vector_cast import push

HOUR = timedelta(hours=1)
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
times = st.integers(1_600_000_000, 1_900_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@pytest.fixture
def context(engine: Engine, settings: Settings, clock: SimulatedClock) -> JobContext:
    return JobContext(engine=engine, settings=settings, clock=clock, owner="test")


class CountingJob:
    """Counts its effects; fails as often as a test says."""

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
    """Stores a cascade beside `trivia` that nothing reads back, as one that was applied before it
    was refused.
    """
    with transaction(engine) as session:
        spec = cascades.cascade(session, "trivia")
        cascades.apply_cascade(session, replace(spec, name=name), now=NOW)
        stored = {**codec.encode(spec), "name": name, "alarms": {"max_tokens": tokens}}
        spoilt = update(CascadeVersionRow).where(CascadeVersionRow.cascade == name).values(spec=stored)
        session.execute(spoilt, execution_options={"noted": False})


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
    with pytest.raises(RecordInvalid, match=r"alarms\.max_tokens"):  # a command that names it is refused
        run_due(context, ReadingJob(), only="spoilt")


@pytest.mark.usefixtures("trivia")
def test_a_cascade_that_cannot_be_read_keeps_its_vectors_and_stops_no_other(
    context: JobContext, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(context.engine, "spoilt", tokens=1000)  # a good one yet
    old = NOW - timedelta(days=100)
    for seed, cascade in enumerate(("spoilt", "trivia")):
        push(context.engine, tmp_path.as_uri(), 3, seed=seed, at=old, cascade=cascade)
    spoil(context.engine, "spoilt")
    assert forget_expired(context.engine, timedelta(days=90), now=NOW) == 3
    with reading(context.engine) as session:
        assert session.scalars(select(VectorShardRow.cascade).join(VectorPlaceRow)).all() == 3 * ["spoilt"]
    assert "no vectors of spoilt are forgotten" in caplog.text and "apply a good file again" in caplog.text


@pytest.mark.usefixtures("trivia")
def test_the_doctor_names_the_cascade_that_cannot_be_read_and_looks_at_the_others(
    engine: Engine, settings: Settings, database_url: str
) -> None:
    spoil(engine, "spoilt")
    found = {
        finding.check: finding
        for finding in examine(settings.model_copy(update={"database_url": database_url}), now=NOW)
    }
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
@given(
    times,
    st.lists(st.integers(0, 70 * 24 * 60), max_size=5),
    st.sampled_from([timedelta(minutes=7), HOUR, 7 * HOUR, timedelta(days=1), timedelta(days=10)]),
    st.integers(0, 30),
)
@hypothesis.settings(deadline=None)
def test_no_window_from_which_something_can_follow_is_passed_over(
    start: datetime, minutes: list[int], every: timedelta, echo_days: int
) -> None:
    decided = sorted([start, *(start + timedelta(minutes=minute) for minute in minutes)])
    now, echo = start + timedelta(days=60), timedelta(days=echo_days)
    every_due = list(due_windows(every=every, done_until=start, now=now))
    found = list(
        eventful_windows(
            every=every,
            done_until=start,
            now=now,
            echo=echo,
            next_decision=lambda since: next((time for time in decided if time >= since), None),
        )
    )
    assert sorted(set(found), key=lambda window: window.end) == found, "in order, each once"
    assert set(found) <= set(every_due)
    seen = set(found)
    for window in every_due:
        holds = any(window.start <= time < window.end for time in decided)
        ends_day = window.start.date() != window.end.date()
        echoes = any(time < window.end <= time + echo for time in decided)
        if holds or (ends_day and echoes) or window == every_due[-1]:
            assert window in seen, window
    assert len(found) <= 1 + len(decided) * (3 + echo_days)


@pytest.mark.slow
@pytest.mark.usefixtures("trivia")
def test_today_is_watched_at_once_though_the_first_decision_is_ten_years_old(
    context: JobContext, clock: SimulatedClock, decision: Callable[..., Decision]
) -> None:
    long_ago = NOW - timedelta(days=3652)
    first, last = (decision(0, id=new_id(when), occurred_at=when) for when in (long_ago, NOW - timedelta(minutes=30)))
    with transaction(context.engine) as session:
        decisions.add_decisions(session, [first, last], received_at=NOW)
    clock.set(NOW + timedelta(minutes=20))
    watched = [outcome.window for outcome in run_due(context, MonitorJob())]
    assert watched[0].start <= long_ago < watched[0].end and watched[-1].end == NOW
    assert len(watched) < 50
    assert run_due(context, MonitorJob()) == ()
    with reading(context.engine) as session:
        queries = figures.figures(session, "trivia", names=["queries"])
    counted = {row.window.end: row.value for row in queries if row.tier is None and row.slice is None}
    assert counted[watched[0].end] == 1 and counted[NOW] == 1


@pytest.mark.slow
def test_the_ledger_is_sealed_as_often_as_the_most_eager_cascade_asks(
    context: JobContext, clock: SimulatedClock
) -> None:
    def seals_within(length: timedelta) -> int:
        """How often a leaf that comes every half minute is sealed."""
        seals = 0
        for _ in range(length // timedelta(seconds=30)):
            clock.set(clock.now() + timedelta(seconds=30))
            with transaction(context.engine) as session:
                ledger.append_leaf(session, "trivia", "note", "x", "{}", now=clock.now())
            seals += len(run_due(context, SealJob()))
        return seals

    apply(context, "lazy", 'seal_every = "1d"')
    assert seals_within(timedelta(minutes=30)) == 1, "a new database is sealed once, and then daily"
    apply(context, "usual", "")
    assert seals_within(timedelta(minutes=30)) == 4, "at once, and at 40, 50 and 0"
    apply(context, "eager", 'seal_every = "2m"')
    assert seals_within(timedelta(minutes=30)) == 15


@pytest.mark.parametrize("key", [field.name for field in fields(Schedule)])
def test_every_key_of_the_schedule_has_an_effect(
    context: JobContext, clock: SimulatedClock, decision: Callable[..., Decision], key: str
) -> None:
    def windows() -> object:
        """What a day of the cascade's jobs works on, and the window that training reads."""
        (watched, *_), (due, *_) = list(MonitorJob().due(context, "trivia")), list(TrainJob().due(context, "trivia"))
        with reading(context.engine) as session:
            pause = cascades.cascade(session, "trivia").schedule.pause
        learned = due.window
        return (
            watched.length,
            learned.length,
            seal_every(context),
            training_window(context, "trivia", learned).length,
            pause,
        )

    apply(context, "trivia", "")
    with transaction(context.engine) as session:
        decisions.add_decisions(session, [decision()], received_at=NOW)
    clock.set(NOW + timedelta(days=20))
    before = windows()
    apply(context, "trivia", f'{key} = "5m"')
    assert windows() != before


def apply(context: JobContext, name: str, schedule: str) -> None:
    text = CASCADE.replace('name = "trivia"', f'name = "{name}"') + f"[schedule]\n{schedule}"
    with transaction(context.engine) as session:
        cascades.apply_cascade(session, parse_cascade(text), now=context.clock.now())


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
def test_a_window_that_fails_at_every_try_is_tried_ever_later(context: JobContext, clock: SimulatedClock) -> None:
    job, tries = CountingJob(failures=1000), 0
    for _ in range(59):
        tries += len(run_due(context, job))
        clock.set(clock.now() + timedelta(minutes=1))
    assert tries == 10, "after 1, 3 and 7 minutes, then every 7.5: an eighth of its window"
    job.failures = 0
    clock.set(clock.now() + timedelta(minutes=8))
    assert "counted" in [outcome.outcome for outcome in run_due(context, job)]


@pytest.mark.usefixtures("trivia")
def test_a_window_that_somebody_holds_is_left_to_them_until_their_lease_ends(
    context: JobContext, clock: SimulatedClock
) -> None:
    job = CountingJob()
    (first, *_) = job.due(context, "trivia")
    with transaction(context.engine) as session:
        claimed = job_runs.claim(
            session, job.name, "trivia", first, owner="other", lease=timedelta(minutes=2), now=clock.now()
        )
    assert claimed is not None
    assert run_due(context, job) == ()
    clock.set(clock.now() + timedelta(minutes=3))
    assert len(run_due(context, job)) == 2
    with pytest.raises(job_runs.ClaimLost), transaction(context.engine) as session:
        job_runs.fence(session, claimed)


@pytest.mark.usefixtures("trivia")
def test_sealing_leaves_nothing_open(context: JobContext) -> None:
    with reading(context.engine) as session:
        open_before = len(ledger.unsealed(session))
    assert open_before > 0
    (outcome,) = run_due(context, SealJob())
    assert outcome.outcome == f"sealed {open_before} leaves"
    with reading(context.engine) as session:
        assert ledger.unsealed(session) == ()
        verification = verify_ledger(session, head=read_head(str(only_file(context.settings.heads_url))))
    assert verification.verified


@pytest.mark.usefixtures("trivia")
def test_much_is_sealed_batch_by_batch(context: JobContext) -> None:
    with transaction(context.engine) as session:
        ledger.seal_all(session, now=NOW)
        for number in range(7):
            ledger.append_leaf(session, "trivia", "note", str(number), "{}", now=NOW)
    (outcome,) = run_due(context, SealJob(most=3))
    assert outcome.outcome == "sealed 7 leaves"
    with reading(context.engine) as session:
        assert [batch.leaves for batch in ledger.batches(session)][-3:] == [3, 3, 1]


def only_file(folder: str) -> Path:
    (file,) = Path(folder).iterdir()
    return file


class _Keeper(BaseHTTPRequestHandler):
    """Keeps what it is sent, and answers with the next status of its server's list, else 204."""

    def do_POST(self) -> None:
        self.server.kept.append(self.rfile.read(int(self.headers["Content-Length"])).decode())  # type: ignore[attr-defined]
        answers = self.server.answers  # type: ignore[attr-defined]
        self.send_response(answers.pop(0) if answers else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.mark.usefixtures("trivia")
def test_a_head_is_posted_to_a_webhook_and_one_that_was_refused_is_made_good_by_the_next(
    context: JobContext, clock: SimulatedClock, caplog: pytest.LogCaptureFixture
) -> None:
    server = HTTPServer(("127.0.0.1", 0), _Keeper)
    server.kept, server.answers = [], [500]  # type: ignore[attr-defined]
    with running_in_thread(server):
        url = f"http://127.0.0.1:{server.server_port}/heads/secret-path"
        posting = replace(context, settings=context.settings.model_copy(update={"heads_url": url}))
        run_due(posting, SealJob())
        assert "answered 500" in caplog.text and "secret-path" not in caplog.text
        clock.set(clock.now() + timedelta(minutes=11))
        run_due(posting, SealJob())
    first, second = (parse_head(note) for note in server.kept)  # type: ignore[attr-defined]
    assert first == second and first.batches == 1
    with reading(context.engine) as session:
        assert verify_ledger(session, head=second).verified


@contextmanager
def running_in_thread(server: HTTPServer) -> Iterator[None]:
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.usefixtures("trivia")
def test_a_head_that_cannot_be_put_away_keeps_nothing_from_being_sealed(
    context: JobContext, clock: SimulatedClock, caplog: pytest.LogCaptureFixture, tmp_path: Path, database_url: str
) -> None:
    def heads(settings: Settings) -> list[str]:
        findings = examine(settings.model_copy(update={"database_url": database_url}), now=NOW)
        return [finding.found for finding in findings if finding.check == "heads"]

    (tmp_path / "in_the_way").write_text("a file")
    settings = context.settings.model_copy(update={"heads_url": str(tmp_path / "in_the_way")})
    (outcome,) = run_due(replace(context, settings=settings), SealJob())
    assert outcome.outcome.startswith("sealed")
    assert "KNOWGATE_HEADS_URL" in caplog.text
    (found,) = heads(settings)
    assert "batch 1" in found and "in_the_way" in found
    (found,) = heads(settings.model_copy(update={"heads_url": "nowhere://ada:hunter2@host/heads"}))
    assert "the head of batch 1 cannot be looked for" in found and "hunter2" not in found
    clock.set(clock.now() + timedelta(minutes=11))
    run_due(context, SealJob())
    assert only_file(context.settings.heads_url).name.startswith("000000000001-")
    assert heads(context.settings) == []
