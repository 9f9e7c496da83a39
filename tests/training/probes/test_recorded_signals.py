"""Training on recorded outcomes of real models, where they are at hand."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knowgate._models.features import features
from training.probes.fit import auroc, fit_probe
from training.rows.row_blocks import ArrayBlocks, StreamedRows

RECORDED = Path(os.environ.get("KNOWGATE_RECORDED_DATA") or Path(__file__).parents[3].parent / "shared" / "data")


def _recorded(name: str) -> Any:
    file = RECORDED / name
    if not file.is_file():
        pytest.skip(f"{name} is not at hand; set KNOWGATE_RECORDED_DATA")
    with np.load(file, allow_pickle=False) as arrays:
        honest = arrays["condition"] == "honest"
        return features(arrays["hidden"][honest]), arrays["correct"][honest].astype(np.float64)


@pytest.mark.parametrize(("name", "at_least"), [("hidden_qwen25_0.5b_7b", 0.62), ("hidden_qwen25_1.5b_14b", 0.75)])
def test_a_probe_knows_what_a_real_model_knows(name: str, at_least: float) -> None:
    """Five folds, each with a quarter of its rows held back for validation; about .67 and .82 are
    known to be there.
    """
    x, y = _recorded(f"{name}.npz")
    fold = np.random.default_rng(0).permutation(len(y)) % 5
    reached = []
    for left_out in range(5):
        rest = np.flatnonzero(fold != left_out)
        taught, checked = rest[len(rest) // 4 :], rest[: len(rest) // 4]
        fitted = fit_probe(
            StreamedRows(x=ArrayBlocks(x=x[taught][:, None]), y=y[taught]),
            StreamedRows(x=ArrayBlocks(x=x[checked][:, None]), y=y[checked]),
        )
        reached.append(auroc(fitted.logits(ArrayBlocks(x=x[fold == left_out][:, None])), y[fold == left_out]))
    assert np.mean([one for one in reached if one is not None]) > at_least
