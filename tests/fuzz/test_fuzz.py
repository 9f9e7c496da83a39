"""A short turn of every fuzzer, and what the long ones found once (`python -m tests.fuzz`)."""

from pathlib import Path

import pytest

from tests.fuzz.__main__ import SEEDS, fuzz
from tests.fuzz.targets import TARGETS, Target

SEED = 20260305
KNOWN = sorted(SEEDS.glob("*/*"))


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
def test_what_is_whole_is_taken(target: Target) -> None:
    assert all(target.reads_or_refuses(content) for content in target.takes())


@pytest.mark.parametrize("known", KNOWN, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_once_found_something_is_refused(known: Path) -> None:
    assert not TARGETS[known.parent.name].reads_or_refuses(known.read_bytes())


@pytest.mark.slow
def test_a_short_turn_of_every_fuzzer_finds_nothing(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="Atheris has no wheel here")
    for name in TARGETS:
        inputs, found = fuzz(name, 2000, SEED, tmp_path)
        assert inputs >= 2000 and found == 0, name
