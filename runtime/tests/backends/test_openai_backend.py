"""An OpenAI-compatible server over real sockets, through the official client: replies, and every
way to have none.
"""

import asyncio
import threading
import time
from typing import Any

import pytest

pytest.importorskip("httpx2")

from knowgate.backends import OpenAIBackend, Reply
from knowgate.errors import BackendFailed, Failure, RecordInvalid

QUESTION = [{"role": "user", "content": "Capital of Peru? A) Cusco B) Lima"}]


def ask(backend: OpenAIBackend, *, event_loop: bool, timeout_s: float = 5.0) -> Reply:
    """One try, with or without an event loop."""
    if not event_loop:
        with backend:
            return backend.ask(QUESTION, timeout_s=timeout_s)

    async def asked() -> Reply:
        async with backend:
            return await backend.ask_async(QUESTION, timeout_s=timeout_s)

    return asyncio.run(asked())


@pytest.fixture(params=[False, True], ids=["blocking", "event loop"])
def event_loop(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_a_reply_carries_text_p_t_tokens_and_latency(start: Any, acts: Any, event_loop: bool) -> None:
    engine = start(acts.answer(acts.completion("Lima it is", p_t=0.8)))
    reply = ask(OpenAIBackend(engine.url, "small", api_key="sk-1", max_tokens=7), event_loop=event_loop)
    assert (reply.text, reply.shown.tokens_in, reply.shown.tokens_out, reply.shown.hidden) == (
        "Lima it is",
        20,
        3,
        None,
    )
    assert reply.shown.p_t == pytest.approx(0.8)
    assert reply.shown.latency_ms > 0
    (body,) = engine.asked
    assert body == {
        "model": "small",
        "messages": QUESTION,
        "max_tokens": 7,
        "temperature": 0.0,
        "logprobs": True,
        "top_logprobs": 2,
    }
    assert engine.headers[0]["authorization"] == "Bearer sk-1"


def test_parameters_of_ones_own_win_and_none_takes_a_field_away(start: Any, acts: Any) -> None:
    engine = start(acts.answer(acts.completion()))
    parameters = {"max_completion_tokens": 9, "max_tokens": None, "seed": 1}
    backend = OpenAIBackend(engine.url, "small", options=("A", "B"), parameters=parameters)
    ask(backend, event_loop=False)
    (body,) = engine.asked
    assert (body["max_completion_tokens"], body["seed"], body["top_logprobs"]) == (9, 1, 5)
    assert "max_tokens" not in body


@pytest.mark.parametrize(
    ("status", "failure", "passes"),
    [
        (400, Failure.REFUSED, False),
        (401, Failure.REFUSED, False),
        (404, Failure.REFUSED, False),
        (408, Failure.BROKEN, True),
        (422, Failure.REFUSED, False),
        (429, Failure.OVERLOADED, True),
        (500, Failure.BROKEN, True),
        (502, Failure.BROKEN, True),
        (503, Failure.OVERLOADED, True),
    ],
)
def test_a_status_says_whether_the_same_request_may_do_better_later(
    start: Any, acts: Any, event_loop: bool, status: int, failure: Failure, passes: bool
) -> None:
    engine = start(acts.failing(status, retry_after="3"))
    with pytest.raises(BackendFailed, match=str(status)) as caught:
        ask(OpenAIBackend(engine.url, "small"), event_loop=event_loop)
    assert (caught.value.failure, caught.value.passes, caught.value.retry_after_s) == (failure, passes, 3.0)
    assert len(engine.asked) == 1  # the client's own retries are off


@pytest.mark.parametrize("way", ["closing", "cutting"])
def test_a_cut_connection_may_be_tried_again(start: Any, acts: Any, event_loop: bool, way: str) -> None:
    engine = start(getattr(acts, way))
    with pytest.raises(BackendFailed) as caught:
        ask(OpenAIBackend(engine.url, "small"), event_loop=event_loop)
    assert (caught.value.failure, caught.value.passes) == (Failure.UNREACHABLE, True)


def test_nobody_at_the_port_may_be_tried_again(event_loop: bool) -> None:
    with pytest.raises(BackendFailed) as caught:
        ask(OpenAIBackend("http://127.0.0.1:9/v1", "small"), event_loop=event_loop)
    assert caught.value.failure is Failure.UNREACHABLE


@pytest.mark.parametrize("way", ["silent", "dripping", "dripping_head"])
def test_a_slow_server_is_given_up_when_time_runs_out(start: Any, acts: Any, event_loop: bool, way: str) -> None:
    engine = start(getattr(acts, way))
    with pytest.raises(BackendFailed) as caught:
        ask(OpenAIBackend(engine.url, "small"), event_loop=event_loop, timeout_s=0.2)
    assert (caught.value.failure, caught.value.passes) == (Failure.TIMEOUT, False)


@pytest.mark.parametrize("content", [b"", b"<html>", b'{"choices": [{"mess'])
def test_garbage_is_not_asked_for_again(start: Any, acts: Any, event_loop: bool, content: bytes) -> None:
    engine = start(acts.answer(content))
    with pytest.raises(BackendFailed) as caught:
        ask(OpenAIBackend(engine.url, "small"), event_loop=event_loop)
    assert (caught.value.failure, caught.value.passes) == (Failure.GARBAGE, False)


def test_an_event_loop_asks_many_at_once(start: Any, acts: Any) -> None:
    arrived: list[float] = []

    def waits(handler: Any, body: Any) -> None:
        arrived.append(time.monotonic())
        deadline = time.monotonic() + 10
        while len(arrived) < 8 and time.monotonic() < deadline:  # answers nobody before all have come
            time.sleep(0.005)
        acts.answer(acts.completion())(handler, body)

    engine = start(waits)

    async def all_at_once() -> list[Reply]:
        async with OpenAIBackend(engine.url, "small") as backend:
            return await asyncio.gather(*(backend.ask_async(QUESTION, timeout_s=8.0) for _ in range(8)))

    assert [reply.text for reply in asyncio.run(all_at_once())] == ["B"] * 8


def test_a_back_end_outlives_its_event_loop(start: Any, acts: Any) -> None:
    engine = start(acts.answer(acts.completion()))
    backend = OpenAIBackend(engine.url, "small")

    async def once() -> str:
        reply = await backend.ask_async(QUESTION, timeout_s=5.0)
        await backend.close_async()
        return reply.text

    assert [asyncio.run(once()), asyncio.run(once())] == ["B", "B"]


@pytest.mark.parametrize(
    ("text", "settings", "enough"),
    [
        ("B because of", {}, False),
        ("**B**.", {"options": ("A", "B")}, True),
        ("**B** because of", {"options": ("A", "B")}, False),
        ("A lot of people", {"options": ("A", "B")}, False),
        ("<think>Or A?</think>B", {"options": ("A", "B")}, True),
        ("Because of", {"options": ("A", "B")}, False),
        ("B", {"max_tokens": 1}, True),
        ("B", {"parameters": {"max_tokens": None, "max_completion_tokens": 1}}, True),
    ],
)
def test_an_answer_that_was_cut_off_is_told_and_is_enough_where_an_option_or_one_token_was_asked_for(
    start: Any, acts: Any, event_loop: bool, text: str, settings: Any, enough: bool
) -> None:
    engine = start(acts.answer(acts.completion(text, choice={"finish_reason": "length"})))
    reply = ask(OpenAIBackend(engine.url, "small", **settings), event_loop=event_loop)
    assert (reply.text, reply.finish, reply.enough) == (text, "length", enough)


def test_closing_fails_what_is_under_way_instead_of_leaving_it_to_wait(start: Any, acts: Any) -> None:
    arrived, gate = threading.Event(), threading.Event()

    def holds(handler: Any, body: Any) -> None:
        arrived.set()
        gate.wait()
        handler.close_connection = True

    backend = OpenAIBackend(start(holds).url, "small")
    failures: list[BaseException] = []

    def asks() -> None:
        try:
            backend.ask(QUESTION, timeout_s=3600.0)
        except BackendFailed as error:
            failures.append(error)

    asker = threading.Thread(target=asks, daemon=True)
    asker.start()
    assert arrived.wait(30)
    backend.close()
    asker.join(30)
    gate.set()
    assert ["closed while it was asked" in str(error) for error in failures] == [True]


def test_closing_on_another_thread_takes_an_event_loops_connections_along(start: Any, acts: Any) -> None:
    engine = start(acts.answer(acts.completion()))
    backend = OpenAIBackend(engine.url, "small")

    async def asked() -> list[int]:
        await backend.ask_async(QUESTION, timeout_s=30.0)
        before = acts.connections_to(engine.url)
        await asyncio.to_thread(backend.close)
        return [before, acts.connections_to(engine.url)]

    assert asyncio.run(asked()) == [1, 0]


def test_an_url_without_a_scheme_is_refused() -> None:
    with pytest.raises(RecordInvalid, match="API's root"):
        OpenAIBackend("localhost:8000", "small")


def test_the_key_is_not_shown() -> None:
    with OpenAIBackend("http://127.0.0.1:9/v1", "small", api_key="sk-secret") as backend:
        assert "sk-secret" not in repr(backend)


@pytest.mark.parametrize(("given", "seconds"), [("1.5", 1.5), ("0", 0.0), ("-3", None), ("soon", None), ("inf", None)])
def test_the_time_that_a_server_asks_for_may_have_a_fraction(
    start: Any, acts: Any, given: str, seconds: float | None
) -> None:
    with OpenAIBackend(start(acts.failing(429, retry_after=given)).url, "small") as backend:
        with pytest.raises(BackendFailed) as caught:
            backend.ask([{"role": "user", "content": "?"}], timeout_s=10.0)
        assert caught.value.retry_after_s == seconds
