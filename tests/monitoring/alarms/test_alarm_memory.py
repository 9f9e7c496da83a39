"""What an alarm remembers: how its level is spent, when a family ends, when it is quiet again."""

import json
from dataclasses import replace
from datetime import timedelta
from math import pi

import numpy as np
import pytest

from evidence.alarms.alarms import advance_watch
from evidence.costs.savings import SeenCosts
from monitoring.alarms.alarm_memory import (
    EPOCH,
    AlarmMemory,
    Family,
    consume,
    fitting_families,
    memory_from_json,
    memory_to_json,
    needs_family,
    open_family,
    with_last_costs,
)
from monitoring.errors import AlarmStateInvalid
from monitoring.names import Rule

FIRST = 20_000  # a daily cycle of our time: differences count, not the numbers themselves


def day(cycle: int):
    return EPOCH + timedelta(days=cycle)


def opened(*, times: int = 1, low: float = -1.0, high: float = 1.0, rule: Rule = Rule.RISK) -> AlarmMemory:
    memory = AlarmMemory(rule=rule, consumed_until=day(FIRST))
    for number in range(times):
        memory = open_family(memory, low=low, high=high, alpha=0.1, at=day(FIRST + number))
    return memory


def fed(memory: AlarmMemory, increments: list[float], cycles: list[int]) -> AlarmMemory:
    at = np.array([FIRST + cycle for cycle in cycles], dtype="datetime64[D]").astype("datetime64[us]")
    return consume(memory, np.array(increments), at, until=day(FIRST + cycles[-1] + 1))


def test_the_level_is_halved_between_two_alarms_and_spent_over_all_families() -> None:
    memory = opened(times=3)
    assert [family.number for family in memory.families] == [2, 3], "the newest two watch"
    assert [family.opened_at for family in memory.families] == [day(FIRST + 1), day(FIRST + 2)]
    for family in memory.families:
        assert family.watch.rule.alpha == pytest.approx(0.05 * 6 / (pi * family.number) ** 2)
        assert (family.watch.rule.name, family.watch.rule.starts) == ("risk", 31)
    assert memory.families_opened == 3


@pytest.mark.parametrize(("cycle", "needed"), [(0, False), (30, False), (31, True), (40, True)])
def test_a_family_lasts_for_a_month_from_its_first_row(cycle: int, needed: bool) -> None:
    assert needs_family(opened(times=0), day(FIRST))
    assert not needs_family(opened(), day(FIRST + 100)), "one that has seen nothing has its month before it"
    assert needs_family(fed(opened(), [0.0], [0]), day(FIRST + cycle)) is needed


def test_the_newest_family_says_whether_another_is_needed() -> None:
    memory = fed(opened(), [0.0], [0])
    memory = fed(open_family(memory, low=-1.0, high=1.0, alpha=0.1, at=day(FIRST + 20)), [0.0], [20])
    assert not needs_family(memory, day(FIRST + 50)) and needs_family(memory, day(FIRST + 51))
    assert memory.rows == 1, "rows of the newest"


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("other", [(-2.0, 1.0), (-1.0, 2.0)])
def test_a_family_of_another_range_is_closed_wherever_it_stands(place: int, other: tuple[float, float]) -> None:
    ranges = [(-1.0, 1.0), (-1.0, 1.0)]
    ranges[place] = other
    memory = AlarmMemory(rule=Rule.RISK, consumed_until=day(FIRST))
    for low, high in ranges:
        memory = open_family(memory, low=low, high=high, alpha=0.1, at=day(FIRST))
    left = fitting_families(memory, -1.0, 1.0)
    assert [family.number for family in left.families] == [2 - place]
    assert left.families_opened == 2, "what was spent stays spent"


@pytest.mark.parametrize("place", [0, 1])
def test_the_wealth_is_that_of_the_family_that_has_most(place: int) -> None:
    assert opened(times=0).log_wealth is None
    memory = opened(times=2)
    richer = [list(memory.families)[number] for number in (0, 1)]
    watch = advance_watch(richer[place].watch, [0.9] * 3, [FIRST] * 3)
    richer[place] = replace(richer[place], watch=watch)
    assert watch.log_wealth > 0.0
    assert replace(memory, families=tuple(richer)).log_wealth == watch.log_wealth


