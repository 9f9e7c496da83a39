"""In this process every kind of P(T) is exact, and the back-end gives the number that training
reads.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from demo.pair import SMALL
from knowgate._records.options import option_of
from knowgate._records.records import PTKind
from knowgate.backends import from_spec
from knowgate.backends.loading import LoadedModel, load_tier
from knowgate.backends.transformers import TransformersBackend
from knowgate.errors import RecordInvalid
from knowgate.spec import TierSpec
from tests.training.reading import extracted
from training.errors import ExtractionRefused
from training.extraction import Answerer, load_model

PROMPTS = ["the", "capital of Peru", "country of Lima"]


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_model(SMALL, model="small")


@pytest.fixture(scope="module")
def options(loaded: LoadedModel) -> list[str]:
    """Three words that are one token each."""
    words: list[str] = []
    for token in range(loaded.network.config.vocab_size):
        word = loaded.tokenizer.decode([token])
        if word.strip() and loaded.tokenizer(word, add_special_tokens=False)["input_ids"] == [token]:
            words.append(word)
    return words[5:8]


def question(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def step_by_step(loaded: LoadedModel, prompt: str, tokens: int, first: list[int] | None) -> list[float]:
    """The log-probabilities of a greedy answer, one whole pass per token; the end of the answer
    left out.
    """
    ids = loaded.tokenizer(prompt, return_tensors="pt")["input_ids"]
    logs: list[float] = []
    for at in range(tokens):
        with torch.inference_mode():
            log_p = loaded.network(input_ids=ids).logits[0, -1].float().log_softmax(-1)
        token = int(log_p.argmax()) if at or first is None else first[int(log_p[first].argmax())]
        if token == loaded.tokenizer.eos_token_id and logs:
            break
        logs.append(float(log_p[token]))
        ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
    return logs


@pytest.mark.parametrize("tokens", [1, 5])
@pytest.mark.parametrize("kind", list(PTKind))
@pytest.mark.parametrize("with_options", [True, False])
def test_training_and_serving_measure_the_same(
    loaded: LoadedModel, options: list[str], kind: PTKind, tokens: int, with_options: bool
) -> None:
    given = options if with_options else []
    if kind is PTKind.OPTION and not with_options:
        with pytest.raises(ExtractionRefused, match="give the options"):
            Answerer(loaded, layers=(1,), p_t_kind=kind)
        with pytest.raises(RecordInvalid, match="give the options"):
            TransformersBackend(loaded.network, loaded.tokenizer, model="small", p_t_kind=kind)
        return
    answerer = Answerer(loaded, layers=(1,), max_new_tokens=tokens, p_t_kind=kind, options=given or None)
    backend = TransformersBackend(
        loaded.network, loaded.tokenizer, model="small", max_new_tokens=tokens, p_t_kind=kind, options=given
    )
    ids = [loaded.tokenizer(option, add_special_tokens=False)["input_ids"][0] for option in given]
    for prompt, expected in zip(PROMPTS, answerer.answer(PROMPTS), strict=True):
        reply = backend.ask(question(prompt), timeout_s=30.0)
        assert (reply.text, reply.shown.tokens_out, reply.shown.p_t_kind) == (
            expected.text,
            expected.tokens_out,
            kind,
        )
        logs = step_by_step(loaded, prompt, tokens, ids or None)
        exact = math.exp(sum(logs) / len(logs)) if kind is PTKind.MEAN else math.exp(logs[0])
        is_option = option_of(reply.text, given) is not None  # a longer answer goes on in other words
        if kind is not PTKind.OPTION or is_option:
            assert reply.shown.p_t == pytest.approx(exact, abs=1e-5)
            assert expected.p_t == pytest.approx(exact, abs=1e-5)
        else:
            assert reply.shown.p_t is None and math.isnan(expected.p_t)
            assert "is no option" in reply.shown.notes[0]
        if with_options and not is_option:
            assert reply.shown.entropy is None and math.isnan(expected.entropy)
            assert reply.shown.margin is None and expected.margin is not None and math.isnan(expected.margin)
            continue
        assert reply.shown.entropy == pytest.approx(expected.entropy, abs=1e-4)
        assert (reply.shown.margin is None) == (expected.margin is None) == (not with_options)
        if with_options:
            assert reply.shown.margin == pytest.approx(expected.margin, abs=1e-5)
        assert reply.enough == (is_option or tokens == 1)
    assert not any(module._forward_hooks for module in loaded.network.modules())


def test_the_margin_is_the_gap_of_the_two_likeliest_options(loaded: LoadedModel, options: list[str]) -> None:
    extraction = extracted(Answerer(loaded, layers=(1,), options=options), PROMPTS)
    assert extraction.p_t_kind is PTKind.OPTION
    for row, prompt in enumerate(PROMPTS):
        ids = loaded.tokenizer(prompt, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            p = loaded.network(input_ids=ids).logits[0, -1].float().softmax(-1)
        among = sorted((float(p[loaded.tokenizer(one)["input_ids"][-1]]) for one in options), reverse=True)
        assert extraction.margin[row] == pytest.approx(among[0] - among[1], abs=1e-6)
        assert extraction.p_t[row] == pytest.approx(among[0], abs=1e-6)
    assert np.isnan(extracted(Answerer(loaded, layers=(1,)), PROMPTS).margin).all()


def test_options_of_several_tokens_are_refused(loaded: LoadedModel, options: list[str]) -> None:
    for wrong in ([options[0], options[1] + options[2]], [options[0], options[0]]):
        with pytest.raises(RecordInvalid, match="options is"):
            TransformersBackend(loaded.network, loaded.tokenizer, model="small", options=wrong)


def test_a_declared_tier_in_this_process_names_its_states_as_training_does(tmp_path: Path) -> None:
    tier = TierSpec(name="small", model=str(SMALL), parameters=1e6, backend="transformers", layers=(1, 2), max_tokens=1)
    (expected,) = Answerer(load_tier(tier), layers=(2,)).answer(["the"])
    own = load_tier(tier).fingerprint(2)
    reply = from_spec(tier).ask(question("the"), timeout_s=30.0)
    assert reply.shown.fingerprint == own
    assert reply.shown.hidden is not None and np.allclose(reply.shown.hidden, expected.hidden[0], atol=1e-4)
    other: Any = from_spec(tier, layer=1)
    assert other.fingerprint == load_tier(tier).fingerprint(1)
    with pytest.raises(RecordInvalid, match=r"tiers\.small\.model"):
        from_spec(TierSpec(name="small", model=str(tmp_path / "no"), parameters=1e6, backend="transformers"))
