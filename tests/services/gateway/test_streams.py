"""Streams of the cascade: events as soon as it is known which tier answers, failures while they can
be reported, and what is stored of each.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from services.gateway.events import EventResponse
from store.engine import reading
from store.traffic import decisions
from tests.services.gateway.cast import (
    ASKED,
    KEY,
    World,
    abandoned,
    left_by_its_caller,
    stored,
    wait_until,
)
from tests.services.gateway.small_server import EVENTS, USAGE


@contextmanager
def streaming(world: World, **changes: Any) -> Iterator[Any]:
    body = {"model": "trivia", "messages": ASKED, "stream": True} | changes
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx2.stream("POST", f"{world.url}/v1/chat/completions", json=body, headers=headers, timeout=60) as answer:
        yield answer


def documents(lines: Iterator[str]) -> list[Any]:
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


@pytest.fixture
def escalating(world: World) -> World:
    """A world whose small tier is unsure, and whose large one streams."""
    world.small.p_t, world.large.events = 0.4, EVENTS
    return world


def test_the_last_tiers_tokens_reach_the_caller_while_it_writes(escalating: World) -> None:
    escalating.large.event_gate.clear()
    with streaming(escalating, metadata={"external_id": "q-s"}) as answer:
        assert (answer.headers["knowgate-tier"], answer.headers["knowgate-reason"]) == ("1", "p_t")
        lines = answer.iter_lines()
        [first] = documents(iter([next(lines)]))
        escalating.large.event_gate.set()
        rest = [line for line in lines if line]
    assert first["choices"][0]["delta"] == {"content": "Qui"}
    account, decision = first["knowgate"], answer.headers["knowgate-decision"]
    assert (first["id"], first["model"], account["tier_name"]) == (f"chatcmpl-{decision}", "huge", "large")
    assert [(one["action"], one["reason"]) for one in account["attempts"]] == [("escalate", "p_t"), ("retain", None)]
    others = documents(iter(rest))
    assert [one["choices"][0]["delta"].get("content") for one in others] == ["to", None]
    assert all("knowgate" not in one and one["id"] == first["id"] for one in others) and rest[-1] == "data: [DONE]"
    small, large = stored(escalating, "q-s").attempts
    assert (large.tokens_in, large.tokens_out, large.fault) == (5, 2, None) and str(small.role) == "superseded"
    [asked] = escalating.large.bodies
    assert (asked["temperature"], asked["max_tokens"], asked["stream_options"]) == (0.0, 256, {"include_usage": True})
    assert "logprobs" not in asked


def test_an_answer_that_is_there_at_once_says_how_long_its_tiers_took(world: World) -> None:
    with streaming(world) as answer:
        assert (answer.headers["knowgate-tier"], float(answer.headers["knowgate-upstream-ms"]) > 0) == ("0", True)


def test_usage_is_told_to_whoever_asks_for_it(escalating: World) -> None:
    with streaming(escalating, stream_options={"include_usage": True}) as answer:
        assert documents(answer.iter_lines())[-1]["usage"] == USAGE


def test_an_error_before_the_first_token_is_an_http_error(escalating: World) -> None:
    escalating.large.status, escalating.large.body = 400, {"error": {"message": "too long", "code": "c"}}
    with streaming(escalating) as answer:
        assert (answer.status_code, json.loads(answer.read())["error"]["message"]) == (400, "too long")


def test_a_stream_that_breaks_off_says_so_and_is_no_decision(escalating: World) -> None:
    escalating.large.cuts, escalating.large.events = True, EVENTS[:1]
    with streaming(escalating, metadata={"external_id": "q-cut"}) as answer:
        first, last = documents(answer.iter_lines())
    assert "knowgate" in first and last["error"]["type"] == "server_error"
    escalating.large.cuts, escalating.large.events = False, EVENTS
    with streaming(escalating, metadata={"external_id": "q-whole"}) as answer:
        answer.read()
    stored(escalating, "q-whole")
    with reading(escalating.engine) as session:
        assert decisions.find_decision(session, "trivia", "q-cut") is None


def test_a_caller_that_leaves_a_stream_ends_it_and_both_tiers_are_booked_as_abandoned(escalating: World) -> None:
    escalating.large.event_gate.clear()
    left_by_its_caller(escalating, escalating.large, {"stream": True, "metadata": {"external_id": "q-gone"}})
    assert escalating.large.left.wait(10)
    assert [(tier["runs"], tier["tokens_in"]) for tier in abandoned(escalating, 1)["tiers"]] == [(1, 7), (1, 0)]


@pytest.mark.parametrize("world", [{"head_within_s": 0.01}], indirect=True)
def test_a_caller_that_waits_long_is_sent_the_head_and_comments_and_then_the_answer(escalating: World) -> None:
    escalating.small.gate.clear()
    with streaming(escalating) as answer:
        assert answer.status_code == 200 and "knowgate-tier" not in answer.headers
        lines = answer.iter_lines()
        assert [next(lines) for _ in range(3)] == [": the tiers are being asked", "", ": the tiers are being asked"]
        escalating.small.gate.set()
        first, *_ = documents(lines)
    assert (first["knowgate"]["reason"], first["id"]) == ("p_t", f"chatcmpl-{answer.headers['knowgate-decision']}")


@pytest.mark.parametrize("world", [{"head_within_s": 0.01}], indirect=True)
def test_an_error_after_the_head_is_the_streams_last_event(escalating: World) -> None:
    escalating.small.gate.clear()
    escalating.large.status, escalating.large.body = 429, {"error": {"message": "slow down", "type": "tokens"}}
    escalating.large.headers = {"Retry-After": "60"}
    with streaming(escalating) as answer:
        lines = answer.iter_lines()
        next(lines)
        escalating.small.gate.set()
        [last] = documents(lines)
    assert last["error"] == {"message": "slow down", "type": "tokens", "param": None, "code": None}


@pytest.mark.parametrize("world", [{"head_within_s": 0.01}], indirect=True)
def test_a_caller_that_leaves_while_it_is_sent_comments_ends_the_work(escalating: World) -> None:
    escalating.small.gate.clear()
    with streaming(escalating) as answer:
        next(answer.iter_lines())
        wait_until(lambda: escalating.small.asked == 1)
    assert escalating.small.left.wait(10)
    assert abandoned(escalating, 1)["tiers"][0]["runs"] == 1


def test_a_stream_that_ended_is_remembered_under_its_name(escalating: World) -> None:
    named = {"metadata": {"external_id": "q"}}
    with streaming(escalating, **named) as answer:
        answer.read()
    again = [streaming(escalating, **named) for _ in range(2)]
    for one in again:
        with one as repeated:
            choices = [event["choices"][0] for event in documents(repeated.iter_lines())]
            text = "".join(choice["delta"].get("content") or "" for choice in choices)
            assert (text, choices[-1]["finish_reason"]) == ("Quito", "length")
            assert repeated.headers["knowgate-repeated"] == "true"
            assert repeated.headers["knowgate-decision"] == answer.headers["knowgate-decision"]
    assert escalating.large.asked == 1


def test_a_stream_whose_caller_has_left_before_its_first_event_is_given_up() -> None:
    given_up: list[bool] = []

    async def events() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async def give_up() -> None:
        given_up.append(True)

    async def left() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        await asyncio.sleep(0)

    response = EventResponse(events(), give_up=give_up, headers={})
    asyncio.run(asyncio.wait_for(response({"type": "http", "method": "POST", "path": "/"}, left, send), 10))
    assert given_up == [True]
