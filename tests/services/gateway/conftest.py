"""A running gateway."""

from collections.abc import Iterator

import pytest

from services.settings import Settings
from tests.services.gateway.cast import World, at_work


@pytest.fixture
def world(sqlite_url: str, settings: Settings, request: pytest.FixtureRequest) -> Iterator[World]:
    """A gateway at work; `indirect` = what else stands in the cascade's file, or its limits."""
    said = getattr(request, "param", "")
    limits = said if isinstance(said, dict) else {}
    with at_work(sqlite_url, settings, {"beside": "" if limits else said}, **limits) as world:
        yield world
