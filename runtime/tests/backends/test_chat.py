"""A chat completion's body is read with suspicion: no text is garbage, no signal is a note."""

import json
import math
from typing import Any

import pytest

from knowgate.backends.chat import read_chat
from knowgate.errors import BackendFailed, Failure


def test_text_p_t_and_counts_are_read(acts: Any) -> None:
    chat = read_chat(json.dumps(acts.completion("B it is", p_t=0.8)).encode())
    assert (
        chat.reply.text,
        chat.reply.shown.tokens_in,
        chat.reply.shown.tokens_out,
        chat.reply.finish,
    ) == ("B it is", 20, 3, "stop")
    assert chat.reply.shown.p_t == pytest.approx(0.8)
    assert chat.reply.shown.notes == ()


def test_the_entropy_is_that_of_the_options_among_themselves(acts: Any) -> None:
    chat = read_chat(json.dumps(acts.completion("B", p_t=0.5)).encode(), options=("B", "C"))
    assert chat.reply.shown.entropy == pytest.approx(math.log(2))
    document = acts.completion("B", p_t=0.5)
    document["choices"][0]["logprobs"]["content"][0]["top_logprobs"][1]["logprob"] = math.log(0.2)
    lacking = read_chat(json.dumps(document).encode(), options=("A", "B", "D"))
    assert (lacking.reply.shown.entropy, lacking.reply.shown.margin) == (None, None)
    assert lacking.reply.shown.notes == ("top_logprobs lack A, D: entropy and margin are missing",)
    nothing_left = read_chat(json.dumps(acts.completion("B", p_t=0.95)).encode(), options=("A", "B"))
    assert nothing_left.reply.shown.entropy == pytest.approx(0.0, abs=1e-4)  # B and C are likely, A is what they leave


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>busy</html>",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"choices": []}',
        b'{"choices": [{"message": {}}]}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": {"content": {"text": "B"}}}]}',
        b'{"choices": [{"message": {"content": ["B"]}}]}',
        b'{"choices": [{"message": {"content": [{"text": "B"}]}}]}',
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
    assert (chat.reply.text, chat.reply.shown.p_t) == ("B", None)
    assert "p_t is missing" in chat.reply.shown.notes[0]


@pytest.mark.parametrize("usage", [None, 7, {}, {"prompt_tokens": -1}, {"prompt_tokens": "20"}])
def test_counts_that_are_none_are_left_out(acts: Any, usage: Any) -> None:
    chat = read_chat(json.dumps(acts.completion("B", usage=usage)).encode())
    assert (chat.reply.shown.tokens_in, chat.reply.shown.tokens_out) == (None, None)


@pytest.mark.parametrize("finish_reason", ["tool_calls", None, 5, ["stop"]])
def test_an_end_that_is_not_known_is_not_told(acts: Any, finish_reason: Any) -> None:
    assert read_chat(json.dumps(acts.completion(choice={"finish_reason": finish_reason})).encode()).reply.finish is None


def test_a_text_that_a_filter_took_is_an_empty_answer(acts: Any) -> None:
    body = acts.completion(choice={"finish_reason": "content_filter", "message": {"content": None}, "logprobs": None})
    chat = read_chat(json.dumps(body).encode())
    assert (chat.reply.text, chat.reply.finish, chat.reply.shown.p_t) == ("", "content_filter", None)


def said(acts: Any, message: Any, **choice: Any) -> Any:
    body = acts.completion(choice={"message": {"role": "assistant"} | message} | choice)
    return read_chat(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("message", "note"),
    [
        ({"content": None}, "content is null"),
        ({"content": None, "reasoning_content": "A user wants"}, "all that was written is reasoning"),
        ({"content": None, "reasoning": "A user wants"}, "all that was written is reasoning"),
        ({"reasoning_content": "A user wants"}, "all that was written is reasoning"),
    ],
)
def test_a_message_without_a_text_is_an_empty_answer_with_a_note(acts: Any, message: Any, note: str) -> None:
    chat = said(acts, message, finish_reason="length")
    assert (
        chat.reply.text,
        chat.reply.shown.p_t,
        chat.reply.refusal,
        chat.reply.tool_calls,
        chat.reply.finish,
    ) == ("", None, None, (), "length")
    assert note in chat.reply.shown.notes[0]


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "refusal": "I cannot help with that."},
        {"content": "", "refusal": "I cannot help with that."},
        {"refusal": "I cannot help with that.", "tool_calls": []},
        {"content": [{"type": "refusal", "refusal": "I cannot help with that."}]},
    ],
)
def test_a_refusal_is_an_answer_of_its_own_kind(acts: Any, message: Any) -> None:
    chat = said(acts, message, logprobs=None)
    assert (chat.reply.text, chat.reply.refusal, chat.reply.shown.p_t) == ("", "I cannot help with that.", None)
    assert not any("content is null" in note for note in chat.reply.shown.notes)


