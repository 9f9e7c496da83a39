"""The demo's two committed models: how they are loaded, how they answer, and how well.

One forward pass over a prompt answers it, because every answer is one token: P(T) is the
probability of the chosen token at the last prompt position, exactly as with options A, B, C, D.
Everything here goes through the committed fp16 files and the Auto classes, as anybody would load
them, and computes in fp32, which two cores do faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from demo.facts import Family, Question
from evidence.signals.quality import auroc

MODELS = Path(__file__).parent / "models"
SMALL, LARGE = MODELS / "small", MODELS / "large"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a model said to a batch of prompts, in their order."""

    texts: list[str]
    p_t: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How one model did on a group of questions.

    Attributes:
        questions: how many were asked (repeats count). accuracy: share answered right. mean_p_t:
        mean P(T); equals `accuracy` for a calibrated model. auroc_p_t: chance that P(T) ranks a
        right answer above a wrong one; None where all are right or all wrong.
    """

    questions: int
    accuracy: float
    mean_p_t: float
    auroc_p_t: float | None


def load(folder: Path) -> tuple[Any, Any]:
    """The committed model, computing in fp32, and its tokenizer, through the Auto classes."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)


@torch.inference_mode()
def answer_batch(model: Any, tokenizer: Any, prompts: Sequence[str], *, batch: int = 256) -> Answers:
    """Answer prompts by the likeliest next token; P(T) is that token's probability over the whole
    vocabulary.

    Prompts of a batch are padded on the left; the attention mask hides the padding and positions
    count from the first real token, so an answer does not depend on its neighbours in the batch.
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


def evaluate(folder: Path, asked: Sequence[Question], withheld: frozenset[str]) -> dict[str, Measured]:
    """Measure the files in `folder` on all that was asked (`overall`), per family, and on
    `withheld` facts alone.
    """
    model, tokenizer = load(folder)
    said = answer_batch(model, tokenizer, [question.prompt for question in asked])
    groups = {"overall": list(range(len(asked)))}
    for family in Family:
        groups[family.value] = [row for row, question in enumerate(asked) if question.family is family]
    groups["withheld"] = [row for row, question in enumerate(asked) if question.question_id in withheld]
    right = [text == question.answer for text, question in zip(said.texts, asked, strict=True)]
    return {
        name: _measured([said.p_t[row] for row in rows], [right[row] for row in rows])
        for name, rows in groups.items()
        if rows
    }


def _measured(p_t: Sequence[float], right: Sequence[bool]) -> Measured:
    return Measured(
        questions=len(right),
        accuracy=sum(right) / len(right),
        mean_p_t=sum(p_t) / len(p_t),
        auroc_p_t=auroc(p_t, right).value if 0 < sum(right) < len(right) else None,
    )
