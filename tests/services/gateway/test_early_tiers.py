"""A gateway whose small tier a gate may end before it answers, at a server of SGLang's and of
vLLM's kind: skipped, kept, and answering all the same to learn from; stored, explained and
replayed.
"""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from factories import make_fingerprint
from knowgate import (
    Attempt,
    LinearProbe,
    Platt,
    Policy,
    PolicyKind,
    ProbeKind,
    Reason,
    Role,
    Standardiser,
    TierDocument,
    TierModels,
)
from services.audit.explain import explain
from services.settings import Settings
from store.engine import reading
from store.traffic import decisions
from tests.services.gateway.cast import ASKED, KEY, World, abandoned, asked, at_work, stored
from tests.services.gateway.small_server import USAGE, chunk

KNOWN, UNKNOWN = [3.0, 0.0, 0.0, 0.0], [-3.0, 0.0, 0.0, 0.0]  # states
GATES = Policy.of(PolicyKind.GATES, ({"p_ik": 0.6, "p_t": 0.8},))
Start = Callable[..., AbstractContextManager[World]]


def models_of(engine: str) -> TierModels:
    """A probe that reads the first number of a state."""
    document = TierDocument(
        fingerprint=make_fingerprint(model="tiny", layer=1, engine=engine, normed=engine == "sglang"),
        probe=ProbeKind.LINEAR,
        dimension=4,
        ik_calibrator=Platt(slope=1.0, intercept=0.0),
        ood=False,
    )
    flat = Standardiser(mean=np.zeros(4, dtype=np.float32), scale=np.ones(4, dtype=np.float32))
    probe = LinearProbe(weight=np.array([1, 0, 0, 0], dtype=np.float32), bias=0.0)
    return TierModels(document=document, standardiser=flat, probe=probe, ood=None)


@pytest.fixture(params=["sglang", "vllm"])
def start(request: pytest.FixtureRequest, sqlite_url: str, settings: Settings, tmp_path: Path) -> Start:
    """Starts a gateway with such a tier."""
    engine, folder = str(request.param), tmp_path / "states"
    models = models_of(engine)

    @contextmanager
    def started(*, exploration_rate: float = 1e-9, policy: Policy = GATES) -> Iterator[World]:
        folder.mkdir()
        tier = f'backend = "{engine}"\nlayers = [1]\nearly = true'
        declared: dict[str, Any] = {"tier": tier, "models": models, "policy": policy}
        declared |= {"exploration_rate": exploration_rate}
        with at_work(
            sqlite_url, settings, declared, fingerprint=models.document.fingerprint, states_folder=folder
        ) as world:
            world.small.states_folder = folder if engine == "vllm" else None
            yield world
        assert list(folder.iterdir()) == []

    return started


def attempts_of(world: World, name: str) -> tuple[Attempt, ...]:
    """What is stored of a decision, which is replayed to the same verdicts on the way."""
    decision = stored(world, name)
    with reading(world.engine) as session:
        explained = explain(session, decision)
    assert explained.replay.matches and explained.replay.attempts == sum(
        attempt.verdict is not None for attempt in decision.attempts
    )
    attempts: tuple[Attempt, ...] = decision.attempts
    return attempts


def ask(world: World, name: str, **changes: Any) -> tuple[str, str, str]:
    """The answer, its tier and its reason."""
    answer = asked(world, metadata={"external_id": name}, **changes)
    text = answer.json()["choices"][0]["message"]["content"]
    return text, answer.headers["knowgate-tier"], answer.headers["knowgate-reason"]


def tokens_asked(world: World) -> list[int]:
    """How many tokens the small tier was to write, request by request."""
    return [body["max_tokens"] for body in world.small.bodies]


@pytest.mark.slow
def test_below_the_threshold_nothing_is_written_and_the_last_tier_answers(start: Start) -> None:
    with start() as world:
        world.small.state = UNKNOWN
        assert ask(world, "q") == ("Quito", "1", "p_ik")
        assert (tokens_asked(world), world.large.asked) == ([1], 1)
        small, large = attempts_of(world, "q")
    assert (small.role, large.role) == (Role.SKIPPED, Role.SERVED)
    assert (small.answer, small.signals.p_t, small.tokens_in, small.tokens_out) == (None, None, 7, 1)
    assert small.signals.p_ik == pytest.approx(1 / (1 + np.exp(3)), abs=1e-3)
    assert small.verdict is not None and small.verdict.reason is Reason.P_IK