CALL = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("message", "text", "calls"),
    [
        ({"content": None, "tool_calls": [CALL]}, "", (CALL,)),
        ({"tool_calls": [CALL, CALL]}, "", (CALL, CALL)),
        ({"content": "Let me look.", "tool_calls": [CALL]}, "Let me look.", (CALL,)),
        ({"content": None, "function_call": CALL["function"]}, "", (CALL["function"],)),
        ({"content": "B", "tool_calls": []}, "B", ()),
        ({"content": "B", "tool_calls": None, "function_call": None, "refusal": None}, "B", ()),
    ],
)
def test_calls_of_tools_are_an_answer_of_their_own_kind(acts: Any, message: Any, text: str, calls: Any) -> None:
    chat = said(acts, message)
    assert (chat.reply.text, chat.reply.tool_calls) == (text, calls)
    assert not any("content is null" in note for note in chat.reply.shown.notes)


def test_a_text_in_parts_is_joined_and_keeps_its_signals(acts: Any) -> None:
    parts = [{"type": "text", "text": "B"}, {"type": "text", "text": " it is"}]
    chat = read_chat(json.dumps(acts.completion("B it is", p_t=0.8, choice={"message": {"content": parts}})).encode())
    assert (chat.reply.text, chat.reply.shown.notes) == ("B it is", ())
    assert chat.reply.shown.p_t == pytest.approx(0.8)


def test_parts_that_are_no_text_are_left_out_with_a_note(acts: Any) -> None:
    chat = said(acts, {"content": [{"type": "image_url", "image_url": {}}, {"type": "text", "text": "B"}]})
    assert chat.reply.text == "B"
    assert "a part of the type 'image_url' is left out" in chat.reply.shown.notes[0]
    assert said(acts, {"content": []}).reply.text == ""


@pytest.mark.parametrize(
    "top", [[None], [{"token": None, "logprob": None}], "x", [{"token": "B", "logprob": "-1"}], {}]
)
def test_whatever_stands_among_the_log_probabilities_the_text_is_read(acts: Any, top: Any) -> None:
    body = acts.completion("B")
    body["choices"][0]["logprobs"]["content"][0]["top_logprobs"] = top
    assert read_chat(json.dumps(body).encode(), options=("A", "B")).reply.text == "B"


@pytest.mark.parametrize(
    ("once", "twice"),
    [
        ('"logprob": -1.6094', '"logprob": -1.6094, "logprob": -0.0001'),
        ('"content": "B"', '"content": "B", "content": "C"'),
        ('"logprobs": {', '"logprobs": null, "logprobs": {'),
        ('{"choices"', '{"choices": [], "choices"'),
        ('"model": "m"', '"model": "m", "mod\\u0065l": "m"'),
    ],
)
def test_a_body_that_says_something_twice_is_garbage(once: str, twice: str) -> None:
    body = (
        '{"choices": [{"message": {"content": "B"}, "logprobs": {"content":'
        ' [{"token": "B", "logprob": -1.6094, "bytes": [66]}]}}], "model": "m"}'
    )
    assert read_chat(body.encode()).reply.shown.p_t == pytest.approx(0.2, abs=1e-4)
    assert once in body
    with pytest.raises(BackendFailed, match="given twice") as caught:
        read_chat(body.replace(once, twice).encode())
    assert caught.value.failure is Failure.GARBAGE
