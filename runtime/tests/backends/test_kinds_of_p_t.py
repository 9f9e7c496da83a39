"""Each engine gives the P(T) it was set up for, over real sockets, or none with a note; never
another one.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx2")

from knowgate._records.records import PTKind
from knowgate.backends import OpenAIBackend, Reply, SGLangBackend, VLLMBackend
from knowgate.errors import RecordInvalid

QUESTION = [{"role": "user", "content": "Capital of Peru? A) Cusco B) Lima"}]
Make = Callable[..., Any]
Entry = dict[str, Any]


def entry(token: str, p: float | None, top: dict[str, float] | None = None, *, raw: bool = True) -> Entry:
    """A token with its log-probability and the likeliest ones in its place, as the API documents
    it.
    """
    return {
        "token": token,
        "logprob": None if p is None else math.log(p),
        "bytes": list(token.encode()) if raw else None,
        "top_logprobs": [{"token": name, "logprob": math.log(one), "bytes": None} for name, one in (top or {}).items()],
    }


def said(acts: Any, text: str, *tokens: Entry, finish: str = "stop") -> Any:
    return acts.answer(acts.completion(text, choice={"logprobs": {"content": list(tokens)}, "finish_reason": finish}))


def reply_of(url: str, kind: PTKind | None, **settings: Any) -> Reply:
    with OpenAIBackend(url, "small", p_t_kind=kind, **settings) as backend:
        return backend.ask(QUESTION, timeout_s=5.0)


BOLD = (
    entry("**", 0.6),
    entry(" B", 0.8, {" B": 0.8, "A": 0.1, "C": 0.06, "D": 0.03}),
    entry("**", 0.9),
    entry("<|end|>", 0.5),
)


def test_the_three_kinds_of_one_answer_are_three_numbers(start: Any, acts: Any) -> None:
    engine = start(said(acts, "** B**", *BOLD))
    replies = {kind: reply_of(engine.url, kind, options="ABCD") for kind in PTKind}
    assert replies[PTKind.FIRST_TOKEN].shown.p_t == pytest.approx(0.6)
    assert replies[PTKind.OPTION].shown.p_t == pytest.approx(0.8)
    # The end is no part of the answer.
    assert replies[PTKind.MEAN].shown.p_t == pytest.approx((0.6 * 0.8 * 0.9) ** (1 / 3))
    assert {kind: reply.shown.p_t_kind for kind, reply in replies.items()} == {kind: kind for kind in PTKind}
    for reply in replies.values():
        assert reply.shown.margin == pytest.approx(0.7)
        shares = [share / 0.99 for share in (0.8, 0.1, 0.06, 0.03)]
        assert reply.shown.entropy == pytest.approx(-sum(share * math.log(share) for share in shares))


@pytest.mark.parametrize(
    ("text", "tokens", "finish", "counted"),
    [
        ("yes sir", [("yes", 0.9), (" sir", 0.4)], "stop", [0.9, 0.4]),
        ("yes sir", [("yes", 0.9), (" sir", 0.4), ("</s>", 0.1)], "stop", [0.9, 0.4]),
        ("yes sir", [("yes", 0.9), (" sir", 0.4)], "length", [0.9, 0.4]),
        ("", [("</s>", 0.7)], "stop", [0.7]),
    ],
)
def test_the_mean_is_over_the_answers_own_tokens(
    start: Any, acts: Any, text: str, tokens: list[tuple[str, float]], finish: str, counted: list[float]
) -> None:
    for raw in (True, False):
        engine = start(said(acts, text, *(entry(token, p, raw=raw) for token, p in tokens), finish=finish))
        expected = math.prod(counted) ** (1 / len(counted))
        assert reply_of(engine.url, PTKind.MEAN).shown.p_t == pytest.approx(expected)


def test_a_character_cut_into_tokens_is_no_end(start: Any, acts: Any) -> None:
    first, second = "é".encode()[:1], "é".encode()[1:]
    tokens = [entry("\\xc3", 0.5) | {"bytes": list(first)}, entry("\\xa9", 0.8) | {"bytes": list(second)}]
    engine = start(said(acts, "é", *tokens))
    assert reply_of(engine.url, PTKind.MEAN).shown.p_t == pytest.approx(0.4**0.5)


def test_an_answer_that_is_no_option_has_no_option_probability(start: Any, acts: Any) -> None:
    tokens = (entry("The", 0.9, {"The": 0.9, "B": 0.05}), entry(" answer", 0.9), entry(" is", 0.9), entry(" A", 0.9))
    engine = start(said(acts, "The answer is A", *tokens))
    reply = reply_of(engine.url, PTKind.OPTION, options=("A", "B"))
    assert (reply.shown.p_t, reply.shown.p_t_kind) == (None, PTKind.OPTION)
    assert "'The answer is A' is no option" in reply.shown.notes[-1]


def test_a_mean_with_a_hole_is_missing(start: Any, acts: Any) -> None:
    engine = start(said(acts, "a b", entry("a", 0.9), entry(" b", None), finish="length"))
    reply = reply_of(engine.url, PTKind.MEAN)
    assert reply.shown.p_t is None
    assert "1 of 2 logprobs" in reply.shown.notes[0]


def test_options_that_dropped_out_of_a_sure_list_are_bounded(start: Any, acts: Any) -> None:
    sure = start(said(acts, "B", entry("B", 0.9996, {"B": 0.9996, "b": 2e-4, "Lima": 1e-4, "The": 5e-5, "Bs": 3e-5})))
    reply = reply_of(sure.url, PTKind.OPTION, options="ABCD")
    assert reply.shown.margin == pytest.approx(0.9996, abs=1e-4)
    assert reply.shown.entropy is not None and reply.shown.entropy < 0.001
    unsure = start(said(acts, "B", entry("B", 0.5, {"B": 0.5, "Lima": 0.2, "C": 0.1, "The": 0.05})))
    reply = reply_of(unsure.url, PTKind.OPTION, options="ABCD")
    assert reply.shown.margin == pytest.approx(0.4)  # the two likeliest are there, and no other can be likelier
    assert reply.shown.entropy is None
    assert "top_logprobs lack A, D" in reply.shown.notes[0]


def test_without_a_kind_no_log_probabilities_are_asked_for(start: Any, acts: Any) -> None:
    engine = start(acts.answer(acts.completion("B", p_t=None)))
    reply = reply_of(engine.url, None, options="ABCD")
    assert (reply.shown.p_t, reply.shown.p_t_kind, reply.shown.entropy, reply.shown.notes) == (
        None,
        None,
        None,
        (),
    )
    assert not {"logprobs", "top_logprobs"} & set(engine.asked[0])


def test_a_kind_that_cannot_be_given_is_refused_by_name(fingerprint: Make, tmp_path: Path) -> None:
    url = "http://127.0.0.1:9/v1"
    for made in (
        lambda **more: OpenAIBackend(url, "small", **more),
        lambda **more: SGLangBackend(url, "small", fingerprint=None, **more),
        lambda **more: VLLMBackend(url, "small", fingerprint=None, **more),
    ):
        with pytest.raises(RecordInvalid, match="p_t_kind is 'option': give the options"):
            made(p_t_kind=PTKind.OPTION)
        with pytest.raises(RecordInvalid, match="p_t_kind is 'mean': parameters take logprobs away"):
            made(p_t_kind=PTKind.MEAN, parameters={"logprobs": None})
        made(p_t_kind=None, parameters={"logprobs": None}).close()
        with pytest.raises(ValueError, match="median"):
            made(p_t_kind="median")


@pytest.mark.parametrize("kind", list(PTKind))
def test_sglang_takes_the_whole_answers_p_t_from_the_whole_answer(
    start: Any, acts: Any, fingerprint: Make, kind: PTKind
) -> None:
    text = "B.)"
    tokens = [entry("B", 0.9, {"B": 0.9, "A": 0.05}), entry(".", 0.4), entry(")", 0.5)]

    def engine_act(handler: Any, body: Any) -> None:
        one = body["max_tokens"] == 1
        choice = {"finish_reason": "length" if one else "stop"}
        if body.get("return_hidden_states") == "last":
            choice["hidden_states"] = acts.state_of(0 if one else 1)
        shown = tokens[:1] if one else tokens
        choice["logprobs"] = {"content": shown} if body.get("logprobs") else None
        acts.answer(acts.completion("B" if one else text, choice=choice))(handler, body)

    engine = start(engine_act)
    of_sglang = fingerprint(engine="sglang", normed=True)
    with SGLangBackend(engine.url, "small", fingerprint=of_sglang, p_t_kind=kind, options="AB") as backend:
        reply = backend.ask(QUESTION, timeout_s=5.0)
    expected = {PTKind.MEAN: (0.9 * 0.4 * 0.5) ** (1 / 3)}.get(kind, 0.9)
    assert (reply.shown.p_t, reply.shown.margin) == (pytest.approx(expected), pytest.approx(0.85))
    assert reply.shown.hidden is not None and reply.shown.hidden.tolist() == acts.state_of(0)
    assert engine.asked[1]["logprobs"] is True  # the second request writes the answer that is served


def test_vllm_gives_the_mean_beside_its_state(start: Any, acts: Any, fingerprint: Make, tmp_path: Path) -> None:
    engine = start(acts.vllm(tmp_path))
    of_vllm = fingerprint(engine="vllm")
    backend = VLLMBackend(
        engine.url, "small", fingerprint=of_vllm, folder=tmp_path, layers=(7, 12), p_t_kind=PTKind.MEAN
    )
    with backend:
        reply = backend.ask(QUESTION, timeout_s=5.0)
    assert (reply.shown.p_t, reply.shown.p_t_kind) == (pytest.approx(0.95), PTKind.MEAN)
    assert reply.shown.hidden is not None
