"""MMLU, GPQA and PopQA from their published files: Parquet, CSV, TSV or JSONL, or a folder of them.

- mmlu: `question`, `subject`, `choices` (a list of four), `answer` (0 to 3); or the original CSV
  files without a head: question, four options, letter.
- gpqa: `Question`, `Correct Answer`, `Incorrect Answer 1` to `3`, optionally `Subdomain`.
- popqa: `question`, `possible_answers` (a JSON list), optionally `prop`.

GPQA does not order its options; a hash of the question does, so that every model sees the same
order. A question that a file holds twice is asked once.
"""

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet

from benchmarks.paper.errors import PaperError
from benchmarks.paper.questions import LETTERS, Question, choice_question, open_question

Row = Mapping[str, Any]
SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl")
HUB: Mapping[str, tuple[str, str]] = {  # repository and file on the Hugging Face hub
    "mmlu": ("cais/mmlu", "all/test-00000-of-00001.parquet"),
    "gpqa": ("Idavidrein/gpqa", "gpqa_main.csv"),
    "popqa": ("akariasai/PopQA", "test.tsv"),
}
_MMLU_HEADLESS = ("question", *LETTERS, "answer")


def read_questions(data_set: str, path: Path, *, limit: int | None = None) -> list[Question]:
    """The questions of a file, or of all files of a folder in order of their names; at most
    `limit`.

    Raises PaperError for an unknown data set, a missing or unreadable file and a row that lacks
    something.
    """
    if data_set not in _READERS:
        raise PaperError(f"data set {data_set!r} is not known: use one of {', '.join(sorted(_READERS))}")
    files = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES) if path.is_dir() else [path]
    if not files:
        raise PaperError(f"{path} holds no {', '.join(SUFFIXES)} file: give the data set's file")
    questions: dict[str, Question] = {}
    for file in files:
        for number, row in enumerate(_rows(data_set, file), start=1):
            try:
                question = _READERS[data_set](row)
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise PaperError(
                    f"{file.name}, row {number}: {type(error).__name__} {error}; the columns of {data_set} are "
                    "described in benchmarks/paper/data_sets.py"
                ) from error
            questions.setdefault(question.id, question)
            if limit is not None and len(questions) >= limit:
                return list(questions.values())
    if not questions:
        raise PaperError(f"{path} holds no question: give the data set's file")
    return list(questions.values())


def fetch(data_set: str) -> Path:
    """The data set's file from the Hugging Face hub, through huggingface_hub, from its cache where
    it is there.

    Raises PaperError where the package or the hub is not at hand.
    """
    if data_set not in HUB:
        raise PaperError(f"data set {data_set!r} is not known: use one of {', '.join(HUB)}")
    repository, name = HUB[data_set]
    try:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(repository, name, repo_type="dataset"))
    except (ImportError, OSError, ValueError) as error:
        raise PaperError(
            f"{name} of {repository} could not be fetched ({type(error).__name__}): download it and give --file"
        ) from error


def _rows(data_set: str, file: Path) -> Iterator[Row]:
    try:
        if file.suffix == ".parquet":
            yield from pyarrow.parquet.read_table(file).to_pylist()
        elif file.suffix == ".jsonl":
            for line in file.read_text(encoding="utf-8").splitlines():
                if line.strip():
                    yield json.loads(line)
        elif file.suffix in (".csv", ".tsv"):
            yield from _separated(data_set, file)
        else:
            raise PaperError(f"{file} is of an unknown kind: give {', '.join(SUFFIXES)}")
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, pyarrow.ArrowInvalid) as error:
        raise PaperError(f"{file} cannot be read ({error}): check the path and the format") from error


def _separated(data_set: str, file: Path) -> Iterator[Row]:
    with file.open(encoding="utf-8", newline="") as stream:
        rows = csv.reader(stream, delimiter="\t" if file.suffix == ".tsv" else ",")
        head = next(rows, None)
        if head is None:
            return
        if data_set == "mmlu" and "question" not in head:  # the original files have no head
            subject = file.stem.removesuffix("_test").removesuffix("_val").removesuffix("_dev")
            for cells in (head, *rows):
                yield {**dict(zip(_MMLU_HEADLESS, cells, strict=True)), "subject": subject}
            return
        for cells in rows:
            yield dict(zip(head, cells, strict=True))


def _mmlu(row: Row) -> Question:
    options = row.get("choices") or [row[letter] for letter in LETTERS]
    if isinstance(options, str):
        options = json.loads(options)
    if len(options) != len(LETTERS):
        raise ValueError(f"{len(options)} choices, {len(LETTERS)} are expected")
    answer = str(row["answer"]).strip()
    right = LETTERS.index(answer) if answer in LETTERS else int(answer)
    if right not in range(len(LETTERS)):
        raise ValueError(f"answer is {answer}")
    return choice_question("mmlu", str(row.get("subject") or "mmlu"), str(row["question"]), options, right)


def _gpqa(row: Row) -> Question:
    text = str(row["Question"])
    options = [str(row["Correct Answer"]), *(str(row[f"Incorrect Answer {at}"]) for at in (1, 2, 3))]
    options = [option.strip() for option in options]
    order = sorted(range(4), key=lambda at: hashlib.sha256(f"{text}\n{options[at]}".encode()).digest())
    shown = [options[at] for at in order]
    return choice_question("gpqa", str(row.get("Subdomain") or "gpqa"), text, shown, order.index(0))


def _popqa(row: Row) -> Question:
    accepted = row["possible_answers"]
    accepted = json.loads(accepted) if isinstance(accepted, str) else list(accepted)
    if not accepted:
        raise ValueError("possible_answers is empty")
    return open_question("popqa", str(row.get("prop") or "popqa"), str(row["question"]), [str(a) for a in accepted])


_READERS: Mapping[str, Callable[[Row], Question]] = {"mmlu": _mmlu, "gpqa": _gpqa, "popqa": _popqa}
