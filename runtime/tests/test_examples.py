"""The examples in docstrings do what they say: those of a module with any are run."""

import doctest
import importlib
from pathlib import Path

import pytest

import knowgate

PACKAGE = Path(knowgate.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if ">>>" in path.read_text("utf-8")
)


EXTRA = {"knowgate._bundles.signing": "cryptography"}  # what a module's examples need besides


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_hold(module: str) -> None:
    if module in EXTRA:
        pytest.importorskip(EXTRA[module])
    ran = doctest.testmod(importlib.import_module(module))
    assert ran.attempted > 0 and ran.failed == 0
