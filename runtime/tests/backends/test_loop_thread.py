"""Coroutines on a thread of their own, for threads that wait."""

import asyncio
import threading

import pytest

from knowgate.backends.loop_thread import LoopThread
from knowgate.errors import BackendFailed


async def nothing() -> None:
    """What there is to do at the end."""


def test_closing_frees_whoever_waits_for_a_request_that_does_not_let_go() -> None:
    loop, entered, let_go = LoopThread(let_go_s=0.01), threading.Event(), threading.Event()
    failures: list[BackendFailed] = []

    async def stubborn() -> None:
        entered.set()
        while not let_go.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    def waits() -> None:
        with pytest.raises(BackendFailed) as failure:
            loop.run(stubborn)
        failures.append(failure.value)

    waiter = threading.Thread(target=waits, daemon=True)
    waiter.start()
    assert entered.wait(30)
    loop.close(nothing)
    waiter.join(30)
    let_go.set()
    assert [str(failure) for failure in failures] == ["the back-end was closed while it was asked"]


def test_after_closing_the_next_request_starts_another_loop() -> None:
    async def thread() -> int:
        return threading.get_ident()

    loop = LoopThread()
    first = loop.run(thread)
    assert loop.run(thread) == first != threading.get_ident()
    loop.close(nothing)
    assert "knowgate-backend" not in {each.name for each in threading.enumerate()}
    assert loop.run(thread) != threading.get_ident()
    loop.close(nothing)