def test_above_it_the_answer_is_kept_or_goes_on_to_the_next_gate(start: Start) -> None:
    with start() as world:
        world.small.state = KNOWN
        assert ask(world, "sure") == ("Lima", "0", "retained")
        assert (tokens_asked(world), world.large.asked) == ([1, 256], 0)
        world.small.p_t = 0.4
        assert ask(world, "unsure") == ("Quito", "1", "p_t")
        (kept,), (unsure, _) = attempts_of(world, "sure"), attempts_of(world, "unsure")
    assert (kept.role, unsure.role) == (Role.SERVED, Role.SUPERSEDED)
    assert kept.signals.p_ik == pytest.approx(1 / (1 + np.exp(-3)), abs=1e-3)
    assert (kept.signals.p_t, unsure.signals.p_t) == (pytest.approx(0.9), pytest.approx(0.4))


def test_where_the_coin_falls_the_tier_answers_all_the_same_and_is_not_served(start: Start) -> None:
    with start(exploration_rate=1.0) as world:
        world.small.state = UNKNOWN
        assert ask(world, "q") == ("Quito", "1", "p_ik")
        assert (tokens_asked(world), world.large.asked) == ([1, 256], 1)
        small, large = attempts_of(world, "q")
    assert (small.role, small.run_propensity, large.role) == (Role.EXPLORATION, 1.0, Role.SERVED)
    assert small.signals.p_t == pytest.approx(0.9) and small.verdict is not None
    assert small.verdict.reason is Reason.P_IK


def test_without_a_state_the_tier_answers_and_is_not_kept(start: Start) -> None:
    with start() as world:
        world.small.state, world.small.states_folder = None, None
        assert ask(world, "q") == ("Quito", "1", "missing_signal")
        small, _ = attempts_of(world, "q")
    assert small.role is Role.SUPERSEDED and "hidden" in (small.note or "")


SURE = Policy.of(PolicyKind.P_IK, ({"p_ik": 0.6},))


def word(text: str, p: float) -> str:
    """An event with a token as it is listed."""
    event = json.loads(chunk(text))
    listed = {"token": text, "logprob": math.log(p), "bytes": None, "top_logprobs": []}
    event["choices"][0]["logprobs"] = {"content": [listed]}
    return json.dumps(event)


def ended(reason: str, **delta: Any) -> list[str]:
    """The events that end a stream."""
    event = json.loads(chunk(None))
    event["choices"][0] |= {"finish_reason": reason, "delta": delta}
    return [json.dumps(event), chunk(None, choices=[], usage=USAGE), "[DONE]"]


WRITES = [word("Li", 0.7), word("ma", 0.9), *ended("stop")]


@contextmanager
def streaming(world: World, name: str) -> Iterator[Any]:
    body = {"model": "trivia", "messages": ASKED, "stream": True, "metadata": {"external_id": name}}
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx2.stream("POST", f"{world.url}/v1/chat/completions", json=body, headers=headers, timeout=60) as answer:
        yield answer


