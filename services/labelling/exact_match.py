"""Grading against known answers: right if the text is one of those a file lists for the query.

Texts are compared without case, surrounding punctuation and repeated spaces. A cascade that keeps
answers as keyed hashes can be graded too, since equal texts have equal hashes; a hash knows no
case, so there the text must match as it is written.
"""

import logging
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from knowgate._deciding.privacy import Purpose, SecretKey
from knowgate.spec import Privacy
from services.errors import Refused, TableInvalid
from services.labelling.candidates import Candidate
from services.outcome_tables.table_files import read_columns
from store.files import Wanted, lines_without_rows

log = logging.getLogger("knowgate.labels")

EDGES = " \t\r\n.,;:!?\"'()[]{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactMatch:
    """Answers per query, by external id or decision id; several rows of one id are several right
    answers.
    """

    answers: Mapping[str, frozenset[str]]
    privacy: Privacy
    key: SecretKey

    def grade(self, candidate: Candidate) -> float | None:
        """1 or 0; None where the query is not in the file, or the answer is not kept."""
        right = self.answers.get(str(candidate.decision_id))
        if right is None and candidate.external_id is not None:
            right = self.answers.get(candidate.external_id)
        if right is None or candidate.answer is None:
            return None
        if self.privacy is Privacy.HASH:
            return float(candidate.answer in {self.key.text_hash(Purpose.ANSWER, text) for text in right})
        return float(plain(candidate.answer) in {plain(text) for text in right})


def exact_match(path: Path, *, id_column: str, answer_column: str, privacy: Privacy, key: bytes) -> ExactMatch:
    """The grader of a gold file. Raises TableInvalid, and Refused where the cascade keeps no
    answers.
    """
    if privacy is Privacy.NEVER:
        raise Refused('the cascade keeps no answers (privacy = "never"); there is nothing to compare')
    columns = read_columns(path, Wanted(texts=(id_column, answer_column)))
    for name in (id_column, answer_column):
        if name not in columns.names:
            columns_there = ", ".join(columns.names)
            raise TableInvalid(
                f"{path.name} has no column {name}; it has {columns_there}: name it with --id-column or --answer-column"
            )
    warning = lines_without_rows(path, columns.rows, columns.source.lines)
    if warning is not None:
        log.warning(warning)
    by_query: dict[str, set[str]] = {}
    for row, (name, answer) in enumerate(zip(columns.texts(id_column), columns.texts(answer_column), strict=True)):
        if name is None or answer is None:
            column = id_column if name is None else answer_column
            raise columns.fault(column, row, None, "every row needs an id and an answer; leave out the others")
        by_query.setdefault(name, set()).add(answer)
    answers = {name: frozenset(texts) for name, texts in by_query.items()}
    return ExactMatch(answers=answers, privacy=privacy, key=SecretKey(key))


def plain(text: str) -> str:
    """A text as it is compared.

    >>> plain("  The  Nile. ")
    'the nile'
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"\s+", " ", folded).strip(EDGES)
