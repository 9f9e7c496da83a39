"""Bad input through `python -m training extract`: a clear error by query, value and cure, and
nothing done is lost.
"""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from safetensors.numpy import load_file

from training.__main__ import main
from training.errors import ExtractionRefused
from training.extraction.extract_parts import PartFolder
from training.extraction.prompt_files import read_prompts

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
    errors = capsys.readouterr().err
    assert "query 'q9'" in errors and "has 65 tokens" in errors and "holds 64: shorten the prompt" in errors
    assert not (folder / "out.safetensors").exists()
    assert extract(folder, PROMPTS) == 0


def test_a_token_without_an_embedding_is_refused_by_its_query(
    folder: Path, model_of: Any, tokenizer_of_letters: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    model, tokenizer = model_of("llama"), tokenizer_of_letters()
    last = len(tokenizer) - 1
    model.resize_token_embeddings(last)
    save(folder, model, tokenizer)
    assert extract(folder, {"q1": tokenizer.decode([last - 1])}) == 0
    assert extract(folder, {"q2": tokenizer.decode([last])}, "other.safetensors") == 1
    errors = capsys.readouterr().err
    assert "query 'q2'" in errors and f"has token {last}, " in errors and f"embeddings for 0 to {last - 1}" in errors


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
    errors = capsys.readouterr().err
    assert (
        "query 'q9'" in errors and "nan in its hidden state of layer 2" in errors and "leave the prompt out" in errors
    )
    assert not (folder / "out.safetensors").exists()
    parts = sorted((folder / ".out.safetensors.parts").glob("part-*"))
    assert sum(len(load_file(part)["hidden"]) for part in parts) == len(PROMPTS)


def test_an_empty_prompt_a_missing_folder_and_a_file_of_another_encoding_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert extract(folder, {"q1": "a:", "q2": ""}) == 1
    assert "query 'q2'" in (errors := capsys.readouterr().err) and "leave empty prompts out" in errors
    assert extract(folder, PROMPTS, "no/such/out.npz") == 1
    assert "the folder" in (errors := capsys.readouterr().err) and "is not there; make it" in errors
    (folder / "latin.csv").write_bytes("query_id,prompt\nq1,caf\u00e9\n".encode("latin-1"))
    command = ["extract", "--model", str(folder / "model"), "--prompts", str(folder / "latin.csv")]
    assert main([*command, "--out", str(folder / "out.npz"), "--device", "cpu"]) == 1
    assert "latin.csv" in (errors := capsys.readouterr().err) and "UTF" in errors


def read(path: Path, content: str) -> dict[str, str]:
    path.write_text(content, encoding="utf-8")
    return dict(zip(*read_prompts(path), strict=True))


def test_line_breaks_in_a_long_csv_make_no_rows(tmp_path: Path) -> None:
    prompts = {f"{at:05}": f'first line of {at}\nx,"second" line\n' + "word " * 40 for at in range(8000)}
    cells = {name: text.replace('"', '""') for name, text in prompts.items()}
    rows = "".join(f'{name},"{text}"\n' for name, text in cells.items())
    assert len(rows) > 1 << 20 and read(tmp_path / "p.csv", "query_id,prompt\n" + rows) == prompts


def test_texts_of_a_csv_stay_as_they_were_written(tmp_path: Path) -> None:
    for name, text in {"001": "1.10", "1.10": "true", "true": "2026-01-01 00:00:00", "2026-01-01": "None"}.items():
        assert read(tmp_path / "p.csv", f"query_id,prompt\n{name},{text}\n") == {name: text}


def test_texts_of_jsonl_stay_as_they_were_written(tmp_path: Path) -> None:
    lines = [
        '{"query_id": "2026-01-01T00:00:00+02:00", "prompt": "2026-01-01 00:00:00", "other": [1]}',
        '{"query_id": 7, "prompt": "1.10"}',
        "",
        '{"query_id": "007", "prompt": "null"}',
    ]
    assert read(tmp_path / "p.jsonl", "\n".join(lines)) == {
        "2026-01-01T00:00:00+02:00": "2026-01-01 00:00:00",
        "7": "1.10",
        "007": "null",
    }


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"query_id": null, "prompt": "w1"}', r"row 1 has no query_id: give it one"),
        ('{"prompt": "w1"}', r"has no column 'query_id' \(prompt\): add it"),
        ('{"query_id": "q0", "prompt": "w0"}\n\n{"prompt": "w1"}', r"row 2 has no query_id.*\(line 3\)"),
        ('{"query_id": "", "prompt": "w1"}', r"row 1 has no query_id"),
        ('{"query_id": "q1", "prompt": null}', r"query 'q1' has no prompt: leave such rows out"),
        ('{"query_id": "q1", "prompt": ["a"]}', r"line 1: column prompt, row 1 is \['a'\]: write it as text"),
        ('{"query_id": "q1", "prompt": 5.0}', r"column prompt, row 1 is 5.0: it has more than one spelling"),
        ('{"query_id": 1.5, "prompt": "a"}', r"column query_id, row 1 is 1.5: .*: write it in quotes"),
        ('{"query_id": true, "prompt": "a"}', r"column query_id, row 1 is True: write it as text"),
        ('["q1", "a"]', r"line 1 is \['q1', 'a'\]: write an object"),
        ('{"query_id": "q1", "query_id": "q2", "prompt": "a"}', r"line 1 is no JSON \(it names 'query_id' twice"),
        (
            '{"query_id": "q1", "prompt": "a"',
            r"line 1 is no JSON \(Expecting ',' delimiter at its end\): correct the line",
        ),
        ('{"query_id": "q1", "prompt": "\\ud83d"}', r"half of a surrogate pair is no character"),
    ],
)
def test_what_is_no_text_is_refused_by_name(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(ExtractionRefused, match=said):
        read(tmp_path / "p.jsonl", row)


def test_columns_of_parquet_and_csv_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ExtractionRefused, match=r"names a column twice \(query_id, prompt, prompt\); rename one"):
        read(tmp_path / "p.csv", "query_id,prompt,prompt\nq1,a,b\n")
    for name, columns, said in (
        (
            "prompt",
            {"query_id": [1], "prompt": [["a"]]},
            r"column prompt holds list<element: string>, .*: write it as text",
        ),
        ("query_id", {"query_id": [1.0], "prompt": ["a"]}, r"column query_id holds double, .*: write it as text"),
        ("bytes", {"query_id": ["1"], "prompt": [b"a"]}, r"column prompt holds binary, .*: write it as text"),
    ):
        parquet.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
        with pytest.raises(ExtractionRefused, match=said):
            read_prompts(tmp_path / f"{name}.parquet")
    parquet.write_table(pa.table([["q"], ["a"], ["b"]], names=["query_id", "prompt", "prompt"]), tmp_path / "2.parquet")
    with pytest.raises(ExtractionRefused, match=r"names a column twice \(query_id, prompt, prompt\)"):
        read_prompts(tmp_path / "2.parquet")


def test_a_place_that_cannot_be_written_is_told_before_any_work(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert extract(folder, PROMPTS, "/proc/x.npz") == 1
    errors = capsys.readouterr().err
    assert "out is /proc/x.npz: nothing can be written beside it" in errors and "in a folder that can be" in errors
    assert extract(folder, PROMPTS, "a" * 300 + ".npz") == 1
    assert "name another" in (errors := capsys.readouterr().err) and "prompts/s" not in errors


def test_parts_without_credentials_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs").S3FileSystem.clear_instance_cache()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    parts = PartFolder(url="s3://bucket/prefix", job="a" * 64)
    with pytest.raises(ExtractionRefused, match=r"kept under s3://bucket/prefix \(.*credentials.*\): .*give its cred"):
        parts.claim()


def test_lines_that_are_no_prompt_of_their_own_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "p.csv"
    path.write_text('query_id,prompt\n7,"5 inch\n8,x\n9,6 inch"\n')
    assert read_prompts(path)[0] == ["7"]
    assert "p.csv: 1 rows read, 4 lines in the file: 2 lie within quoted texts or are empty" in caplog.text
