"""Whatever the small model's server does, the larger one answers, the reason is logged, and nothing
is lost.
"""

import asyncio
import json
import math
import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factories import Kept

pytest.importorskip("httpx2")

from safetensors.numpy import save_file

from knowgate._bundles.bundle import write_bundle
from knowgate._records.records import Decision, Reason
from knowgate._serving.cascade import Cascade
from knowgate.backends import OpenAIBackend, VLLMBackend
from knowgate.backends.tries import Patience
from knowgate.errors import BackendFailed, NoAnswer
from knowgate.policy import Policy, PolicyKind

Make = Callable[..., Any]
QUESTION = [{"role": "user", "content": "Capital of Peru?"}]
PATIENCE = Patience(timeout_s=2.0, tries=2, first_delay_s=0.001, longest_delay_s=0.002)
SHORT = Patience(timeout_s=0.2, tries=2, first_delay_s=0.001)


@pytest.fixture(params=[False, True], ids=["blocking", "event loop"])
def event_loop(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def answered(
    tier_models: Make, bundle_document: Make, pair: Make, key: bytes, now: datetime, fingerprint: Make
) -> Make:
    """The one decision of a cascade in which `below` is asked first and keeps answers whose p_t is
    at least 0.9.
    """

    def made(below: Any, above: Any, *, event_loop: bool, patience: Patience = PATIENCE) -> tuple[str, Decision]:
        models = tier_models()
        wanted = getattr(below, "fingerprint", None) or fingerprint()
        models = replace(models, document=replace(models.document, fingerprint=wanted))
        policy = Policy.of(PolicyKind.GATES, ({"p_ik": 0.0, "p_t": 0.9, "ood": 1.0},))
        if wanted == fingerprint():
            policy = Policy.of(PolicyKind.P_T, ({"p_t": 0.9},))
        in_force = pair(write_bundle(bundle_document((models,), policy=policy), (models,)), exploration_rate=0.0)
        kept = Kept()
        cascade = Cascade(
            "questions",
            in_force,
            hash_key=key,
            spool=kept,
            clock=lambda: now,
            backends=(below, above),
            patience=(patience, PATIENCE),
        )

        async def asked() -> str:
            async with below, above:
                return (await cascade.answer_async(QUESTION)).text

        with cascade, below, above:
            text = asyncio.run(asked()) if event_loop else cascade.answer(QUESTION).text
        ((decision, _),) = kept.rows
        return text, decision

    return made


def garbage(acts: Any) -> dict[str, Any]:
    """Answers with status 200 that are none, by what is wrong with them."""
    choices = {
        "no choices": [],
        "an object of choices": {"0": {"message": {"content": "B"}}},
        "a choice that is a text": ["B"],
        "a list of messages": [{"message": ["B"]}],
        "a number as the content": [{"message": {"content": 4}}],
    }
    documents = {name: acts.completion() | {"choices": value} for name, value in choices.items()}
    page = acts.answer(b"<html><body>busy</body></html>", content_type="text/html")
    half = acts.answer(json.dumps(acts.completion()).encode()[:-40])
    return {name: acts.answer(document) for name, document in documents.items()} | {"a page": page, "half of it": half}


GARBAGE = [
    "no choices",
    "an object of choices",
    "a choice that is a text",
    "a list of messages",
    "a number as the content",
    "a page",
    "half of it",
]


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_is_asked_for_once_and_escalates(
    start: Any, acts: Any, answered: Make, event_loop: bool, what: str
) -> None:
    small, large = start(garbage(acts)[what]), start(acts.answer(acts.completion("LIMA")))
    below, above = OpenAIBackend(small.url, "small"), OpenAIBackend(large.url, "large")
    text, decision = answered(below, above, event_loop=event_loop)
    require_escalated(text, decision, "garbage")
    assert (len(small.asked), len(large.asked)) == (1, 1)


@pytest.mark.parametrize("way", ["closing", "cutting", "chunked_and_cut", "resetting"])
def test_a_cut_answer_is_asked_for_again_and_escalates(
    start: Any, acts: Any, answered: Make, event_loop: bool, way: str
) -> None:
    small, large = start(getattr(acts, way)), start(acts.answer(acts.completion("LIMA")))
    below, above = OpenAIBackend(small.url, "small"), OpenAIBackend(large.url, "large")
    text, decision = answered(below, above, event_loop=event_loop)
    require_escalated(text, decision, "unreachable")
    assert (len(small.asked), len(large.asked)) == (2, 1)


@pytest.mark.parametrize("way", ["silent", "dripping", "dripping_head"])
def test_a_slow_answer_is_waited_for_until_the_tiers_time_is_up(
    start: Any, acts: Any, answered: Make, event_loop: bool, way: str
) -> None:
    small, large = start(getattr(acts, way)), start(acts.answer(acts.completion("LIMA")))
    below, above = OpenAIBackend(small.url, "small"), OpenAIBackend(large.url, "large")
    text, decision = answered(below, above, event_loop=event_loop, patience=SHORT)
    require_escalated(text, decision, "timeout")
    assert len(small.asked) <= 1


def test_an_answer_of_a_hundred_megabytes_is_not_read_to_its_end(
    start: Any, acts: Any, answered: Make, event_loop: bool
) -> None:
    acts.flooded.clear()
    small, large = start(acts.flooding), start(acts.answer(acts.completion("LIMA")))
    below, above = OpenAIBackend(small.url, "small"), OpenAIBackend(large.url, "large")
    text, decision = answered(below, above, event_loop=event_loop, patience=Patience(timeout_s=60.0, tries=2))
    require_escalated(text, decision, "larger than")
    deadline = time.monotonic() + 10.0
    while not acts.flooded and time.monotonic() < deadline:  # the server hears of the closed socket in its own time
        time.sleep(0.01)
    assert acts.flooded and max(acts.flooded) < 100
    assert len(small.asked) == 1  # and is not asked for it again


@pytest.mark.parametrize(("status", "kind"), [(500, "broken"), (502, "broken"), (429, "overloaded")])
def test_an_error_of_the_servers_own_is_asked_again_and_escalates(
    start: Any, acts: Any, answered: Make, event_loop: bool, status: int, kind: str
) -> None:
    small, large = start(acts.failing(status)), start(acts.answer(acts.completion("LIMA")))
    below, above = OpenAIBackend(small.url, "small"), OpenAIBackend(large.url, "large")
    text, decision = answered(below, above, event_loop=event_loop)
    require_escalated(text, decision, kind)
    assert len(small.asked) == 2


def test_a_server_that_asks_for_patience_beyond_the_tiers_is_left_alone(
    start: Any, acts: Any, answered: Make, event_loop: bool
) -> None:
    small, large = start(acts.failing(429, retry_after="30")), start(acts.answer(acts.completion("LIMA")))
    below, above = OpenAIBackend(small.url, "small"), OpenAIBackend(large.url, "large")
    text, decision = answered(below, above, event_loop=event_loop)
    require_escalated(text, decision, "overloaded")
    assert len(small.asked) == 1


@pytest.mark.parametrize(
    "logprobs", [None, {"content": []}, *({"content": [{"logprob": value}]} for value in (math.nan, 0.5, "-0.1"))]
)
def test_a_text_without_a_log_probability_is_not_believed(
    start: Any, acts: Any, answered: Make, event_loop: bool, logprobs: Any
) -> None:
    said = acts.completion("B", choice={"logprobs": logprobs})
    small, large = start(acts.answer(said)), start(acts.answer(acts.completion("LIMA")))
    below, above = OpenAIBackend(small.url, "small"), OpenAIBackend(large.url, "large")
    text, decision = answered(below, above, event_loop=event_loop)
    require_escalated(text, decision, "p_t is missing")
    assert decision.attempts[0].signals.p_t is None


@pytest.mark.parametrize(
    ("reply", "note"),
    [
        ("thought_listed", None),  # its tokens are kept apart, and the answer's own is unlikely
        ("thought_without_opening", None),
        ("thought_without_end", "empty: the answer has no text"),
        ("sentinel", "raw_logprobs"),
        ("minus_infinity", "raw_logprobs"),
        ("nan", "logprob is nan"),
        ("null", "logprob is None"),
    ],
)
def test_sure_numbers_of_other_tokens_or_of_no_model_keep_no_answer(
    start: Any, acts: Any, answered: Make, event_loop: bool, reply: str, note: str | None
) -> None:
    golden = (Path(__file__).parent / "golden" / f"{reply}.json").read_bytes()
    small, large = start(acts.answer(golden)), start(acts.answer(acts.completion("LIMA")))
    below, above = OpenAIBackend(small.url, "small"), OpenAIBackend(large.url, "large")
    text, decision = answered(below, above, event_loop=event_loop)
    first = decision.attempts[0]
    assert text == "LIMA"
    if note is None:
        assert (first.signals.p_t, first.verdict.reason) == (pytest.approx(0.2, abs=1e-6), Reason.P_T)
    else:
        require_escalated(text, decision, note)
        assert first.signals.p_t is None


def states(rows: int = 20, dimension: int = 24, fill: float = 0.5) -> dict[str, np.ndarray]:
    contents = np.full((rows, 1, dimension), fill, dtype=np.float32)
    return {"hidden_states": contents, "token_ids": np.arange(rows)}


@pytest.mark.parametrize(
    ("contents", "named", "note"),
    [
        (None, "gone.safetensors", "is not there"),
        (states(fill=np.nan), "a.safetensors", "is not finite"),
        (states(fill=np.inf), "a.safetensors", "is not finite"),
        (states(dimension=23), "a.safetensors", "this tier reads (24,)"),
        (states(rows=3), "a.safetensors", "holds 3 tokens"),
        ({"other": np.zeros(3, dtype=np.float32)}, "a.safetensors", "hidden_states is missing"),
        (states(), "../outside.safetensors", "is not there"),
    ],
)
def test_a_file_of_states_that_cannot_be_used_escalates(
    start: Any,
    acts: Any,
    answered: Make,
    fingerprint: Make,
    tmp_path: Path,
    event_loop: bool,
    contents: Any,
    named: str,
    note: str,
) -> None:
    folder = tmp_path / "states"
    folder.mkdir()
    if contents is not None:
        save_file(contents, folder / named)
    said = acts.completion("B", kv_transfer_params={"hidden_states_path": str(folder / named)})
    small, large = start(acts.answer(said)), start(acts.answer(acts.completion("LIMA")))
    of_vllm = fingerprint(engine="vllm")
    below = VLLMBackend(small.url, "small", fingerprint=of_vllm, folder=folder, layers=(12,), file_wait_s=0.05)
    text, decision = answered(below, OpenAIBackend(large.url, "large"), event_loop=event_loop)
    require_escalated(text, decision, note)
    if named.startswith(".."):
        assert (tmp_path / "outside.safetensors").exists()


def test_where_the_last_server_answers_garbage_the_caller_is_told_and_nothing_is_recorded(
    start: Any, acts: Any, answered: Make, event_loop: bool
) -> None:
    small, large = start(acts.failing(500)), start(acts.answer(b"{}"))
    below, above = OpenAIBackend(small.url, "small"), OpenAIBackend(large.url, "large")
    with pytest.raises(NoAnswer, match="no chat completion"):
        answered(below, above, event_loop=event_loop)


def test_a_blocking_call_that_was_given_up_leaves_the_back_end_usable(start: Any, acts: Any) -> None:
    good = acts.answer(acts.completion("B"))
    engine = start(good, acts.dripping_head, good)
    with OpenAIBackend(engine.url, "small") as backend:
        assert backend.ask(QUESTION, timeout_s=10.0).text == "B"
        with pytest.raises(BackendFailed, match="in time"):
            backend.ask(QUESTION, timeout_s=1.0)
        assert backend.ask(QUESTION, timeout_s=10.0).text == "B"
        backend.close()
        assert backend.ask(QUESTION, timeout_s=10.0).text == "B"


def require_escalated(text: str, decision: Decision, note: str) -> None:
    """The larger tier's answer was served, and the smaller one's failure is in the record."""
    assert text == "LIMA"
    first, served = decision.attempts
    assert (first.tier, served.tier, served.role) == (0, 1, "served")
    assert first.verdict is not None and not first.verdict.retained
    assert first.verdict.reason is Reason.MISSING_SIGNAL
    assert note in (first.note or "")


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b'{"error": {"message": "too\\r\\nlong"}}', "answered 400: too long"),
        (b'{"error": "too long"}', "answered 400: too long"),
        (b'{"detail": "too long"}', "answered 400: too long"),
        (b'{"detail": [{"loc": ["body"], "msg": "too long"}]}', '[{"loc": ["body"], "msg": "too long"}]'),
        (b"<p>too long</p>", "answered 400: <p>too long</p>"),
        (b"", "answered 400: without a word"),
    ],
)
def test_what_a_server_says_is_told_in_its_words_whatever_their_shape(
    start: Any, acts: Any, sent: bytes, words: str
) -> None:
    with OpenAIBackend(start(acts.answer(sent, status=400)).url, "small") as backend:
        with pytest.raises(BackendFailed, match=re.escape(words)) as caught:
            backend.ask(QUESTION, timeout_s=10.0)
        said = caught.value.said
        assert said is not None and said.status == 400 and "Error code" not in said.message and said.message


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"null", "choices[0] is missing"),
        (b"[]", "choices[0] is missing"),
        (b'{"choices": []}', "choices[0] is missing"),
        (b'{"choices": [7]}', "choices[0] is missing"),
        (b'{"choices": [{"text": "B"}]}', "choices[0].message is missing"),
        (b'{"choices": [{"message": "B"}]}', "choices[0].message is no object"),
    ],
)
def test_what_is_no_completion_is_told_by_what_it_lacks(start: Any, acts: Any, sent: bytes, why: str) -> None:
    engine = start(acts.answer(sent))
    with (
        OpenAIBackend(engine.url, "small") as backend,
        pytest.raises(BackendFailed, match=re.escape(why)),
    ):
        backend.ask(QUESTION, timeout_s=10.0)


def test_a_name_of_a_file_of_states_that_is_no_text_costs_the_state_alone(
    start: Any, acts: Any, fingerprint: Make, tmp_path: Path
) -> None:
    said = acts.completion("B", kv_transfer_params={"hidden_states_path": "/x/\ud800.safetensors"})
    of_vllm = fingerprint(engine="vllm")
    engine = start(acts.answer(said))
    with VLLMBackend(engine.url, "small", fingerprint=of_vllm, folder=tmp_path, layers=(12,)) as backend:
        reply = backend.ask(QUESTION, timeout_s=10.0)
    assert (reply.text, reply.shown.hidden) == ("B", None) and "hidden_states_path" in reply.shown.notes[0]
