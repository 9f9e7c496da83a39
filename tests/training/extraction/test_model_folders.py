"""Model folders: what is damaged, missing or changed is named and never read as something
else.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, PreTrainedModel

from knowgate.backends.loading import folder_sha256
from tests.training.reading import extracted, states_of
from training.errors import ExtractionRefused, TrainingError
from training.extraction import Answerer, load_model
from training.extraction.loading import chosen_device


@pytest.fixture
def folder(model_of: Any, tokenizer_of_letters: Any, tmp_path: Path) -> Path:
    """A whole small model."""
    path = tmp_path / "model"
    model_of("llama").save_pretrained(path)
    tokenizer_of_letters().save_pretrained(path)
    return path


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The same folder with its weights changed."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("name", ["model.layers.1.mlp.up_proj.weight", "lm_head.weight"])
def test_missing_weights_are_never_drawn_at_random(folder: Path, name: str) -> None:
    assert load_model(folder).layers == 3
    with pytest.raises(TrainingError, match=f"it has no weights for {name}: give all of its files"):
        load_model(changed(folder, lambda tensors: tensors.pop(name)))


def test_an_encoder_may_lack_the_part_that_nobody_reads(tokenizer_of_letters: Any, tmp_path: Path) -> None:
    shape = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    BertModel(BertConfig(**shape, intermediate_size=32)).save_pretrained(tmp_path)
    tokenizer_of_letters().save_pretrained(tmp_path)
    changed(tmp_path, lambda tensors: [tensors.pop(name) for name in list(tensors) if "pooler" in name])
    assert load_model(tmp_path).layers == 2


def test_damaged_weights_are_told_in_one_message(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(TrainingError, match=r"model is '.*model': it could not be loaded"):
        load_model(folder)


def test_weights_of_another_shape_are_told_in_one_message(folder: Path) -> None:
    with pytest.raises(TrainingError, match="could not be loaded"):
        load_model(changed(folder, lambda tensors: tensors.update({"model.norm.weight": torch.ones(7)})))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "generation_config.json", "vocab.txt", "merges.txt", "a.model"])
def test_a_folder_with_another_content_is_another_model(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"{}")
    before = folder_sha256(folder)
    (folder / name).write_bytes(b"{ }")
    assert folder_sha256(folder) != before
    (folder / "README.md").write_text("words")
    now = folder_sha256(folder)
    (folder / "README.md").write_text("other words")
    assert folder_sha256(folder) == now


def test_probabilities_that_are_none_are_refused_and_states_are_still_read(folder: Path) -> None:
    broken = load_model(changed(folder, lambda tensors: tensors["lm_head.weight"].__setitem__((3, 0), float("nan"))))
    answerer = Answerer(broken, layers=[1])
    with pytest.raises(ExtractionRefused, match="prompt 0 gets no probabilities") as refused:
        extracted(answerer, ["abc"])
    assert refused.value.row == 0
    assert states_of(answerer, ["abc"]).hidden.shape == (1, 1, 16)


@pytest.mark.parametrize("device", ["mps", "xpu", "meta", "tpu"])
def test_devices_that_nothing_is_built_for_are_refused(device: str) -> None:
    with pytest.raises(ExtractionRefused, match="use auto, cpu or cuda"):
        chosen_device(device)


def test_a_model_is_moved_to_the_cuda_device_where_there_is_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[str] = []
    monkeypatch.setattr(PreTrainedModel, "to", lambda _, device: moved.append(device))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for device in ("auto", "cpu", "cuda"):
        load_model(folder, device=device)
    load_model(folder, device="auto", weights=False)
    assert moved == ["cuda", "cpu", "cuda"]
