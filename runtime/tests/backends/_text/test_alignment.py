"""The tokens of a reply are those whose bytes are its text; what cannot be aligned has
no signals.
"""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from knowgate._records.records import PTKind
from knowgate.backends._text.alignment import Ended, align
from knowgate.backends._text.reasoning import answer_of
from knowgate.backends._text.tokens import squeezed
from knowgate.backends.chat import Chat, read_chat
from knowgate.backends.protocol import Finish

GOLDEN = Path(__file__).parents[1] / "golden"
NOT_ALIGNED = "the logprobs are of other tokens than the answer's text: p_t is missing"
STOPPED = Ended(finish=Finish.STOP)
Entry = dict[str, Any]


def golden(name: str, kind: PTKind = PTKind.FIRST_TOKEN, options: str = "") -> Chat:
    return read_chat((GOLDEN / f"{name}.json").read_bytes(), options=options, p_t_kind=kind)


def chat_of(text: str, *tokens: Entry, kind: PTKind = PTKind.MEAN, stops: tuple[str, ...] = (), **choice: Any) -> Chat:
    message = {"role": "assistant", "content": text} | choice.pop("message", {})
    said = {"message": message, "finish_reason": "stop", "logprobs": {"content": list(tokens)}} | choice
    return read_chat(
        json.dumps({"choices": [said, {"message": {"content": "C"}}]}).encode(), p_t_kind=kind, stops=stops
    )


def entry(token: str, p: float, raw: bytes | None = None) -> Entry:
    return {"token": token, "logprob": math.log(p), "bytes": None if raw is None else list(raw), "top_logprobs": []}


THOUGHT = (entry("A", 0.999), entry(" or", 0.9), entry(" B", 0.9))


@pytest.mark.parametrize("kind", list(PTKind))
@pytest.mark.parametrize("name", ["thought_listed", "thought_without_opening"])
def test_what_a_model_thought_is_no_part_of_its_answer(name: str, kind: PTKind) -> None:
    chat = golden(name, kind, "ABCD")
    assert chat.reply.shown.p_t == pytest.approx(0.2, abs=1e-6)
    assert chat.reply.shown.margin == pytest.approx(0.1, abs=1e-6)  # A is likelier than C, and neither was chosen
    assert chat.reply.shown.notes == ()


def test_an_answer_that_is_all_thought_has_no_signals() -> None:
    for kind in PTKind:
        chat = golden("thought_without_end", kind, "ABCD")
        assert (
            chat.reply.text,
            chat.reply.shown.p_t,
            chat.reply.shown.entropy,
            chat.reply.shown.notes,
        ) == ("", None, None, (NOT_ALIGNED,))


