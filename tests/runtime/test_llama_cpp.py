"""What a real engine lists is read for what it is: every signal equals what its raw
log-probabilities give.

A grammar forces the answers, so that the small model says what each test is about; its
probabilities are its own.
"""

import json
import math
import urllib.request
from typing import Any

import pytest

pytest.importorskip("httpx2")

from knowgate._records.records import PTKind
from knowgate.backends import OpenAIBackend, Reply
from knowgate.backends.chat import read_chat

pytestmark = pytest.mark.xdist_group("llama_cpp")
QUESTION = [{"role": "user", "content": "Which city is the capital of Portugal? Answer with the city alone."}]
LETTERS = [{"role": "user", "content": "Capital of Peru? A) Cusco B) Lima C) Quito D) Bogota. Answer with the letter."}]
CITIES = ("Lisbon", "Madrid", "Porto")


def raw(url: str, messages: Any = QUESTION, **parameters: Any) -> tuple[bytes, Any]:
    """The body that the server answers, and its first choice."""
    body = {"model": "m", "messages": messages, "max_tokens": 12, "temperature": 0.0, "logprobs": True}
    asked = json.dumps(body | {"top_logprobs": 20} | parameters).encode()
    request = urllib.request.Request(f"{url}/chat/completions", asked, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        content: bytes = answer.read()
    return content, json.loads(content)["choices"][0]


def grammar(text: str) -> dict[str, str]:
    return {"grammar": f"root ::= {json.dumps(text, ensure_ascii=False)}"}


def logs(choice: Any) -> list[float]:
    """The log-probabilities of the tokens whose bytes make the text; spaces before it and what
    follows left out.
    """
    wanted, numbers, seen = choice["message"]["content"].strip().encode(), [], b""
    for token in choice["logprobs"]["content"]:
        if seen.strip() == wanted:
            break
        seen += bytes(token["bytes"])
        if seen.strip():
            numbers.append(token["logprob"])
    assert seen.strip() == wanted
    return numbers


def p_t(content: bytes, kind: PTKind, options: Any = ()) -> float | None:
    chat = read_chat(content, options=options, p_t_kind=kind)
    if chat.reply.shown.p_t is not None:
        assert chat.reply.shown.notes == () or chat.reply.shown.notes[0].startswith("top_logprobs lack")
    return chat.reply.shown.p_t


def joined(choice: Any) -> list[bool]:
    """Which tokens are several ones, shown with the number of the last: what else is listed goes on
    with a letter.
    """
    tokens = choice["logprobs"]["content"]
    return [
        bool(token["bytes"])
        and token["top_logprobs"][0]["bytes"][:1] > [0x7F]
        and token["top_logprobs"][0]["bytes"][0] < 0xC0
        for token in tokens
    ]


def require_first_and_mean(content: bytes, choice: Any) -> None:
    numbers = logs(choice)
    first, mean = math.exp(numbers[0]), math.exp(sum(numbers) / len(numbers))
    begin = next(at for at, token in enumerate(choice["logprobs"]["content"]) if token["token"].strip())
    several = joined(choice)[begin : begin + len(numbers)]
    assert p_t(content, PTKind.FIRST_TOKEN) == (None if several[0] else pytest.approx(first))
    assert p_t(content, PTKind.MEAN) == (None if any(several) else pytest.approx(mean))


def test_a_plain_answer(llama_cpp: str) -> None:
    content, choice = raw(llama_cpp)
    require_first_and_mean(content, choice)
    with OpenAIBackend(llama_cpp, "m", max_tokens=12, parameters={"cache_prompt": False}) as backend:
        reply: Reply = backend.ask(QUESTION, timeout_s=60.0)
    assert reply.text == choice["message"]["content"]
    assert reply.shown.p_t == pytest.approx(math.exp(logs(choice)[0]), rel=0.01)
    assert reply.shown.tokens_out == json.loads(content)["usage"]["completion_tokens"]


@pytest.mark.parametrize("text", ["B", " B", "B.", "(B)", "**B**"])
def test_an_option_of_one_token_in_any_spelling(llama_cpp: str, text: str) -> None:
    content, choice = raw(llama_cpp, LETTERS, **grammar(text))
    tokens = choice["logprobs"]["content"]
    place = next(token for token in tokens if "B" in token["token"])
    spelt = {
        one["id"]: math.exp(one["logprob"])
        for one in [*place["top_logprobs"], place]
        if one["token"].strip(" .()*:") == "B"
    }
    assert p_t(content, PTKind.OPTION, "ABCD") == pytest.approx(sum(spelt.values()))
    require_first_and_mean(content, choice)


def test_among_options_that_are_all_listed_entropy_and_margin_are_theirs(llama_cpp: str) -> None:
    content, choice = raw(llama_cpp, LETTERS, **grammar("A"))
    (first, *_) = choice["logprobs"]["content"]
    masses = dict.fromkeys("ABCD", 0.0)
    for one in first["top_logprobs"]:
        if one["token"].strip(" .()*:") in masses:
            masses[one["token"].strip(" .()*:")] += math.exp(one["logprob"])
    assert min(masses.values()) > 0
    chat = read_chat(content, options="ABCD", p_t_kind=PTKind.OPTION)
    likeliest, second, *_ = sorted(masses.values(), reverse=True)
    shares = [mass / sum(masses.values()) for mass in masses.values()]
    shown = chat.reply.shown
    assert (shown.p_t, shown.margin) == (pytest.approx(masses["A"]), pytest.approx(likeliest - second))
    assert chat.reply.shown.entropy == pytest.approx(-sum(share * math.log(share) for share in shares))


def test_an_option_of_several_tokens_is_the_product_of_them(llama_cpp: str) -> None:
    content, choice = raw(llama_cpp, **grammar("Lisbon"))
    numbers = logs(choice)
    assert len(numbers) > 1
    whole = [
        one["logprob"] for one in choice["logprobs"]["content"][0]["top_logprobs"] if one["token"].strip() == "Lisbon"
    ]
    expected = math.exp(sum(numbers)) + sum(map(math.exp, whole))
    assert p_t(content, PTKind.OPTION, CITIES) == pytest.approx(expected)
    require_first_and_mean(content, choice)


def test_an_answer_that_begins_with_an_options_letter_is_none(llama_cpp: str) -> None:
    content, choice = raw(llama_cpp, LETTERS, **grammar("Aardvarks."))
    assert choice["logprobs"]["content"][0]["token"] == "A"
    chat = read_chat(content, options="ABCD", p_t_kind=PTKind.OPTION)
    assert (chat.reply.shown.p_t, chat.reply.shown.entropy, chat.reply.shown.margin) == (None, None, None)
    assert "'Aardvarks.' is no option" in chat.reply.shown.notes[0]


def test_a_stop_string_is_no_part_of_the_answer(llama_cpp: str) -> None:
    content, choice = raw(llama_cpp, **grammar("Lisbon### and more"), stop=["###"])
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Lisbon", "stop")
    require_first_and_mean(content, choice)
    assert p_t(content, PTKind.OPTION, CITIES) is not None


@pytest.mark.parametrize("text", ["São Tomé", "\n\nB", "B\n\n"])
def test_letters_of_several_bytes_and_lines_around_an_answer(llama_cpp: str, text: str) -> None:
    content, choice = raw(llama_cpp, **grammar(text), max_tokens=24)
    assert choice["message"]["content"].strip() == text.strip()
    assert not any(joined(choice))
    require_first_and_mean(content, choice)


@pytest.mark.parametrize("text", ["🙂日本", "ꙮ𝄞", "B ꙮ"])
def test_a_letter_of_several_tokens_has_no_probability_since_only_its_last_part_is_shown(
    llama_cpp: str, text: str
) -> None:
    content, choice = raw(llama_cpp, **grammar(text), max_tokens=24)
    assert choice["message"]["content"] == text
    assert any(joined(choice))
    require_first_and_mean(content, choice)
    assert "a character's last part" in read_chat(content, p_t_kind=PTKind.MEAN).reply.shown.notes[0]


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5, 6, 7])
def test_an_answer_that_was_cut_off_keeps_what_its_text_shows(llama_cpp: str, most: int) -> None:
    content, choice = raw(llama_cpp, **grammar("Oé🙂ꙮ𝄞日本"), max_tokens=most)
    assert choice["finish_reason"] == "length"
    require_first_and_mean(content, choice)


def test_reasoning_in_the_text_is_no_part_of_the_answer(llama_cpp: str) -> None:
    content, choice = raw(llama_cpp, LETTERS, **grammar("<think>A or B</think>B"), max_tokens=40)
    last = next(token for token in reversed(choice["logprobs"]["content"]) if token["token"] == "B")
    for kind in (PTKind.FIRST_TOKEN, PTKind.MEAN):
        assert p_t(content, kind) == pytest.approx(math.exp(last["logprob"]))
