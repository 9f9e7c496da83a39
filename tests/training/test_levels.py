"""What of δ an attempt has under a rolling promise, by who asked for it and when."""

from datetime import UTC, datetime, timedelta

import pytest

from knowgate.spec import CascadeSpec, Targets, TierSpec
from store.jobs.asked import AskedFor
from store.jobs.occasions import Occasion, TrainingReason
from training.levels import level_of

NOW, PERIOD = datetime(2026, 6, 15, tzinfo=UTC), timedelta(days=7)
ASKED = Occasion(reason=TrainingReason.ASKED, why="a new market", key="asked:1", asked_by="ada")
TURN = Occasion(reason=TrainingReason.SCHEDULE, why="its turn: a period has ended")


def level(asked: AskedFor, occasion: Occasion | None, delta: float = 0.1) -> float:
    tiers = tuple(TierSpec(name=name, model=name, parameters=1e9) for name in ("small", "large"))
    spec = CascadeSpec(name="geo", tiers=tiers, targets=Targets(delta=delta))
    return level_of(spec, occasion, asked, NOW)


def test_who_asks_within_a_period_borrows_and_the_next_turn_pays() -> None:
    asked = AskedFor(shares=(0.25,), last_at=NOW - PERIOD / 2)
    assert [level(asked, ASKED), level(asked, TURN), level(asked, None)] == pytest.approx([0.0125, 0.075, 0.075])


def test_who_asks_a_period_later_has_what_a_turn_has() -> None:
    assert level(AskedFor(shares=(0.25,), last_at=NOW - PERIOD), ASKED) == pytest.approx(0.075)
    assert level(AskedFor(shares=(), last_at=None), ASKED) == 0.1


def test_a_delta_that_was_lowered_since_leaves_the_turn_more_than_half_of_it() -> None:
    asked = AskedFor(shares=(0.125, 0.25), last_at=NOW - PERIOD / 2)
    assert level(asked, TURN, delta=0.01) == pytest.approx(0.00625)
