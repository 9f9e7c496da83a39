"""A cascade that is observed, through a running gateway: nobody waits for the small tier, what it
says is stored with its chance, and once it is switched on it answers.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime

import openai
import pytest
from sqlalchemy import Engine

from knowgate import Reason, Role
from services.promotion import generations
from services.settings import Settings
from store.engine import open_engine, reading, transaction
from store.releases import assignments, cascades
from tests.services.gateway.cast import (
    KEY,
    World,
    asked,
    metrics,
    running_gateway,
    spec_of,
    stored,
    wait_until,
)
from tests.services.gateway.small_server import EVENTS, tier_server
from tests.services.gateway.test_streams import streaming


def observed_world(engine: Engine, settings: Settings, rate: float, stack: ExitStack) -> World:
    """A gateway in front of a cascade that was just declared."""
    settings = settings.model_copy(update={"gateway_key": KEY})
    small, large = (stack.enter_context(tier_server(text, p_t)) for text, p_t in (("Lima", 0.9), ("Quito", 0.7)))
    spec, now = spec_of(small.url, large.url, beside=f"[observe]\nrate = {rate}"), datetime.now(UTC)
    with transaction(engine) as session:
        cascades.apply_cascade(session, spec, now=now)
        generations.declare(session, spec, settings, now=now)
    url, control = stack.enter_context(running_gateway(settings, engine))
    client = stack.enter_context(openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0))
    return World(client, engine, small, large, url, control, settings)


@pytest.fixture
def observed(sqlite_url: str, settings: Settings, request: pytest.FixtureRequest) -> Iterator[World]:
    """A world that is observed on all queries, or on the share that is asked for."""
    with ExitStack() as stack:
        engine = open_engine(sqlite_url)
        stack.callback(engine.dispose)
        yield observed_world(engine, settings, getattr(request, "param", 1.0), stack)


def roles(world: World, external_id: str) -> list[tuple[Role, float | None]]:
    return [(attempt.role, attempt.run_propensity) for attempt in stored(world, external_id).attempts]


def test_the_answer_arrives_before_the_small_tier_has_answered(observed: World) -> None:
    observed.small.gate.clear()
    answer = asked(observed, metadata={"external_id": "q-1"})
    assert answer.json()["choices"][0]["message"]["content"] == "Quito"
    assert (answer.headers["knowgate-tier"], answer.headers["knowgate-reason"]) == ("1", "observe")
    account = answer.json()["knowgate"]
    assert account["explores"] and [one["reason"] for one in account["attempts"]] == ["observe", None]
    wait_until(lambda: observed.small.asked == 1)
    observed.small.gate.set()
    small, large = stored(observed, "q-1").attempts
    assert (small.role, small.run_propensity, small.verdict.reason) == (Role.EXPLORATION, 1.0, Reason.OBSERVE)
    assert (small.signals.p_t, large.role) == (pytest.approx(0.9), Role.SERVED)


def test_a_stream_of_the_last_tier_is_passed_on_while_the_small_tier_has_not_answered(observed: World) -> None:
    observed.small.gate.clear()
    observed.large.events = EVENTS
    with streaming(observed, metadata={"external_id": "q-2"}) as answer:
        assert (answer.headers["knowgate-tier"], answer.headers["knowgate-reason"]) == ("1", "observe")
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    observed.small.gate.set()
    assert [role for role, _ in roles(observed, "q-2")] == [Role.EXPLORATION, Role.SERVED]


@pytest.mark.parametrize("observed", [1e-9], indirect=True)
def test_where_the_coin_does_not_fall_the_small_tier_is_not_asked_and_its_chance_is_stored(observed: World) -> None:
    asked(observed, metadata={"external_id": "q-3"})
    assert roles(observed, "q-3") == [(Role.SKIPPED, 1e-9), (Role.SERVED, 1.0)]
    assert observed.small.asked == 0


def test_a_small_tier_that_fails_breaks_no_answer(observed: World) -> None:
    observed.small.status = 400
    assert asked(observed, metadata={"external_id": "q-4"}).status_code == 200
    small = stored(observed, "q-4").attempts[0]
    assert (small.role, small.signals.p_t, small.answer) == (Role.EXPLORATION, None, None)
    assert metrics(observed)["knowgate_gateway_left_out_total"] == 0


def test_a_request_that_no_certificate_covers_is_not_observed(observed: World) -> None:
    asked(observed, temperature=0.7, metadata={"external_id": "q-5"})
    assert [attempt.role for attempt in stored(observed, "q-5").attempts] == [Role.SERVED]
    assert observed.small.asked == 0


def test_the_cascade_is_watched_until_something_is_certified(observed: World) -> None:
    with reading(observed.engine) as session:
        current = assignments.assignment(session, "trivia")
    assert current is not None and (current.mode, current.champion, current.exploration_rate) == ("observe", None, 1.0)


@pytest.mark.slow
def test_all_of_it_is_so_on_postgresql(postgresql_url: str, settings: Settings) -> None:
    with ExitStack() as stack:
        engine = open_engine(postgresql_url)
        stack.callback(engine.dispose)
        world = observed_world(engine, settings, 1.0, stack)
        test_the_answer_arrives_before_the_small_tier_has_answered(world)
        test_a_stream_of_the_last_tier_is_passed_on_while_the_small_tier_has_not_answered(world)
