"""Whether a tier is learned at all: each part needs labels enough, right answers and wrong ones."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from factories import make_fingerprint
from training.probes.fit import FittedProbe
from training.probes.probe_settings import FitSettings
from training.rows.dataset import CascadeRows, TierColumns, TierVectors
from training.rows.row_blocks import ArrayBlocks, StreamedRows
from training.rows.splits import Part, Split
from training.tiers.learn import LEAST_LABELS, learn_tier

PARTS = np.repeat([str(part) for part in LEAST_LABELS], list(LEAST_LABELS.values()))


class Asked(Exception):
    """The probe is to be fitted on so many rows, and chosen on so many."""


def asks(fit: StreamedRows, validation: StreamedRows, settings: FitSettings, **_: Any) -> FittedProbe:
    raise Asked(len(fit.y), len(validation.y))


def learn(correct: npt.NDArray[np.float64]) -> object:
    """With a vector and a label for each row, as many as each part needs at least."""
    n = len(PARTS)
    one = np.ones(n)
    tier = TierColumns(ran=one > 0, correct=correct, run_propensity=one, label_propensity=one, tokens_in=one)
    rows = CascadeRows(
        ids=tuple(f"id{row}" for row in range(n)),
        seconds=np.arange(n, dtype=float),
        slices=(None,) * n,
        prompts=(None,) * n,
        prompt_hashes=(None,) * n,
        exploration_rate=np.zeros(n),
        tiers=(tier, tier),
        fingerprints={},
    )
    vectors = TierVectors(
        fingerprints=(make_fingerprint(),), present=one > 0, rows=ArrayBlocks(x=np.zeros((n, 1, 4), dtype=np.float32))
    )
    return learn_tier(rows, Split(parts=PARTS, prompts={}), 0, vectors, FitSettings(), fit=asks)


def test_as_many_labels_as_are_needed_are_enough() -> None:
    with pytest.raises(Asked) as asked:
        learn(np.arange(len(PARTS)) % 2.0)
    assert asked.value.args == (LEAST_LABELS[Part.FIT], LEAST_LABELS[Part.VALIDATION])


@pytest.mark.parametrize("part", list(LEAST_LABELS))
def test_one_label_fewer_in_any_part_is_too_few(part: Part) -> None:
    correct = np.arange(len(PARTS)) % 2.0
    correct[np.flatnonzero(part == PARTS)[0]] = np.nan
    assert learn(correct) is None


@pytest.mark.parametrize("part", list(LEAST_LABELS))
@pytest.mark.parametrize("right", [0.0, 1.0])
def test_a_part_whose_answers_are_all_right_or_all_wrong_teaches_nothing(part: Part, right: float) -> None:
    assert learn(np.where(part == PARTS, right, np.arange(len(PARTS)) % 2.0)) is None
