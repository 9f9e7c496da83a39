"""The gateway between the official client, a running control plane, and small servers as tiers, all
on real sockets.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from typer.testing import CliRunner

from services.command_line import app as command_line
from services.command_line import exit_code_of
from services.declaration.cascade_file import parse_cascade
from services.errors import InputInvalid
from services.gateway.control import CascadeNotDeclared, ControlPlaneSilent, control_url, declared_cascade
from services.gateway.run import live
from services.gateway.tiers import tier_backends
from services.settings import Settings
from store.engine import reading, transaction
from store.releases import assignments
from store.traffic import decisions
from tests.services.gateway.cast import ASKED, KEY, World, abandoned, asked, left_by_its_caller, sent, stored

Run = Callable[..., BaseException | None]  # the command line; what it raised


def test_the_official_client_is_answered_by_the_tier_whose_answer_is_kept_and_told_why(world: World) -> None:
    raw = world.client.chat.completions.with_raw_response.create(
        model="trivia",
        messages=ASKED,
        metadata={"slice": "cities", "external_id": "q-1"},  # type: ignore[arg-type]
    )
    answer = raw.parse()
    assert answer.choices[0].message.content == "Lima" and answer.model == "tiny"
    assert answer.usage is not None and answer.usage.total_tokens == 8
    assert (raw.headers["knowgate-tier"], raw.headers["knowgate-reason"]) == ("0", "retained")
    account = answer.model_extra["knowgate"]  # type: ignore[index]
    assert (account["tier_name"], account["generation"], world.large.asked) == ("small", 1, 0)
    decision = stored(world, "q-1")
    assert str(decision.id) == raw.headers["knowgate-decision"] == account["decision_id"]
    assert (decision.slice, decision.served.model, decision.served.signals.p_t) == (
        "cities",
        "tiny",
        pytest.approx(0.9),
    )


def test_an_unsure_answer_goes_to_the_larger_tier_and_the_reason_is_told(world: World) -> None:
    world.small.p_t = 0.4
    raw = world.client.chat.completions.with_raw_response.create(
        model="trivia",
        messages=ASKED,
        metadata={"external_id": "q-2"},  # type: ignore[arg-type]
    )
    assert raw.parse().choices[0].message.content == "Quito"
    assert (raw.headers["knowgate-tier"], raw.headers["knowgate-reason"]) == ("1", "p_t")
    assert [attempt.model for attempt in stored(world, "q-2").attempts] == ["tiny", "huge"]


def test_a_failed_tier_escalates_and_a_failed_last_one_is_an_error_that_records_nothing(world: World) -> None:
    world.small.status = 400
    raw = world.client.chat.completions.with_raw_response.create(model="trivia", messages=ASKED)  # type: ignore[arg-type]
    assert raw.headers["knowgate-reason"] == "missing_signal"
    world.large.status = 401
    with pytest.raises(openai.APIStatusError) as caught:
        world.client.chat.completions.create(model="trivia", messages=ASKED)  # type: ignore[arg-type]
    assert caught.value.status_code == 502 and "gave no answer" in str(caught.value)


TOO_LONG = {
    "message": "This model's maximum context length is 8192 tokens.",
    "type": "invalid_request_error",
    "param": "messages",
    "code": "context_length_exceeded",
}


@pytest.mark.parametrize(
    ("status", "error", "headers"),
    [
        (400, TOO_LONG, {}),
        (413, {"message": "too large", "type": "invalid_request_error", "param": None, "code": None}, {}),
        (422, {"message": "no such image", "type": "invalid_request_error", "param": "messages", "code": None}, {}),
        (429, {"message": "slow down", "type": "tokens", "param": None, "code": "rate_limit_exceeded"}, {}),
        (429, {"message": "slow down", "type": "tokens", "param": None, "code": None}, {"Retry-After": "60"}),
    ],
)
def test_what_the_last_tier_says_of_the_request_reaches_the_caller_as_it_is(
    world: World, status: int, error: dict[str, Any], headers: dict[str, str]
) -> None:
    world.small.p_t = 0.4
    world.large.status, world.large.body, world.large.headers = status, {"error": error}, headers
    answer = asked(world)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.headers.get("retry-after") == headers.get("Retry-After")


def test_what_a_server_of_another_shape_says_of_the_request_reaches_the_caller_in_its_words(world: World) -> None:
    world.small.p_t = 0.4
    world.large.status, world.large.body = 422, {"detail": "no such image"}
    answer = asked(world)
    assert (answer.status_code, answer.json()["error"]["message"]) == (422, "no such image")


def test_a_time_to_come_back_reaches_the_caller_as_seconds(world: World) -> None:
    world.small.p_t = 0.4
    at = (datetime.now(UTC) + timedelta(minutes=5)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    world.large.status, world.large.body, world.large.headers = 429, {"error": {"message": "x"}}, {"Retry-After": at}
    answer = asked(world)
    assert answer.status_code == 429 and 200 < int(answer.headers["retry-after"]) <= 300
    assert answer.json()["error"]["type"] == "rate_limit_error"


@pytest.mark.parametrize(
    ("status", "answered"), [(500, 502), (502, 502), (503, 503), (504, 502), (401, 502), (403, 502), (404, 502)]
)
def test_what_is_the_last_tiers_own_fault_is_the_gateways(world: World, status: int, answered: int) -> None:
    world.small.p_t = 0.4
    world.large.status, world.large.headers = status, {"Retry-After": "60"}  # longer than a tier is waited for
    answer = asked(world)
    assert (answer.status_code, answer.json()["error"]["type"]) == (answered, "server_error")


CALL = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("message", "note"),
    [
        ({"content": None, "refusal": "I cannot help with that."}, "refusal"),
        ({"content": None, "tool_calls": [CALL]}, "tool_calls"),
        ({"content": None, "reasoning_content": "A user wants"}, "empty"),
        ({"content": [{"type": "text", "text": ""}]}, "empty"),
    ],
)
def test_an_answer_that_is_no_text_goes_to_the_larger_tier_and_leaves_the_small_one_in_use(
    world: World, message: dict[str, Any], note: str
) -> None:
    world.small.message = message
    for number in range(8):  # more often than failures open a circuit
        question = [{"role": "user", "content": f"Which city is number {number}?"}]
        answer = world.client.chat.completions.create(model="trivia", messages=question)  # type: ignore[arg-type]
        assert answer.choices[0].message.content == "Quito"
        assert answer.model_extra["knowgate"]["attempts"][0]["note"].startswith(note)  # type: ignore[index]
    assert world.small.asked == 8
    world.small.message = None
    assert world.client.chat.completions.create(model="trivia", messages=ASKED).model == "tiny"  # type: ignore[arg-type]


@pytest.mark.parametrize("stream", [False, True])
def test_the_last_tiers_refusal_and_calls_of_tools_are_handed_on(world: World, stream: bool) -> None:
    world.small.p_t = 0.4
    world.large.message = {"content": None, "refusal": "I cannot help with that."}
    refused = said_by(world, stream)
    assert (refused["content"], refused["refusal"]) == (None, "I cannot help with that.")
    world.large.message = {"content": None, "tool_calls": [CALL]}
    world.large.finish_reason = "tool_calls"
    called = said_by(world, stream)
    assert (called["content"], called["tool_calls"][0]["function"]) == (None, CALL["function"])
    assert called["finish_reason"] == "tool_calls"
    world.large.message, world.large.finish_reason = {"content": None}, "length"
    assert (said_by(world, stream)["content"], said_by(world, stream)["finish_reason"]) == ("", "length")


def said_by(world: World, stream: bool) -> dict[str, Any]:
    """The message that a caller is answered with, and why it ended."""
    answer = asked(world, stream=stream)
    if not stream:
        (choice,) = answer.json()["choices"]
        return choice["message"] | {"finish_reason": choice["finish_reason"]}  # type: ignore[no-any-return]
    events = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line.startswith("data: {")]
    return events[0]["choices"][0]["delta"] | {"finish_reason": events[1]["choices"][0]["finish_reason"]}  # type: ignore[no-any-return]


def test_a_text_in_parts_is_kept_like_any_other(world: World) -> None:
    world.small.message = {"content": [{"type": "text", "text": "Li"}, {"type": "text", "text": "ma"}]}
    answer = world.client.chat.completions.create(model="trivia", messages=ASKED)  # type: ignore[arg-type]
    assert (answer.choices[0].message.content, answer.model) == ("Lima", "tiny")


def test_one_prompt_that_breaks_the_small_tier_leaves_it_to_everybody_else(world: World) -> None:
    poison = [{"role": "user", "content": "poison"}]
    world.small.status = 500
    world.small.body, world.small.headers = {"error": {"message": "internal"}}, {"Retry-After": "60"}
    for _ in range(7):
        answer = world.client.chat.completions.create(model="trivia", messages=poison)  # type: ignore[arg-type]
        assert answer.model == "huge"
    world.small.status, world.small.body = 200, None
    assert world.client.chat.completions.create(model="trivia", messages=ASKED).model == "tiny"  # type: ignore[arg-type]


def test_when_the_caller_leaves_the_tier_is_broken_off_the_next_is_not_asked_and_nothing_is_served(
    world: World,
) -> None:
    world.small.gate.clear()
    left_by_its_caller(world, world.small, {"metadata": {"external_id": "q-left"}})
    assert world.small.left.wait(10)
    world.small.gate.set()
    world.client.chat.completions.create(
        model="trivia",
        messages=ASKED,  # type: ignore[arg-type]
        metadata={"external_id": "q-stays"},
    )
    stored(world, "q-stays")
    with reading(world.engine) as session:
        assert decisions.find_decision(session, "trivia", "q-left") is None
    assert (world.small.asked, world.large.asked) == (2, 0)
    spent = abandoned(world, 1)
    assert [(tier["tier"], tier["runs"], tier["tokens_in"]) for tier in spent["tiers"]] == [
        ("small", 1, 0),
        ("large", 0, 0),
    ]


def test_what_the_small_tier_took_before_its_caller_left_is_booked_as_abandoned(world: World) -> None:
    world.small.p_t = 0.4
    world.large.gate.clear()
    for retry in range(3):
        left_by_its_caller(world, world.large, {"metadata": {"external_id": "q-retried"}})
        assert world.large.left.wait(10)
        world.large.left.clear()
        assert world.large.asked == retry + 1
    spent = abandoned(world, 3)
    assert [tier["runs"] for tier in spent["tiers"]] == [3, 3]
    small, large = spent["tiers"]
    assert (small["tokens_in"], small["tokens_out"], small["cost_usd"]) == (21, 3, pytest.approx(27e-6))
    assert (large["tokens_in"], large["tokens_out"], large["cost_usd"]) == (0, 0, None)
    world.large.gate.set()
    world.client.chat.completions.create(
        model="trivia",
        messages=ASKED,  # type: ignore[arg-type]
        metadata={"external_id": "q-retried"},
    )
    assert stored(world, "q-retried").served.model == "huge"
    health = httpx2.get(f"{world.url}/healthz").json()
    assert (health["shipped"], health["generation"], len(health["bundle"])) == (1, 1, 64)


def test_a_stream_is_one_chunk_that_the_client_puts_together(world: World) -> None:
    events = list(
        world.client.chat.completions.create(
            model="trivia",
            messages=ASKED,
            stream=True,
            stream_options={"include_usage": True},  # type: ignore[arg-type]
        )
    )
    assert "".join(event.choices[0].delta.content or "" for event in events if event.choices) == "Lima"
    assert events[-1].usage is not None and events[-1].usage.total_tokens == 8
    assert [event.choices[0].finish_reason for event in events if event.choices] == [None, "stop"]


def test_an_answer_that_was_cut_off_goes_to_the_larger_tier_and_why_that_ended_is_told(world: World) -> None:
    world.small.finish_reason = "length"
    raw = world.client.chat.completions.with_raw_response.create(model="trivia", messages=ASKED)  # type: ignore[arg-type]
    assert (raw.parse().choices[0].message.content, raw.headers["knowgate-reason"]) == ("Quito", "missing_signal")
    assert raw.parse().choices[0].finish_reason == "stop"
    world.large.finish_reason = "length"
    answer = world.client.chat.completions.create(model="trivia", messages=ASKED)  # type: ignore[arg-type]
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("Quito", "length")
    events = world.client.chat.completions.create(model="trivia", messages=ASKED, stream=True)  # type: ignore[arg-type]
    assert [event.choices[0].finish_reason for event in events] == [None, "length"]


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"model": "another"}, 404, "model"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"content": "x"}]}, 400, "messages[0]"),
        ({"messages": [{"role": "user", "content": 5}]}, 400, "messages[0].content"),
        ({"metadata": {"slice": "x\x00"}}, 400, "metadata.slice"),
        ({"metadata": {"slice": 5}}, 400, "metadata.slice"),
        ({"extra_headers": {"Knowgate-Slice": "x" * 513}}, 400, "knowgate-slice"),
        ({"messages": [{"role": "user", "content": "nul \x00"}]}, 400, "messages[0].content"),
        ({"metadata": {"external_id": ""}}, 400, "metadata.external_id"),
        ({"extra_body": {"stream": "yes"}}, 400, "stream"),
        ({"extra_body": {"stream_options": [1]}}, 400, "stream_options"),
        ({"extra_body": {"stream_options": []}}, 400, "stream_options"),
    ],
)
def test_what_a_cascade_cannot_answer_is_refused_by_field(
    world: World, change: dict[str, Any], status: int, param: str
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        world.client.chat.completions.create(**({"model": "trivia", "messages": ASKED} | change))
    assert (caught.value.status_code, caught.value.param) == (status, param)  # type: ignore[attr-defined]
    assert world.small.asked == 0


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        (r'{"messages": [{"role": "user", "content": "\ud800x"}]}', "messages[0].content", "surrogate pair"),
        (r'{"messages": [{"role": "\ud800x", "content": "x"}]}', "messages[0].role", "surrogate pair"),
        (r'{"messages": [{"role": "user", "content": "x", "\ud800x": 1}]}', "messages[0] (a key)", "surrogate pair"),
        ('{"messages": [{"role": "user", "content": [{"text": "\\u0000"}]}]}', "messages[0].content[0].text", "NUL"),
        ('{"messages": [{"role": "user", "content": [1e999]}]}', "messages[0].content[0]", "finite"),
        ('{"messages": ' + "[" * 99 + "]" * 99 + "}", "messages", "nested too deep"),
        ("[" * 50_000, "body", "nested too deep"),
        (r'{"\ud800x": 1, "\ud800x": 2}', "\ud800x", "give each field once"),
        ('{"model": "trivia",\n "messages": oh}', "body", "Expecting value at line 2, column 14"),
        ("", "body", "Expecting value at line 1, column 1"),
        (b'{"model": "\xff"}', "body", "byte 11 is not UTF-8"),
        ('{"n": NaN}', "body", "finite"),
        ('{"n": ' + "9" * 5000 + "}", "body", "5007 bytes"),
    ],
)
def test_a_body_that_no_tier_can_be_sent_is_refused_with_its_place(
    world: World, body: str | bytes, param: str, message: str
) -> None:
    for _ in range(6):  # more often than failures open a circuit
        answer = sent(world, body)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert message in error["message"] and '"bytes"' not in error["message"]
    assert (world.small.asked, world.large.asked) == (0, 0)
    world.client.chat.completions.create(model="trivia", messages=ASKED)  # type: ignore[arg-type]
    assert (world.small.asked, world.large.asked) == (1, 0)


def test_half_a_surrogate_pair_in_a_tiers_answer_reaches_the_caller(world: World) -> None:
    world.small.text = "\ud800x"
    for stream in (False, True):
        answer = asked(world, stream=stream)
        assert answer.status_code == 200 and r"\ud800x" in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status", "param"),
    [
        ("GET", "/nope", 404, "path"),
        ("POST", "/v1/images/generations", 404, "path"),
        ("GET", "/v1/chat/completions", 405, "method"),
        ("GET", "/v1/models/another", 404, "model"),
        ("DELETE", "/v1/models/trivia", 405, "method"),
    ],
)
def test_what_is_not_there_is_told_in_the_shape_that_clients_read(
    world: World, method: str, path: str, status: int, param: str
) -> None:
    answer = httpx2.request(method, f"{world.url}{path}", headers={"Authorization": f"Bearer {KEY}"})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (status, "invalid_request_error", param)
    assert ("allow" in answer.headers) == (status == 405)


def test_the_cascade_is_found_by_its_name_with_the_key_alone(world: World) -> None:
    assert world.client.models.retrieve("trivia").id == "trivia"
    with pytest.raises(openai.NotFoundError, match="send its name as model"):
        world.client.models.retrieve("gpt-4o")
    assert httpx2.get(f"{world.url}/v1/models/trivia").status_code == 401


def test_nobody_asks_without_the_key_and_the_models_are_the_cascade(world: World) -> None:
    assert [model.id for model in world.client.models.list()] == ["trivia"]
    stranger = openai.OpenAI(base_url=f"{world.url}/v1", api_key="another", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError):
        stranger.chat.completions.create(model="trivia", messages=ASKED)  # type: ignore[arg-type]


def test_a_cascade_that_is_not_declared_or_a_control_plane_that_is_away_is_told(world: World) -> None:
    with pytest.raises(CascadeNotDeclared, match=r"--cascade is 'unheard-of': .* 404: .*no such cascade") as caught:
        declared_cascade(world.control, "unheard-of", None)
    assert exit_code_of(caught.value) == 2
    with pytest.raises(ControlPlaneSilent, match="does it run"):
        declared_cascade("http://127.0.0.1:9", "trivia", None)


def test_a_gateway_waits_for_each_tier_and_names_its_model_as_they_are_declared(world: World, tmp_path: Path) -> None:
    spec = declared_cascade(world.control, "trivia", None)
    small = replace(spec.tiers[0], timeout=timedelta(seconds=7), request={"top_k": 1})
    spec = replace(spec, tiers=(small, spec.tiers[1]))
    backends = tier_backends(spec, keys={}, fingerprints={}, states_folder=None)
    with live(
        world.settings.model_copy(update={"data_dir": tmp_path / "another"}), world.control, spec, backends
    ) as serving:
        assert serving.cascade.setting.models == (small.named_model, "huge")
        assert serving.cascade.serving is not None
        assert [tier.patience.timeout_s for tier in serving.cascade.serving.tiers] == [7.0, 30.0]


@pytest.mark.parametrize(
    "url", ["xx", "", "ftp://h", "http://", "http://[::1", "http://h:port", "http://h/?x=1", "http://a b"]
)
def test_an_address_that_is_none_is_refused_before_anything_is_asked(run_command: Run, url: str) -> None:
    error = run_command("gateway", "--cascade", "x", "--control", url)
    assert isinstance(error, InputInvalid) and exit_code_of(error) == 2
    assert str(error) == f"--control is {url!r}: give the control plane's address as http(s)://host[:port]"


def test_without_an_address_that_of_the_settings_is_asked(settings: Settings) -> None:
    assert control_url(None, settings.model_copy(update={"host": "::1", "port": 9})) == "http://[::1]:9"
    assert control_url("https://control/prefix", settings) == "https://control/prefix"


def test_tiers_that_a_gateway_cannot_ask_are_refused_by_name(tmp_path: Path, run_command: Run) -> None:
    spec = parse_cascade(
        'name = "x"\n[[tiers]]\nname = "a"\nmodel = "m"\nparameters = 1\n'
        '[[tiers]]\nname = "b"\nmodel = "n"\nparameters = 2\n'
    )
    # A file must name the endpoint; a declaration that was applied before it had to may not.
    spec = replace(spec, tiers=(replace(spec.tiers[0], backend="openai"), spec.tiers[1]))
    with pytest.raises(InputInvalid, match=r"tiers\.a\.endpoint is None: give the API's root"):
        tier_backends(spec, keys={}, fingerprints={}, states_folder=None)
    with pytest.raises(InputInvalid, match="--key-file names the tier 'c': x has a, b"):
        tier_backends(spec, keys={"c": "k"}, fingerprints={}, states_folder=None)
    for said, fault in (("small", "write TIER=FILE"), (f"small={tmp_path / 'nowhere'}", "the file cannot be used")):
        assert fault in str(run_command("gateway", "--cascade", "x", "--key-file", said))
    error = run_command("gateway", "--cascade", "x", "--host", "0.0.0.0")
    assert "--host is 0.0.0.0: set KNOWGATE_GATEWAY_KEY" in str(error)


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def command_of(world: World, port: int) -> list[str]:
    """`knowgate gateway`, in a process of its own."""
    runs = [sys.executable, "-c", "from services.command_line import main; main()"]
    return [*runs, "gateway", "--cascade", "trivia", "--control", world.control, "--port", str(port)]


@contextmanager
def gateway_process(world: World, data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`knowgate gateway` as a process of its own, once it says that it serves, and where."""
    port = unused_port()
    process = subprocess.Popen(
        command_of(world, port),
        env=os.environ | {"KNOWGATE_DATA_DIR": str(data_dir), "KNOWGATE_GATEWAY_KEY": KEY},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        greeting = process.stderr.readline()
        assert "is model 'trivia'" in greeting, greeting + process.stderr.read()
        yield process, f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.communicate()


def explore_everything(world: World) -> None:
    now = datetime.now(UTC)
    with transaction(world.engine) as session:
        assigned = assignments.assignment(session, "trivia")
        assert assigned is not None
        every = replace(assigned, generation=2, exploration_rate=1.0)
        assignments.swap_assignment(session, every, expected_generation=1, now=now)


@pytest.mark.parametrize(
    ("number", "ends", "roles"),
    [
        (signal.SIGTERM, True, ["served", "exploration"]),
        pytest.param(signal.SIGINT, False, ["served"], marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_explorations_and_drains_before_the_process_ends(
    world: World, tmp_path: Path, number: int, ends: bool, roles: list[str]
) -> None:
    explore_everything(world)
    world.large.gate.clear()
    with gateway_process(world, tmp_path / "own") as (process, url):
        with openai.OpenAI(base_url=url, api_key=KEY, max_retries=3) as client:
            client.chat.completions.create(
                model="trivia",
                messages=ASKED,  # type: ignore[arg-type]
                metadata={"external_id": "q-9"},
            )
        while not world.large.asked:  # the exploration is under way
            time.sleep(0.01)
        process.send_signal(number)
        if ends:
            world.large.gate.set()
        assert process.wait(90) == 0
    with reading(world.engine) as session:
        decision = decisions.find_decision(session, "trivia", "q-9")
    assert decision is not None and [str(attempt.role) for attempt in decision.attempts] == roles
    assert not list((tmp_path / "own").glob("gateway/trivia/spool/*.segment"))


@pytest.mark.parametrize(
    "taken",
    [
        "own",
        pytest.param("own/gateway/trivia", marks=pytest.mark.slow),
        pytest.param("own/gateway/trivia/spool", marks=pytest.mark.slow),
    ],
)
def test_a_data_folder_that_cannot_be_used_is_told_by_its_setting_before_anything_is_served(
    world: World, tmp_path: Path, taken: str
) -> None:
    path = tmp_path / taken
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("no folder")
    ended = subprocess.run(
        command_of(world, unused_port()),
        env=os.environ | {"KNOWGATE_DATA_DIR": str(tmp_path / "own"), "KNOWGATE_GATEWAY_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert ended.returncode == 2
    assert f"KNOWGATE_DATA_DIR is '{tmp_path / 'own'}': a folder is expected" in ended.stderr
    assert str(path) in ended.stderr and "is model" not in ended.stderr and "Traceback" not in ended.stderr


@pytest.fixture
def run_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setenv("KNOWGATE_DATA_DIR", str(tmp_path / "data"))
    return lambda *arguments: CliRunner().invoke(command_line, arguments).exception
