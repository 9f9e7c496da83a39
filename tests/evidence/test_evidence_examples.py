"""Every example in the package's docstrings runs and prints what it says."""

import doctest
import importlib
import pkgutil

import pytest

import evidence


@pytest.mark.parametrize(
    "module", sorted(module.name for module in pkgutil.walk_packages(evidence.__path__, "evidence."))
)
def test_the_examples_of_a_module_run(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0
