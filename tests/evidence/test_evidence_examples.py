"""Every example in the package's docstrings runs and prints what it says."""

import doctest
import importlib
import pkgutil

import pytest

import evidence


@pytest.mark.parametrize("module", sorted(module.name for module in pkgutil.iter_modules(evidence.__path__)))
def test_the_examples_of_a_module_run(module: str) -> None:
    assert doctest.testmod(importlib.import_module(f"evidence.{module}")).failed == 0
