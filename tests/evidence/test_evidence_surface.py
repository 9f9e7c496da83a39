"""The package's manners: what it shows, and what it refuses at the door."""

import importlib
import inspect
import pkgutil
import sys
from pathlib import Path

import numpy as np
import pytest

import evidence.errors
from evidence.errors import EvidenceError
from evidence.inputs import count, flag_array, level, number, real_array

MODULES = [importlib.import_module(found.name) for found in pkgutil.walk_packages(evidence.__path__, "evidence.")]
# Steps of what has its example where callers come in, and the checks of arguments.
STEPS = {
    "evidence.certification.forecast_evidence",
    "evidence.certification.forecasts",
    "evidence.certification.known_outcomes",
    "evidence.certification.nested_path",
    "evidence.certification.tally",
    "evidence.certification.walk",
    "evidence.costs.cohort_costs",
    "evidence.inputs",
    "evidence.signals.score_fit",
}


def test_every_function_has_a_runnable_example() -> None:
    functions = [
        value
        for module in MODULES
        if module.__name__ not in STEPS
        for name, value in vars(module).items()
        if inspect.isroutine(value) and value.__module__ == module.__name__ and not name.startswith("_")
    ]
    assert len(functions) > 40
    assert [f.__name__ for f in functions if ">>>" not in (inspect.getdoc(f) or "")] == []


def test_every_error_is_an_evidence_error() -> None:
    errors = [value for value in vars(evidence.errors).values() if inspect.isclass(value)]
    assert len(errors) == 4
    assert all(issubclass(error, EvidenceError) for error in errors)


def test_no_module_reaches_beyond_numpy_scipy_and_knowgate() -> None:
    folder = Path(str(evidence.__file__)).parent
    allowed = {"numpy", "scipy", "knowgate", "evidence", *sys.stdlib_module_names}
    for file in folder.rglob("*.py"):
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith(("import ", "from ")):
                assert line.split()[1].split(".")[0] in allowed, f"{file.name}: {line}"


def test_each_check_names_argument_value_and_row() -> None:
    for refused, message in [
        (lambda: real_array("costs", ["x"]), "costs is not a sequence of numbers"),
        (lambda: real_array("costs", [[1.0]]), "costs has 2 dimensions"),
        (lambda: real_array("costs", [1.0, np.inf]), "costs[1] is inf"),
        (lambda: flag_array("seen", [0, 3]), "seen[1] is 3.0"),
        (lambda: flag_array("seen", np.zeros((0,), dtype=bool)), "seen has shape (0,)"),
        (lambda: number("margin", float("inf")), "margin is inf"),
        (lambda: level("delta", -0.1), "delta is -0.1"),
        (lambda: count("n", 2), None),
    ]:
        if message is None:
            refused()
            continue
        with pytest.raises(EvidenceError) as caught:
            refused()
        assert message in str(caught.value)
