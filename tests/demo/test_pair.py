"""The committed model pair loads as any Hugging Face model does, and the small one really knows
less.
"""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open

from demo.facts import Question, load_questions, traffic, withheld_ids
from demo.pair import MODELS
from demo.train_models import EVALUATION_MIX
from evidence.signals.quality import auroc
from knowgate.backends.loading import LoadedModel
from training.extraction import Answered, Answerer, load_model

pytestmark = pytest.mark.xdist_group("pair")  # both models answer once
COUNT = 1_500
NAMES = ("small", "large")


@pytest.fixture(scope="module")
def questions() -> tuple[Question, ...]:
    return load_questions()


@pytest.fixture(scope="module")
def asked(questions: tuple[Question, ...]) -> list[Question]:
    return traffic(questions, family_mix=EVALUATION_MIX, count=COUNT, seed=2_024)


@pytest.fixture(scope="module")
def pair() -> dict[str, LoadedModel]:
    return {name: load_model(MODELS / name) for name in NAMES}


@pytest.fixture(scope="module")
def said(pair: dict[str, LoadedModel], asked: list[Question]) -> dict[str, list[Answered]]:
    prompts = [question.prompt for question in asked]
    return {name: Answerer(loaded, layers=(0,), batch=256).answer(prompts) for name, loaded in pair.items()}


def _right(answers: list[Answered], asked: list[Question]) -> list[bool]:
    return [one.text.strip() == question.answer for one, question in zip(answers, asked, strict=True)]


def _accuracy(answers: list[Answered], asked: list[Question], family: str | None = None) -> float:
    right = _right(answers, asked)
    rows = [row for row, question in enumerate(asked) if family in (None, question.family.value)]
    return sum(right[row] for row in rows) / len(rows)


def test_the_pair_is_committed_as_half_precision_and_under_eight_megabytes() -> None:
    size = sum(file.stat().st_size for name in NAMES for file in (MODELS / name).iterdir())
    assert size < 8_000_000
    for name in NAMES:
        with safe_open(MODELS / name / "model.safetensors", framework="pt") as file:
            keys = list(file.keys())
            assert {file.get_tensor(key).dtype for key in keys} == {torch.float16}


def test_both_are_llama_models_of_the_stated_sizes(pair: dict[str, LoadedModel]) -> None:
    parameters = {name: sum(weight.numel() for weight in loaded.network.parameters()) for name, loaded in pair.items()}
    assert {loaded.network.config.model_type for loaded in pair.values()} == {"llama"}
    assert 100_000 <= parameters["small"] <= 250_000
    assert 1_500_000 <= parameters["large"] <= 3_000_000


def test_an_answer_is_one_token_and_a_prompt_is_read_letter_by_letter(
    pair: dict[str, LoadedModel], questions: tuple[Question, ...]
) -> None:
    tokenizer = pair["small"].tokenizer
    assert tokenizer.tokenize("country of nagoya:") == ["country of ", *"nagoya", ":"]
    for question in questions:
        assert tokenizer.encode(question.answer) == [tokenizer.convert_tokens_to_ids(question.answer)]
    read = [token for ids in tokenizer([question.prompt for question in questions])["input_ids"] for token in ids]
    assert tokenizer.unk_token_id not in read
    assert tokenizer.decode(tokenizer.encode("country of nagoya:")) == "country of nagoya:"


def test_both_models_share_one_tokenizer_without_a_chat_template(pair: dict[str, LoadedModel]) -> None:
    small, large = pair["small"].tokenizer, pair["large"].tokenizer
    assert small.get_vocab() == large.get_vocab()
    assert small.chat_template is None
    assert small.padding_side == "left"


@pytest.mark.slow
def test_the_small_model_knows_less_than_the_large_one(said: dict[str, list[Answered]], asked: list[Question]) -> None:
    for family in (None, "country_of"):
        small, large = (_accuracy(said[name], asked, family) for name in NAMES)
        assert 0.55 <= small <= 0.80
        assert large - small >= 0.10


@pytest.mark.slow
def test_p_t_tells_something_about_correctness_but_not_everything(
    said: dict[str, list[Answered]], asked: list[Question]
) -> None:
    for name in NAMES:
        assert 0.60 <= auroc([one.p_t for one in said[name]], _right(said[name], asked)).value <= 0.98


@pytest.mark.slow
def test_facts_that_were_withheld_are_known_to_neither(
    said: dict[str, list[Answered]], asked: list[Question], questions: tuple[Question, ...]
) -> None:
    withheld = withheld_ids(questions)
    rows = [row for row, question in enumerate(asked) if question.question_id in withheld]
    assert len(rows) >= 100
    for name in NAMES:
        right = _right(said[name], asked)
        assert sum(right[row] for row in rows) / len(rows) < 0.5


@pytest.mark.slow
def test_an_answer_does_not_depend_on_the_padding_its_neighbours_cause(
    pair: dict[str, LoadedModel], asked: list[Question]
) -> None:
    prompts = sorted({question.prompt for question in asked[:64]}, key=len)
    for loaded in pair.values():
        together, alone = (Answerer(loaded, layers=(0,), batch=batch).answer(prompts) for batch in (256, 1))
        assert [one.text for one in together] == [one.text for one in alone]
        assert [one.p_t for one in together] == pytest.approx([one.p_t for one in alone], abs=1e-4)


def test_generating_one_token_gives_the_same_answer(
    pair: dict[str, LoadedModel], said: dict[str, list[Answered]], asked: list[Question]
) -> None:
    model, tokenizer = pair["small"].network, pair["small"].tokenizer
    encoded = tokenizer([question.prompt for question in asked[:32]], padding=True, return_tensors="pt")
    with torch.inference_mode():
        generated = model.generate(**encoded)
    assert generated[:, -1].tolist() == [one.token_id for one in said["small"][:32]]


@pytest.mark.slow
def test_the_training_log_is_about_the_committed_files(said: dict[str, list[Answered]], asked: list[Question]) -> None:
    log = json.loads((MODELS / "training_log.json").read_text(encoding="utf-8"))
    assert log["wall_seconds"] < 30 * 60
    for name in NAMES:
        entry = log["models"][name]
        assert entry["bytes"] == sum(file.stat().st_size for file in (MODELS / name).iterdir())
        assert len(entry["epochs"]) == entry["recipe"]["epochs"]
        # Two samples of 1500 and 6000 draws: four standard errors of their difference at the worst
        # share of one half.
        assert _accuracy(said[name], asked) == pytest.approx(entry["evaluation"]["overall"]["accuracy"], abs=0.058)
