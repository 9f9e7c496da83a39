"""An option's probability: its spellings summed, its tokens multiplied, and nothing where the
answer is no option.
"""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from knowgate._records.records import PTKind
from knowgate.backends.chat import Chat, read_chat

GOLDEN = Path(__file__).parents[1] / "golden"
CITIES = ("Lisbon", "Madrid", "Lima")
Place = tuple[str, float, dict[str, float]]


def chat_of(
    text: str, *places: Place, options: Any = "ABCD", kind: PTKind = PTKind.OPTION, finish: str = "stop"
) -> Chat:
    """A reply of these tokens, each with its probability and those listed in its place."""
    tokens = [
        {
            "token": token,
            "logprob": math.log(p),
            "bytes": list(token.encode()),
            "top_logprobs": [
                {"token": one, "logprob": math.log(q), "bytes": list(one.encode())} for one, q in top.items()
            ],
        }
        for token, p, top in places
    ]
    choice = {"message": {"content": text}, "finish_reason": finish, "logprobs": {"content": tokens}}
    return read_chat(json.dumps({"choices": [choice]}).encode(), options=options, p_t_kind=kind)


def golden(name: str, options: Any, kind: PTKind = PTKind.OPTION) -> Chat:
    return read_chat((GOLDEN / f"{name}.json").read_bytes(), options=options, p_t_kind=kind)


@pytest.mark.parametrize("name", ["spelt_with_space", "spelt_alike"])
def test_two_spellings_of_an_option_are_one_option(name: str) -> None:
    chat = golden(name, "ABCD")
    a, b = math.exp(-0.7) + math.exp(-0.8), math.exp(-3.5)
    assert chat.reply.shown.p_t == pytest.approx(a)
    assert chat.reply.shown.margin == pytest.approx(a - b)
    shares = [mass / (a + b + math.exp(-4.5) + math.exp(-5.5)) for mass in (a, b, math.exp(-4.5), math.exp(-5.5))]
    assert chat.reply.shown.entropy == pytest.approx(-sum(share * math.log(share) for share in shares))
    assert golden(name, "ABCD", PTKind.FIRST_TOKEN).reply.shown.p_t == pytest.approx(math.exp(-0.7))


def test_what_was_chosen_and_is_not_listed_leaves_less_to_the_other_options() -> None:
    chat = chat_of("A", ("A", 0.9, {"Xyz": 0.0999}), options="AB")
    assert chat.reply.shown.margin == pytest.approx(0.9, abs=1e-3)
    assert chat_of("A", ("A", 0.5, {"Xyz": 0.0999}), options="AB").reply.shown.margin is None


@pytest.mark.parametrize("chosen", ["A", " A", "A.", "(A", '"A', "A\n"])
def test_whichever_spelling_was_chosen_all_are_summed_once(chosen: str) -> None:
    listed = {"A": 0.2, " A": 0.2, "A.": 0.1, "(A": 0.1, '"A': 0.05, "A\n": 0.05, "a": 0.1, "Al": 0.05, "B": 0.02}
    chat = chat_of(chosen, (chosen, listed[chosen], listed), options="AB")
    assert chat.reply.shown.p_t == pytest.approx(0.7)
    assert chat.reply.shown.margin == pytest.approx(0.68)


def test_marks_before_an_option_are_none_of_it() -> None:
    chat = chat_of(
        "(B)", ("(", 0.6, {"(": 0.6, "A": 0.3}), ("B", 0.8, {"B": 0.8, "A": 0.1}), (")", 0.5, {}), options="AB"
    )
    assert (chat.reply.shown.p_t, chat.reply.shown.margin) == (pytest.approx(0.8), pytest.approx(0.7))


@pytest.mark.parametrize("kind", list(PTKind))
def test_an_answer_that_only_begins_with_an_option_says_nothing_of_the_options(kind: PTKind) -> None:
    chat = golden("llama_cpp_aardvarks", "ABCD", kind)
    assert (chat.reply.shown.entropy, chat.reply.shown.margin) == (None, None)
    assert (chat.reply.shown.p_t is None) == (kind is PTKind.OPTION)
    missing = "p_t, entropy and margin are missing" if kind is PTKind.OPTION else "entropy and margin are missing"
    assert chat.reply.shown.notes == (f"the answer 'Aardvarks.' is no option: {missing}",)


@pytest.mark.parametrize("text", ["A because", "The answer is A", "b", "A B"])
def test_words_beside_an_option_make_another_answer(text: str) -> None:
    words = [(word if at == 0 else f" {word}", 0.9, {word: 0.9, "A": 0.05}) for at, word in enumerate(text.split(" "))]
    if text == "b":
        words = [("b", 0.9, {"b": 0.9, "B": 0.05})]
    chat = chat_of(text, *[(token, p, {token: p}) for token, p, _ in words])
    assert chat.reply.shown.p_t is None
    assert f"the answer {text!r} is no option" in chat.reply.shown.notes[0]


