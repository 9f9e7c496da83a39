"""A running gateway."""

from collections.abc import Iterator
from contextlib import ExitStack

import openai
import pytest

from services.settings import Settings
from store.engine import open_engine
from tests.services.gateway.cast import KEY, World, declare, running_gateway
from tests.services.gateway.small_server import tier_server


@pytest.fixture
def world(sqlite_url: str, settings: Settings, request: pytest.FixtureRequest) -> Iterator[World]:
    """A gateway at work; `indirect` = what else stands in the cascade's file, or its limits."""
    said = getattr(request, "param", "")
    limits = said if isinstance(said, dict) else {}
    settings = settings.model_copy(update={"gateway_key": KEY})
    with ExitStack() as stack:
        engine = open_engine(sqlite_url)
        stack.callback(engine.dispose)
        small, large = (stack.enter_context(tier_server(text, p_t)) for text, p_t in (("Lima", 0.9), ("Quito", 0.7)))
        declare(engine, small.url, large.url, beside="" if limits else said)
        url, control = stack.enter_context(running_gateway(settings, engine, **limits))
        client = stack.enter_context(openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0))
        yield World(client, engine, small, large, url, control, settings)