def read(world: World, name: str) -> tuple[str, str, list[Any]]:
    """The text of a stream, its tier, and its events."""
    with streaming(world, name) as answer:
        events = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: {")]
        deltas = [choice["delta"] for event in events for choice in event.get("choices", ())]
        return "".join(delta.get("content") or "" for delta in deltas), answer.headers["knowgate-tier"], events


def test_where_the_state_alone_decides_its_tokens_reach_the_caller_while_it_writes(start: Start) -> None:
    with start(policy=SURE) as world:
        world.small.state, world.small.events = KNOWN, WRITES
        world.small.event_gate.clear()
        with streaming(world, "q") as answer:
            lines = (line for line in answer.iter_lines() if line.startswith("data: {"))
            first = json.loads(next(lines)[6:])
            world.small.event_gate.set()
            rest = [json.loads(line[6:]) for line in lines]
        assert (answer.headers["knowgate-tier"], answer.headers["knowgate-reason"]) == ("0", "retained")
        assert (first["model"], first["knowgate"]["attempts"][0]["action"]) == ("tiny", "retain")
        texts = [event["choices"][0]["delta"].get("content") for event in (first, *rest)]
        assert texts == ["Li", "ma", None] and all("logprobs" not in event["choices"][0] for event in (first, *rest))
        read_first, written = world.small.bodies
        assert (read_first["max_tokens"], written["stream"], written["logprobs"]) == (1, True, True)
        (kept,) = attempts_of(world, "q")
    assert (kept.role, kept.tokens_in, kept.tokens_out, world.large.asked) == (Role.SERVED, 7, 2, 0)
    assert kept.signals.p_t == pytest.approx(0.7) and kept.note is None
    assert kept.signals.p_ik == pytest.approx(1 / (1 + np.exp(-3)), abs=1e-3)


def test_what_was_sent_before_it_was_cut_off_is_stored_as_kept_with_a_note_and_without_p_t(start: Start) -> None:
    with start(policy=SURE) as world:
        world.small.state, world.small.events = KNOWN, [word("Li", 0.7), *ended("length")]
        text, tier, events = read(world, "q")
        assert (text, tier, events[-1]["choices"][0]["finish_reason"]) == ("Li", "0", "length")
        (kept,) = attempts_of(world, "q")
    assert kept.role is Role.SERVED and kept.verdict is not None and kept.verdict.retained
    assert kept.signals.p_t is None and "cut off" in (kept.note or "") and "had been sent" in (kept.note or "")


@pytest.mark.parametrize(
    "events", [ended("stop", refusal="I cannot help with that."), ended("tool_calls", tool_calls=[{"id": "t"}]), []]
)
def test_where_no_word_comes_the_last_tier_answers_as_ever(start: Start, events: list[str]) -> None:
    with start(policy=SURE) as world:
        world.small.state, world.small.events, world.large.events = KNOWN, events, WRITES
        text, tier, chunks = read(world, "q")
        assert (text, tier, chunks[0]["knowgate"]["reason"]) == ("Lima", "1", "missing_signal")
        small, large = attempts_of(world, "q")
    assert (small.role, large.role, small.verdict.reason) == (Role.SUPERSEDED, Role.SERVED, Reason.MISSING_SIGNAL)


def test_a_server_that_does_not_stream_is_kept_whole_or_not_at_all(start: Start) -> None:
    with start(policy=SURE) as world:
        world.small.state = KNOWN
        assert read(world, "whole")[:2] == ("Lima", "0")
        world.small.finish_reason = "length"
        assert read(world, "cut off")[:2] == ("Quito", "1")
        assert [attempt.role for attempt in attempts_of(world, "cut off")] == [Role.SUPERSEDED, Role.SERVED]


def test_where_the_answers_own_signals_decide_too_it_comes_whole(start: Start) -> None:
    with start() as world:
        world.small.state, world.small.events = KNOWN, WRITES
        assert read(world, "q")[:2] == ("Lima", "0")
        assert not any(body.get("stream") for body in world.small.bodies)


def test_below_the_threshold_a_stream_is_the_last_tiers(start: Start) -> None:
    with start(policy=SURE) as world:
        world.small.state, world.small.events, world.large.events = UNKNOWN, WRITES, WRITES
        assert read(world, "q")[:2] == ("Lima", "1") and tokens_asked(world) == [1]
        assert [attempt.role for attempt in attempts_of(world, "q")] == [Role.SKIPPED, Role.SERVED]


def test_beside_such_a_stream_the_last_tier_runs_where_the_coin_falls(start: Start) -> None:
    with start(policy=SURE, exploration_rate=1.0) as world:
        world.small.state, world.small.events = KNOWN, WRITES
        assert read(world, "q")[:2] == ("Lima", "0")
        assert [attempt.role for attempt in attempts_of(world, "q")] == [Role.SERVED, Role.EXPLORATION]


def test_one_that_breaks_off_or_is_left_is_no_decision(start: Start) -> None:
    with start(policy=SURE) as world:
        world.small.state, world.small.events, world.small.cuts = KNOWN, WRITES[:1], True
        assert "broke off" in read(world, "broken")[2][-1]["error"]["message"]
        world.small.events, world.small.cuts = WRITES, False
        world.small.event_gate.clear()
        with streaming(world, "left") as answer:
            next(answer.iter_lines())
        assert [tier["runs"] for tier in abandoned(world, 1)["tiers"]] == [1, 0]
        world.small.event_gate.set()
        read(world, "whole")
        stored(world, "whole")
        with reading(world.engine) as session:
            assert [decisions.find_decision(session, "trivia", name) for name in ("broken", "left")] == [None, None]