def test_the_tokens_of_an_option_are_multiplied() -> None:
    chat = golden("llama_cpp_lisbon", CITIES)
    assert chat.reply.shown.p_t == pytest.approx(
        math.exp(-3.8462419509887695 - 8.13610553741455 - 0.004449716303497553)
    )
    # The others may have anything.
    assert (chat.reply.shown.entropy, chat.reply.shown.margin) == (None, None)
    assert "top_logprobs lack Madrid, Lima: entropy and margin are missing" in chat.reply.shown.notes


SURE = (
    ("L", 0.98, {"L": 0.98, "Lisbon": 0.015, "M": 0.003, "The": 0.001}),
    ("is", 0.97, {"is": 0.97, "ima": 0.02, "isbon.": 0.005}),
    ("bon", 0.999, {"bon": 0.999, " bon": 1e-4, "a": 5e-5}),
)


def test_other_ways_to_write_an_option_of_several_tokens_are_added_where_they_are_shown_to_the_end() -> None:
    chat = chat_of("Lisbon", *SURE, ("", 0.9, {}), options=CITIES)
    lisbon = 0.015 + 0.98 * 0.005 + 0.98 * 0.97 * (0.999 + 1e-4)
    assert chat.reply.shown.p_t == pytest.approx(lisbon)
    # Madrid has at most what begins it.
    assert chat.reply.shown.margin == pytest.approx(lisbon - 0.98 * 0.02, abs=0.005)
    for kind, expected in ((PTKind.FIRST_TOKEN, 0.98), (PTKind.MEAN, (0.98 * 0.97 * 0.999) ** (1 / 3))):
        assert chat_of("Lisbon", *SURE, options=CITIES, kind=kind).reply.shown.p_t == pytest.approx(expected)


def test_a_token_that_begins_several_options_counts_for_none() -> None:
    one = chat_of("Lisbon", ("Lisbon", 0.5, {"Lisbon": 0.5, "L": 0.3, "Madrid": 0.1}), options=CITIES)
    assert one.reply.shown.p_t == pytest.approx(0.5)
    assert (one.reply.shown.entropy, one.reply.shown.margin) == (None, None)  # L may be Lisbon or Lima
    assert "top_logprobs lack" in one.reply.shown.notes[0]


def test_an_option_that_begins_another_is_known_once_it_has_ended() -> None:
    cut = chat_of("1", ("1", 0.9, {"1": 0.9, "2": 0.05}), options=("1", "10", "2"), finish="length")
    assert cut.reply.shown.p_t is None
    assert "cut off where it might have become a longer option" in cut.reply.shown.notes[0]
    ended = chat_of("1", ("1", 0.9, {"1": 0.9, "2": 0.05}), ("", 0.7, {"": 0.7, "0": 0.25}), options=("1", "10", "2"))
    assert ended.reply.shown.p_t == pytest.approx(0.9)
    assert ended.reply.shown.margin == pytest.approx(0.9 - 0.9 * 0.25, abs=0.005)
    longer = chat_of("10", ("1", 0.9, {"1": 0.9, "10": 0.06}), ("0", 0.5, {"0": 0.5}), options=("1", "10", "2"))
    assert longer.reply.shown.p_t == pytest.approx(0.06 + 0.45)


def test_an_option_in_letters_of_several_bytes_is_read_by_its_bytes() -> None:
    first, second = "é".encode()[:1], "é".encode()[1:]
    tokens = [
        {"token": "x", "logprob": math.log(0.8), "bytes": list(first), "top_logprobs": []},
        {"token": "y", "logprob": math.log(0.5), "bytes": list(second), "top_logprobs": []},
    ]
    choice = {"message": {"content": "é"}, "finish_reason": "stop", "logprobs": {"content": tokens}}
    body = json.dumps({"choices": [choice]}).encode()
    assert read_chat(body, options=("é", "è"), p_t_kind=PTKind.OPTION).reply.shown.p_t == pytest.approx(0.4)


def test_an_option_whose_first_letter_is_shown_with_its_last_token_has_all_of_its_tokens() -> None:
    chat = chat_of("é", ("", 0.5, {"": 0.5}), ("é", 0.8, {"é": 0.8}), options=("é", "è"))
    assert chat.reply.shown.p_t == pytest.approx(0.4)


def test_a_longer_option_is_bounded_by_what_might_have_gone_on_to_it_where_no_end_is_listed() -> None:
    chat = chat_of("1", ("1", 0.9, {"1": 0.9, "10": 0.06, "2": 0.03}), options=("1", "10", "2"))
    assert chat.reply.shown.p_t == pytest.approx(0.9)
    assert (chat.reply.shown.entropy, chat.reply.shown.margin) == (None, None)
    assert chat.reply.shown.notes == ("top_logprobs lack 10: entropy and margin are missing",)


def test_a_fault_of_the_options_token_leaves_the_first_token_of_marks_alone() -> None:
    broken = {"B": 0.8, "A": 0.5}
    first = chat_of("**B", ("**", 0.6, {"**": 0.6}), ("B", 0.8, broken), kind=PTKind.FIRST_TOKEN)
    assert (first.reply.shown.p_t, first.reply.shown.entropy) == (pytest.approx(0.6), None)
    assert "probabilities of 1.3 together" in first.reply.shown.notes[0]
