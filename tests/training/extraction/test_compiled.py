"""Compiled blocks give the same states, for batches of any size, and leave the network
as it was.
"""

import shutil

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from knowgate.backends.blocks import blocks_of
from knowgate.backends.loading import adopt
from tests.training.reading import states_of
from training.extraction import Answerer


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_states_of_compiled_blocks_are_those_of_plain_ones() -> None:
    from tokenizers import Tokenizer, models

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    network = LlamaForCausalLM(config).eval()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(vocab={"?": 0}, unk_token="?")))
    loaded = adopt(network, tokenizer, model="random", revision="0")
    draw = np.random.default_rng(0)
    prompts = [draw.integers(1, 50, length).tolist() for length in (3, 9, 9, 17, 30, 41)]
    plain = states_of(Answerer(loaded, layers=[1, 3], tokens=64), prompts)
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    compiled = states_of(Answerer(loaded, layers=[1, 3], tokens=64, compiled=True), prompts)
    np.testing.assert_allclose(compiled.hidden, plain.hidden, atol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1  # it was compiled,
    assert not torch._dynamo.utils.counters["graph_break"]  # and in one piece
    assert all("forward" not in block.__dict__ for block in blocks_of(network))
