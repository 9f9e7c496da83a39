"""How soon harm would be heard: as often sooner as later than half of the alarms' own watches ring,
and never where no bet wins.
"""

import numpy as np
import pytest

from evidence.alarms.alarms import AlarmRule, advance_watch, open_watch, read_watch
from evidence.alarms.hearing import Increments, hours_to_hear, increments_of
from evidence.alarms.increments import risk_increments, risk_range
from evidence.errors import InvalidInputError
from evidence.inputs import FloatArray

EPSILON, CHANCE = 0.02, 0.2
LOW, HIGH = risk_range(EPSILON, CHANCE)
RISK = AlarmRule(name="risk", low=LOW, high=HIGH, alpha=0.015, starts=31)
LOSS = AlarmRule(name="savings", low=-0.65, high=1.1, alpha=0.015, starts=31, whole_cycles=True)


def of_risk(drop: float) -> Increments:
    """A row in `CHANCE` shows its X, 1 or −1 in the one case more often than in the other by the
    drop.
    """
    values = risk_increments([1.0, -1.0, float("nan")], [1, 1, 0], [CHANCE] * 3, EPSILON, CHANCE)
    return increments_of(values, [CHANCE * (0.02 + drop), CHANCE * 0.02, 1.0 - CHANCE * (0.04 + drop)])


def of_costs(mean: float) -> Increments:
    return increments_of(np.random.default_rng(1).lognormal(-3.0, 0.5, 500) * 0.3 + mean - 0.017)


def watched(
    rule: AlarmRule, healthy: Increments, harmed: Increments, rows_per_hour: int, rng: np.random.Generator
) -> float:
    """Hours from a harm on the third day until the watch itself rings."""

    def rows(of: Increments, number: int) -> FloatArray:
        return rng.choice(of.value, number, p=of.share)

    begins = 48 + int(rng.integers(24))
    state = open_watch(rule)
    for hour in range(24 * rule.starts):
        d = rows(harmed if hour >= begins else healthy, rows_per_hour)
        state = read_watch(advance_watch(state, d, [hour // 24] * len(d)), (hour + 1) // 24)
        if state.alarmed:
            return float(hour + 1 - begins)
    return float("inf")


@pytest.mark.parametrize(
    ("rule", "healthy", "harmed", "rows_per_hour"),
    [(RISK, of_risk(0.01), of_risk(0.11), 100), (LOSS, of_costs(-0.01), of_costs(0.02), 100)],
    ids=["risk", "savings"],
)
def test_half_of_the_watches_ring_within_the_median_and_nine_in_ten_within_the_other(
    rule: AlarmRule, healthy: Increments, harmed: Increments, rows_per_hour: int
) -> None:
    foreseen = hours_to_hear(rule, healthy, harmed, rows_per_hour, healthy_days=2)
    assert foreseen.median is not None and foreseen.nine_in_ten is not None
    rng, runs = np.random.default_rng(3), 60
    hours = np.array([watched(rule, healthy, harmed, rows_per_hour, rng) for _ in range(runs)])
    for share, within in ((0.5, foreseen.median), (0.9, foreseen.nine_in_ten)):
        error = 3 * np.sqrt(share * (1 - share) / runs)
        # Whole hours: those of the very hour may fall on either side.
        assert (hours < within).mean() - error <= share <= (hours <= within).mean() + error


def test_what_harms_nobody_is_never_heard() -> None:
    never = hours_to_hear(RISK, of_risk(0.01), of_risk(EPSILON), 100.0)
    assert never.median is None and never.nine_in_ten is None


def test_more_decisions_are_heard_sooner_and_the_same_is_foreseen_again() -> None:
    few, many, again = (hours_to_hear(RISK, of_risk(0.01), of_risk(0.11), rate) for rate in (50.0, 500.0, 500.0))
    assert few.median is not None and many.median is not None
    assert 3 * many.median < few.median and many == again


def test_many_values_keep_their_mean_in_few_parts_and_rare_ones_stay_apart() -> None:
    values = np.random.default_rng(2).normal(0.0, 0.2, 1000)
    parts = increments_of(values)
    assert len(parts.value) == 32 and parts.share.sum() == pytest.approx(1.0)
    assert parts.value @ parts.share == pytest.approx(values.mean())
    rare = increments_of([1.0, 0.0], [1e-4, 1.0])
    assert rare.value.tolist() == [1.0, 0.0] and rare.share[0] == pytest.approx(1e-4, rel=1e-3)


def test_bad_input_is_named() -> None:
    with pytest.raises(InvalidInputError, match="rows_per_hour is -1"):
        hours_to_hear(RISK, of_risk(0.01), of_risk(0.11), -1.0)
    with pytest.raises(InvalidInputError, match="share"):
        increments_of([1.0, 2.0], [0.5])
    with pytest.raises(InvalidInputError, match="share"):
        increments_of([1.0, 2.0], [0.5, -0.5])
