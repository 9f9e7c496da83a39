"""Real models are asked the way they expect: letters as their tokenizer spells them, no reasoning
block, in words.

By their hub names, models and data sets come from a cache in the hub's own layout, with no network
at all.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.paper.__main__ import main
from benchmarks.paper.answer_files import read_answers
from benchmarks.paper.catalogue import CATALOGUE, model_named
from benchmarks.paper.errors import PaperError
from benchmarks.paper.local import answer_locally, layers_to_keep, load, spelled_options
from benchmarks.paper.questions import choice_question, open_question
from services.outcome_tables.outcomes import read_outcomes

ROOT = Path(__file__).resolve().parents[3]
REVISION = "0123456789abcdef0123456789abcdef01234567"
WORDS = ["<pad>", "</s>", "<head>", "<think>", " A", " B", " C", " D", "A", "B", "C", "D", "Answer:", "Paris", "other"]
CHAT = (
    "{{ messages[0]['content'] }}{%- if add_generation_prompt %}<head>"
    "{%- if enable_thinking is not defined or enable_thinking is not false %}<think>{%- endif %}{%- endif %}"
)


def saved_model(folder: Path, words: list[str] = WORDS, chat_template: str | None = None, layers: int = 3) -> Path:
    """A tiny Llama of random weights in the Hugging Face layout, whose tokens are these words."""
    import torch
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel(vocab={word: at for at, word in enumerate(words)}, unk_token="other"))
    pattern = Regex("|".join(sorted(words[2:], key=len, reverse=True)) + r"|\s|[^\s]")
    core.pre_tokenizer = pre_tokenizers.Split(pattern, behavior="isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="</s>", padding_side="left")
    tokenizer.chat_template = chat_template
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=32,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def loaded(folder: Path, **catalogued: Any) -> Any:
    return load(model_named("tiny", source=str(folder), **catalogued))


CHOICES = [choice_question("mmlu", "maths", f"{at} + {at}?", ["1", "2", "3", "4"], at % 4) for at in range(9)]


def test_letters_are_spelled_after_a_space_or_after_a_templates_head(tmp_path: Path) -> None:
    assert spelled_options(loaded(saved_model(tmp_path / "plain"))) == (" A", " B", " C", " D")
    assert spelled_options(loaded(saved_model(tmp_path / "chat", chat_template=CHAT))) == ("A", "B", "C", "D")
    without = [word for word in WORDS if word not in (" C", "C")]
    with pytest.raises(PaperError, match="no single tokens"):
        spelled_options(loaded(saved_model(tmp_path / "few", without)))


def test_multiple_choice_is_answered_by_a_letter_with_states_and_probability(tmp_path: Path) -> None:
    got = answer_locally(loaded(saved_model(tmp_path)), CHOICES, layers=[1, 3])
    assert set(got.answers) <= set("ABCD")
    np.testing.assert_array_equal(
        got.correct, [float(said in one.accepted) for said, one in zip(got.answers, CHOICES, strict=True)]
    )
    assert ((got.p_t > 0) & (got.p_t < 1)).all() and np.isfinite(got.entropy).all()
    assert got.hidden is not None and got.hidden.shape == (9, 2, 16)
    assert [one.layer for one in got.fingerprints] == [1, 3]
    assert got.parameters is not None and got.parameters > 1000


def test_a_template_that_opens_a_reasoning_block_is_told_not_to(tmp_path: Path) -> None:
    folder = saved_model(tmp_path, chat_template=CHAT)
    plain = loaded(folder)
    qwen = load(model_named("qwen3-8b", source=str(folder)))
    message = [{"role": "user", "content": "x"}]
    said = [
        one.tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True) for one in (plain, qwen)
    ]
    assert said == ["x<head><think>", "x<head>"]
    templates = {one.fingerprint(0).chat_template_sha256 for one in (plain, qwen)}
    assert len(templates) == 2


def test_the_papers_layer_is_kept_where_the_model_has_it(tmp_path: Path) -> None:
    shallow, deep = loaded(saved_model(tmp_path / "a")), loaded(saved_model(tmp_path / "b", layers=25))
    assert layers_to_keep(shallow, None) == (0, 1, 2, 3)
    assert layers_to_keep(deep, None) == (24,)
    with pytest.raises(PaperError, match="layer 4 is not there"):
        layers_to_keep(shallow, [4])


def test_open_questions_are_answered_in_words(tmp_path: Path) -> None:
    questions = [open_question("popqa", "capital", f"Capital of {at}?", ["Paris"]) for at in range(3)]
    got = answer_locally(loaded(saved_model(tmp_path)), questions)
    assert (got.tokens_out >= 1).all() and not any("\n" in answer for answer in got.answers)
    with pytest.raises(PaperError, match="one data set at a time"):
        answer_locally(loaded(saved_model(tmp_path / "again")), [*questions, CHOICES[0]])


def test_the_catalogue_holds_the_papers_models() -> None:
    assert {model.name for model in CATALOGUE if model.thinks} == {"qwen3-4b", "qwen3-8b", "qwen3-32b"}
    assert model_named("gpt-4o").parameters is None
    assert model_named("some/other").source == "some/other"


@pytest.mark.slow
def test_the_commands_go_from_a_data_set_file_to_figures_and_an_outcome_table(tmp_path: Path, capsys: Any) -> None:
    data, out = tmp_path / "test.jsonl", tmp_path / "answers"
    rows = [{"question": f"{at}?", "subject": "s", "choices": list("1234"), "answer": at % 4} for at in range(30)]
    data.write_text("\n".join(json.dumps(row) for row in rows))
    for name, layers in (("one", 2), ("two", 3)):
        source = str(saved_model(tmp_path / name, layers=layers))
        arguments = [
            "answers",
            "--model",
            name,
            "--source",
            source,
            "--data",
            "mmlu",
            "--file",
            str(data),
            "--out",
            str(out),
        ]
        assert main(arguments) == 0
    assert read_answers(out, "mmlu", "one") is not None
    chain = ["--answers", str(out), "--data", "mmlu", "--chain", "one,two"]
    assert main(["outcomes", *chain, "--out", str(tmp_path / "outcomes.parquet")]) == 0
    assert read_outcomes(tmp_path / "outcomes.parquet").models == ("one", "two")
    capsys.readouterr()
    assert main(["sweep", *chain]) == 0
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert figures["n"] == 30 and "sweep.one_two.without_p_ik.0.90.accuracy" in figures
    assert main(["sweep", "--answers", str(out), "--data", "mmlu", "--chain", "one,three"]) == 1
    assert "gather them" in capsys.readouterr().err


def snapshot(cache: Path, kind: str, repository: str) -> Path:
    """The folder where the cache keeps the files of a repository's main revision."""
    folder_of_model = cache / f"{kind}s--{repository.replace('/', '--')}"
    (folder_of_model / "refs").mkdir(parents=True)
    (folder_of_model / "refs" / "main").write_text(REVISION)
    folder = folder_of_model / "snapshots" / REVISION
    folder.mkdir(parents=True)
    return folder


