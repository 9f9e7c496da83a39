"""The examples in docstrings do what they say: those of a module with any are run."""

import doctest
import importlib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
FLOORS = ("evidence", "store", "monitoring", "training", "services")
MODULES = sorted(
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
    for floor in FLOORS
    for path in (REPOSITORY / floor).rglob("*.py")
    if ">>>" in path.read_text("utf-8")
)


def test_there_are_examples_on_every_floor() -> None:
    assert {module.partition(".")[0] for module in MODULES} == set(FLOORS)


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_hold(module: str) -> None:
    ran = doctest.testmod(importlib.import_module(module))
    assert ran.attempted > 0 and ran.failed == 0
