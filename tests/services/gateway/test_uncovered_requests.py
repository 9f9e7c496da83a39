"""What a client may send: what changes no answer goes through, all else is the last tier's alone,
passed on as it is and counted.
"""

import json
from typing import Any

import httpx2
import openai
import pytest

from knowgate._records.records import Reason, Role
from knowgate.spec import CascadeSpec, GatewaySpec, TierSpec
from services.gateway.coverage import coverage_of
from store.engine import reading
from store.traffic import decisions
from tests.services.gateway.cast import ASKED, KEY, World, abandoned, asked, left_by_its_caller, metrics, stored
from tests.services.gateway.small_server import EVENTS

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "t1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def spec_of(gateway: GatewaySpec | None = None, *requests: dict[str, Any], max_tokens: int = 256) -> CascadeSpec:
    tiers = tuple(
        TierSpec(name=f"t{at}", model="m", parameters=1e9, backend="openai", max_tokens=max_tokens, request=request)
        for at, request in enumerate(requests or ({}, {}))
    )
    return CascadeSpec(name="trivia", tiers=tiers, gateway=gateway or GatewaySpec())


@pytest.mark.parametrize(
    "said",
    [
        {"user": "u", "service_tier": "auto", "store": True, "prompt_cache_key": "k", "safety_identifier": "s"},
        {"metadata": {"trace": "7", "session": "x"}},
        {"temperature": None, "tools": None, "response_format": None, "anything": None},
        {"temperature": 0, "top_p": 0.5, "seed": 7, "top_k": 40},
        {"temperature": 0.0, "n": 1, "logprobs": False, "top_logprobs": 0, "frequency_penalty": 0, "logit_bias": {}},
        {"max_tokens": 256},
        {"max_completion_tokens": 4096},
        {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "response_format": {"type": "text"}},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]},
        {"messages": [{"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "content": "x"}]},
    ],
)
def test_what_changes_no_answer_is_covered(said: dict[str, Any]) -> None:
    coverage = coverage_of({"model": "trivia", "messages": ASKED} | said, spec_of())
    assert (coverage.uncovered, coverage.parameters) == ((), {})


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"temperature": 0.7}, ("temperature",)),
        ({"temperature": False}, ("temperature",)),
        ({"max_tokens": 255}, ("max_tokens",)),
        ({"max_tokens": "many"}, ("max_tokens",)),
        ({"n": 2, "stop": ["x"]}, ("n", "stop")),
        ({"n": True}, ("n",)),
        ({"logprobs": True, "top_logprobs": 3}, ("logprobs", "top_logprobs")),
        ({"tools": [TOOL], "tool_choice": "auto"}, ("tools", "tool_choice")),
        ({"response_format": {"type": "json_object"}}, ("response_format",)),
        ({"chat_template_kwargs": {"enable_thinking": True}}, ("chat_template_kwargs",)),
        ({"messages": [{"role": "user", "content": [PICTURE, PICTURE]}]}, ("messages.image_url",)),
        ({"messages": [{"role": "user", "content": ["text"]}]}, ("messages.content",)),
        ({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, ("messages.audio",)),
    ],
)
def test_what_asks_another_model_is_named(said: dict[str, Any], named: tuple[str, ...]) -> None:
    assert coverage_of({"model": "trivia", "messages": ASKED} | said, spec_of()).uncovered == named


def test_what_every_tier_is_told_anyhow_is_covered_and_what_one_is_not_told_is_not() -> None:
    warm, cold = {"temperature": 0.7, "top_p": 0.9}, {"temperature": 0}
    both, one = spec_of(None, warm, warm), spec_of(None, warm, cold)
    said = {"messages": ASKED, "temperature": 0.7, "top_p": 0.9}
    assert coverage_of(said, both).uncovered == ()
    assert coverage_of(said, one).uncovered == ("temperature", "top_p")
    assert coverage_of({"messages": ASKED, "seed": 1}, both).uncovered == ("seed",)
    limits = spec_of(None, {"max_completion_tokens": 9}, {"max_completion_tokens": 7})
    assert coverage_of({"messages": ASKED, "max_tokens": 9}, limits).uncovered == ()
    assert coverage_of({"messages": ASKED, "max_tokens": 8}, limits).uncovered == ("max_tokens",)


def test_what_the_owner_declares_is_covered_and_goes_to_the_tiers_or_to_none() -> None:
    declared = GatewaySpec(certified_parameters=("response_format", "messages.image_url"), ignore=("temperature",))
    said = {"messages": [{"role": "user", "content": [PICTURE]}], "temperature": 1.0, "seed": 3}
    wanted = {"type": "json_object"}
    coverage = coverage_of(said | {"response_format": wanted}, spec_of(declared))
    assert (coverage.uncovered, coverage.parameters) == ((), {"response_format": wanted})


