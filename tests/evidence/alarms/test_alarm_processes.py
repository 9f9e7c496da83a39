"""The alarms: quiet while all is well at every look, loud under harm, and resumable bit for bit."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from evidence.alarms.alarms import AlarmRule, AlarmState, advance_watch, open_watch, read_watch
from evidence.alarms.increments import risk_increments, risk_range, savings_increments, savings_range
from evidence.costs.savings import impute_last_cost
from evidence.errors import InvalidInputError, NotIdentifiedError
from knowgate._wire import codec

RULE = AlarmRule(name="risk", low=-1.0, high=1.0, alpha=0.05, starts=30)
DAILY = replace(RULE, whole_cycles=True)


def bets_of(rule: AlarmRule) -> np.ndarray:
    return 0.9 / (-rule.low / (rule.high - rule.low)) / 2.0 ** np.arange(8)


def wealth_by_definition(d: np.ndarray, days: np.ndarray, rule: AlarmRule) -> float:
    """M_t from the formula: every start's products from scratch."""
    y, m = (d - rule.low) / (rule.high - rule.low), -rule.low / (rule.high - rule.low)
    total = 0.0
    for start in range(rule.starts):
        rows = np.flatnonzero(days >= days[0] + start)
        total += float(np.mean([np.prod(1 + bet * (y[rows] - m)) for bet in bets_of(rule)]))
    return total / rule.starts


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-0.1, 3.0), (-2.0, 0.1)])
def test_the_wealth_equals_its_definition(low: float, high: float) -> None:
    rng = np.random.default_rng(1)
    rule = AlarmRule(name="risk", low=low, high=high, alpha=0.05, starts=30)
    d, days = rng.choice([low, 0.0, high], 400, p=[0.2, 0.5, 0.3]), np.sort(rng.integers(100, 106, 400))
    days[0] = 100
    state = advance_watch(open_watch(rule), d, days)
    assert np.exp(state.log_wealth) == pytest.approx(wealth_by_definition(d, days, rule))
    assert state.mean_increment == pytest.approx(d.mean())


def test_two_rows_worked_out_by_hand() -> None:
    """One start, m = 1/2, bets 1.8, .9 …: D = 1 makes 1 + l/2 of each, D = −1 after it
    (1 + l/2)(1 − l/2).
    """
    rule = AlarmRule(name="risk", low=-1.0, high=1.0, alpha=0.05, starts=1)
    half = [1.8 / 2.0**k / 2 for k in range(8)]
    won = advance_watch(open_watch(rule), [1.0], [0])
    assert np.exp(won.log_wealth) == pytest.approx(1 + 0.9 * (2 - 1 / 128) / 8)
    lost = advance_watch(won, [-1.0], [0])
    assert np.exp(lost.log_wealth) == pytest.approx(sum(1 - h * h for h in half) / 8)


def test_the_smallest_increment_takes_nine_tenths_of_the_boldest_bet_and_never_all() -> None:
    for low, high in ((-1.0, 1.0), (-0.01, 5.0), (-5.0, 0.01)):
        rule = AlarmRule(name="risk", low=low, high=high, alpha=0.05, starts=1)
        state = advance_watch(open_watch(rule), [low], [0])
        assert np.exp(state.log_capital[0]) == pytest.approx(0.1)
        assert min(state.log_capital) == state.log_capital[0]


def test_increments_of_mean_zero_leave_every_wealth_a_fair_game() -> None:
    """E[M] = 1 exactly: over all 3⁶ paths of six rows, whatever their spread and the days they
    fall on.
    """
    values, chances = np.array([-1.0, 0.0, 2.0]), np.array([0.4, 0.4, 0.2])
    rule = AlarmRule(name="risk", low=-1.0, high=2.0, alpha=0.05, starts=3)
    expected = 0.0
    for path in itertools.product(range(3), repeat=6):
        wealth = advance_watch(open_watch(rule), values[list(path)], [0, 0, 1, 1, 1, 2]).log_wealth
        expected += float(np.prod(chances[list(path)])) * np.exp(wealth)
    assert expected == pytest.approx(1.0)


