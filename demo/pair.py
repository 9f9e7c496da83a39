"""The demo's two committed models: where they lie, and how well they answer.

One forward pass over a prompt answers it, because every answer is one token: P(T) is the
probability of the chosen token at the last prompt position, exactly as with options A, B, C, D.
They are read as any tier is (`training.extraction`): from the committed fp16 files, computing in
fp32, which two cores do faster.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demo.facts import Family, Question
from evidence.signals.quality import auroc
from training.extraction import Answerer, load_model

MODELS = Path(__file__).parent / "models"
SMALL, LARGE = MODELS / "small", MODELS / "large"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How one model did on a group of questions.

    Attributes:
        questions: how many were asked (repeats count).
        accuracy: share answered right.
        mean_p_t: mean P(T); equals `accuracy` for a calibrated model.
        auroc_p_t: chance that P(T) ranks a right answer above a wrong one; None where all are right
            or all wrong.
    """

    questions: int
    accuracy: float
    mean_p_t: float
    auroc_p_t: float | None


def evaluate(folder: Path, asked: Sequence[Question], withheld: frozenset[str]) -> dict[str, Measured]:
    """Measure the files in `folder` on all that was asked (`overall`), per family, and on
    `withheld` facts alone.
    """
    said = Answerer(load_model(folder), layers=(0,), batch=256).answer([question.prompt for question in asked])
    groups = {"overall": list(range(len(asked)))}
    for family in Family:
        groups[family.value] = [row for row, question in enumerate(asked) if question.family is family]
    groups["withheld"] = [row for row, question in enumerate(asked) if question.question_id in withheld]
    right = [one.text.strip() == question.answer for one, question in zip(said, asked, strict=True)]
    return {
        name: _measured([said[row].p_t for row in rows], [right[row] for row in rows])
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
