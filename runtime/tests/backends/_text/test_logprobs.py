"""Numbers that are no probabilities of the model are missing signals, and a note says why."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from knowgate._records.records import PTKind
from knowgate.backends.chat import Chat, read_chat

GOLDEN = Path(__file__).parents[1] / "golden"
A_LETTER = (("B", -0.1), ("A", -3.0), ("C", -4.0), ("D", -5.0))


def chat_of(logprob: Any, top: Any, kind: PTKind = PTKind.FIRST_TOKEN, options: str = "ABCD", more: Any = ()) -> Chat:
    listed = [{"token": token, "logprob": number, "bytes": None} for token, number in top] if top is not None else None
    token = {"token": "B", "logprob": logprob, "bytes": [66], "top_logprobs": listed}
    choice = {"message": {"content": "B"}, "finish_reason": "stop", "logprobs": {"content": [token, *more]}}
    return read_chat(json.dumps({"choices": [choice]}).encode(), options=options, p_t_kind=kind)


def require_missing(chat: Chat, why: str) -> None:
    assert (chat.reply.shown.p_t, chat.reply.shown.entropy, chat.reply.shown.margin) == (
        None,
        None,
        None,
    )
    assert (
        why in chat.reply.shown.notes[0]
        and "p_t" in chat.reply.shown.notes[-1]
        and "missing" in chat.reply.shown.notes[-1]
    )


@pytest.mark.parametrize("kind", list(PTKind))
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("sentinel", "top_logprobs hold -9999.0"),
        ("minus_infinity", "top_logprobs hold -inf"),
        ("nan", "logprob is nan"),
        ("null", "logprob is None"),
    ],
)
def test_what_is_left_after_sampling_is_no_probability_of_the_model(name: str, why: str, kind: PTKind) -> None:
    chat = read_chat((GOLDEN / f"{name}.json").read_bytes(), options="ABCD", p_t_kind=kind)
    require_missing(chat, why)
    assert "raw_logprobs" in chat.reply.shown.notes[0]


@pytest.mark.parametrize("kind", list(PTKind))
@pytest.mark.parametrize(
    ("logprob", "top", "why"),
    [
        (0.3, A_LETTER, "logprob is 0.3"),
        (-9999.0, A_LETTER, "logprob is -9999.0"),
        (-math.inf, A_LETTER, "logprob is -inf"),
        (True, A_LETTER, "logprob is True"),
        ("-0.1", A_LETTER, "logprob is '-0.1'"),
        (-0.1, (("B", -0.1), ("A", 0.4)), "top_logprobs hold 0.4"),
        (-0.1, (("B", -0.1), ("A", None)), "top_logprobs hold None"),
        (-0.1, (("B", -0.1), ("A", -1.0)), "probabilities of 1.273 together"),
        (-0.1, (("B", -2.3), ("A", -3.0)), "logprob is -0.1, and -2.3 in top_logprobs"),
        (-0.1, (("A", -0.1), ("C", -4.0)), "probabilities of 1.828 together"),
        (0.0, (("B", 0.0), ("A", -100.0), ("C", -100.0), ("D", -100.0)), "at most -100 for any other token"),
        (0.0, (("B", 0.0), ("A", -100.0)), "at most -100 for any other token"),
        (0.0, (("B", 0.0), ("A", -310.0), ("C", -450.0)), "at most -310 for any other token"),
        (-1e-6, (("B", -1e-6), ("A", -100.0), ("C", -100.0)), "at most -100 for any other token"),
        (-0.1, (("A", -60.0),), "at most -60 for any other token"),
        (0.0, (("B", 0.0), ("A", -1e30), ("C", -1e30)), "top_logprobs hold -1e+30"),
        (-0.1, (("B", -0.1), ("A", -3.0), ("A", -3.0)), "one entry twice"),
        (0.0, (("B", 0.0),), "every logprob is 0"),
        (0.0, (), "every logprob is 0"),
        (0.0, None, "every logprob is 0"),
    ],
)
def test_a_number_that_its_list_contradicts_is_missing(logprob: Any, top: Any, why: str, kind: PTKind) -> None:
    require_missing(chat_of(logprob, top, kind), why)


@pytest.mark.parametrize(
    ("logprob", "top"),
    [
        (-1e-7, (("B", -1e-7), ("A", -17.0), ("C", -18.0), ("D", -20.0))),
        (0.0, (("B", 0.0), ("A", -17.0), ("C", -18.0), ("D", -20.0))),
        (-0.0, (("B", 0.0), ("A", -45.0))),
        (-1e-7, (("A", -17.0), ("C", -18.0), ("D", -20.0))),  # a list of the other tokens alone
        (5e-7, (("B", 5e-7), ("A", -17.0))),  # a float's rounding
    ],
)
def test_a_sure_model_is_believed(logprob: float, top: Any) -> None:
    for kind in PTKind:
        chat = chat_of(logprob, top, kind)
        assert chat.reply.shown.p_t == pytest.approx(1.0)
        assert chat.reply.shown.margin == pytest.approx(1.0, abs=1e-3)


def test_a_log_probability_of_nothing_is_believed_where_another_token_has_less() -> None:
    sure = [{"token": "</s>", "logprob": -0.2, "bytes": None}]
    assert chat_of(0.0, None, options="", more=sure).reply.shown.p_t == 1.0
    assert chat_of(0.0, None, options="", more=[sure[0] | {"logprob": 0.0}]).reply.shown.p_t is None


def test_what_exceeds_nothing_by_rounding_counts_as_nothing() -> None:
    other = [{"token": "</s>", "logprob": -0.2, "bytes": None}]
    chat = chat_of(9e-7, None, kind=PTKind.MEAN, options="", more=other)
    assert chat.reply.shown.p_t == pytest.approx(1.0, abs=1e-12) and chat.reply.shown.p_t <= 1.0


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_likeliest_of_a_list_says_whether_the_number_is_of_a_last_part(place: int) -> None:
    others = [("日", -3.0), ("x", -4.0)]
    listed = [{"token": text, "bytes": list(text.encode()), "logprob": number} for text, number in others]
    listed.insert(place, {"token": "�", "bytes": [165], "logprob": -0.1})
    token = {"token": "日", "bytes": list("日".encode()), "logprob": -0.1, "top_logprobs": listed}
    choice = {"message": {"content": "日"}, "finish_reason": "stop", "logprobs": {"content": [token]}}
    chat = read_chat(json.dumps({"choices": [choice]}).encode())
    assert (chat.reply.shown.p_t, chat.reply.shown.notes) == (
        None,
        ("logprob is that of a character's last part: p_t is missing",),
    )


def test_a_letter_of_several_tokens_that_is_shown_as_one_has_only_its_last_parts_number() -> None:
    """As llama.cpp writes it: the list is that of the letter's last byte."""
    parts = [{"token": "�", "bytes": [byte], "logprob": number} for byte, number in ((165, -0.1), (169, -3.0))]
    token = {"token": "日", "bytes": list("日".encode()), "logprob": -0.1, "top_logprobs": parts}
    unlikely = token | {"logprob": -9.0}
    for one in (token, unlikely):
        choice = {"message": {"content": "日"}, "finish_reason": "stop", "logprobs": {"content": [one]}}
        chat = read_chat(json.dumps({"choices": [choice]}).encode())
        assert (chat.reply.shown.p_t, chat.reply.shown.notes) == (
            None,
            ("logprob is that of a character's last part: p_t is missing",),
        )
    part = {"token": "�", "bytes": [165], "logprob": -0.1, "top_logprobs": parts}
    begin = {"token": "�", "bytes": [230, 151], "logprob": -0.2, "top_logprobs": []}
    choice = {"message": {"content": "日"}, "finish_reason": "stop", "logprobs": {"content": [begin, part]}}
    whole = read_chat(json.dumps({"choices": [choice]}).encode(), p_t_kind=PTKind.MEAN)
    assert whole.reply.shown.p_t == pytest.approx(math.exp(-0.15))


