"""The 1000 questions of PopQA that are asked open-ended (AlexTMallen/adaptive-retrieval, MIT)."""

import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks.paper.questions import Question, open_question
from benchmarks.real_llm.errors import RealModelError
from benchmarks.shape import recorded_data

FILE = "popqa_1000.jsonl"
MOST_TOKENS = 24  # of an answer
CANDIDATE_LAYERS = (16, 20, 24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question as the model reads it, and as it stands in the data set."""

    id: str  # the data set's own
    question: Question
    text: str
    popularity: float  # of its subject, in monthly page views


def load_popqa(path: Path | None = None) -> tuple[Asked, ...]:
    """All questions; of two with one text each has its own accepted answers. Raises RealModelError
    where the file is not here.
    """
    folder = recorded_data()
    path = path or (None if folder is None else folder / FILE)
    if path is None or not path.is_file():
        raise RealModelError(f"{FILE} is not here: set KNOWGATE_RECORDED_DATA to its folder")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return tuple(
        Asked(
            id=row["query_id"],
            question=open_question("popqa", row["slice"], row["question"], row["answers"]),
            text=row["question"],
            popularity=float(row["s_pop"]),
        )
        for row in rows
    )