@pytest.mark.parametrize(
    ("text", "thought"),
    [
        ("B", (entry("<think>", 0.9), *THOUGHT, entry("</think>", 0.9), entry("\n\n", 0.9))),
        ("B", (*THOUGHT, entry("</", 0.9), entry("think", 0.9), entry(">\n\n", 0.9))),
        ("<think>A or B</think>\n\nB", (entry("<think>", 0.9), *THOUGHT, entry("</think>", 0.9), entry("\n\n", 0.9))),
        ("B", (entry("B", 0.9), entry("</think>", 0.9))),  # it begins as the answer does
        ("A or B</think>B", (*THOUGHT, entry("</think>", 0.9))),
        ("B", (entry("[THINK]", 0.9), *THOUGHT, entry("[/THINK]", 0.9))),
        ("B", (entry("<|channel|>", 0.9), entry("final", 0.9), entry("<|message|>", 0.9))),
    ],
)
def test_reasoning_ends_at_its_marker_wherever_it_is_shown(text: str, thought: tuple[Entry, ...]) -> None:
    for kind in (PTKind.FIRST_TOKEN, PTKind.MEAN):
        assert chat_of(
            text, *thought, entry("B", 0.25), entry("</s>", 0.9), kind=kind
        ).reply.shown.p_t == pytest.approx(0.25)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_that_a_reply_shows_apart_is_known_without_a_marker(name: str) -> None:
    shown = chat_of("B", *THOUGHT, entry("B", 0.25), message={name: "A or B"})
    assert shown.reply.shown.p_t == pytest.approx(0.25)
    other = chat_of("C", *THOUGHT, entry("C", 0.25), message={name: "A and B"})
    assert (other.reply.shown.p_t, other.reply.shown.notes) == (None, (NOT_ALIGNED,))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("B", ["A", " user", " B"]),  # words before it that nothing explains
        ("B", ["B", " or", " C"]),  # words behind it
        ("Lima", ["L", "im"]),
        ("Lima", ["Cusco"]),
        ("Lima", ["token_id:17"]),
        ("", ["B"]),
    ],
)
def test_what_cannot_be_aligned_has_no_signals(text: str, tokens: list[str]) -> None:
    for kind in (PTKind.FIRST_TOKEN, PTKind.MEAN):
        chat = chat_of(text, *(entry(token, 0.9) for token in tokens), kind=kind)
        assert (chat.reply.shown.p_t, chat.reply.shown.notes) == (None, (NOT_ALIGNED,))


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        (["<Think>", *"AB", "</Think>"], []),
        (["<scratchpad>", *"AB", "</scratchpad>"], []),
        (["<reasoning effort='low'>", *"AB", "</reasoning>"], []),
        (["<think>", "A", "</think>", "\n", "<think>", "C", "</think>"], []),
        (["<think>", "A", "</think>", "<answer>"], ["</", "answer", ">"]),
        (["<|begin_of_thought|>", "A", "<|end_of_thought|>", "<|begin_of_solution|>"], ["<|end_of_solution|>"]),
        (["<|START_THINKING|>", "A", "<|END_THINKING|>", "<|START_RESPONSE|>"], ["<|END_RESPONSE|>"]),
        (["<|inner_prefix|>", "A", "<|inner_suffix|>"], []),
        (["<|channel>", "thought", "\n", "A", "<channel|>"], []),
        (["<unused94>", "thought\n", "A", "<unused95>"], []),
        (
            [
                "<|channel|>",
                "analysis",
                "<|message|>",
                "B",
                "\n",
                "no",
                "<|end|>",
                "<|start|>",
                "assistant",
                "<|channel|>",
                "final",
                "<|message|>",
            ],
            ["<|return|>"],
        ),
        (["analysis", "We", " think", "assistant", "final"], []),
    ],
)
def test_thoughts_of_many_dialects_are_no_answer_whether_the_text_shows_them_or_not(
    before: list[str], behind: list[str]
) -> None:
    tokens = [*(entry(token, 0.99) for token in before), entry("B", 0.25), *(entry(token, 0.99) for token in behind)]
    for text in ("".join((*before, "B", *behind)), "B"):
        for kind in (PTKind.FIRST_TOKEN, PTKind.MEAN):
            chat = chat_of(text, *tokens, kind=kind)
            assert (chat.reply.shown.p_t, chat.reply.shown.notes) == (pytest.approx(0.25), ())


@pytest.mark.parametrize(
    "text",
    ["<think>B", "[THINK]A or B", "<|channel|>analysis<|message|>B", "analysisB", "<think>A</think> no</think>B"],
)
def test_a_thought_whose_end_is_not_clear_has_no_signals(text: str) -> None:
    assert chat_of(text, entry(text, 0.9)).reply.shown.notes == (
        "where the model's thoughts end and its answer begins is not clear: p_t is missing",
    )
    assert chat_of(text, entry(text, 0.9), kind=PTKind.FIRST_TOKEN).reply.shown.p_t is None


@pytest.mark.parametrize("text", ["Use <think> and </think> around it.", "analysis of variance", "<answer>B</answer>"])
def test_a_text_that_speaks_of_markers_is_text(text: str) -> None:
    assert chat_of(text, entry(text, 0.9)).reply.shown.p_t == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["B", "\n", "Because"], {"reasoning_content": "B\nBecause Lima"}),  # a list of the thought alone
        (["B", "."], {"reasoning": "B. Since"}),
        (["B"], {"thinking": "B"}),
        (["B", "\n", "hm", "</think>", "C"], {}),
        (["B", "\n", "", "B"], {}),  # what closes the thought is not shown
        (["B", "\n\n", "B"], {}),
    ],
)
def test_a_thought_that_begins_as_the_answer_does_is_none(tokens: list[str], message: dict[str, str]) -> None:
    for kind in (PTKind.FIRST_TOKEN, PTKind.MEAN):
        chat = chat_of("B", *(entry(token, 0.99) for token in tokens), kind=kind, message=message)
        assert (chat.reply.shown.p_t, chat.reply.shown.notes) == (None, (NOT_ALIGNED,))


