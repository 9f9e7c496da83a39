"""Requests that are passed on as they are, and answers that are passed back as they come."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx2")

from knowgate.backends import OpenAIBackend, VLLMBackend
from knowgate.backends.protocol import CHAT
from knowgate.errors import BackendFailed, Failure

Make = Callable[..., Any]
QUESTION = [{"role": "user", "content": "Capital of Peru?"}]
BODY = {"messages": QUESTION, "temperature": 0.7}


def opened(backend: OpenAIBackend, body: Any = BODY, *, timeout_s: float = 5.0) -> tuple[bytes, str]:
    """The whole body of what `backend` answers, and its media type."""

    async def read() -> tuple[bytes, str]:
        async with backend:
            answer = await backend.open_async(CHAT, body, timeout_s=timeout_s)
            return await answer.content(), answer.media_type

    return asyncio.run(read())


def test_a_request_is_sent_as_it_is_with_what_it_does_not_say(start: Make, acts: Any) -> None:
    engine = start(acts.answer({"any": "thing"}))
    backend = OpenAIBackend(engine.url, "huge", api_key="sk-1", max_tokens=7, parameters={"top_k": 1, "temperature": 0})
    assert opened(backend) == (b'{"any": "thing"}', "application/json")
    assert engine.asked == [{"model": "huge", "messages": QUESTION, "temperature": 0.7, "top_k": 1}]
    assert engine.headers[0]["authorization"] == "Bearer sk-1"


def test_a_chat_in_events_is_asked_for_as_the_tier_is_declared(start: Make, acts: Any) -> None:
    engine = start(acts.answer(acts.completion()))

    async def ask() -> bool:
        async with OpenAIBackend(engine.url, "huge", max_tokens=7, parameters={"top_k": 1}) as backend:
            given = backend.with_parameters({"max_completion_tokens": 9, "stop": ["x"]})
            answer = await given.open_chat_async(QUESTION, timeout_s=5.0)
            await answer.close()
            return answer.is_stream

    assert asyncio.run(ask()) is False  # it was asked for events, and gives none
    given = {"temperature": 0.0, "top_k": 1, "max_completion_tokens": 9, "stop": ["x"]}
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    assert engine.asked == [{"model": "huge", "messages": QUESTION} | given | streamed]


def test_given_parameters_are_of_the_copy_alone(start: Make, acts: Any) -> None:
    engine = start(acts.answer(acts.completion()))
    with OpenAIBackend(engine.url, "huge") as backend:
        assert backend.with_parameters({}) is backend
        backend.with_parameters({"seed": 7}).ask(QUESTION, timeout_s=5.0)
        backend.ask(QUESTION, timeout_s=5.0)
    assert [body.get("seed") for body in engine.asked] == [7, None]


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (400, Failure.REFUSED),
        (404, Failure.REFUSED),
        (429, Failure.OVERLOADED),
        (500, Failure.BROKEN),
        (501, Failure.REFUSED),
        (302, Failure.REFUSED),
    ],
)
def test_an_error_is_told_in_the_servers_words(start: Make, acts: Any, status: int, failure: Failure) -> None:
    error = {"message": "no", "type": "t", "param": "p", "code": 7}
    engine = start(acts.answer({"error": error}, status=status, Retry_After="60", Location="http://127.0.0.1:9/"))
    with pytest.raises(BackendFailed) as caught:
        opened(OpenAIBackend(engine.url, "huge"))
    said = caught.value.said
    assert said is not None and (said.status, said.message, said.type, said.param, said.code) == (
        *(status, "no", "t", "p"),
        "7",
    )
    assert (caught.value.failure, caught.value.retry_after_s) == (failure, 60.0)


@pytest.mark.parametrize("act", ["closing", "cutting", "resetting", "chunked_and_cut"])
def test_an_answer_that_breaks_off_is_a_failure(start: Make, acts: Any, act: str) -> None:
    with pytest.raises(BackendFailed) as caught:
        opened(OpenAIBackend(start(getattr(acts, act)).url, "huge"))
    assert caught.value.failure is Failure.UNREACHABLE


def test_a_server_that_says_nothing_is_given_up_in_time(start: Make, acts: Any) -> None:
    with pytest.raises(BackendFailed) as caught:
        opened(OpenAIBackend(start(acts.silent).url, "huge"), timeout_s=0.05)
    assert caught.value.failure is Failure.TIMEOUT


def test_an_answer_without_end_is_cut(start: Make, acts: Any) -> None:
    with pytest.raises(BackendFailed, match="larger than") as caught:
        opened(OpenAIBackend(start(acts.flooding).url, "huge"), timeout_s=30.0)
    assert caught.value.failure is Failure.GARBAGE


def test_nobody_is_asked_where_no_time_is_left_or_the_body_cannot_be_written(start: Make, acts: Any) -> None:
    engine = start(acts.answer({}))
    with pytest.raises(BackendFailed, match="no time was left"):
        opened(OpenAIBackend(engine.url, "huge"), timeout_s=0.0)
    assert engine.asked == []


def test_files_of_hidden_states_that_nobody_takes_are_swept_by_such_requests_too(
    start: Make, acts: Any, tmp_path: Path
) -> None:

    (tmp_path / "chatcmpl-1.safetensors").write_bytes(b"of a request that was passed on")
    os.utime(tmp_path / "chatcmpl-1.safetensors", (1.0, 1.0))
    engine = start(acts.answer({}))
    opened(VLLMBackend(engine.url, "huge", fingerprint=None, folder=tmp_path))
    assert list(tmp_path.iterdir()) == []
