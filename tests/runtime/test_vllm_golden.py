"""Files that vLLM itself wrote are read as the states that transformers computes for the same
prompts.
"""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from demo.pair import LARGE
from knowgate._bundles.tensor_file import require_tensor_file
from knowgate.backends.states_file import StatesUnreadable, take_state
from training.extraction import Answerer, load_model

GOLDEN = Path(__file__).with_name("golden")
LAYERS = (2, 4)
CITIES = ("lima", "nagoya", "paris")


@pytest.fixture(scope="module")
def answerer() -> Answerer:
    return Answerer(load_model(LARGE, model="large"), layers=LAYERS, max_new_tokens=1)


@pytest.mark.parametrize("city", CITIES)
def test_each_layer_of_a_real_file_is_that_layers_state_at_the_last_prompt_token(
    answerer: Answerer, city: str, tmp_path: Path
) -> None:
    (expected,) = answerer.answer([f"country of {city}:"])
    for place, (layer, other) in enumerate(zip(LAYERS, reversed(LAYERS), strict=True)):
        path = tmp_path / "chatcmpl-1.safetensors"
        shutil.copy(GOLDEN / f"vllm_0.32_country_of_{city}.safetensors", path)
        state = take_state(
            path, prompt_tokens=expected.tokens_in, layer=place, layers=len(LAYERS), deadline=time.monotonic()
        )
        assert np.allclose(state, expected.hidden[LAYERS.index(layer)], atol=1e-5)
        assert not np.allclose(state, expected.hidden[LAYERS.index(other)], atol=0.1)
        assert not path.exists()


@pytest.mark.parametrize("counted", [None, 5, 7])
def test_a_real_file_of_another_number_of_tokens_than_the_prompts_gives_no_state(
    tmp_path: Path, counted: int | None
) -> None:
    path = tmp_path / "chatcmpl-1.safetensors"
    shutil.copy(GOLDEN / "vllm_0.32_country_of_lima.safetensors", path)
    with pytest.raises(StatesUnreadable, match="holds 6 tokens"):
        take_state(path, prompt_tokens=counted, layer=0, layers=2, deadline=time.monotonic())
    assert not path.exists()


@pytest.mark.parametrize("city", CITIES)
def test_a_real_files_header_passes_the_checks_that_bundles_pass(city: str) -> None:
    header = require_tensor_file((GOLDEN / f"vllm_0.32_country_of_{city}.safetensors").read_bytes())
    assert set(header.entries) == {"hidden_states", "token_ids"}
