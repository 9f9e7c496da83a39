"""What servers of tiers really answer, through a running gateway and into the store: numbers that
are none, options in several spellings and tokens, files of states that nobody reads, and labels
that come by the external id.
"""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from knowgate import Policy, PolicyKind
from knowgate._records.records import Attempt
from services.command_line import app as command_line
from services.settings import Settings
from store.engine import reading
from store.traffic import labels
from tests.services.gateway.cast import ASKED, World, asked, at_work, stored

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


def completion(text: str, tokens: list[dict[str, Any]]) -> bytes:
    """A completion with these tokens; NaN where a number is none."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "logprobs": {"content": tokens},
        "finish_reason": "stop",
    }
    usage = {"prompt_tokens": 7, "completion_tokens": len(tokens), "total_tokens": 7 + len(tokens)}
    return json.dumps({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}).encode()


def token(text: str, p: float | None, others: dict[str, float]) -> dict[str, Any]:
    """A token with what else is listed in its place."""
    listed = [{"token": other, "logprob": math.log(chance), "bytes": None} for other, chance in others.items()]
    number = None if p is None else math.nan if math.isnan(p) else math.log(p)
    return {"token": text, "logprob": number, "bytes": None, "top_logprobs": listed}


def small_attempt(world: World, name: str) -> Attempt:
    """What is stored of the small tier."""
    attempt: Attempt = stored(world, name).attempts[0]
    return attempt


@pytest.mark.parametrize("number", [math.nan, None])
def test_a_number_that_is_none_escalates_its_request_and_keeps_nobody_from_the_tier(
    world: World, number: float | None
) -> None:
    world.small.body = completion("Lima", [token("Lima", number, {"Lima": 0.9, "Rio": 0.05})])
    for at in range(7):  # more often than failures open a circuit
        answer = asked(world, metadata={"external_id": f"q-{at}"})
        assert (answer.headers["knowgate-tier"], answer.headers["knowgate-reason"]) == ("1", "missing_signal")
    attempt = small_attempt(world, "q-6")
    assert attempt.signals.p_t is None and "no log-probability of the model" in (attempt.note or "")
    world.small.body = None
    assert asked(world).headers["knowgate-tier"] == "0"


def test_a_picture_that_the_small_tier_would_refuse_is_the_last_tiers_and_costs_nobody_else(world: World) -> None:
    world.small.status = 400
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, PICTURE]}]
    for _ in range(7):
        answer = asked(world, messages=messages)
        assert (answer.status_code, answer.headers["knowgate-uncertified"]) == (200, "messages.image_url")
    assert world.small.asked == 0 and world.large.bodies[-1]["messages"] == messages
    world.small.status = 200
    assert asked(world).headers["knowgate-tier"] == "0"


def options_of(*names: str) -> dict[str, Any]:
    """A small tier that chooses one of these."""
    tier = f'backend = "openai"\noptions = {json.dumps(names)}\np_t_kind = "option"'
    return {"tier": tier, "policy": Policy.of(PolicyKind.P_T, ({"p_t": 0.8},))}


@pytest.fixture
def letters(sqlite_url: str, settings: Settings) -> Iterator[World]:
    with at_work(sqlite_url, settings, options_of("A", "B", "C", "D")) as world:
        yield world


@pytest.fixture
def cities(sqlite_url: str, settings: Settings) -> Iterator[World]:
    with at_work(sqlite_url, settings, options_of("Lisbon", "Madrid", "Lima")) as world:
        yield world


@pytest.mark.parametrize("other", [" A", "A.", "(A", "a)"])
def test_an_option_in_two_spellings_is_kept_for_what_it_has_in_both(letters: World, other: str) -> None:
    rest = {"B": 0.03, "C": 0.01, "D": 0.004}
    letters.small.body = completion("A", [token("A", 0.5, {"A": 0.5, other: 0.45} | rest)])
    answer = asked(letters, metadata={"external_id": "q"})
    kept = other != "a)"  # another letter
    assert answer.headers["knowgate-tier"] == ("0" if kept else "1")
    assert small_attempt(letters, "q").signals.p_t == pytest.approx(0.95 if kept else 0.5)


def test_an_entry_that_stands_twice_is_no_probability(letters: World) -> None:
    twice = token("A", 0.5, {"A": 0.5, "B": 0.03})
    twice["top_logprobs"].append(twice["top_logprobs"][0])
    letters.small.body = completion("A", [twice])
    assert asked(letters, metadata={"external_id": "q"}).headers["knowgate-reason"] == "missing_signal"
    assert small_attempt(letters, "q").signals.p_t is None


@pytest.mark.parametrize(("second", "tier"), [(0.97, "0"), (0.5, "1")])
def test_an_option_of_several_tokens_has_the_product_of_theirs(cities: World, second: float, tier: str) -> None:
    tokens = [
        token("L", 0.98, {"L": 0.98, "M": 0.01}),
        token("is", second, {"is": second, "ima": 0.02}),
        token("bon", 0.99, {"bon": 0.99, "a": 0.001}),
    ]
    cities.small.body = completion("Lisbon", tokens)
    assert asked(cities, metadata={"external_id": "q"}).headers["knowgate-tier"] == tier
    assert small_attempt(cities, "q").signals.p_t == pytest.approx(0.98 * second * 0.99)


def test_files_of_states_that_nobody_reads_are_deleted_and_swept(
    sqlite_url: str, settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "states"
    folder.mkdir()
    old = folder / "chatcmpl-of-a-request-that-timed-out.safetensors"
    old.write_bytes(b"left by a request that nobody waited for")
    os.utime(old, (1.0, 1.0))
    declared = {"tier": 'backend = "vllm"\nlayers = [1]'}
    with at_work(sqlite_url, settings, declared, states_folder=folder) as world:  # no fingerprint: no state is read
        world.small.states_folder = folder
        for _ in range(3):
            assert asked(world).headers["knowgate-tier"] == "0"
        assert list(folder.iterdir()) == []


def test_labels_of_another_tools_export_find_what_the_gateway_decided(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, messages in (("t-1", ASKED), ("t-2", ASKED), ("t-2", [{"role": "user", "content": "And which river?"}])):
        asked(world, metadata={"external_id": name}, messages=messages)
    stored(world, "t-2")
    decision = stored(world, "t-1")
    export = tmp_path / "scores.csv"
    time = decision.occurred_at.isoformat()
    export.write_text(f"ticket,ok,when,source\nt-1,1,{time},web\nt-2,0,{time},web\n", encoding="utf-8")
    monkeypatch.setenv("KNOWGATE_DATA_DIR", str(tmp_path / "own"))
    monkeypatch.setenv("KNOWGATE_DATABASE_URL", world.engine.url.render_as_string(hide_password=False))
    command = ["labels", "import", str(export), "--cascade", "trivia", "--source", "human"]
    refused = CliRunner().invoke(command_line, [*command, "--map", "external_id=ticket,correct=ok,labelled_at=when"])
    assert "leave the column out with --map source=" in str(refused.exception)
    mapped = "external_id=ticket,correct=ok,labelled_at=when,source="
    taken = CliRunner().invoke(command_line, [*command, "--map", mapped])
    assert taken.exit_code == 0, taken.output
    assert "t-2" in taken.output  # that of two decisions
    with reading(world.engine) as session:
        (label,) = labels.labels_of(session, decision.id)
    assert (label.correct, str(label.source)) == (1.0, "human")
