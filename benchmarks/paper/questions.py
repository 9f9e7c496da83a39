"""A question as the models read it, and how an answer is graded.

Multiple choice is graded by the letter alone, as P(T) is the letter's probability. Open answers are
right where they hold one of the accepted ones, as PopQA's authors grade; saying that one does not
know is an abstention and no hallucination. The paper's own prompts are not known; these are ours
and are written down with the answers.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

LETTERS = ("A", "B", "C", "D")
ABSTENTIONS = ("i don't know", "i do not know", "i'm not sure", "i am not sure", "unknown", "cannot be determined")


class Kind(StrEnum):
    CHOICE = "choice"  # the answer is a letter
    OPEN = "open"  # right where an accepted answer occurs in it
    EXACT = "exact"  # right where it is the accepted answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question with its accepted answers."""

    id: str
    data_set: str
    slice: str
    prompt: str
    kind: Kind
    accepted: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    correct: bool
    abstained: bool


def choice_question(data_set: str, slice: str, text: str, options: Sequence[str], right: int) -> Question:
    """A multiple-choice question; its id is a hash of all that is asked, so that it does not depend
    on a file's order.

    >>> choice_question("mmlu", "maths", "1 + 1?", ["1", "2", "3", "4"], 1).accepted
    ('B',)
    """
    listed = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=True))
    prompt = f"Answer with the letter of the right option alone.\n\n{text.strip()}\n{listed}\nAnswer:"
    return Question(
        id=_id(data_set, prompt),
        data_set=data_set,
        slice=slice,
        prompt=prompt,
        kind=Kind.CHOICE,
        accepted=(LETTERS[right],),
    )


def open_question(data_set: str, slice: str, text: str, accepted: Sequence[str]) -> Question:
    """A question that is answered in words."""
    instruction = "Answer in as few words as you can. If you do not know, say: I don't know."
    prompt = f"{instruction}\n\nQuestion: {text.strip()}\nAnswer:"
    return Question(
        id=_id(data_set, prompt),
        data_set=data_set,
        slice=slice,
        prompt=prompt,
        kind=Kind.OPEN,
        accepted=tuple(accepted),
    )


def grade(question: Question, answer: str) -> Grade:
    """Whether an answer is right, and whether it only says that it does not know.

    >>> grade(open_question("popqa", "capital", "Capital of France?", ["Paris"]), "It is Paris.")
    Grade(correct=True, abstained=False)
    """
    said = " ".join(answer.split())
    if question.kind is Kind.CHOICE:
        return Grade(correct=said.strip(" .():").upper() in question.accepted, abstained=not said)
    if question.kind is Kind.EXACT:
        return Grade(correct=said in question.accepted, abstained=not said)
    lowered = said.lower()
    correct = any(accepted.strip() and accepted.strip().lower() in lowered for accepted in question.accepted)
    abstains = not lowered or any(phrase in lowered.replace("’", "'") for phrase in ABSTENTIONS)
    return Grade(correct=correct, abstained=abstains and not correct)


def _id(data_set: str, prompt: str) -> str:
    return f"{data_set}:{hashlib.sha256(prompt.encode()).hexdigest()[:20]}"
