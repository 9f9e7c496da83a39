"""The published files' formats are read, the same question gets the same id, and what lacks
something is named.
"""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from benchmarks.paper.data_sets import read_questions
from benchmarks.paper.errors import PaperError
from benchmarks.paper.questions import Kind, grade, open_question

MMLU = [
    {"question": "What is 2 + 2?", "subject": "maths", "choices": ["3", "4", "5", "6"], "answer": 1},
    {
        "question": 'Who wrote "Faust",\nthe play?',
        "subject": "letters",
        "choices": ["A", "B", "Goethe", "D"],
        "answer": 2,
    },
]
GPQA = {
    "Question": "Which particle carries no charge?",
    "Correct Answer": "neutron\n",
    "Incorrect Answer 1": "proton",
    "Incorrect Answer 2": "electron",
    "Incorrect Answer 3": "muon",
    "Subdomain": "Physics",
    "Record ID": "rec1",
}
POPQA = {
    "id": "1",
    "subj": "George Rankin",
    "prop": "occupation",
    "question": "What is George Rankin's occupation?",
    "possible_answers": '["politician", "political leader", "pol."]',
    "s_pop": "142",
}


def separated(path: Path, rows: list[dict[str, str]], delimiter: str) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_mmlu_is_the_same_from_parquet_from_jsonl_and_from_the_original_csv(tmp_path: Path) -> None:
    parquet, jsonl = tmp_path / "test.parquet", tmp_path / "test.jsonl"
    pyarrow.parquet.write_table(pa.Table.from_pylist(MMLU), parquet)
    jsonl.write_text("\n".join(json.dumps(row) for row in MMLU) + "\n")
    original = tmp_path / "original"
    original.mkdir()
    for row in MMLU:
        with (original / f"{row['subject']}_test.csv").open("w", newline="") as stream:
            csv.writer(stream).writerow([row["question"], *row["choices"], "ABCD"[int(str(row["answer"]))]])  # type: ignore[misc]
    first = read_questions("mmlu", parquet)
    assert first == read_questions("mmlu", jsonl)
    assert sorted(first, key=lambda one: one.id) == sorted(read_questions("mmlu", original), key=lambda one: one.id)
    assert [one.accepted for one in first] == [("B",), ("C",)]
    assert first[0].slice == "maths"
    assert first[0].prompt.endswith("What is 2 + 2?\nA. 3\nB. 4\nC. 5\nD. 6\nAnswer:")


def test_gpqa_shows_its_options_in_an_order_of_its_own_and_knows_the_right_one(tmp_path: Path) -> None:
    rows = [{**GPQA, "Question": f"Question {number}: which has no charge?"} for number in range(40)]
    questions = read_questions("gpqa", separated(tmp_path / "gpqa_main.csv", rows, ","))
    for one in questions:
        (letter,) = one.accepted
        assert f"\n{letter}. neutron\n" in one.prompt
    assert {one.accepted for one in questions} == {("A",), ("B",), ("C",), ("D",)}
    assert questions[0].slice == "Physics"


def test_popqa_accepts_every_alias_as_tsv_and_as_parquet(tmp_path: Path) -> None:
    tsv = read_questions("popqa", separated(tmp_path / "test.tsv", [POPQA], "\t"))
    pyarrow.parquet.write_table(pa.Table.from_pylist([POPQA]), tmp_path / "test.parquet")
    assert read_questions("popqa", tmp_path / "test.parquet") == tsv
    assert tsv[0].accepted == ("politician", "political leader", "pol.")
    assert tsv[0].kind is Kind.OPEN and tsv[0].slice == "occupation"


@pytest.mark.parametrize(
    ("answer", "correct", "abstained"),
    [
        ("He was a Politician.", True, False),
        ("a soldier", False, False),
        ("I don’t know.", False, True),
        ("", False, True),
        ("I don't know, perhaps a politician", True, False),
    ],
)
def test_an_open_answer_is_right_wrong_or_an_abstention(answer: str, correct: bool, abstained: bool) -> None:
    given = grade(open_question("popqa", "occupation", "What is his occupation?", ["politician"]), answer)
    assert (given.correct, given.abstained) == (correct, abstained)


def test_a_question_that_stands_there_twice_is_asked_once_and_a_limit_holds(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in [*MMLU, MMLU[0]]))
    assert len(read_questions("mmlu", path)) == 2
    assert len(read_questions("mmlu", path, limit=1)) == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "x", "choices": ["1", "2", "3"], "answer": 0}, "row 1: ValueError 3 choices"),
        ({"question": "x", "choices": ["1", "2", "3", "4"], "answer": 4}, "row 1: ValueError answer is 4"),
        ({"question": "x", "choices": ["1", "2", "3", "4"]}, "row 1: KeyError 'answer'"),
    ],
)
def test_a_row_that_lacks_something_is_named(tmp_path: Path, row: dict[str, object], message: str) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(PaperError, match=message):
        read_questions("mmlu", path)


def test_unknown_data_sets_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PaperError, match="use one of gpqa, mmlu, popqa"):
        read_questions("arc", tmp_path)
    with pytest.raises(PaperError, match="cannot be read"):
        read_questions("mmlu", tmp_path / "none.parquet")
    with pytest.raises(PaperError, match="holds no"):
        read_questions("mmlu", tmp_path)
