"""A job of a window takes effect once, whoever runs it and whoever dies."""

from datetime import timedelta
from threading import Barrier, Thread
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from knowgate._records.records import Window
from store.engine import reading, transaction
from store.errors import ClaimLost
from store.jobs.job_runs import (
    Claim,
    at_work,
    called_for,
    claim,
    fence,
    finish,
    heartbeat,
    job_runs,
    last_finished,
    latest_runs,
    occasion_taken,
    release,
    run_of_bundle,
    watermark,
)
from store.jobs.occasions import Occasion, TrainingReason
from store.watching.alarm_states import alarm_state, put_alarm_state

LEASE = timedelta(minutes=5)


def take(session: Session, cast: Any, owner: str, minutes: float, job: str = "train") -> Claim | None:
    return claim(session, job, "geo", cast.window(0, 60), owner=owner, lease=LEASE, now=cast.at(minutes))


def test_a_job_is_at_work_while_it_holds_a_window_and_says_so(session: Session, cast: Any) -> None:
    quarter = timedelta(minutes=15)
    taken = take(session, cast, "a", 60)
    assert taken is not None
    assert at_work(session, now=cast.at(64), within=quarter) == {"train"}
    assert at_work(session, now=cast.at(65), within=quarter) == frozenset()  # its lease has run out
    heartbeat(session, taken, lease=10 * LEASE, now=cast.at(64))
    assert at_work(session, now=cast.at(79), within=quarter) == {"train"}
    assert at_work(session, now=cast.at(80), within=quarter) == frozenset()  # and nobody has said a word
    finish(session, taken, "certified", now=cast.at(66))
    assert at_work(session, now=cast.at(66), within=quarter) == frozenset()


def test_a_window_is_claimed_by_one(session: Session, cast: Any) -> None:
    first = take(session, cast, "a", 60)
    assert first is not None
    assert (first.owner, first.token, first.lease_until) == ("a", 1, cast.at(65))
    assert take(session, cast, "b", 61) is None
    assert take(session, cast, "b", 61, job="monitor") is not None


