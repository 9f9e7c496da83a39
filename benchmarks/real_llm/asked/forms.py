"""How a question is put to the model: short or in a sentence, with or without a record.

Two examples show the form; their facts are never asked. The model continues the text and ends at a
line's end (`weights`); asked through its chat template it answers a tenth of these questions. A
question with a record is the second tier's: the same model with an open book. The record is the one
that the subject's name finds, so this is the best that a search could give.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from benchmarks.real_llm.asked.facts import QUESTIONS, Fact, Kind

CLOSED_BOOK, OPEN_BOOK = 0, 1  # the cascade's two tiers


class Form(StrEnum):
    """What the answer is to look like."""

    SHORT = "short"
    SENTENCE = "sentence"


MOST_TOKENS: Mapping[Form, int] = {Form.SHORT: 8, Form.SENTENCE: 20}  # of an answer
CANDIDATE_LAYERS: Mapping[Form, tuple[int, ...]] = {Form.SHORT: (24, 26, 28), Form.SENTENCE: (16, 20, 24)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Example:
    kind: Kind
    subject: str
    record: str
    answers: Mapping[Form, str]


_EXAMPLES = (
    _Example(
        kind=Kind.CAPITAL,
        subject="Norway",
        record="Norway: capital Oslo; continent Europe; currency Krone; people Norwegian.",
        answers={Form.SHORT: "Oslo", Form.SENTENCE: "The capital of Norway is Oslo."},
    ),
    _Example(
        kind=Kind.COUNTRY_OF_CITY,
        subject="Lyon",
        record="Lyon: a city in France.",
        answers={Form.SHORT: "France", Form.SENTENCE: "Lyon is in France."},
    ),
)
SHOWN = tuple((example.kind, example.subject) for example in _EXAMPLES)


def prompt_of(fact: Fact, form: Form, tier: int) -> str:
    """What the model reads, and goes on with its answer."""
    shown = [
        _turn(QUESTIONS[one.kind].format(one.subject), one.record, tier, f" {one.answers[form]}") for one in _EXAMPLES
    ]
    return "\n".join([*shown, _turn(fact.question, fact.record, tier, "")])


def _turn(question: str, record: str, tier: int, answer: str) -> str:
    lines = [record] if tier == OPEN_BOOK else []
    return "\n".join([*lines, f"Q: {question}", f"A:{answer}"])
