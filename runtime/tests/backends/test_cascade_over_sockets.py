"""A cascade of real back-ends over real sockets: SGLang or vLLM below, an OpenAI-compatible server
above.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from factories import Kept

pytest.importorskip("httpx2")

from knowgate._bundles.bundle import Bundle, write_bundle
from knowgate._records.records import Fingerprint, Reason
from knowgate._serving.cascade import Cascade
from knowgate.backends import OpenAIBackend, SGLangBackend, VLLMBackend
from knowgate.backends.tries import Patience
from knowgate.errors import NoAnswer
from knowgate.policy import Policy, PolicyKind

Make = Callable[..., Any]
QUESTION = [{"role": "user", "content": "Capital of Peru?"}]
PATIENCE = Patience(timeout_s=3.0, tries=3, first_delay_s=0.001, longest_delay_s=0.002)


def bundle_of(tier_models: Make, bundle_document: Make, fingerprint: Fingerprint) -> Bundle:
    """Two tiers whose probe belongs to `fingerprint`; keeps what has p_t of at least 0.9 and a
    state.
    """
    models = tier_models()
    models = replace(models, document=replace(models.document, fingerprint=fingerprint))
    policy = Policy.of(
        PolicyKind.GATES,
        ({"p_ik": 0.0, "p_t": 0.9, "ood": 1.0},),
        fallback=Policy.of(PolicyKind.P_T, ({"p_t": 0.97},)),
    )
    return write_bundle(bundle_document((models,), policy=policy), (models,))


@pytest.fixture
def cascade_of(tier_models: Make, bundle_document: Make, pair: Make, key: bytes, now: datetime) -> Make:
    def made(fingerprint: Fingerprint, *backends: Any) -> tuple[Cascade, Kept]:
        kept = Kept()
        in_force = pair(bundle_of(tier_models, bundle_document, fingerprint), exploration_rate=0.0)
        cascade = Cascade(
            "questions", in_force, hash_key=key, spool=kept, clock=lambda: now, backends=backends, patience=PATIENCE
        )
        return cascade, kept

    return made


def test_a_state_from_sglang_meets_its_probe_and_is_kept_as_it_came(
    start: Any, acts: Any, cascade_of: Make, fingerprint: Make
) -> None:
    of_sglang = fingerprint(engine="sglang", normed=True)
    small, large = start(acts.sglang()), start(acts.answer(acts.completion("LIMA")))
    with (
        SGLangBackend(small.url, "small", fingerprint=of_sglang) as below,
        OpenAIBackend(large.url, "large") as above,
    ):
        cascade, kept = cascade_of(of_sglang, below, above)
        with cascade:
            assert cascade.answer(QUESTION).text == "B because of Lima"
    decision, (vector,) = kept.rows[0]
    assert decision.served.signals.p_ik is not None
    assert vector.tolist() == acts.state_of(0)
    assert large.asked == []


def test_a_state_file_that_never_comes_goes_to_the_fallback(
    start: Any, acts: Any, cascade_of: Make, fingerprint: Make, tmp_path: Path
) -> None:
    of_vllm = fingerprint(engine="vllm")
    said = acts.completion("B", p_t=0.98, kv_transfer_params={"hidden_states_path": "/x/gone.safetensors"})
    small, large = start(acts.answer(said)), start(acts.answer(acts.completion("LIMA")))
    below = VLLMBackend(small.url, "small", fingerprint=of_vllm, folder=tmp_path, layers=(12,), file_wait_s=0.02)
    with below, OpenAIBackend(large.url, "large") as above:
        cascade, kept = cascade_of(of_vllm, below, above)
        with cascade:
            answer = cascade.answer(QUESTION)
    assert (answer.text, answer.rulings[0].verdict.fallback) == ("B", True)
    assert "the hidden state is missing" in (kept.rows[0][0].served.note or "")


def test_a_state_of_another_size_than_the_probe_reads_escalates(
    start: Any, acts: Any, cascade_of: Make, fingerprint: Make
) -> None:
    of_sglang = fingerprint(engine="sglang", normed=True)
    small = start(acts.sglang(choice={"hidden_states": [0.5] * 7}))
    large = start(acts.answer(acts.completion("LIMA")))
    with (
        SGLangBackend(small.url, "small", fingerprint=of_sglang, max_tokens=1) as below,
        OpenAIBackend(large.url, "large") as above,
    ):
        cascade, kept = cascade_of(of_sglang, below, above)
        with cascade:
            assert cascade.answer(QUESTION).text == "LIMA"
    assert "this tier reads (24,)" in (kept.rows[0][0].attempts[0].note or "")


@pytest.mark.parametrize("way", ["closing", "cutting"])
@pytest.mark.parametrize("event_loop", [False, True], ids=["blocking", "event loop"])
def test_a_cut_connection_is_tried_again_and_then_escalates(
    start: Any, acts: Any, cascade_of: Make, fingerprint: Make, way: str, event_loop: bool
) -> None:
    small, large = start(getattr(acts, way)), start(acts.failing(503), acts.answer(acts.completion("LIMA")))
    below, above = OpenAIBackend(small.url, "small"), OpenAIBackend(large.url, "large")
    cascade, kept = cascade_of(fingerprint(), below, above)

    async def asked() -> str:
        async with below, above:
            return (await cascade.answer_async(QUESTION)).text

    with cascade, below, above:
        text = asyncio.run(asked()) if event_loop else cascade.answer(QUESTION).text
    assert text == "LIMA"
    assert (len(small.asked), len(large.asked)) == (3, 2)
    first = kept.rows[0][0].attempts[0]
    assert first.verdict is not None and first.verdict.reason is Reason.MISSING_SIGNAL
    assert "unreachable" in (first.note or "")


def test_when_every_server_is_gone_the_error_says_so(cascade_of: Make, fingerprint: Make) -> None:
    nowhere = "http://127.0.0.1:9/v1"
    with OpenAIBackend(nowhere, "small") as below, OpenAIBackend(nowhere, "large") as above:
        cascade, kept = cascade_of(fingerprint(), below, above)
        with cascade, pytest.raises(NoAnswer, match="large, gave no answer"):
            cascade.answer(QUESTION)
    assert kept.rows == []