def offline(cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m benchmarks.paper …` with this cache and without a network."""
    environment = os.environ | {
        "HF_HUB_CACHE": str(cache),
        "HF_HOME": str(cache),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "runtime"), str(ROOT)]),
    }
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.paper", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
    )


def cached_data_set(cache: Path, data_set: str) -> None:
    """The data set's file in its published format, two questions long, where the hub
    would put it.
    """
    if data_set == "mmlu":
        folder = snapshot(cache, "dataset", "cais/mmlu") / "all"
        folder.mkdir()
        rows = {"question": ["1?", "2?"], "subject": ["s", "s"], "choices": [list("1234")] * 2, "answer": [0, 1]}
        pq.write_table(pa.table(rows), folder / "test-00000-of-00001.parquet")
    elif data_set == "gpqa":
        head = ["Question", "Correct Answer", *(f"Incorrect Answer {at}" for at in (1, 2, 3)), "Subdomain"]
        lines = [",".join(head), "1?,a,b,c,d,Optics", "2?,a,b,c,d,Optics"]
        (snapshot(cache, "dataset", "Idavidrein/gpqa") / "gpqa_main.csv").write_text("\n".join(lines) + "\n")
    else:
        aliases = json.dumps(["Paris"]).replace('"', '""')
        lines = ["question\tpossible_answers\tprop", f'1?\t"{aliases}"\tcapital', f'2?\t"{aliases}"\tcapital']
        (snapshot(cache, "dataset", "akariasai/PopQA") / "test.tsv").write_text("\n".join(lines) + "\n")


@pytest.mark.slow
@pytest.mark.parametrize("data_set", ["mmlu", "gpqa", "popqa"])
def test_a_model_and_a_data_set_are_found_by_their_hub_names(tmp_path: Path, data_set: str) -> None:
    cache, out = tmp_path / "hub", tmp_path / "answers"
    saved_model(snapshot(cache, "model", "meta-llama/Llama-3.1-8B-Instruct"))
    cached_data_set(cache, data_set)
    done = offline(cache, "answers", "--model", "llama-3.1-8b", "--data", data_set, "--out", str(out))
    assert done.returncode == 0, done.stderr
    answers = read_answers(out, data_set, "llama-3.1-8b")
    assert answers is not None
    assert (len(answers.ids), answers.parameters) == (2, 8.03e9)
    assert answers.hidden is not None
    assert {one.revision for one in answers.fingerprints} == {REVISION}


def test_what_the_cache_lacks_is_named_with_the_cure(tmp_path: Path) -> None:
    done = offline(tmp_path / "empty", "answers", "--model", "llama-3.1-8b", "--data", "gpqa", "--out", str(tmp_path))
    assert done.returncode == 1
    assert "gpqa_main.csv of Idavidrein/gpqa could not be fetched" in done.stderr
    assert "download it and give --file" in done.stderr
