"""States alone: the pass that ends early gives what transformers reports, for every family, padding
and precision.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from knowgate.backends.blocks import blocks_of
from knowgate.backends.loading import LoadedModel, adopt
from tests.training.reading import extracted, states_of
from training.errors import ExtractionRefused
from training.extraction import FIRST, LAST, MEAN, Answerer
from training.extraction.batches import batches
from training.extraction.narrowing import narrowable

PROMPTS = ["country of a:", "who?", "abc def ghi jkl mno:", "xy", "state of bcd:", "who are you:"]
SIZE = 36  # of the vocabulary of letters
SHAPE = {
    "vocab_size": SIZE,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}


def network_of(family: str) -> Any:
    import transformers as hf

    torch.manual_seed(3)
    made: dict[str, Callable[[], Any]] = {
        "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**SHAPE, initializer_range=0.3)),
        "qwen2": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**SHAPE, num_key_value_heads=1, initializer_range=0.3)),
        "gpt_neox": lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**SHAPE, initializer_range=0.3)),
        "gpt2": lambda: hf.GPT2LMHeadModel(
            hf.GPT2Config(vocab_size=SIZE, n_embd=16, n_layer=3, n_head=2, n_positions=64, initializer_range=0.3)
        ),
        "opt": lambda: hf.OPTForCausalLM(
            hf.OPTConfig(
                **{name: value for name, value in SHAPE.items() if name != "intermediate_size"},
                ffn_dim=32,
                word_embed_proj_dim=16,
                init_std=0.3,
            )
        ),
        "bert": lambda: hf.BertModel(hf.BertConfig(**SHAPE, initializer_range=0.3)),
        "roberta": lambda: hf.RobertaModel(hf.RobertaConfig(**SHAPE, initializer_range=0.3)),
        "distilbert": lambda: hf.DistilBertModel(
            hf.DistilBertConfig(vocab_size=SIZE, dim=16, n_layers=3, n_heads=2, hidden_dim=32, initializer_range=0.3)
        ),
    }
    return made[family]()


CAUSAL = ["llama", "qwen2", "gpt_neox", "gpt2", "opt"]
ENCODERS = ["bert", "roberta", "distilbert"]


@pytest.fixture(name="loaded_as")
def loaded_as_fixture(tokenizer_of_letters: Any) -> Callable[..., LoadedModel]:
    def loaded_as(family: str, dtype: torch.dtype = torch.float32) -> LoadedModel:
        return adopt(network_of(family).to(dtype), tokenizer_of_letters(), model=family, revision="1")

    return loaded_as


def reported(loaded: LoadedModel, prompt: str, layer: int) -> Any:
    """float32 [tokens, d] that transformers reports for one prompt alone."""
    ids = loaded.tokenizer(prompt, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        output = loaded.network.base_model(input_ids=ids, output_hidden_states=True)
    return output.hidden_states[layer][0].float().numpy()


@pytest.mark.parametrize("family", CAUSAL + ENCODERS)
def test_states_of_every_position_equal_those_that_transformers_reports(loaded_as: Any, family: str) -> None:
    loaded = loaded_as(family)
    places = [LAST, f"{LAST}-1", FIRST, MEAN]
    states = states_of(Answerer(loaded, layers=[0, 2], positions=places), PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        for at, layer in enumerate([0, 2]):
            tokens = reported(loaded, prompt, layer)
            expected = np.stack([tokens[-1], tokens[-2], tokens[0], tokens.mean(0)])
            np.testing.assert_allclose(states.hidden[row, 4 * at : 4 * at + 4], expected, rtol=1e-4, atol=1e-4)
    assert [one.position for one in states.fingerprints] == places * 2
    assert [one.layer for one in states.fingerprints] == [0] * 4 + [2] * 4


@pytest.mark.parametrize("family", CAUSAL + ENCODERS)
@pytest.mark.parametrize("position", [LAST, f"{LAST}-1", FIRST])
def test_the_topmost_block_working_for_one_token_changes_no_vector(loaded_as: Any, family: str, position: str) -> None:
    loaded = loaded_as(family)
    at = {LAST: -1, FIRST: 0}.get(position, -2)
    states = states_of(Answerer(loaded, layers=[1, 2], positions=[position]), PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        expected = np.stack([reported(loaded, prompt, layer)[at] for layer in (1, 2)])
        np.testing.assert_allclose(states.hidden[row], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", CAUSAL + ENCODERS)
def test_a_block_is_narrowed_in_its_feed_forward_part(loaded_as: Any, family: str) -> None:
    calls: list[Any] = []
    loaded = loaded_as(family)
    block = blocks_of(loaded.network)[1]
    handle = block.register_forward_pre_hook(lambda _, given, named: calls.append((given, named)), with_kwargs=True)
    reported(loaded, "abcdef", 2)
    handle.remove()
    assert narrowable(block, calls[0])


class Block(torch.nn.Module):
    """A residual block, or (`mixes`) one whose feed-forward part sees other tokens too."""

    def __init__(self, *, mixes: bool) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.attention, self.mixes = torch.nn.Bilinear(8, 8, 8, bias=False), mixes
        self.feed = torch.nn.Linear(8, 8, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(x, x)
        added = self.feed(x)
        return x + (added.mean(1, keepdim=True) if self.mixes else added)


@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
def test_a_block_that_mixes_tokens_after_attention_runs_in_full_however_large_its_states_are(size: float) -> None:
    call = ((size * torch.randn(1, 6, 8, generator=torch.Generator().manual_seed(2)),), {})
    assert narrowable(Block(mixes=False), call) == ("feed",)
    assert narrowable(Block(mixes=True), call) == ()


@pytest.mark.parametrize("family", CAUSAL)
def test_states_are_the_same_with_answers_without_and_with_padding_first(loaded_as: Any, family: str) -> None:
    loaded = loaded_as(family)
    alone = states_of(Answerer(loaded, layers=[1, 3]), PROMPTS).hidden
    for left in (False, True):
        answerer = Answerer(loaded, layers=[1, 3], left=left, batch=4)
        np.testing.assert_allclose(states_of(answerer, PROMPTS).hidden, alone, rtol=1e-4, atol=1e-4)
        extraction = extracted(answerer, PROMPTS)
        np.testing.assert_allclose(extraction.hidden, alone, rtol=1e-4, atol=1e-4)
        for row, prompt in enumerate(PROMPTS):
            ids = loaded.tokenizer(prompt, return_tensors="pt")["input_ids"]
            with torch.inference_mode():
                expected = loaded.network(input_ids=ids).logits[0, -1].softmax(-1).max()
            assert extraction.p_t[row] == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_comes_near_full_and_is_named_by_the_fingerprint(loaded_as: Any, dtype: torch.dtype) -> None:
    half, full = (Answerer(loaded_as("qwen2", kind), layers=[2]) for kind in (dtype, torch.float32))
    found, expected = states_of(half, PROMPTS), states_of(full, PROMPTS)
    assert found.hidden.dtype == np.float32
    assert np.abs(found.hidden - expected.hidden).max() < 0.1 * np.abs(expected.hidden).max()
    assert found.fingerprints[0].dtype == str(dtype).removeprefix("torch.")


def test_no_later_layer_no_head_and_no_cache_is_computed(loaded_as: Any) -> None:
    loaded = loaded_as("llama")
    ran: list[str] = []
    caches: list[Any] = []
    for name, module in loaded.network.named_modules():
        module.register_forward_pre_hook(lambda _, __, name=name: ran.append(name))
    blocks_of(loaded.network)[0].register_forward_pre_hook(
        lambda _, __, named: caches.append(named.get("past_key_values")), with_kwargs=True
    )
    states_of(Answerer(loaded, layers=[1]), PROMPTS)
    assert "model.layers.0" in ran and not {"model.layers.1", "model.layers.2", "model.norm", "lm_head"} & set(ran)
    assert caches and all(cache is None for cache in caches)


def test_the_head_sees_one_token_per_prompt(loaded_as: Any) -> None:
    loaded = loaded_as("gpt2")
    shapes: list[tuple[int, ...]] = []
    answerer = Answerer(loaded, layers=[1], batch=len(PROMPTS))
    loaded.network.lm_head.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape)))
    answerer.answer(PROMPTS)
    assert sum(shape[0] for shape in shapes) == len(PROMPTS) and {shape[1] for shape in shapes} == {1}


def test_an_error_in_the_middle_leaves_the_model_as_it_was(loaded_as: Any) -> None:
    loaded = loaded_as("llama")
    answerer = Answerer(loaded, layers=[2])
    before = states_of(answerer, PROMPTS).hidden

    def fail(_: Any, __: Any) -> None:
        raise RuntimeError("out of memory")

    handle = blocks_of(loaded.network)[1].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        states_of(answerer, PROMPTS)
    handle.remove()
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in loaded.network.modules()]
    assert sum(hooks) == 0
    np.testing.assert_array_equal(states_of(answerer, PROMPTS).hidden, before)


def test_a_tokenizer_without_pad_token_gives_the_same_vectors(loaded_as: Any) -> None:
    loaded = loaded_as("llama")
    expected = states_of(Answerer(loaded, layers=[2]), PROMPTS).hidden
    loaded.tokenizer.pad_token = None
    assert loaded.tokenizer.pad_token_id is None
    np.testing.assert_array_equal(states_of(Answerer(loaded, layers=[2]), PROMPTS).hidden, expected)


def test_what_cannot_be_read_is_refused_with_the_prompts_index(loaded_as: Any) -> None:
    loaded = loaded_as("llama")
    answerer = Answerer(loaded, layers=[2])
    with pytest.raises(ExtractionRefused, match="prompt 1 has 65 tokens, the context of llama holds 64"):
        states_of(answerer, ["a", "a" * 65])
    with pytest.raises(ExtractionRefused, match=r"prompt 0 .* 60 tokens and an answer of up to 7 more"):
        Answerer(loaded, layers=[2], max_new_tokens=8).answer(["a" * 60])
    with pytest.raises(ExtractionRefused, match="prompt 1 has 2 tokens, the wanted positions need 4"):
        states_of(Answerer(loaded, positions=[f"{LAST}-3"]), ["abcd", "ab"])
    with pytest.raises(ExtractionRefused, match="prompt 0 has token 99"):
        states_of(answerer, [[3, 99]])
    with pytest.raises(ExtractionRefused, match="position is 'middle'"):
        Answerer(loaded, positions=["middle"])
    with pytest.raises(ExtractionRefused, match="is 0: give 1 or more"):
        states_of(Answerer(loaded, tokens=0), ["a"])
    with torch.no_grad():
        loaded.network.model.embed_tokens.weight[loaded.tokenizer("b")["input_ids"][0]] = float("nan")
    with pytest.raises(ExtractionRefused, match="prompt 2 has nan in its hidden state of layer 2"):
        states_of(answerer, ["a", "ac", "ab"])


def test_an_encoder_is_not_asked_for_answers(loaded_as: Any) -> None:
    with pytest.raises(ExtractionRefused, match="encoder"):
        Answerer(loaded_as("bert"), layers=[2]).answer(["ab"])
    with pytest.raises(ExtractionRefused, match="padding comes last"):
        states_of(Answerer(loaded_as("bert"), layers=[2], left=True), ["ab"])


def test_batches_hold_every_prompt_once_within_the_budget_and_waste_little() -> None:
    random = np.random.default_rng(0)
    prompts = [[1] * int(n) for n in np.clip(random.lognormal(4.3, 0.8, 500), 1, 700)]
    made = list(batches(prompts, tokens=600, pad_id=0, left=False))
    assert sorted(row for batch in made for row in batch.rows) == list(range(500))
    assert all(batch.input_ids.numel() <= 600 or len(batch.rows) == 1 for batch in made)
    assert sum(batch.input_ids.numel() for batch in made) < 1.1 * sum(map(len, prompts))
    some = list(batches([[1, 1]] * 10, tokens=600, size=2, rows=[4, 9, 7], pad_id=0, left=False))
    assert [batch.rows for batch in some] == [(4, 7), (9,)]
