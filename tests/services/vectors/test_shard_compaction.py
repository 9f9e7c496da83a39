"""Compaction: fewer and larger shards, every reference readable, nothing that is forgotten kept, no
race lost.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from knowgate import new_id
from services.clock import SimulatedClock
from services.jobs.compact import CompactJob
from services.jobs.job import JobContext, run_due
from services.settings import Settings
from services.vectors.retention import forget_expired
from services.vectors.shard_checks import check_shards
from services.vectors.shard_compaction import compact, next_merge
from services.vectors.shard_files import blank_vectors, sweep
from store.engine import reading, transaction
from store.errors import ClaimLost, FingerprintDiffers, RowsMoved
from store.jobs import job_runs
from store.ledger.erasure import erase_decision
from store.shards.shards import MappedShard, shard_ids
from store.traffic import shard_moves
from store.traffic.fingerprints import fingerprints
from store.traffic.shard_moves import ShardUse, live_rows, move_rows
from store.traffic.vectors import ShardRecord, hold_files, shards
from tests.vector_cast import (
    DEEPER,
    DIMENSION,
    FINGERPRINT,
    NOW,
    Held,
    apply_trivia,
    check_readable,
    files_with,
    places,
    push,
)

GRACE = timedelta(hours=24)
ROW = DIMENSION * 2
BOUND = 20 * ROW  # twenty vectors


@pytest.fixture
def base(tmp_path: Path) -> str:
    return str(tmp_path / "shards")


@pytest.fixture
def trivia_engine(engine: Engine) -> Engine:
    apply_trivia(engine)
    return engine


def records(engine: Engine) -> tuple[ShardRecord, ...]:
    with reading(engine) as session:
        return shards(session)


def shard_files(base: str) -> set[str]:
    return {str(path) for path in Path(base).rglob("*.safetensors")}


def erase(engine: Engine, one: Held) -> tuple[str, ...]:
    with transaction(engine) as session:
        hold_files(session, alone=True)
        erased = erase_decision(session, one.id, by="ada", now=NOW)
        return blank_vectors(session, erased.vectors)


def test_small_pushes_become_bounded_shards_and_every_vector_stays_readable(trivia_engine: Engine, base: str) -> None:
    pushed = [one for seed in range(9) for one in push(trivia_engine, base, 5, seed=seed)]
    done = compact(trivia_engine, base, shard_bytes=BOUND, now=NOW)
    assert (done.merged, done.written, done.moved, done.damaged) == (8, 2, 40, ())
    check_readable(trivia_engine, pushed)
    assert sorted(record.rows for record in records(trivia_engine)) == [5, 20, 20]
    assert check_shards(trivia_engine).problems == ()
    for record in records(trivia_engine):
        with MappedShard(record.url) as shard:
            assert shard.fingerprint == FINGERPRINT and len(shard) == record.rows
        assert len(shard_ids(record.url)) == record.rows
    assert compact(trivia_engine, base, shard_bytes=BOUND, now=NOW).written == 0, "nothing is left to merge"


def test_old_files_stay_for_their_readers_and_are_swept_after_the_grace(trivia_engine: Engine, base: str) -> None:
    pushed = [one for seed in range(4) for one in push(trivia_engine, base, 5, seed=seed)]
    old = shard_files(base)
    compact(trivia_engine, base, shard_bytes=BOUND, now=NOW)
    assert old < shard_files(base)
    assert sweep(trivia_engine, base, now=NOW + GRACE / 2, grace=GRACE).superseded == 0
    assert sweep(trivia_engine, base, now=NOW + 2 * GRACE, grace=GRACE).superseded == 4
    assert shard_files(base) == {record.url for record in records(trivia_engine)}
    check_readable(trivia_engine, pushed)


def test_fingerprints_dimensions_and_cascades_are_never_mixed(trivia_engine: Engine, base: str) -> None:
    kinds = [(FINGERPRINT, 8), (DEEPER, 8), (FINGERPRINT, 4)]
    pushed = []
    for seed in range(12):
        kind, dimension = kinds[seed % 3]
        pushed += push(trivia_engine, base, 2, seed=seed, fingerprint=kind, shard_fingerprint=kind, dimension=dimension)
    compact(trivia_engine, base, shard_bytes=1 << 20, now=NOW)
    assert len(records(trivia_engine)) == 3
    for dimension in (8, 4):
        check_readable(trivia_engine, [one for one in pushed if len(one.values) == dimension])
    assert check_shards(trivia_engine).problems == ()


def test_a_shard_from_before_fingerprints_gets_those_of_its_rows(trivia_engine: Engine, base: str) -> None:
    first = push(trivia_engine, base, 3, seed=0, shard_fingerprint=None)
    second = push(trivia_engine, base, 3, seed=1, fingerprint=DEEPER, shard_fingerprint=None)
    unknown = push(trivia_engine, base, 3, seed=2, fingerprint=None, shard_fingerprint=None)
    assert check_shards(trivia_engine).nameless == 3
    compact(trivia_engine, base, shard_bytes=1 << 20, now=NOW)
    check_readable(trivia_engine, [*first, *second, *unknown])
    with reading(trivia_engine) as session:
        known = fingerprints(session)
        named = Counter(
            None if record.fingerprint is None else known[record.fingerprint].layer for record in shards(session)
        )
    assert named == {1: 1, 2: 1, None: 1}
    assert check_shards(trivia_engine).problems == ()


def test_a_vector_of_another_fingerprint_than_its_attempt_is_refused_on_the_way_in(
    trivia_engine: Engine, base: str
) -> None:
    with pytest.raises(FingerprintDiffers, match=r"fingerprint.layer 2, 1 is expected"):
        push(trivia_engine, base, 2, seed=0, fingerprint=DEEPER, shard_fingerprint=FINGERPRINT)
    assert records(trivia_engine) == ()


def test_forgotten_and_erased_vectors_are_left_behind(trivia_engine: Engine, base: str) -> None:
    old = push(trivia_engine, base, 30, seed=0, at=NOW - timedelta(days=30))
    young = push(trivia_engine, base, 3, seed=1)
    for path in erase(trivia_engine, young[0]):
        Path(path).unlink()
    assert forget_expired(trivia_engine, timedelta(days=7), now=NOW) == 30
    assert forget_expired(trivia_engine, timedelta(days=7), now=NOW) == 0
    assert places(trivia_engine, old) == {}
    done = compact(trivia_engine, base, shard_bytes=BOUND, now=NOW)
    assert (done.merged, done.moved) == (1, 0), "a shard without live rows is only let go of"
    sweep(trivia_engine, base, now=NOW + 2 * GRACE, grace=GRACE)
    check_readable(trivia_engine, young[1:])
    for gone in (old[0], old[-1], young[0]):
        assert files_with(Path(base), gone.values) == []


def test_a_shard_across_the_limit_is_written_anew_without_what_is_too_old(trivia_engine: Engine, base: str) -> None:
    old = push(trivia_engine, base, 4, seed=0, at=NOW - timedelta(days=30))
    young = push(trivia_engine, base, 4, seed=1)
    compact(trivia_engine, base, shard_bytes=BOUND, now=NOW)
    assert len(records(trivia_engine)) == 1
    forget_expired(trivia_engine, timedelta(days=7), now=NOW)
    compact(trivia_engine, base, shard_bytes=BOUND, now=NOW)
    sweep(trivia_engine, base, now=NOW + 2 * GRACE, grace=GRACE)
    check_readable(trivia_engine, young)
    assert all(files_with(Path(base), one.values) == [] for one in old)


def test_a_cascade_may_keep_vectors_for_another_time_than_the_deployment(trivia_engine: Engine, base: str) -> None:
    pushed = push(trivia_engine, base, 4, seed=0, at=NOW - timedelta(days=50))
    apply_trivia(trivia_engine, retention=timedelta(days=98))
    assert forget_expired(trivia_engine, timedelta(days=7), now=NOW) == 0
    assert forget_expired(trivia_engine, None, now=NOW + timedelta(days=60)) == 4
    assert places(trivia_engine, pushed) == {}


def test_a_damaged_shard_is_named_and_left_as_it_is(trivia_engine: Engine, base: str) -> None:
    pushed = [push(trivia_engine, base, 5, seed=seed) for seed in range(4)]
    url = places(trivia_engine, pushed[1])[pushed[1][0].id].url
    path = Path(url)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    done = compact(trivia_engine, base, shard_bytes=BOUND, now=NOW)
    assert len(done.damaged) == 1 and url in done.damaged[0] and "row 4" in done.damaged[0]
    check_readable(trivia_engine, [*pushed[0], *pushed[2], *pushed[3]])
    assert places(trivia_engine, pushed[1])[pushed[1][0].id].url == url
    assert path.exists()
    problems = check_shards(trivia_engine).problems
    assert len(problems) == 2 and all(url in problem for problem in problems), "its row, and its file"
    path.unlink()
    assert "does not exist" in check_shards(trivia_engine).problems[0]
    path.write_bytes(content)
    assert compact(trivia_engine, base, shard_bytes=BOUND, now=NOW).damaged == ()
    check_readable(trivia_engine, [one for push_ in pushed for one in push_])


def test_a_row_that_left_its_place_undoes_the_whole_move(trivia_engine: Engine, base: str) -> None:
    pushed = push(trivia_engine, base, 5, seed=0)
    (record,) = records(trivia_engine)
    with reading(trivia_engine) as session:
        rows = live_rows(session, [record.id])
    erase(trivia_engine, pushed[2])
    with pytest.raises(RowsMoved, match="4 of 5"), transaction(trivia_engine) as session:
        fresh = shard_moves.put_shard(
            session, "trivia", "/x", "0" * 64, dimension=DIMENSION, rows=5, fingerprint=None, now=NOW
        )
        move_rows(session, rows, fresh)
    check_readable(trivia_engine, [pushed[0], pushed[1], pushed[3], pushed[4]])


@pytest.mark.slow
def test_two_compactors_a_writer_and_an_eraser_at_once_lose_nothing(trivia_engine: Engine, base: str) -> None:
    pushed = [one for seed in range(20) for one in push(trivia_engine, base, 4, seed=seed)]
    doomed, kept = pushed[::7], [one for at, one in enumerate(pushed) if at % 7]
    errors: list[BaseException] = []

    def guarded(work: object) -> None:
        try:
            work()  # type: ignore[operator]
        except BaseException as error:  # noqa: BLE001 (handed to the test, which fails on it)
            errors.append(error)

    def merge() -> None:
        for _ in range(4):
            compact(trivia_engine, base, shard_bytes=BOUND, now=NOW)

    def write() -> None:
        for seed in range(100, 110):
            kept.extend(push(trivia_engine, base, 3, seed=seed))

    def forget() -> None:
        for one in doomed:
            for path in erase(trivia_engine, one):
                Path(path).unlink()

    threads = [threading.Thread(target=guarded, args=(work,)) for work in (merge, merge, write, forget)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    compact(trivia_engine, base, shard_bytes=BOUND, now=NOW)
    check_readable(trivia_engine, kept)
    assert places(trivia_engine, doomed) == {}
    assert check_shards(trivia_engine).problems == ()
    sweep(trivia_engine, base, now=NOW + timedelta(days=4000), grace=GRACE)
    assert shard_files(base) == {record.url for record in records(trivia_engine)}
    assert all(files_with(Path(base), one.values) == [] for one in doomed)
    check_readable(trivia_engine, kept)


@pytest.fixture
def context(trivia_engine: Engine, settings: Settings, clock: SimulatedClock, base: str) -> JobContext:
    kept = settings.model_copy(update={"shards_url": base, "shard_bytes": BOUND})
    return JobContext(engine=trivia_engine, settings=kept, clock=clock, owner="test")


def test_the_job_does_it_once_an_hour_and_is_fenced(context: JobContext, base: str, clock: SimulatedClock) -> None:
    pushed = [one for seed in range(4) for one in push(context.engine, base, 5, seed=seed)]
    (outcome,) = run_due(context, CompactJob())
    assert outcome.outcome == "forgot 0 vectors, merged 4 shards into 1, removed 0 files"
    assert run_due(context, CompactJob()) == ()
    pushed += [one for seed in range(4, 8) for one in push(context.engine, base, 5, seed=seed)]
    clock.set(clock.now() + timedelta(hours=1))
    (window,) = CompactJob().due(context, "*")
    lease = timedelta(minutes=2)
    with transaction(context.engine) as session:
        lost = job_runs.claim(session, "compact", "*", window, owner="a", lease=lease, now=clock.now())
    with transaction(context.engine) as session:
        later = clock.now() + 2 * lease
        assert job_runs.claim(session, "compact", "*", window, owner="b", lease=lease, now=later) is not None
    assert lost is not None
    with pytest.raises(ClaimLost):
        CompactJob().run(context, lost)
    assert len(records(context.engine)) == 5, "an overtaken run moved nothing"
    check_readable(context.engine, pushed)


def _uses(sizes: list[tuple[int, int]]) -> Iterator[ShardUse]:
    for live, dead in sizes:
        record = ShardRecord(
            id=new_id(NOW),
            cascade="c",
            url=str(uuid4()),
            sha256="",
            dimension=1,
            fingerprint="f",
            rows=live + dead,
            superseded_at=None,
        )
        yield ShardUse(shard=record, live=live, nameable=False)


@given(st.lists(st.tuples(st.integers(0, 120), st.sampled_from([0, 0, 0, 3])), max_size=30))
def test_what_is_merged_is_worth_it_and_an_end_is_reached(sizes: list[tuple[int, int]]) -> None:
    uses, written, bound, vectors = list(_uses(sizes)), 0, 100, sum(live for live, _ in sizes)
    for _ in range(1000):
        chosen = next_merge(uses, bound)
        if not chosen:
            break
        assert any(use.dead for use in chosen) or len(chosen) > 1
        total = sum(use.live for use in chosen)
        uses = [use for use in uses if use not in chosen]
        uses += _uses([(min(50, total - start), 0) for start in range(0, total, 50)])
        written += total
    assert next_merge(uses, bound) == ()
    assert sum(use.live for use in uses) == vectors
    assert not any(use.dead for use in uses)
    small = sorted(use.live for use in uses if use.live * 2 < bound // 2)
    assert all(after > sum(small[: at + 1]) for at, after in enumerate(small[1:])), "few small ones are left"


def test_a_stream_of_small_shards_is_rewritten_a_logarithmic_number_of_times() -> None:
    uses: list[ShardUse] = []
    written, bound = 0, 1024
    for _ in range(512):
        uses += _uses([(1, 0)])
        while chosen := next_merge(uses, bound):
            total = sum(use.live for use in chosen)
            uses = [use for use in uses if use not in chosen] + list(_uses([(total, 0)]))
            written += total
    assert written <= 512 * (np.log2(bound) + 1)


def test_the_sums_of_a_migrated_deployment_are_right(trivia_engine: Engine, base: str) -> None:
    from store import schema

    pushed = push(trivia_engine, base, 5, seed=0)
    schema.downgrade(trivia_engine, "0014")
    schema.upgrade(trivia_engine)
    assert [record.rows for record in records(trivia_engine)] == [5]
    check_readable(trivia_engine, pushed)
    with trivia_engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM vector_shard WHERE superseded_at IS NULL")).scalar() == 1