@pytest.mark.parametrize("broken", [None, 7, {}, {"token": None, "logprob": -0.1}])
def test_a_token_that_is_none_breaks_the_alignment(broken: Any) -> None:
    chat = chat_of("Lima it is", entry("Lima", 0.9), broken, entry(" is", 0.9))
    assert (chat.reply.shown.p_t, chat.reply.shown.notes) == (None, (NOT_ALIGNED,))


@pytest.mark.parametrize(
    ("text", "tokens", "counted"),
    [
        ("B", ["B", ""], 1),
        ("B", ["B", "<|im_end|>", "<|endoftext|>"], 1),
        ("B", [" B", "</s>"], 1),
        (" B", ["B", "<｜end▁of▁sentence｜>"], 1),
        ("B", ["\n", " B", "\n\n"], 1),
        ("Lima it is", ["Lima", "it", "is"], 3),  # tokens are shown without their spaces
        ("Lima it is", ["Lima", "▁it", "▁is"], 3),
        ("Lima it is", ["Lima", "Ġit", "Ġis"], 3),
        ("yes", ["yes", "###"], 1),  # a stop string that nobody named
        ("yes", ["yes", "\nQ", "uestion"], 1),
        ("yes", ["yes", "."], 1),
        ("is Par", [" is", " Par", "is"], None),
    ],
)
def test_ends_spaces_and_stop_strings_are_no_part_of_an_answer(
    text: str, tokens: list[str], counted: int | None
) -> None:
    chat = chat_of(text, *(entry(token, 0.9**at) for at, token in enumerate(tokens, 1)))
    first = next(at for at, token in enumerate(tokens, 1) if token.strip())
    expected = None if counted is None else math.prod(0.9**at for at in range(first, first + counted)) ** (1 / counted)
    assert chat.reply.shown.p_t == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    "named", [{"stops": ("is",)}, {"stop_reason": "is"}, {"matched_stop": "is"}, {"stops": ("xyz", " is the")}]
)
def test_a_stop_string_that_was_sent_or_named_is_cut_off(named: Any) -> None:
    tokens = [entry("Lima", 0.9), entry(" is", 0.5), entry(" the", 0.5)]
    assert chat_of("Lima", *tokens, **named).reply.shown.p_t == pytest.approx(0.9)
    assert chat_of("Lima", *tokens, finish_reason="length").reply.shown.p_t is None


def test_a_token_that_a_stop_string_cut_counts_as_a_whole() -> None:
    assert chat_of("Li", entry("L", 0.9), entry("ima", 0.4), stops=("ma",)).reply.shown.p_t == pytest.approx(0.36**0.5)


SMILE = "🙂".encode()


@pytest.mark.parametrize(
    "tokens",
    [
        [entry("x", 0.9, SMILE[:2]), entry("y", 0.4, SMILE[2:])],
        [entry("\\xf0\\x9f", 0.9), entry("\\x99\\x82", 0.4)],
        [entry("bytes:\\xf0\\x9f", 0.9), entry("bytes:\\x99\\x82", 0.4)],
        [entry("�", 0.9), entry("�", 0.4)],
        [entry("�", 0.9, "�".encode()), entry("�", 0.4, "�".encode())],
        [entry("", 0.9, b""), entry("🙂", 0.4, SMILE)],
    ],
)
def test_a_character_of_several_tokens_has_all_of_them(tokens: list[Entry]) -> None:
    assert chat_of("🙂", *tokens, entry("</s>", 0.5)).reply.shown.p_t == pytest.approx(0.36**0.5)
    assert chat_of("🙂", *tokens, kind=PTKind.FIRST_TOKEN).reply.shown.p_t == pytest.approx(0.9)


def test_bytes_of_a_tokenizer_are_read_and_other_letters_are_none() -> None:
    assert chat_of("é", entry("<0xC3>", 0.9), entry("<0xA9>", 0.4)).reply.shown.p_t == pytest.approx(0.36**0.5)
    # An x is no part of another letter.
    assert chat_of("日x本", entry("�", 0.9), entry("本", 0.9)).reply.shown.p_t is None
    assert chat_of("日本", entry("�", 0.9), entry("語", 0.9)).reply.shown.p_t is None