def test_a_request_with_tools_is_the_last_tiers_alone_as_it_is_and_its_cost_is_stored(world: World) -> None:
    world.large.message, world.large.finish_reason = {"content": None, "tool_calls": [CALL]}, "tool_calls"
    answer = asked(world, tools=[TOOL], tool_choice="auto", temperature=0.7, user="u", metadata={"external_id": "q-t"})
    assert answer.status_code == 200 and (world.small.asked, world.large.asked) == (0, 1)
    assert world.large.bodies == [
        {"model": "huge", "messages": ASKED, "tools": [TOOL], "tool_choice": "auto", "temperature": 0.7, "user": "u"}
    ]
    document = answer.json()
    assert document["choices"][0]["message"]["tool_calls"] == [CALL] and document["model"] == "m"
    assert document["knowgate"]["reason"] == answer.headers["knowgate-reason"] == "uncertified_request"
    assert answer.headers["knowgate-uncertified"] == "tools, tool_choice, temperature"
    decision = stored(world, "q-t")
    assert str(decision.id) == answer.headers["knowgate-decision"]
    [attempt] = decision.attempts
    assert (attempt.tier, attempt.role, attempt.verdict, attempt.model) == (1, Role.SERVED, None, "huge")
    assert attempt.fault is Reason.UNCERTIFIED_REQUEST and "tools, tool_choice" in attempt.note
    assert (attempt.tokens_in, attempt.tokens_out) == (7, 1) and attempt.latency_ms > 0


def test_the_official_client_reads_what_is_passed_on(world: World) -> None:
    answer = world.client.chat.completions.create(model="trivia", messages=ASKED, temperature=0.7)  # type: ignore[arg-type]
    assert (answer.choices[0].message.content, answer.model_extra["knowgate"]["uncertified"]) == (  # type: ignore[index]
        "Quito",
        "temperature",
    )
    assert world.client.chat.completions.create(model="trivia", messages=ASKED, temperature=0).model == "tiny"  # type: ignore[arg-type]


@pytest.mark.parametrize("wanted", [False, True])
def test_a_stream_is_passed_on_event_by_event_and_its_cost_is_known_whoever_asks_for_it(
    world: World, wanted: bool
) -> None:
    world.large.events = EVENTS
    world.large.event_gate.clear()
    options = {"stream_options": {"include_usage": True}} if wanted else {}
    body = {"model": "trivia", "messages": ASKED, "temperature": 1.0, "stream": True} | options
    headers = {"Authorization": f"Bearer {KEY}", "Knowgate-External-Id": "q-s"}
    with httpx2.stream("POST", f"{world.url}/v1/chat/completions", json=body, headers=headers) as answer:
        assert answer.headers["knowgate-reason"] == "uncertified_request"
        lines = (line for line in answer.iter_lines() if line)
        assert next(lines) == f"data: {EVENTS[0]}"  # while the tier has said no more
        world.large.event_gate.set()
        assert [*lines] == [f"data: {event}" for event in EVENTS[1:] if wanted or event != EVENTS[3]]
    [sent_on] = world.large.bodies
    assert sent_on["stream_options"] == {"include_usage": True}
    served = stored(world, "q-s").served
    assert (served.tokens_in, served.tokens_out, served.fault) == (5, 2, Reason.UNCERTIFIED_REQUEST)
    counted = metrics(world)
    assert counted['knowgate_gateway_answers_total{reason="uncertified_request"}'] == 1
    assert counted['knowgate_gateway_upstream_seconds_count{tier="large"}'] == 1


def test_an_answer_that_comes_whole_where_events_were_asked_for_is_passed_on_so(world: World) -> None:
    answer = asked(world, stream=True, tools=[TOOL])
    assert (answer.json()["model"], float(answer.headers["knowgate-upstream-ms"]) > 0) == ("m", True)
    assert metrics(world)['knowgate_gateway_upstream_seconds_count{tier="large"}'] == 1


def test_a_stream_that_its_caller_leaves_is_broken_off_and_no_decision(world: World) -> None:
    world.large.events = EVENTS
    world.large.event_gate.clear()
    left_by_its_caller(world, world.large, {"stream": True, "tools": [TOOL], "metadata": {"external_id": "q-gone"}})
    assert world.large.left.wait(10)
    assert [tier["runs"] for tier in abandoned(world, 1)["tiers"]] == [0, 1]
    with reading(world.engine) as session:
        assert decisions.find_decision(session, "trivia", "q-gone") is None


def test_a_stream_that_breaks_off_ends_with_an_event_that_says_so_and_is_no_decision(world: World) -> None:
    world.large.events = [EVENTS[0]]
    world.large.cuts = True
    text = asked(world, stream=True, temperature=1.0, metadata={"external_id": "q-cut"}).text
    first, last = (json.loads(line.removeprefix("data: ")) for line in text.strip().split("\n\n"))
    assert first == json.loads(EVENTS[0]) and last["error"]["type"] == "server_error"
    assert 'knowgate_gateway_answers_total{reason="uncertified_request"}' not in metrics(world)
    world.large.cuts = False
    asked(world, temperature=1.0, metadata={"external_id": "q-later"})
    stored(world, "q-later")
    with reading(world.engine) as session:
        assert decisions.find_decision(session, "trivia", "q-cut") is None