def test_blocks_do_not_matter_and_a_stored_state_goes_on_bit_for_bit() -> None:
    rng = np.random.default_rng(2)
    d, days = rng.uniform(-1, 1, 1000), np.arange(1000) // 100
    whole = advance_watch(open_watch(RULE), d, days)
    state = open_watch(RULE)
    for part, when in zip(np.split(d, [7, 150, 151, 800]), np.split(days, [7, 150, 151, 800]), strict=True):
        state = advance_watch(codec.decode(AlarmState, json.loads(codec.canonical(state))), part, when)
    assert state == whole


def test_a_cycle_without_traffic_still_opens_its_start() -> None:
    state = advance_watch(open_watch(RULE), [0.0, 0.0], [0, 5])
    assert len(state.growth_at_start) == 6
    later = advance_watch(state, [0.0], [400])
    assert len(later.growth_at_start) == RULE.starts


def test_harm_is_heard_also_when_it_begins_late() -> None:
    rng = np.random.default_rng(3)
    healthy = rng.choice([-1.0, 0.0, 1.0], 20 * 200, p=[0.1, 0.82, 0.08])
    harmful = rng.choice([-1.0, 0.0, 1.0], 9 * 200, p=[0.05, 0.7, 0.25])
    state = advance_watch(open_watch(RULE), healthy, np.arange(len(healthy)) // 200)
    assert not state.alarmed
    state = advance_watch(state, harmful, 20 + np.arange(len(harmful)) // 200)
    assert state.alarmed


def test_an_alarm_stays_where_it_first_rang() -> None:
    state = advance_watch(open_watch(RULE), np.full(300, 0.9), np.zeros(300))
    assert state.alarm_row == 300
    assert advance_watch(state, np.full(300, -0.9), np.ones(300)).alarm_row == 300


def day_cycled(rng: np.random.Generator, months: int, rows_a_day: int, days: int) -> np.ndarray:
    """[months, rows] healthy increments: D ∈ {−1, 0, 1}, mean 0 over each day, better first and
    worse later.
    """
    phase = 2 * np.pi * (np.arange(rows_a_day) + 0.5) / rows_a_day
    up = np.tile(0.1 - 0.05 * np.sin(phase), days)  # a step taken alone would look harmful every evening
    draw = rng.random((months, rows_a_day * days))
    return np.where(draw < up, 1.0, np.where(draw < up + 0.2 - np.tile(0.1 - 0.05 * np.sin(phase), days), -1.0, 0.0))


def test_day_cycled_healthy_traffic_alarms_at_most_at_its_level() -> None:
    months, rows_a_day = 30, 96
    traffic = day_cycled(np.random.default_rng(4), months, rows_a_day, 30)
    rings = 0
    for month in traffic:
        state = open_watch(RULE)
        for look in range(0, len(month), 16):
            state = advance_watch(state, month[look : look + 16], np.arange(look, look + 16) // rows_a_day)
        rings += state.alarmed
    assert rings / months <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / months)


@pytest.mark.slow
def test_a_thousand_day_cycled_months_looked_at_every_five_minutes_alarm_at_most_at_their_level() -> None:
    """All months side by side, by the definition; one of them is checked against the shipped
    process.
    """
    months, rows_a_day, days = 1000, 288, 30
    traffic = day_cycled(np.random.default_rng(5), months, rows_a_day, days)
    bets = bets_of(RULE)
    products = np.ones((0, months, len(bets)))  # [starts so far, months, bets]
    rung, wealth = np.zeros(months, dtype=bool), np.ones(months)
    for row in range(rows_a_day * days):
        if row % rows_a_day == 0:
            products = np.concatenate([products, np.ones((1, months, len(bets)))])
        products *= 1 + bets * (traffic[:, row] / 2)[:, None]
        opened = products.sum(axis=(0, 2)) / len(bets)
        wealth = (opened + days - len(products)) / days
        rung |= wealth >= 1 / 0.05
    shipped = advance_watch(open_watch(RULE), traffic[0], np.arange(rows_a_day * days) // rows_a_day)
    assert np.exp(shipped.log_wealth) == pytest.approx(wealth[0])
    assert rung.mean() <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / months)


def test_whole_cycles_are_read_by_the_definition_when_they_have_ended_and_not_in_between() -> None:
    rng = np.random.default_rng(9)
    d, days = rng.choice([-1.0, 0.0, 1.0], 300, p=[0.2, 0.5, 0.3]), 100 + np.arange(300) // 50
    state = open_watch(DAILY)
    for block in np.split(np.arange(300), [20, 50, 70, 90, 100, 240]):
        state = advance_watch(state, d[block], days[block])
        ended = int(days[block[-1]]) - 100  # the last row shows that the days before its own have ended
        before = days < 100 + ended
        expected = np.log(wealth_by_definition(d[before], days[before], RULE)) if ended else 0.0
        assert state.log_wealth == pytest.approx(expected)
        assert read_watch(state, int(days[block[-1]])) == state
    closed = read_watch(state, 106)
    assert np.exp(closed.log_wealth) == pytest.approx(wealth_by_definition(d, days, RULE))
    assert read_watch(advance_watch(open_watch(RULE), d, days), 106) == advance_watch(open_watch(RULE), d, days)


def test_whole_cycles_ring_at_the_same_row_however_they_are_cut_into_blocks() -> None:
    rng = np.random.default_rng(10)
    d = rng.choice([-1.0, 0.0, 1.0], 2000, p=[0.15, 0.6, 0.25])
    days = np.arange(2000) // 170
    whole = read_watch(advance_watch(open_watch(DAILY), d, days), 12)
    state = open_watch(DAILY)
    for block in np.split(np.arange(2000), np.sort(rng.choice(2000, 60, replace=False))):
        state = advance_watch(state, d[block], days[block]) if len(block) else state
    assert read_watch(state, 12) == whole
    assert whole.alarm_row is not None and whole.alarm_row % 170 == 0


def swinging(rng: np.random.Generator, rows_a_day: int, days: int) -> np.ndarray:
    """D ∈ {−1, 1} whose mean is 0 over each day, .15 above it in the first half and as much below
    in the second.
    """
    chance = np.tile(np.repeat([0.575, 0.425], rows_a_day // 2), days)
    return np.where(rng.random(rows_a_day * days) < chance, 1.0, -1.0)


def test_what_swings_within_the_day_rings_at_most_at_its_level_read_at_whole_days_and_mostly_if_read_between() -> None:
    months, rows_a_day, days = 100, 960, 8
    rng, rings = np.random.default_rng(11), {RULE: 0, DAILY: 0}
    cycles = np.arange(rows_a_day * days) // rows_a_day
    for _ in range(months):
        month = swinging(rng, rows_a_day, days)
        for rule in rings:
            state = open_watch(rule)
            for rows in np.split(np.arange(len(month)), 6 * days):
                state = advance_watch(state, month[rows], cycles[rows])
            rings[rule] += read_watch(state, days).alarmed
    assert rings[DAILY] / months <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / months)
    assert rings[RULE] / months > 0.5


def test_risk_increments_have_the_drops_mean_under_any_coin() -> None:
    rng, n = np.random.default_rng(6), 40_000
    x = rng.choice([1.0, 0.0, -1.0], n, p=[0.06, 0.9, 0.04])
    propensity = rng.choice([0.2, 0.6], n)
    seen = rng.random(n) < propensity
    d = risk_increments(np.where(seen, x, np.nan), seen, propensity, 0.02, 0.2, forecast=rng.uniform(-0.1, 0.1, n))
    assert abs(d.mean()) < 3 * d.std() / np.sqrt(n)
    low, high = risk_range(0.02, 0.2, 0.1)
    assert low <= d.min() and d.max() <= high


def test_savings_increments_are_harmless_exactly_at_what_was_promised() -> None:
    rng, n = np.random.default_rng(7), 40_000
    last = rng.uniform(5, 15, n)
    cost = 1.0 + last * (rng.random(n) < 0.4)  # savings .5
    ran = rng.random(n) < 0.3
    imputed = impute_last_cost(np.full(n, 10.0), ran, np.full(n, 0.3), np.where(ran, last, np.nan))
    d = savings_increments(cost, imputed, 0.5)
    assert abs(d.mean()) < 3 * d.std() / np.sqrt(n)
    low, high = savings_range(16.0, 15.0, 0.5, least_propensity=0.3)
    assert low <= d.min() and d.max() <= high
    assert savings_increments(cost, imputed, 0.5, margin=0.1).mean() < d.mean()


def savings_watch() -> AlarmState:
    low, high = savings_range(11.0, 10.0, 0.6, margin=0.05)
    return open_watch(AlarmRule(name="savings", low=low, high=high, alpha=0.05, starts=30))


def test_a_cascade_that_suddenly_escalates_everything_is_heard_within_hours() -> None:
    rng = np.random.default_rng(8)
    healthy = savings_increments(1 + 10.0 * (rng.random(3000) < 0.3), np.full(3000, 10.0), 0.6, margin=0.05)
    broken = savings_increments(np.full(100, 11.0), np.full(100, 10.0), 0.6, margin=0.05)
    state = advance_watch(savings_watch(), healthy, np.arange(3000) // 300)
    assert not state.alarmed
    assert advance_watch(state, broken, np.full(100, 10)).alarmed  # a third of a day's traffic


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_bad_row_among_good_ones_is_named(place: int) -> None:
    def with_one(usual: float, other: float) -> np.ndarray:
        return np.where(np.arange(3) == place, other, usual)

    seen = np.ones(3, dtype=bool)
    x, chance, ran = np.zeros(3), np.full(3, 0.5), np.full(3, 2.0)
    assert len(risk_increments(x, seen, chance, 0.02, 0.5, forecast_weight=ran)) == 3
    for weight in (0.5, 2.1):  # a row that was observed ran, and by a coin no rarer than that of its label
        with pytest.raises(InvalidInputError, match=rf"forecast_weight\[{place}\] is {weight}"):
            risk_increments(x, seen, chance, 0.02, 0.1, forecast_weight=with_one(2.0, weight))
    hidden = with_one(0.0, 1.0) == 0.0
    with pytest.raises(InvalidInputError, match=rf"forecast_weight\[{place}\] is 2.5"):
        risk_increments(x, hidden, chance, 0.02, 0.5, forecast_weight=with_one(2.0, 2.5))
    with pytest.raises(InvalidInputError, match=rf"x\[{place}\] is unknown although observed"):
        risk_increments(with_one(0.0, np.nan), seen, chance, 0.02, 0.1)
    with pytest.raises(InvalidInputError, match=rf"propensity\[{place}\] is 0.05, below least_propensity 0.1"):
        risk_increments(x, seen, with_one(0.5, 0.05), 0.02, 0.1)


def test_a_row_at_the_least_propensity_is_taken() -> None:
    assert risk_increments([1.0, 0.0], [1, 0], [0.1, 0.1], 0.0, 0.1).tolist() == [1.0, 0.0]


def test_bad_input_is_named() -> None:
    watch = advance_watch(open_watch(RULE), [0.0], [3])
    with pytest.raises(InvalidInputError, match=r"increments\[0\] is 1\.5"):
        advance_watch(watch, [1.5], [3])
    with pytest.raises(InvalidInputError, match=r"cycles\[0\] is 2\.0"):
        advance_watch(watch, [0.0], [2])
    with pytest.raises(InvalidInputError, match=r"cycles\[2\] is 4\.0"):
        advance_watch(watch, [0.0] * 4, [3, 5, 4, 6])
    with pytest.raises(InvalidInputError, match="increments is empty"):
        advance_watch(watch, [], [])
    with pytest.raises(InvalidInputError, match="low < 0 < high"):
        AlarmRule(name="risk", low=0.0, high=1.0, alpha=0.05, starts=30)
    with pytest.raises(InvalidInputError, match="alpha is 0"):
        AlarmRule(name="risk", low=-1.0, high=1.0, alpha=0.0, starts=30)
    for capital, at_start in (((0.0,) * 7, ()), ((0.0,) * 8, ((0.0,) * 8, (0.0,) * 9))):
        with pytest.raises(InvalidInputError, match=r"log_capital has [79] bets, expected 8"):
            replace(watch, log_capital=capital, log_capital_at_start=at_start)
    with pytest.raises(NotIdentifiedError, match="propensity 0"):
        risk_increments([0.0], [1], [0.0], 0.02, 0.1)
    with pytest.raises(InvalidInputError, match="below least_propensity"):
        risk_increments([0.0], [1], [0.05], 0.02, 0.1)
    with pytest.raises(InvalidInputError, match=r"x\[0\] is unknown although observed"):
        risk_increments([np.nan], [1], [0.5], 0.02, 0.1)