@pytest.mark.parametrize("text", ["é", "é�"])
def test_an_answer_that_was_cut_off_in_a_character_keeps_its_tokens(text: str) -> None:
    tokens = [entry("é", 0.4, "é".encode()), entry("x", 0.9, SMILE[:3])]
    chat = chat_of(text, *tokens, finish_reason="length", kind=PTKind.FIRST_TOKEN)
    assert chat.reply.shown.p_t == pytest.approx(0.4)


@pytest.mark.parametrize("text", ["", "\n"])
def test_an_answer_without_a_text_has_the_probability_of_saying_nothing(text: str) -> None:
    assert chat_of(text, entry("</s>", 0.7)).reply.shown.p_t == pytest.approx(0.7)


def test_a_long_answer_of_letters_that_are_not_shown_is_aligned_at_once() -> None:
    texts = ["�".encode()] * 6000
    assert align(texts, "語" * 2000, STOPPED) == (0, 6000)
    assert align([*texts, b"x"], "語" * 2000, STOPPED) is None


TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="�<"), min_size=1, max_size=20)
CUTS = st.sets(st.integers(1, 60), max_size=8)
ENDS = [(), (b"",), (b"</s>",), (b"<|im_end|>", b""), (b"\n", b"<|eot_id|>")]


def pieces(text: str, cuts: set[int]) -> list[bytes]:
    """The bytes of `text`, cut into tokens wherever, also within a character."""
    raw = text.encode()
    places = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    return [raw[begin:end] for begin, end in pairwise(places)]


@given(TEXTS, CUTS, st.sampled_from(ENDS), st.sampled_from(["", "</think>", "<think>B or C</think>"]), st.booleans())
def test_however_a_text_is_cut_its_own_tokens_are_found(
    text: str, cuts: set[int], ends: tuple[bytes, ...], thought: str, trimmed: bool
) -> None:
    before, own = pieces(thought, cuts), pieces(text, cuts)
    assume(text.strip() and squeezed(b"".join(own)) == b"".join(map(squeezed, own)))  # no space is cut in two
    blank_before = next(at for at, token in enumerate(own) if squeezed(token))
    blank_behind = next(at for at, token in enumerate(reversed(own)) if squeezed(token))
    span = align([*before, *own, *ends], text.strip() if trimmed else text, STOPPED)
    assert span == (len(before) + blank_before, len(before) + len(own) - blank_behind)


@given(TEXTS, CUTS, st.data())
def test_a_text_of_which_a_token_is_missing_is_not_aligned(text: str, cuts: set[int], data: st.DataObject) -> None:
    own = pieces(text, cuts)
    lost = data.draw(st.integers(0, len(own) - 1))
    assume(squeezed(own[lost]))
    assert align([token for at, token in enumerate(own) if at != lost], text, STOPPED) is None


@pytest.mark.parametrize(
    ("text", "answer", "answer_within"),
    [
        ("B" + "\n" * 200_000 + "x", "B" + "\n" * 200_000 + "x", None),
        ("B" + " <|a|>" * 50_000, "B", None),
        ("<think></think>" * 50_000 + "B", "B", "B"),
        ("<think " * 50_000 + "B", "<think " * 50_000 + "B", None),
        ("<|channel|>" + " " * 200_000 + "B", None, None),
        ("</think>" * 50_000, None, None),
    ],
)
def test_where_thoughts_end_is_seen_in_one_pass(text: str, answer: str | None, answer_within: str | None) -> None:
    """A pass for each space or marker would take hours here."""
    assert answer_of(text) == answer
    assert answer_of(text, within=True) == answer_within


def test_real_answers_of_llama_cpp_are_aligned() -> None:
    first = golden("llama_cpp_stop")
    assert (first.reply.shown.p_t, first.reply.shown.notes) == (
        pytest.approx(math.exp(-1.4032869338989258)),
        (),
    )
    logs = [-1.4032869, -0.5612894, -0.0321803, -0.0388333, -0.1212232, -0.0816115, -0.3051585]
    assert golden("llama_cpp_stop", PTKind.MEAN).reply.shown.p_t == pytest.approx(math.exp(sum(logs) / 7))