@pytest.mark.parametrize(("status", "answered"), [(400, 400), (429, 429), (401, 502), (500, 502)])
def test_an_error_of_the_last_tier_is_an_http_error_of_a_stream_too(world: World, status: int, answered: int) -> None:
    world.large.status, world.large.body = status, {"error": {"message": "no", "code": "c"}}
    world.large.headers = {"Retry-After": "60"}
    answer = asked(world, stream=True, tools=[TOOL])
    assert answer.status_code == answered and "error" in answer.json()


@pytest.mark.parametrize(
    "world",
    ['[gateway]\ncertified_parameters = ["response_format", "max_tokens"]\nignore = ["temperature"]'],
    indirect=True,
)
def test_declared_parameters_go_to_every_tier_and_ignored_ones_to_none(world: World) -> None:
    world.small.p_t = 0.4
    wanted = {"type": "json_object"}
    answer = asked(world, response_format=wanted, max_tokens=9, temperature=1.3)
    assert (answer.headers["knowgate-reason"], answer.json()["model"]) == ("p_t", "huge")
    for [body] in (world.small.bodies, world.large.bodies):
        assert (body["response_format"], body["max_tokens"], body["temperature"]) == (wanted, 9, 0.0)
    asked(world)
    assert "response_format" not in world.small.bodies[-1] and world.small.bodies[-1]["max_tokens"] == 256
    assert asked(world, n=2).headers["knowgate-uncertified"] == "n"


def test_slice_and_external_id_are_read_of_headers_before_metadata(world: World) -> None:
    headers = {"Knowgate-Slice": "Städte".encode(), "Knowgate-External-Id": b"q-h", "Authorization": f"Bearer {KEY}"}
    body = {"model": "trivia", "messages": ASKED, "metadata": {"slice": "other", "team": "x"}}
    answer = httpx2.post(f"{world.url}/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200
    assert stored(world, "q-h").slice == "Städte"


@pytest.mark.parametrize("changes", [{}, {"temperature": 0.7}], ids=["cascade", "last tier alone"])
def test_the_callers_trace_and_span_are_kept_with_the_decision(world: World, changes: dict[str, Any]) -> None:
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    sent = {"Knowgate-External-Id": "q-t", "traceparent": f"00-{trace}-{span}-01"}
    assert asked(world, sent, **changes).status_code == 200
    decision = stored(world, "q-t")
    assert (decision.trace_id, decision.span_id) == (trace, span)
    assert asked(world, {"Knowgate-External-Id": "q-u", "traceparent": "of my own"}).status_code == 200
    assert stored(world, "q-u").trace_id is None


@pytest.mark.parametrize(("path", "said"), [("/completions", {"prompt": "x"}), ("/responses", {"input": "x"})])
def test_addresses_that_the_last_tier_has_are_passed_to_it_and_counted(
    world: World, path: str, said: dict[str, Any]
) -> None:
    world.large.paths = (f"/v1{path}",)
    world.large.body = {"id": "r", "output": [{"content": [{"type": "output_text", "text": "Quito"}]}]}
    world.large.body |= {"usage": {"input_tokens": 4, "output_tokens": 3}}
    headers = {"Authorization": f"Bearer {KEY}", "Knowgate-External-Id": "q-r"}
    answer = httpx2.post(f"{world.url}/v1{path}", json={"model": "trivia"} | said, headers=headers)
    assert (answer.status_code, answer.json()) == (200, world.large.body)
    assert world.large.bodies == [{"model": "huge"} | said]
    served = stored(world, "q-r").served
    assert (served.fault, served.tokens_in, served.tokens_out) == (Reason.UNCERTIFIED_REQUEST, 4, 3)
    assert f"/v1{path}" in served.note


def test_embeddings_are_another_models_and_no_decision(world: World) -> None:
    world.large.paths, world.large.body = ("/v1/embeddings",), {"data": []}
    answer = world.client.post("/embeddings", body={"model": "embedder", "input": "x"}, cast_to=httpx2.Response)
    assert answer.json() == {"data": []}
    assert world.large.bodies == [{"model": "embedder", "input": "x"}]
    assert httpx2.get(f"{world.url}/healthz").json()["shipped"] == 0


@pytest.mark.parametrize("path", ["/responses", "/completions", "/embeddings"])
def test_an_address_that_the_last_tier_has_not_is_answered_as_openai_does(world: World, path: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        world.client.post(path, body={"model": "trivia", "input": "x"}, cast_to=httpx2.Response)
    assert caught.value.body == {
        "message": f"Invalid URL (POST /v1{path})",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


def test_another_model_than_the_cascade_is_not_passed_on(world: World) -> None:
    with pytest.raises(openai.NotFoundError, match="send its name as model"):
        world.client.post("/responses", body={"model": "gpt-9", "input": "x"}, cast_to=httpx2.Response)
    assert world.large.asked == 0
