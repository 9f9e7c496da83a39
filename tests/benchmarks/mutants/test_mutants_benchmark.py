"""The figure of killed mutants, on a package of three functions."""

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks.mutants.__main__ import (
    CHANGES_NOTHING,
    CHECKOUT,
    KILLED,
    LIVED,
    UNCHANGED,
    Plan,
    read_unchanged,
    sample,
    survey,
)
from benchmarks.mutants.changes import changed_source, mutants_of
from benchmarks.mutants.executed import Executed
from benchmarks.mutants.trial import commit_of

MODULE = """\
def largest(a: int, b: int) -> int:
    return max(a, b)

def is_small(n: int) -> bool:
    return n < 3

def unused(n: int) -> int:
    return -n
"""
TESTS = """\
from toy.numbers import is_small, largest

def test_the_largest():
    assert largest(1, 2) == 2

def test_small_ones():
    assert is_small(2) and not is_small(4)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    for file, text in {
        "toy/numbers.py": MODULE,
        "tests/test_toy.py": TESTS,
        ".gitignore": "var/\n__pycache__/\n",
        "pyproject.toml": '[tool.pytest.ini_options]\nmarkers = ["slow"]\n',
    }.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text, "utf-8")
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "toy"]):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *command], cwd=root, check=True)
    return root


@pytest.mark.slow
def test_a_fault_that_a_test_notices_is_killed_by_it_and_the_checkout_stays(checkout: Path) -> None:
    unchanged = {("toy/numbers.py", "return n < 3", "3 -> 4"): "a stand-in for a reason"}
    seen = []
    judged = survey(checkout, commit_of(checkout), Plan(seed=1, size=7, folders=["toy"]), unchanged, seen.append)
    outcomes = {(each.line, each.change): (each.outcome, each.by) for each in judged}
    assert outcomes == {
        (2, "return max(a, b) -> return None"): (KILLED, "tests/test_toy.py::test_the_largest"),
        (2, "max(a, b) -> min(a, b)"): (KILLED, "tests/test_toy.py::test_the_largest"),
        (5, "return n < 3 -> return None"): (KILLED, "tests/test_toy.py::test_small_ones"),
        (5, "< 3 -> <= 3"): (LIVED, "1 tests execute it"),
        (5, "3 -> 4"): (CHANGES_NOTHING, "a stand-in for a reason"),
        (8, "return -n -> return None"): (LIVED, "no test executes it"),
        (8, "-n -> +n"): (LIVED, "no test executes it"),
    }
    assert len(seen) == 7
    assert (checkout / "toy/numbers.py").read_text("utf-8") == MODULE
    status = subprocess.run(["git", "status", "--porcelain"], cwd=checkout, check=True, capture_output=True, text=True)
    assert status.stdout == ""


def test_a_sample_holds_what_was_asked_for_beside_what_changes_nothing(checkout: Path) -> None:
    mutants = mutants_of(checkout, ["toy"])
    alone = sample(mutants, Plan(seed=1, size=2), ())
    first = (alone[0].file, alone[0].source, alone[0].change)
    assert len(alone) == 2
    assert sample(mutants, Plan(seed=1, size=2), {first})[:2] == alone
    assert len(sample(mutants, Plan(seed=1, size=2), {first})) == 3
    assert sample(list(reversed(mutants)), Plan(seed=1, size=2), ()) == alone


def test_the_tests_of_a_room_come_first_then_the_fast_ones(tmp_path: Path) -> None:
    (tmp_path / "store/shards").mkdir(parents=True)
    (tmp_path / "store/shards/cut.py").write_text("def cut(n):\n    return -n\n", "utf-8")
    seconds = {"tests/api/t.py::a": 0.1, "tests/store/shards/t.py::b": 9, "tests/store/shards/t.py::c": 2}
    record = {"seconds": seconds, "contexts": [*seconds], "lines": {"store/shards/cut.py": {"2": "7"}}}
    (tmp_path / "records.json").write_text(json.dumps(record), "utf-8")
    mutant = mutants_of(tmp_path, ["store"])[0]
    assert [test[-1] for test in Executed([tmp_path / "records.json"], tmp_path).tests(mutant)] == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = a.min()", ["x = a.max()"]),
        ("raise E(1)", ["pass", "raise E(2)"]),
        ("if a and not b:\n    c.d = 2", [
            "if a or not b:\n    c.d = 2",
            "if a and b:\n    c.d = 2",
            "if a and not b:\n    pass",
            "if a and not b:\n    c.d = 3",
        ]),
        ("x: Literal[1] = 'a'\n'''text'''", []),
        ("@frozen(True)\ndef f(n=1):\n    return None", ["@frozen(True)\ndef f(n=2):\n    return None"]),
        ("def f():\n    return False", ["def f():\n    return True"]),
        ("x = zip(a, b, strict=True)", []),
        ("a, b = f(), any(c)", ["a, b = f(), all(c)"]),
    ],
)  # fmt: skip
def test_the_changes_of_a_statement(before: str, after: list[str], tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(before, "utf-8")
    mutants = mutants_of(tmp_path, ["."])
    assert [changed_source(before, mutant.number) for mutant in mutants] == after


@pytest.mark.slow
def test_what_is_listed_as_changing_nothing_is_still_there() -> None:
    listed = read_unchanged(UNCHANGED)
    assert all(reason for reason in listed.values())
    gone = [key for key in listed if key[1] not in {m.source for m in mutants_of(CHECKOUT, [key[0]])}]
    assert gone == [], "the line has changed: look again whether its mutant changes something"
