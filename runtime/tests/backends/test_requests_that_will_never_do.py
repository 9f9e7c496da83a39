"""A request that no server will take costs its own query an escalation; the tier goes on being
asked.
"""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

pytest.importorskip("httpx2")


from knowgate._serving.steps import drive, drive_async
from knowgate.backends import OpenAIBackend
from knowgate.backends.circuit import Circuit
from knowgate.backends.protocol import Reply
from knowgate.backends.tries import Patience, Tier, tries
from knowgate.errors import BackendFailed, Failure

QUESTION = [{"role": "user", "content": "Capital of Peru?"}]
HALF = [{"role": "user", "content": "half \ud800"}]


def tier_of(backend: Any) -> Tier:
    """A tier that one failure keeps from being asked."""
    return Tier(backend=backend, patience=Patience(tries=1), circuit=Circuit(open_after=1, open_for_s=60.0))


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_a_refused_request_does_not_open_the_circuit(start: Callable[..., Any], acts: Any, status: int) -> None:
    engine = start(acts.failing(status), acts.answer(acts.completion("B")))
    with OpenAIBackend(engine.url, "small") as backend:
        tier = tier_of(backend)
        with pytest.raises(BackendFailed, match=f"answered {status}") as caught:
            drive(tries(tier, last=False, random=Random(1)), QUESTION)
        assert caught.value.failure is Failure.REFUSED
        assert drive(tries(tier, last=False, random=Random(1)), QUESTION).text == "B"


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_an_error_of_the_server_opens_it(start: Callable[..., Any], acts: Any, status: int) -> None:
    engine = start(acts.failing(status))
    with OpenAIBackend(engine.url, "small") as backend:
        tier = tier_of(backend)
        with pytest.raises(BackendFailed):
            drive(tries(tier, last=False, random=Random(1)), QUESTION)
        assert not tier.circuit.admits()


def test_a_text_that_cannot_be_written_is_not_the_tiers_failure(start: Callable[..., Any], acts: Any) -> None:
    engine = start(acts.answer(acts.completion("B")))
    with OpenAIBackend(engine.url, "small") as backend:
        tier = tier_of(backend)
        with pytest.raises(BackendFailed, match=r"was not asked: the messages hold '\\ud800'") as caught:
            drive(tries(tier, last=False, random=Random(1)), HALF)
        assert (caught.value.failure, caught.value.passes, engine.asked) == (Failure.UNSENDABLE, False, [])
        assert drive(tries(tier, last=False, random=Random(1)), QUESTION).text == "B"


def test_nor_does_it_close_a_circuit_that_is_open() -> None:
    tier = tier_of(Raising())
    tier.circuit.failed()
    with pytest.raises(BackendFailed):
        drive(tries(tier, last=True, random=Random(1)), HALF)
    assert not tier.circuit.admits()


class Raising:
    """A back-end that lets the error of an encoding through."""

    model = "raising"

    def ask(self, messages: Any, *, timeout_s: float) -> Reply:
        messages[0]["content"].encode()
        raise AssertionError("that can be written")

    async def ask_async(self, messages: Any, *, timeout_s: float) -> Reply:
        return self.ask(messages, timeout_s=timeout_s)


def test_the_error_of_any_back_ends_encoding_is_the_requests() -> None:
    with pytest.raises(BackendFailed, match="raising raised UnicodeEncodeError") as caught:
        drive(tries(tier_of(Raising()), last=False, random=Random(1)), HALF)
    assert caught.value.failure is Failure.UNSENDABLE
    with pytest.raises(BackendFailed, match="raising raised UnicodeEncodeError") as caught:
        asyncio.run(drive_async(tries(tier_of(Raising()), last=False, random=Random(1)), HALF))
    assert caught.value.failure is Failure.UNSENDABLE
