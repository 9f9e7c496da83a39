"""A gateway whose small tier a gate may end before it answers, at a server of SGLang's and of
vLLM's kind: skipped, kept, and answering all the same to learn from; stored, explained and
replayed.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

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
from tests.services.gateway.cast import World, asked, at_work, stored

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
    def started(*, exploration_rate: float = 0.001, policy: Policy = GATES) -> Iterator[World]:
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