def test_a_token_that_is_not_listed_is_less_likely_than_those_of_the_same_letters_that_are() -> None:
    other_spelling = {"token": " B", "logprob": -14.5, "bytes": [32, 66]}
    top = [{"token": one, "logprob": number, "bytes": None} for one, number in A_LETTER]
    choice = {"message": {"content": "B"}, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice | {"logprobs": {"content": [other_spelling | {"top_logprobs": top}]}}]})
    chat = read_chat(body.encode(), options="ABCD", p_t_kind=PTKind.OPTION)
    assert chat.reply.shown.p_t == pytest.approx(math.exp(-0.1) + math.exp(-14.5))


def test_half_precision_and_rounding_are_no_contradictions() -> None:
    halves = (("B", -0.512), ("A", -0.914))  # 1.0002 together
    assert chat_of(-0.5117, halves).reply.shown.p_t == pytest.approx(0.5995, abs=1e-4)


def test_without_lists_the_probability_of_a_token_is_there_and_that_of_options_among_themselves_is_not() -> None:
    for kind in PTKind:
        for top in (None, ()):
            chat = chat_of(-0.1, top, kind)
            assert chat.reply.shown.p_t == pytest.approx(math.exp(-0.1))
            assert (chat.reply.shown.entropy, chat.reply.shown.margin) == (None, None)
            assert chat.reply.shown.notes == ("top_logprobs lack A, B, C, D: entropy and margin are missing",)


def test_a_fault_of_one_token_is_told_with_how_many_there_are() -> None:
    broken = {"token": " it", "logprob": None, "bytes": None}
    choice = {"message": {"content": "B it"}, "finish_reason": "stop"}
    tokens = [{"token": "B", "logprob": -0.1, "bytes": None}, broken]
    body = json.dumps({"choices": [choice | {"logprobs": {"content": tokens}}]}).encode()
    assert (
        read_chat(body, p_t_kind=PTKind.MEAN)
        .reply.shown.notes[0]
        .startswith("1 of 2 logprobs are none (logprob is None")
    )
    assert read_chat(body).reply.shown.p_t == pytest.approx(math.exp(-0.1))
