"""Which attempts persons asked for since the last turn, and what of δ each had."""

import hashlib
from datetime import timedelta
from typing import Any

from sqlalchemy.orm import Session

from store.jobs.asked import AskedFor, asked_for
from store.jobs.job_runs import claim, finish
from store.jobs.occasions import Occasion, TrainingReason
from store.releases.bundles import BundleStatus, add_bundle
from store.releases.certifications import CertificationRecord, add_certification

SCHEDULE, ASKED, INSISTED = TrainingReason.SCHEDULE, TrainingReason.ASKED, TrainingReason.INSISTED


def attempt(session: Session, cast: Any, number: int, reason: TrainingReason | None, delta: float = 0.1) -> None:
    """The `number`-th attempt, an hour after the one before; by hand where there is no reason, by
    `knowgate certify` where δ is 0.
    """
    now, content = cast.at(60 * number), str(number).encode()
    bundle = hashlib.sha256(content).hexdigest()
    if delta:
        add_bundle(session, bundle, "geo", b"{}", content, BundleStatus.CERTIFIED, now)
    if reason is not None:
        occasion = Occasion(reason=reason, why="why", key=None if reason is SCHEDULE else f"asked:{number}")
        window = cast.window(60 * number - 60, 60 * number)
        lease = timedelta(minutes=5)
        claimed = claim(session, "train", "geo", window, owner="a", lease=lease, now=now, occasion=occasion)
        assert claimed is not None
        finish(session, claimed, "certified", now=now, bundle=bundle)
    record = CertificationRecord(
        cascade="geo",
        attempt=number,
        window=cast.window(0, 60),
        status="certified",
        target_kind="max_accuracy_drop",
        target_value=0.02,
        delta_family=0.1,
        delta_spent=delta or 0.1,
        n=100,
        document="{}",
        decided_at=now,
        bundle=bundle if delta else None,
    )
    add_certification(session, record)


def test_before_the_first_attempt_nothing_was_asked_for(session: Session) -> None:
    assert asked_for(session, "geo") == AskedFor(shares=(), last_at=None)


def test_what_was_asked_for_since_the_last_turn_is_counted_newest_first(session: Session, cast: Any) -> None:
    attempt(session, cast, 1, ASKED, delta=0.05)
    attempt(session, cast, 2, SCHEDULE)
    attempt(session, cast, 3, ASKED, delta=0.025)
    attempt(session, cast, 4, INSISTED, delta=0.0125)
    assert asked_for(session, "geo") == AskedFor(shares=(0.125, 0.25), last_at=cast.at(240))
    attempt(session, cast, 5, SCHEDULE, delta=0.0625)
    assert asked_for(session, "geo") == AskedFor(shares=(), last_at=cast.at(300))


def test_one_that_had_the_whole_delta_borrowed_nothing(session: Session, cast: Any) -> None:
    attempt(session, cast, 1, SCHEDULE)
    attempt(session, cast, 2, ASKED)
    attempt(session, cast, 3, ASKED, delta=0.025)
    assert asked_for(session, "geo").shares == (0.25,)


def test_one_that_was_asked_for_a_period_later_has_paid_for_those_before_it(session: Session, cast: Any) -> None:
    attempt(session, cast, 1, SCHEDULE)
    attempt(session, cast, 2, ASKED, delta=0.025)
    attempt(session, cast, 3, ASKED, delta=0.075)
    assert asked_for(session, "geo") == AskedFor(shares=(), last_at=cast.at(180))
    attempt(session, cast, 4, ASKED, delta=0.025)
    assert asked_for(session, "geo").shares == (0.25,)


def test_a_training_by_hand_counts_as_a_turn_and_a_table_as_nothing(session: Session, cast: Any) -> None:
    attempt(session, cast, 1, ASKED, delta=0.025)
    attempt(session, cast, 2, None)
    attempt(session, cast, 3, None, delta=0.0)
    assert asked_for(session, "geo") == AskedFor(shares=(), last_at=cast.at(120))
