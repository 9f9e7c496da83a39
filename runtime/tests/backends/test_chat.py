"""A chat completion's body is read with suspicion: no text is garbage, no signal is a note."""

import json
import math
from typing import Any

import pytest

from knowgate.backends.chat import read_chat
from knowgate.errors import BackendFailed, Failure


def test_text_p_t_and_counts_are_read(acts: Any) -> None:
    chat = read_chat(json.dumps(acts.completion("B it is", p_t=0.8)).encode())
    assert (chat.text, chat.tokens_in, chat.tokens_out, chat.finish) == ("B it is", 20, 3, "stop")
    assert chat.p_t == pytest.approx(0.8)
    assert chat.notes == ()


def test_the_entropy_is_that_of_the_options_among_themselves(acts: Any) -> None:
    chat = read_chat(json.dumps(acts.completion("B", p_t=0.5)).encode(), options=("B", "C"))
    assert chat.entropy == pytest.approx(math.log(2))
    lacking = read_chat(json.dumps(acts.completion("X", p_t=0.5)).encode(), options=("A", "B"))
    assert (lacking.entropy, lacking.margin) == (None, None)
    assert "top_logprobs lack A, B" in lacking.notes[0]
    nothing_left = read_chat(json.dumps(acts.completion("B", p_t=0.95)).encode(), options=("A", "B"))
    assert nothing_left.entropy == pytest.approx(0.0, abs=1e-4)  # B and C are likely, A is what they leave


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>busy</html>",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"choices": []}',
        b'{"choices": [{"message": {"content": null}}]}',
        b'{"choices": [{"message": {"content": 7}}]}',
        b'{"choices": [7]}',
        b"[" * 100_000,
    ],
)
def test_a_body_without_a_text_is_garbage(content: bytes) -> None:
    with pytest.raises(BackendFailed, match="no chat completion") as caught:
        read_chat(content)
    assert caught.value.failure is Failure.GARBAGE
    assert not caught.value.passes


@pytest.mark.parametrize(
    "logprobs",
    [None, {}, {"content": []}, {"content": [None]}, {"content": [{}]}, 7]
    + [{"content": [{"logprob": value}]} for value in ("-0.1", 0.3, math.nan, True, None, -(10**400))],
)
def test_a_log_probability_that_is_none_leaves_p_t_out_and_says_so(acts: Any, logprobs: Any) -> None:
    chat = read_chat(json.dumps(acts.completion("B", choice={"logprobs": logprobs})).encode())
    assert (chat.text, chat.p_t) == ("B", None)
    assert "p_t is missing" in chat.notes[0]


@pytest.mark.parametrize("usage", [None, 7, {}, {"prompt_tokens": -1}, {"prompt_tokens": "20"}])
def test_counts_that_are_none_are_left_out(acts: Any, usage: Any) -> None:
    chat = read_chat(json.dumps(acts.completion("B", usage=usage)).encode())
    assert (chat.tokens_in, chat.tokens_out) == (None, None)


@pytest.mark.parametrize("told", ["tool_calls", None, 5, ["stop"]])
def test_an_end_that_is_not_known_is_not_told(acts: Any, told: Any) -> None:
    assert read_chat(json.dumps(acts.completion(choice={"finish_reason": told})).encode()).finish is None


def test_a_text_that_a_filter_took_is_an_empty_answer(acts: Any) -> None:
    body = acts.completion(choice={"finish_reason": "content_filter", "message": {"content": None}, "logprobs": None})
    chat = read_chat(json.dumps(body).encode())
    assert (chat.text, chat.finish, chat.p_t) == ("", "content_filter", None)
