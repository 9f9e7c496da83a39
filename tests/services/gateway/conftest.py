"""A running gateway."""

from collections.abc import Iterator
from contextlib import ExitStack

import openai
import pytest

from services.gateway.app import create_gateway
from services.gateway.control import declared_cascade
from services.gateway.run import live
from services.gateway.tiers import tier_backends
from services.settings import Settings
from services.web.app import create_app
from store.engine import open_engine
from tests.services.gateway.cast import KEY, World, declare, served, tier_server


@pytest.fixture
def world(sqlite_url: str, settings: Settings, request: pytest.FixtureRequest) -> Iterator[World]:
    """A gateway at work; `indirect` = what else stands in the cascade's file, or how many requests
    it answers at once.
    """
    said = getattr(request, "param", "")
    most = {"most_in_flight": int(said.split("=")[1])} if said.startswith("most_in_flight") else {}
    settings = settings.model_copy(update={"gateway_key": KEY})
    with ExitStack() as stack:
        engine = open_engine(sqlite_url)
        stack.callback(engine.dispose)
        small, large = (stack.enter_context(tier_server(text, p_t)) for text, p_t in (("Lima", 0.9), ("Quito", 0.7)))
        declare(engine, small.url, large.url, beside="" if most else said)
        control = stack.enter_context(served(create_app(settings, engine)))
        spec = declared_cascade(control, "trivia", None)
        backends = tier_backends(spec, keys={}, fingerprints={}, states_folder=None)
        serving = stack.enter_context(live(settings, control, spec, backends, **most))
        url = stack.enter_context(served(create_gateway(serving)))
        client = stack.enter_context(openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0))
        yield World(client, engine, small, large, url, control, settings)
