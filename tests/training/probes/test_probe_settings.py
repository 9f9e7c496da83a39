"""What may be asked of a fit: each number at its least, and what memory lets it hold."""

import re
from typing import Any

import pytest

from training.errors import TrainingRefused
from training.probes.probe_settings import FitSettings

LEAST_1 = ["batch", "max_epochs", "memory", "rank", "sample", "look_every", "memory_mb", "block_mb", "mlp_units"]
LEASTS = [*((name, 1) for name in LEAST_1), ("patience", 0), ("seed", 0)]


@pytest.mark.parametrize(("name", "least"), LEASTS)
def test_a_whole_number_may_be_as_small_as_it_makes_sense(name: str, least: int) -> None:
    assert getattr(FitSettings(**{name: least}), name) == least
    for value in (least - 1, least + 0.5):
        named = f"{name} is {value}: give a whole number of at least {least}"
        with pytest.raises(TrainingRefused, match=re.escape(named)):
            FitSettings(**{name: value})


@pytest.mark.parametrize("name", ["tolerance", "mlp_learning_rate"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_a_rate_lies_above_0_and_is_finite(name: str, value: float) -> None:
    assert getattr(FitSettings(**{name: 1e-9}), name) == 1e-9
    with pytest.raises(TrainingRefused, match=f"{name} is {value}: give a finite number above 0"):
        FitSettings(**{name: value})


@pytest.mark.parametrize("name", ["penalties", "mlp_penalties"])
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("bad", [0.0, -0.1, float("inf"), float("nan")])
def test_one_bad_penalty_is_told_with_all_of_them(name: str, place: int, bad: float) -> None:
    assert getattr(FitSettings(**{name: ()}), name) == ()
    values: list[Any] = [0.1, 0.2, 0.3]
    values[place] = bad
    with pytest.raises(TrainingRefused, match=re.escape(f"{name} are {tuple(values)}: give finite numbers above 0")):
        FitSettings(**{name: tuple(values)})


def test_what_memory_holds_at_once_by_hand() -> None:
    """A layer of 4096 features: 4 bytes · 4096 · (3 · (512 + 10) + (2 · 20 + 12) · 3 penalties)."""
    assert FitSettings().layers_at_once(4096) == 2_048_000_000 // 28_213_248 == 72
    assert FitSettings(penalties=()).layers_at_once(4096) == 2_048_000_000 // (4 * 4096 * (1566 + 52)) == 77
    assert FitSettings(memory_mb=1).layers_at_once(4096) == 1, "at least one, whatever it takes"
    assert FitSettings().block_rows(4096) == 64_000_000 // 8192 == 7812
    assert FitSettings(block_mb=1).block_rows(4096) == 122
    assert FitSettings(block_mb=1).block_rows(8192) == 64, "at least 64"
