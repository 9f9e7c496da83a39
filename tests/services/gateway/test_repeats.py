"""One answer for one request, and work that ends with the last who waits for it."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from services.gateway.repeats import Key, OtherRequest, Repeats


class Work:
    """Work that waits until it is let go, and counts how often it began and was broken off."""

    def __init__(self) -> None:
        self.begun = 0
        self.broken_off = 0
        self.go = asyncio.Event()
        self.fails = False

    async def run(self) -> int:
        self.begun += 1
        number = self.begun
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.broken_off += 1
            raise
        if self.fails:
            raise ValueError("no answer")
        return number


def key(name: str = "k", request: str = "r") -> Key:
    return Key(kind="the key", name=name, request=request)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 20))


def test_the_same_request_is_given_the_same_answer_while_it_is_under_way_and_afterwards() -> None:
    async def test() -> None:
        repeats, work = Repeats[int](), Work()
        both = [asyncio.ensure_future(repeats.once(key(), work.run)) for _ in range(2)]
        await asyncio.sleep(0)
        work.go.set()
        assert await asyncio.gather(*both) == [(1, False), (1, True)]
        assert await repeats.once(key(), work.run) == (1, True)
        assert await repeats.once(key("another"), work.run) == (2, False)

    run(test())


def test_a_key_of_another_request_is_refused_by_its_name() -> None:
    async def test() -> None:
        repeats, work = Repeats[int](), Work()
        work.go.set()
        await repeats.once(key(), work.run)
        with pytest.raises(OtherRequest, match="the key 'k' was given with another request"):
            await repeats.once(key(request="other"), work.run)

    run(test())


def test_what_failed_is_asked_anew_by_whoever_comes_next() -> None:
    async def test() -> None:
        repeats, work = Repeats[int](), Work()
        work.go.set()
        work.fails = True
        for _ in range(2):
            with pytest.raises(ValueError, match="no answer"):
                await repeats.once(key(), work.run)
        work.fails = False
        assert await repeats.once(key(), work.run) == (3, False)

    run(test())


@pytest.mark.parametrize("waiting", [1, 2, 3])
def test_work_ends_when_the_last_of_its_callers_leaves_and_not_before(waiting: int) -> None:
    async def test() -> None:
        repeats, work = Repeats[int](), Work()
        callers = [asyncio.ensure_future(repeats.once(key(), work.run)) for _ in range(waiting)]
        await asyncio.sleep(0.01)
        for number, caller in enumerate(callers):
            assert work.broken_off == 0, number
            caller.cancel()
            await asyncio.gather(caller, return_exceptions=True)
        assert (work.begun, work.broken_off) == (1, 1)
        work.go.set()
        assert await repeats.once(key(), work.run) == (2, False)

    run(test())


def test_an_answer_is_forgotten_after_its_time_and_the_oldest_where_there_are_too_many() -> None:
    async def test() -> None:
        now = 0.0
        repeats, work = Repeats[int](within_s=10.0, most=2, clock=lambda: now), Work()
        work.go.set()
        assert await repeats.once(key("a"), work.run) == (1, False)
        now = 9.9
        assert await repeats.once(key("a"), work.run) == (1, True)
        now = 10.0
        assert await repeats.once(key("a"), work.run) == (2, False)
        for name, number in (("b", 3), ("c", 4)):
            assert await repeats.once(key(name), work.run) == (number, False)
        assert await repeats.once(key("c"), work.run) == (4, True)
        assert await repeats.once(key("b"), work.run) == (3, True)
        assert await repeats.once(key("a"), work.run) == (5, False)

    run(test())