@pytest.mark.parametrize("harm", [0, 1, 2])
def test_a_ring_closes_all_families_and_names_the_day_since_which_the_harm_was_seen(harm: int) -> None:
    increments = [-0.9] * (50 * harm) + [0.9] * 300
    cycles = [number // 50 for number in range(len(increments))]
    memory = fed(opened(times=2), increments, cycles)
    assert (memory.families, memory.families_opened) == ((), 2)
    assert memory.raised_at == memory.consumed_until == day(FIRST + cycles[-1] + 1)
    assert memory.harm_since == day(FIRST + harm)


@pytest.mark.parametrize(
    ("increments", "cycles", "quiet"),
    [
        ([-0.1] * 4, [0, 0, 1, 1], False),  # not two days yet
        ([-0.1] * 3, [0, 1, 2], True),
        ([0.0] * 3, [0, 1, 2], True),
        ([0.01] * 3, [0, 1, 2], False),  # some harm, on average
        ([0.1, 0.1, -0.3], [0, 1, 2], True),
    ],
)
def test_an_alarm_is_quiet_again_after_two_days_without_harm(
    increments: list[float], cycles: list[int], quiet: bool
) -> None:
    rung = replace(opened(), raised_at=day(FIRST - 5), harm_since=day(FIRST - 6))
    memory = fed(rung, increments, cycles)
    assert (memory.raised_at is None) is quiet
    assert memory.harm_since == day(FIRST - 6) and len(memory.families) == 1
    assert memory.rows == len(increments)


def test_the_newest_family_says_whether_it_is_quiet() -> None:
    rung = replace(fed(opened(), [0.0] * 3, [0, 1, 2]), raised_at=day(FIRST))
    young = open_family(rung, low=-1.0, high=1.0, alpha=0.1, at=day(FIRST + 3))
    assert fed(young, [0.0] * 2, [3, 4]).raised_at == day(FIRST)
    assert fed(young, [0.0] * 3, [3, 4, 5]).raised_at is None


def test_a_memory_comes_back_bit_for_bit_and_nothing_else_does() -> None:
    memory = fed(opened(times=2), [0.1, -0.3, 0.7], [0, 1, 2])
    assert memory_from_json(memory_to_json(memory)) == memory
    assert all(isinstance(family, Family) for family in memory_from_json(memory_to_json(memory)).families)
    for text in ("", "{}", "[]", memory_to_json(memory).replace("consumed_until", "consumed")):
        with pytest.raises(AlarmStateInvalid, match=r"cannot be continued .* delete it to start anew"):
            memory_from_json(text)


def former(memory: AlarmMemory) -> str:
    """The memory as versions before product bets wrote it."""
    document = json.loads(memory_to_json(memory)) | {"ratio": 1.2, "ratio_rows": 9}
    del document["last_costs"]
    for family in document["families"]:
        watch = family["watch"]
        del watch["log_capital"], watch["log_capital_at_start"]
        watch |= {"variation": 1.5, "variation_at_start": [0.0] * len(watch["growth_at_start"])}
    return json.dumps(document)


def test_families_that_bet_in_the_former_way_are_closed_and_the_next_has_the_next_share_of_the_level() -> None:
    memory = replace(fed(opened(times=2), [0.1, -0.3, 0.7], [0, 1, 2]), raised_at=day(FIRST - 3))
    taken_over = memory_from_json(former(memory))
    assert taken_over == replace(memory, families=()), "how far it has read, and what it spent, stand"
    assert needs_family(taken_over, day(FIRST + 3))
    newest = open_family(taken_over, low=-1.0, high=1.0, alpha=0.1, at=day(FIRST + 3)).families[-1]
    assert newest.number == 3 and newest.watch.rule.alpha == pytest.approx(0.05 * 6 / (pi * 3) ** 2)


def test_families_of_another_number_of_bets_are_refused() -> None:
    text = memory_to_json(opened()).replace('"log_capital":[0.0,', '"log_capital":[')
    with pytest.raises(AlarmStateInvalid, match=r"log_capital has 7 bets, expected 8.* delete it to start anew"):
        memory_from_json(text)


@pytest.mark.parametrize("families", ["[3]", "[{}]", '[{"watch": null}]', "{}", "null"])
def test_families_that_are_none_are_refused(families: str) -> None:
    text = json.dumps(json.loads(memory_to_json(opened(times=0))) | {"families": json.loads(families)})
    with pytest.raises(AlarmStateInvalid, match="cannot be continued"):
        memory_from_json(text)


def test_costs_are_remembered_apart_for_a_hundred_slices_and_together_for_the_others() -> None:
    seen = [SeenCosts(slice=str(n), cost=2.0 * n, size=1.0 * n, rows=n) for n in range(1, 103)]
    memory = with_last_costs(opened(), seen)
    assert len(memory.last_costs) == 101
    assert memory.last_costs[-1] == SeenCosts(slice=None, cost=6.0, size=3.0, rows=3)
    assert {one.slice for one in memory.last_costs[:-1]} == {str(n) for n in range(3, 103)}
    assert (memory.forecast_ratio, memory.forecast_rows) == (2.0, sum(range(1, 103)))
    assert with_last_costs(memory, memory.last_costs) == memory
    assert (opened().forecast_ratio, opened().forecast_rows) == (1.0, 0)
