"""Bad input through `python -m training extract`: a clear error by query, value and cure, and nothing done is lost."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.numpy import load_file

from training.__main__ import main

PROMPTS = {"q1": "abc:", "q2": "de:", "q3": "fghij:"}


@pytest.fixture(name="folder")
def folder_fixture(tmp_path: Path, model_of: Any, tokenizer_of_letters: Any) -> Path:
    save(tmp_path, model_of("llama"), tokenizer_of_letters())
    return tmp_path


def save(folder: Path, model: Any, tokenizer: Any) -> None:
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")


def extract(folder: Path, prompts: dict[str, str], out: str = "out.safetensors", *options: str) -> int:
    rows = [{"query_id": name, "prompt": text} for name, text in prompts.items()]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["extract", "--model", str(folder / "model"), "--prompts", str(folder / "prompts.jsonl")]
    command += ["--out", str(folder / out), "--layers", "2", "--device", "cpu", "--states-only", *options]
    return main(command)


def test_a_prompt_longer_than_the_context_is_refused_by_its_query(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert extract(folder, PROMPTS | {"q9": "a" * 65}) == 1
    told = capsys.readouterr().err
    assert "query 'q9'" in told and "has 65 tokens" in told and "holds 64: shorten the prompt" in told
    assert not (folder / "out.safetensors").exists()
    assert extract(folder, PROMPTS) == 0


def test_a_tokenizer_without_a_pad_token_gives_the_same_file(
    folder: Path, model_of: Any, tokenizer_of_letters: Any
) -> None:
    assert extract(folder, PROMPTS) == 0
    tokenizer = tokenizer_of_letters()
    tokenizer.pad_token = None
    save(folder, model_of("llama"), tokenizer)
    assert extract(folder, PROMPTS, "bare.safetensors") == 0
    both = [load_file(folder / name)["hidden"] for name in ("out.safetensors", "bare.safetensors")]
    assert both[0].shape == (3, 16) and (both[0] == both[1]).all()


def test_a_hidden_state_that_is_not_finite_is_refused_by_its_query_and_the_others_are_kept(
    folder: Path, model_of: Any, tokenizer_of_letters: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    model = model_of("llama")
    with torch.no_grad():
        model.get_input_embeddings().weight[tokenizer_of_letters()("z")["input_ids"]] = float("nan")
    save(folder, model, tokenizer_of_letters())
    assert extract(folder, PROMPTS | {"q9": "z"}, "out.safetensors", "--batch", "1") == 1
    told = capsys.readouterr().err
    assert "query 'q9'" in told and "nan in its hidden state of layer 2" in told and "leave the prompt out" in told
    assert not (folder / "out.safetensors").exists()
    parts = sorted((folder / ".out.safetensors.parts").glob("part-*"))
    assert sum(len(load_file(part)["hidden"]) for part in parts) == len(PROMPTS)


def test_an_empty_prompt_a_missing_folder_and_a_file_of_another_encoding_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert extract(folder, {"q1": "a:", "q2": ""}) == 1
    assert "query 'q2'" in (told := capsys.readouterr().err) and "leave empty prompts out" in told
    assert extract(folder, PROMPTS, "no/such/out.npz") == 1
    assert "the folder" in (told := capsys.readouterr().err) and "is not there; make it" in told
    (folder / "latin.csv").write_bytes("query_id,prompt\nq1,caf\u00e9\n".encode("latin-1"))
    command = ["extract", "--model", str(folder / "model"), "--prompts", str(folder / "latin.csv")]
    assert main([*command, "--out", str(folder / "out.npz"), "--device", "cpu"]) == 1
    assert "latin.csv" in (told := capsys.readouterr().err) and "UTF" in told
