"""Retries, repeats, crowds and conversations that stay with a tier, through a running gateway and
into the store.
"""

import json
import threading
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select

from store.engine import reading
from store.tables import DecisionRow
from tests.services.gateway.cast import (
    ASKED,
    World,
    abandoned,
    asked,
    asking,
    left_by_its_caller,
    metrics,
    stored,
    wait_until,
)


def decisions_stored(world: World) -> int:
    """How many, once all that were answered so far are shipped."""
    asked(world, metadata={"external_id": "the last one"})
    stored(world, "the last one")
    with reading(world.engine) as session:
        return (session.scalar(select(func.count()).select_from(DecisionRow)) or 0) - 1


@pytest.mark.parametrize(
    "named", [{"Idempotency-Key": "k-1"}, {"Knowgate-External-Id": "q-1"}, {"metadata": {"external_id": "q-1"}}]
)
@pytest.mark.parametrize("changes", [{}, {"temperature": 0.7}], ids=["cascade", "last tier alone"])
def test_a_request_that_is_sent_again_under_one_name_is_one_decision(
    world: World, named: dict[str, Any], changes: dict[str, Any]
) -> None:
    world.small.p_t = 0.4
    headers = {} if "metadata" in named else named
    body = changes | (named if "metadata" in named else {})
    first, again = asked(world, headers, **body), asked(world, headers, **body)
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.headers["knowgate-decision"] == again.headers["knowgate-decision"]
    assert first.json()["choices"] == again.json()["choices"]
    assert ("knowgate-repeated" in first.headers, again.headers["knowgate-repeated"]) == (False, "true")
    assert world.large.asked == 1
    if not changes:  # the same may be asked for in events
        assert again.headers["knowgate-decision"] in asked(world, headers, **body, stream=True).text
    assert decisions_stored(world) == 1


def test_an_external_id_with_another_prompt_is_another_decision_and_an_idempotency_key_is_refused(
    world: World,
) -> None:
    other = [{"role": "user", "content": "Which river?"}]
    ids = {
        asked(world, {"Knowgate-External-Id": "q"}, messages=said).headers["knowgate-decision"]
        for said in (ASKED, other)
    }
    assert len(ids) == 2
    assert asked(world, {"Idempotency-Key": "k"}).status_code == 200
    refused = asked(world, {"Idempotency-Key": "k"}, messages=other)
    assert refused.status_code == 422 and "the Idempotency-Key 'k' was given" in refused.json()["error"]["message"]
    assert asked(world, {"Idempotency-Key": "x" * 513}).json()["error"]["param"] == "idempotency-key"


def test_requests_that_nobody_names_are_a_decision_each(world: World) -> None:
    assert len({asked(world).headers["knowgate-decision"] for _ in range(3)}) == 3
    assert decisions_stored(world) == 3


def test_a_client_that_gives_up_and_asks_again_three_times_is_one_decision_and_two_abandoned(world: World) -> None:
    world.small.p_t = 0.4
    world.large.gate.clear()
    for _ in range(2):
        left_by_its_caller(world, world.large, {"metadata": {"external_id": "q-retried"}})
        assert world.large.left.wait(10)
        world.large.left.clear()
    assert [tier["runs"] for tier in abandoned(world, 2)["tiers"]] == [2, 2]
    world.large.gate.set()
    assert asked(world, metadata={"external_id": "q-retried"}).status_code == 200
    assert decisions_stored(world) == 1


def test_the_second_of_two_at_once_waits_for_the_same_answer_though_the_first_leaves(world: World) -> None:
    world.small.gate.clear()
    answers: list[httpx2.Response] = []
    second = threading.Thread(target=lambda: answers.append(asked(world, {"Knowgate-External-Id": "q"})))
    with asking(world, {"metadata": {"external_id": "q"}}):
        wait_until(lambda: world.small.asked == 1)
        second.start()
        wait_until(lambda: metrics(world)["knowgate_gateway_in_flight"] == 2)
    wait_until(lambda: metrics(world)["knowgate_gateway_in_flight"] == 1)
    world.small.gate.set()
    second.join()
    assert (answers[0].status_code, world.small.asked) == (200, 1)
    assert metrics(world)["knowgate_gateway_abandoned_total"] == 0


def test_a_failure_is_not_remembered(world: World) -> None:
    world.small.p_t, world.large.status = 0.4, 500
    assert asked(world, {"Idempotency-Key": "k"}).status_code == 502
    world.large.status = 200
    answer = asked(world, {"Idempotency-Key": "k"})
    assert answer.status_code == 200 and "knowgate-repeated" not in answer.headers


def test_a_conversation_is_kept_at_the_last_tier_by_a_header_and_at_no_other(world: World) -> None:
    answer = asked(world, {"Knowgate-Pin": "large"})
    assert (answer.headers["knowgate-tier"], answer.headers["knowgate-uncertified"]) == ("1", "Knowgate-Pin")
    assert world.small.asked == 0
    refused = asked(world, {"Knowgate-Pin": "small"})
    assert refused.status_code == 400 and "name the last tier, large" in refused.json()["error"]["message"]


def test_metrics_say_what_is_under_way_how_long_tiers_took_and_what_became_of_requests(world: World) -> None:
    world.small.p_t = 0.4
    answer = asked(world, {"Idempotency-Key": "k"})
    assert float(answer.headers["knowgate-upstream-ms"]) > 0
    asked(world, {"Idempotency-Key": "k"})
    asked(world, temperature=1.0)
    asked(world, model="another")
    said = metrics(world)
    assert said['knowgate_gateway_answers_total{reason="p_t"}'] == 2
    assert said['knowgate_gateway_answers_total{reason="uncertified_request"}'] == 1
    assert said["knowgate_gateway_repeated_total"] == 1
    assert said['knowgate_gateway_upstream_seconds_count{tier="large"}'] == 2
    assert said['knowgate_gateway_upstream_seconds_count{tier="small"}'] == 1
    assert said['knowgate_gateway_first_byte_seconds_count{path="/v1/chat/completions"}'] == 3
    assert said['knowgate_gateway_requests_total{path="other",status="404"}'] == 1
    assert (said["knowgate_gateway_in_flight"], said['knowgate_gateway_circuit_open{tier="small"}']) == (0, 0)
    assert httpx2.get(f"{world.url}/metrics").status_code == 401


@pytest.mark.parametrize("world", [{"most_in_flight": 1}], indirect=True)
def test_more_requests_than_there_is_room_for_are_asked_to_come_back(world: World) -> None:
    world.small.gate.clear()
    first: list[httpx2.Response] = []
    thread = threading.Thread(target=lambda: first.append(asked(world)))
    thread.start()
    wait_until(lambda: world.small.asked == 1)
    assert metrics(world)["knowgate_gateway_in_flight"] == 1
    stranger = httpx2.post(f"{world.url}/v1/chat/completions", json={"model": "trivia", "messages": ASKED})
    assert stranger.status_code == 401  # who may not ask takes up no room, and learns nothing of it
    refused = asked(world)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert refused.json()["error"]["type"] == "rate_limit_error"
    world.small.gate.set()
    thread.join()
    assert first[0].status_code == 200 and asked(world).status_code == 200
    said = metrics(world)
    assert (said["knowgate_gateway_in_flight"], said["knowgate_gateway_refused_total"]) == (0, 1)
    assert json.loads(refused.text)["error"]["param"] is None
