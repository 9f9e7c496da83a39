"""Populations to certify on, whose true drop is known exactly: recorded outcomes, and synthetic
ones built to hurt.

A population is a finite list of queries; calibration rows are drawn from it with replacement, so
the drop of a threshold over the whole list is the truth, and a broken promise is seen as one.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq

from knowgate._records.arrays import FloatArray

TWO_TIERS = (
    "mmlu_llama3_8b_70b",
    "arc_llama3_8b_70b",
    "arc_gpt35_gpt4",
    "hellaswag_llama3_70b_gpt4",
    "mmlu_gpt35_gpt4",
)
THREE_TIERS = ("arc_llama2_7b_13b_70b", "hellaswag_llama2_7b_13b_70b")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Population:
    """Queries with every tier's signal and outcome."""

    name: str
    p_t: FloatArray  # [n, tiers − 1]
    correct: FloatArray  # [n, tiers], 0 or 1

    @property
    def n(self) -> int:
        return len(self.correct)

    def drop_of(self, kept: npt.NDArray[np.int64]) -> float:
        """The exact drop where each query is kept at these tiers [n]."""
        return float((self.correct[:, -1] - self.correct[np.arange(self.n), kept]).mean())


def recorded(folder: Path, name: str) -> Population:
    """The queries of a recorded file on which every non-last tier showed a p_t."""
    table = pq.read_table(folder / f"{name}.parquet", columns=["query_id", "tier", "p_t", "correct"])
    columns = []
    for tier in range(int(pc.max(table.column("tier")).as_py()) + 1):
        rows = table.filter(pc.equal(table.column("tier"), tier)).sort_by("query_id")
        columns.append([rows.column(c).to_numpy().astype(np.float64) for c in ("p_t", "correct")])
    p_t = np.column_stack([tier[0] for tier in columns[:-1]])
    known = np.isfinite(p_t).all(axis=1)
    return Population(name=name, p_t=p_t[known], correct=np.column_stack([tier[1] for tier in columns])[known])


def synthetic(epsilon: float) -> list[Population]:
    """Two-tier populations of 20 000 queries on which a test that errs too often is caught at
    `epsilon`.
    """
    n = 20_000
    rng = np.random.default_rng(7)
    falling = 1.0 - (np.arange(n) + 0.5) / n
    at_epsilon = _with_drop(rng, np.full(n, 0.5), 0.05 + epsilon, 0.05)
    rare = _with_drop(rng, np.full(n, 0.5), epsilon, 0.0)
    tied = _with_drop(rng, np.repeat([0.9, 0.6, 0.3], [n // 2, n // 4, n - 3 * n // 4]), epsilon + 0.04, 0.04)
    x = np.zeros(n)
    third = n // 3
    x[:third] = _signs(rng, third, 3.2 * epsilon, 0.0)  # breaks the promise from early on …
    x[third:] = _signs(rng, n - third, 0.0, 0.9 * epsilon)  # … and would keep it again if all were retained
    wavy = _from_x(falling, x)
    x = np.concatenate([_signs(rng, n // 4, 0.0, 0.0), _signs(rng, n - n // 4, epsilon / 0.7, 0.0)])
    crossing = _from_x(falling, x)
    made = {
        "exactly_epsilon": at_epsilon,
        "rare_large_losses": rare,
        "ties": tied,
        "not_monotone": wavy,
        "crossing": crossing,
    }
    return [Population(name=name, p_t=p_t[:, None], correct=correct) for name, (p_t, correct) in made.items()]


def _signs(rng: np.random.Generator, n: int, plus: float, minus: float) -> FloatArray:
    """X [n] with exactly these shares of +1 and −1, in random order."""
    x = np.zeros(n)
    ups, downs = round(plus * n), round(minus * n)
    x[:ups], x[ups : ups + downs] = 1.0, -1.0
    return rng.permutation(x)


def _with_drop(rng: np.random.Generator, p_t: FloatArray, plus: float, minus: float) -> tuple[FloatArray, FloatArray]:
    return _from_x(p_t, _signs(rng, len(p_t), plus, minus))


def _from_x(p_t: FloatArray, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    return p_t, np.column_stack([x <= 0.0, x >= 0.0]).astype(np.float64)
