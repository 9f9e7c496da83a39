"""What is read of a model: right positions, right layers, whatever the padding."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from knowgate._records.records import Fingerprint
from knowgate.backends.blocks import blocks_of, final_norm
from knowgate.backends.loading import adopt
from knowgate.errors import RecordInvalid
from tests.training.reading import extracted
from training.errors import ExtractionRefused, TrainingError
from training.extraction import Answerer, load_model

PROMPTS = ["country of a:", "who?", "abc def ghi jkl mno:", "x", "state of bcd:"]
FAMILIES = ["llama", "gpt2", "gpt_neox"]


@pytest.fixture(name="answerer_of")
def answerer_of_fixture(model_of: Any, tokenizer_of_letters: Any) -> Callable[..., Answerer]:
    def answerer_of(family: str, side: str = "left", **settings: Any) -> Answerer:
        loaded = adopt(model_of(family), tokenizer_of_letters(side), model="tiny", revision="1")
        return Answerer(loaded, **settings)

    return answerer_of


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_hidden_states_equal_those_that_transformers_reports_for_each_prompt_alone(
    answerer_of: Any, family: str, side: str
) -> None:
    answerer = answerer_of(family, side, batch=3)
    extraction = extracted(answerer, PROMPTS)
    model = answerer.loaded.network
    for row, prompt in enumerate(PROMPTS):
        ids = answerer.loaded.tokenizer(prompt, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            output = model(input_ids=ids, output_hidden_states=True)
        for layer in range(answerer.loaded.layers):  # transformers applies the final norm to the last one
            expected = output.hidden_states[layer][0, -1].numpy()
            np.testing.assert_allclose(extraction.hidden[row, layer], expected, rtol=1e-5, atol=5e-5)
        p_t, token = output.logits[0, -1].softmax(-1).max(-1)
        assert extraction.p_t[row] == pytest.approx(float(p_t), abs=1e-5)
        assert extraction.token_ids[row] == int(token)
        assert extraction.tokens_in[row] == ids.shape[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_layer_equals_the_normed_one_once_the_final_norm_is_asked_for(answerer_of: Any, family: str) -> None:
    answerer = answerer_of(family, layers=[3], normed=True)
    extraction = extracted(answerer, PROMPTS[:1])
    ids = answerer.loaded.tokenizer(PROMPTS[0], return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        expected = answerer.loaded.network(input_ids=ids, output_hidden_states=True).hidden_states[-1][0, -1]
    np.testing.assert_allclose(extraction.hidden[0, 0], expected.numpy(), rtol=1e-5, atol=5e-5)
    assert extraction.fingerprints[0].normed


def test_padding_on_either_side_gives_the_same_vectors(answerer_of: Any) -> None:
    left = extracted(answerer_of("llama", "left"), PROMPTS)
    right = extracted(answerer_of("llama", "right"), PROMPTS)
    np.testing.assert_allclose(left.hidden, right.hidden, rtol=1e-5, atol=5e-5)
    np.testing.assert_allclose(left.entropy, right.entropy, atol=1e-5)
    assert left.texts == right.texts


def test_with_options_the_answer_is_one_of_them_and_the_entropy_is_theirs(answerer_of: Any) -> None:
    answerer = answerer_of("llama", options=["A", "B", "C", "D"])
    free = extracted(answerer_of("llama"), PROMPTS)
    among = extracted(answerer, PROMPTS)
    assert set(among.texts) <= {"A", "B", "C", "D"}
    assert (among.p_t <= free.p_t + 1e-9).all()
    assert (among.entropy <= np.log(4) + 1e-9).all()


def test_a_longer_answer_keeps_the_signals_of_its_first_token(answerer_of: Any) -> None:
    short = answerer_of("llama").answer(PROMPTS)
    long = answerer_of("llama", "right", max_new_tokens=4).answer(PROMPTS)
    for one, other in zip(short, long, strict=True):
        if one.text.strip():  # else the first token with text is a later one
            assert other.p_t == pytest.approx(one.p_t, abs=1e-5)
        assert other.text.startswith(one.text)
        assert 1 <= other.tokens_out <= 4


def test_a_fingerprint_names_what_the_vector_is_of(answerer_of: Any) -> None:
    answerer = answerer_of("llama", layers=[2])
    (fingerprint,) = answerer.fingerprints
    assert isinstance(fingerprint, Fingerprint)
    assert (fingerprint.model, fingerprint.revision, fingerprint.layer) == ("tiny", "1", 2)
    assert (fingerprint.dtype, fingerprint.engine, fingerprint.position) == (
        "float32",
        "transformers",
        "last_prompt_token",
    )


def test_a_chat_template_is_applied_and_changes_the_fingerprint(model_of: Any, tokenizer_of_letters: Any) -> None:
    tokenizer = tokenizer_of_letters()
    tokenizer.chat_template = "{% for m in messages %}q: {{ m['content'] }} a:{% endfor %}"
    chat = Answerer(adopt(model_of("llama"), tokenizer, model="tiny", revision="1"))
    plain = Answerer(adopt(model_of("llama"), tokenizer, model="tiny", revision="1", chat=False))
    assert chat.fingerprints[0].chat_template_sha256 != plain.fingerprints[0].chat_template_sha256
    np.testing.assert_allclose(extracted(chat, ["x"]).hidden, extracted(plain, ["q: x a:"]).hidden, atol=1e-6)


def test_a_local_folder_is_loaded_and_its_revision_is_its_content(
    tmp_path: Path, model_of: Any, tokenizer_of_letters: Any, answerer_of: Any
) -> None:
    model_of("llama").save_pretrained(tmp_path)
    tokenizer_of_letters().save_pretrained(tmp_path)
    loaded = load_model(tmp_path, model="tiny")
    np.testing.assert_allclose(
        extracted(Answerer(loaded), PROMPTS).hidden, extracted(answerer_of("llama"), PROMPTS).hidden, atol=1e-6
    )
    changed = model_of("llama")
    with torch.no_grad():
        changed.lm_head.weight.add_(1e-3)
    changed.save_pretrained(tmp_path)
    assert load_model(tmp_path, model="tiny").revision != loaded.revision


def test_an_unknown_structure_is_an_error_and_not_a_guess(model_of: Any) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = model_of("llama").config
            self.encoder = nn.ModuleList(nn.TransformerEncoderLayer(8, 2) for _ in range(3))
            self.decoder = nn.ModuleList(nn.TransformerEncoderLayer(8, 2) for _ in range(3))

    with pytest.raises(RecordInvalid, match="encoder, decoder"):
        blocks_of(Odd())
    with pytest.raises(RecordInvalid, match="none"):
        wrong = model_of("llama")
        wrong.config.num_hidden_layers = 5
        blocks_of(wrong)
    assert "Norm" in type(final_norm(model_of("gpt2"))).__name__


def test_a_list_of_single_layers_beside_the_blocks_is_no_second_list(model_of: Any) -> None:
    model = model_of("llama")
    blocks = blocks_of(model)
    model.heads = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
    assert blocks_of(model) is blocks


def test_what_cannot_be_asked_is_refused_by_name(tmp_path: Path, answerer_of: Any) -> None:
    with pytest.raises(ExtractionRefused, match="layers 0 to 3"):
        answerer_of("llama", layers=[4])
    with pytest.raises(ExtractionRefused, match="'AB'"):
        answerer_of("llama", options=["AB", "C"])
    with pytest.raises(ExtractionRefused, match="no tokens"):
        answerer_of("llama").answer([""])
    with pytest.raises(TrainingError, match="could not be loaded"):
        load_model(tmp_path)