def test_threads_that_claim_at_once_leave_one_winner(geo: Engine, cast: Any) -> None:
    for window in range(5):
        barrier = Barrier(4)
        claims: list[Claim | None] = []

        def compete(owner: str, window: int = window, barrier: Barrier = barrier, claims: Any = claims) -> None:
            barrier.wait()
            with transaction(geo) as session:
                claimed = claim(
                    session,
                    "train",
                    "geo",
                    cast.window(window, window + 1),
                    owner=owner,
                    lease=LEASE,
                    now=cast.at(window + 1),
                )
            claims.append(claimed)

        threads = [Thread(target=compete, args=(f"worker-{index}",)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(claimed is not None for claimed in claims) == 1
    with reading(geo) as session:
        assert len(job_runs(session, "geo")) == 5


def test_a_lease_that_ran_out_is_taken_over_with_a_higher_token(session: Session, cast: Any) -> None:
    first = take(session, cast, "a", 60)
    second = take(session, cast, "b", 65)
    assert first is not None
    assert second is not None
    assert (second.id, second.token) == (first.id, 2)
    with pytest.raises(ClaimLost, match="token 1"):
        fence(session, first)
    with pytest.raises(ClaimLost):
        heartbeat(session, first, lease=LEASE, now=cast.at(65))
    with pytest.raises(ClaimLost):
        finish(session, first, "done", now=cast.at(66))
    fence(session, second)


def test_a_heartbeat_keeps_the_claim(session: Session, cast: Any) -> None:
    claimed = take(session, cast, "a", 60)
    assert claimed is not None
    renewed = heartbeat(session, claimed, lease=LEASE, now=cast.at(64))
    assert renewed.lease_until == cast.at(69)
    assert take(session, cast, "b", 66) is None


def test_a_finished_window_is_never_claimed_again(session: Session, cast: Any) -> None:
    claimed = take(session, cast, "a", 60)
    assert claimed is not None
    finish(session, claimed, "certified", now=cast.at(61))
    assert take(session, cast, "b", 600) is None
    with pytest.raises(ClaimLost):
        fence(session, claimed)
    (run,) = job_runs(session, "geo", job="train")
    assert (run.outcome, run.finished_at) == ("certified", cast.at(61))


@pytest.mark.parametrize("back", [60, 24 * 60, 0.2])
def test_a_lease_of_a_clock_that_was_set_back_ends_after_its_own_length(
    session: Session, cast: Any, back: float
) -> None:
    first = take(session, cast, "a", 60)
    assert first is not None
    now = 60 - back
    assert take(session, cast, "b", now) is None, "its owner may be alive and renew it"
    renewed = heartbeat(session, first, lease=LEASE, now=cast.at(now + 1))
    assert renewed.lease_until == cast.at(now + 6)
    assert take(session, cast, "b", now + 5.9) is None
    second = take(session, cast, "b", now + 6)
    assert second is not None and second.token == 2


@pytest.mark.parametrize("claimed_at", [60, 0])
def test_a_retry_is_not_put_off_by_a_clock_that_was_set_back(session: Session, cast: Any, claimed_at: float) -> None:
    """Nor by one that went an hour ahead after the claim, and back after the failure."""
    claimed = take(session, cast, "a", claimed_at)
    assert claimed is not None
    release(session, claimed, error="no luck", retry_at=cast.at(61), now=cast.at(60))
    assert take(session, cast, "b", 0) is None
    assert take(session, cast, "b", 1) is not None


def test_windows_of_a_later_clock_do_not_count_as_done(session: Session, cast: Any) -> None:
    claimed = take(session, cast, "a", 60)
    assert claimed is not None
    finish(session, claimed, "certified", now=cast.at(60))
    assert watermark(session, "train", "geo", until=cast.at(59)) is None
    assert watermark(session, "train", "geo", until=cast.at(60)) == cast.at(60) == watermark(session, "train", "geo")


def test_what_is_released_is_tried_again_at_its_time(session: Session, cast: Any) -> None:
    claimed = take(session, cast, "a", 60)
    assert claimed is not None
    release(session, claimed, error="MLflow is down", retry_at=cast.at(62), now=cast.at(61))
    assert take(session, cast, "b", 61) is None
    again = take(session, cast, "b", 62)
    assert again is not None
    assert again.token == 2
    assert job_runs(session)[0].last_error == "MLflow is down"


def test_the_watermark_is_the_end_of_the_last_finished_window(session: Session, cast: Any) -> None:
    assert watermark(session, "train", "geo") is None
    for first in (0, 60, 120):
        window = cast.window(first, first + 60)
        claimed = claim(session, "train", "geo", window, owner="a", lease=LEASE, now=window.end)
        assert claimed is not None
        if first < 120:
            finish(session, claimed, "done", now=window.end)
    assert watermark(session, "train", "geo") == cast.at(120)
    assert watermark(session, "train", "other") is None


def test_a_worker_that_lost_its_claim_leaves_no_effect(geo: Engine, cast: Any) -> None:
    with transaction(geo) as session:
        slow = take(session, cast, "slow", 60)
    with transaction(geo) as session:
        quick = take(session, cast, "quick", 70)
    assert slow is not None
    assert quick is not None
    for claimed in (quick, slow):
        try:
            with transaction(geo) as session:
                fence(session, claimed)
                put_alarm_state(session, "geo", "risk", f'"{claimed.owner}"', now=cast.at(71))
                finish(session, claimed, "done", now=cast.at(71))
        except ClaimLost:
            assert claimed is slow
    with reading(geo) as session:
        assert alarm_state(session, "geo", "risk") == '"quick"'


def test_a_takeover_waits_for_the_effect_under_way_and_then_finds_it_finished(geo: Engine, cast: Any) -> None:
    """The effect has begun, its lease runs out, and another worker asks for the window
    meanwhile.
    """
    with transaction(geo) as session:
        claimed = take(session, cast, "slow", 60)
    assert claimed is not None
    found: list[Claim | None] = []

    def ask() -> None:
        with transaction(geo) as session:
            found.append(take(session, cast, "quick", 90))

    asking = Thread(target=ask)
    with transaction(geo) as session:
        fence(session, claimed)
        asking.start()
        asking.join(timeout=0.3)
        assert asking.is_alive()
        finish(session, claimed, "done", now=cast.at(91))
    asking.join()
    assert found == [None]


def call(session: Session, cast: Any, key: str | None, minutes: float, cascade: str = "geo") -> Claim | None:
    occasion = Occasion(reason=TrainingReason.DRIFT, why="tokens_in drifted", key=key)
    window = cast.window(minutes - 60, minutes)
    now = cast.at(minutes)
    return claim(session, "train", cascade, window, owner="a", lease=LEASE, now=now, occasion=occasion)


def test_what_called_for_a_training_calls_once_whoever_saw_it_and_when(session: Session, cast: Any) -> None:
    first = call(session, cast, "ring:1", 60)
    assert first is not None and first.occasion is not None and first.occasion.key == "ring:1"
    assert call(session, cast, "ring:1", 61) is None, "another scheduler saw it a minute later"
    assert occasion_taken(session, "train", "geo", "ring:1") and not occasion_taken(session, "train", "geo", "ring:2")
    (waits,) = called_for(session, "train", "geo")
    assert (waits.window, waits.reason, waits.why) == (cast.window(0, 60), TrainingReason.DRIFT, "tokens_in drifted")
    finish(session, first, "certified", now=cast.at(62), bundle="ab" * 32)
    assert call(session, cast, "ring:1", 600) is None and called_for(session, "train", "geo") == ()
    assert call(session, cast, "ring:2", 600) is not None
    made = run_of_bundle(session, "ab" * 32)
    assert made is not None and made.window == cast.window(0, 60)
    assert run_of_bundle(session, "cd" * 32) is None


def test_windows_that_were_their_turn_have_no_key_and_stand_in_nobodys_way(session: Session, cast: Any) -> None:
    for minutes in (60, 120):
        assert call(session, cast, None, minutes) is not None
    assert called_for(session, "train", "geo") == ()


def test_of_several_runs_the_one_whose_window_ended_last_is_the_last(session: Session, cast: Any) -> None:
    assert last_finished(session, "train", "geo", until=cast.at(600)) is None
    for minutes in (60, 180, 120):
        claimed = call(session, cast, None, minutes)
        assert claimed is not None
        finish(session, claimed, "not_attempted", now=cast.at(200), labels_needed=minutes)
    last = last_finished(session, "train", "geo", until=cast.at(600))
    assert last is not None and (last.window.end, last.labels_needed) == (cast.at(180), 180)
    before = last_finished(session, "train", "geo", until=cast.at(179))
    assert before is not None and before.window.end == cast.at(120)


def test_the_latest_window_of_every_job_and_cascade(session: Session, cast: Any) -> None:
    for job, cascade, hours in (("monitor", "geo", (1, 2, 3)), ("monitor", "other", (1,)), ("seal", "*", (2, 1))):
        for hour in hours:
            window = Window(start=cast.at(60 * hour - 60), end=cast.at(60 * hour))
            claim(session, job, cascade, window, owner="a", lease=timedelta(minutes=1), now=cast.at(600))
    found = {(run.job, run.cascade): run.window.end for run in latest_runs(session)}
    assert found == {("monitor", "geo"): cast.at(180), ("monitor", "other"): cast.at(60), ("seal", "*"): cast.at(120)}
