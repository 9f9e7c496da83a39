"""What is played back has two kinds of traffic, and the page says what the last run heard."""

import json

import pytest

from benchmarks.playback.tables import BEGIN, END, PAGE, RESULTS, render
from benchmarks.playback.worlds import AFTER, BEFORE, SHIFT, mmlu, qwen
from benchmarks.shape import recorded_data
from monitoring.names import Rule


@pytest.mark.parametrize("make", [mmlu, qwen])
def test_the_traffic_of_a_world_is_another_from_the_shift_on(make):
    folder = recorded_data()
    if folder is None:
        pytest.skip("the recorded outcomes are not here; set KNOWGATE_RECORDED_DATA")
    world = make(folder)
    asked = world.queries(3, share=0.1)
    assert len(asked) == pytest.approx(0.1 * world.a_day * (BEFORE + AFTER).days, abs=1)
    assert [one.at for one in asked] == sorted(one.at for one in asked)
    assert {one.slice for one in asked if one.at < SHIFT} == {world.kinds[0]}
    assert {one.slice for one in asked if one.at >= SHIFT} == {world.kinds[1]}
    assert not set(world.before) & set(world.after)
    assert all(world.answer(one, tier).correct in (0.0, 1.0) for one in asked[:50] for tier in (0, 1))


def test_the_page_says_what_was_heard():
    figures = json.loads(RESULTS.read_text(encoding="utf-8"))["figures"]
    shown = PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0].strip()
    assert shown == render(figures)
    for world in ("mmlu", "qwen"):
        heard = {rule.value for rule in Rule if f"{world}.{rule}.days" in figures}
        assert heard.isdisjoint(figures[f"{world}.silent"].split(", "))
