"""Does today's traffic look like the traffic that the champion was made from?

Columns are compared one by one with the normed Wasserstein distance, which Evidently computes
(`monitoring.reports`): the mean shift of the sorted values in reference standard deviations,
readable and not blown up by many rows as a p-value is. On few rows chance alone moves it, so a
column's threshold is 0.1, or 2.5/√rows where that is more. A column that hardly varies in the
reference is measured against a least spread, or any difference at all would be many deviations.

What is missing has no value to compare, so how often each column is missing is compared beside its
values.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import pandas as pd

THRESHOLD = 0.1  # reference standard deviations
LEAST_ROWS = 50  # of a column on either side; with fewer it is left out
LEAST_SPREAD = 0.05  # of a reference column, and the same share of its mean where that is above 1
MISSING_MORE = 0.05  # of a side's attempts: a column that is missing in so many more than before drifts
MOST_ROWS = 5000  # per side, evenly spaced over time; more rows change no conclusion
EVIDENTLY_LEAST = 0.001  # the smallest standard deviation that Evidently divides by


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDrift:
    """One column of today against the reference."""

    column: str
    score: float  # normed Wasserstein distance, in reference standard deviations
    threshold: float
    drifted: bool
    reference_mean: float
    current_mean: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingShift:
    """How often one column is missing, today beside the reference."""

    column: str
    reference_share: float
    current_share: float
    threshold: float  # by which the share may rise

    @property
    def drifted(self) -> bool:
        return self.current_share - self.reference_share >= self.threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftRecord:
    """All columns that could be compared."""

    columns: tuple[ColumnDrift, ...]
    left_out: tuple[str, ...]  # columns with too few rows on one side
    reference_rows: int
    current_rows: int
    missing: tuple[MissingShift, ...] = ()

    @property
    def drifted(self) -> tuple[ColumnDrift, ...]:
        """The columns beyond their threshold, furthest first."""
        return tuple(sorted((c for c in self.columns if c.drifted), key=lambda c: c.threshold / c.score))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sides:
    """Reference and current columns of one tier, and by what they are judged."""

    reference: pd.DataFrame  # at most MOST_ROWS, the columns that both sides have
    current: pd.DataFrame
    thresholds: Mapping[str, float]  # of the columns that can be compared
    left_out: tuple[str, ...]
    missing: tuple[MissingShift, ...]

    @property
    def scores_at_threshold(self) -> dict[str, float]:
        """Evidently's score of each column at its threshold: larger than the threshold where the
        least spread is larger than Evidently's norm, so that its own page says the same.
        """
        return {name: limit * _widened(self.reference[name]) for name, limit in self.thresholds.items()}


def sides_of(reference: pd.DataFrame, current: pd.DataFrame, missing: tuple[MissingShift, ...] = ()) -> Sides | None:
    """The columns that both tables have (floats, NaN = missing); None where there is nothing to
    compare.
    """
    reference, current = _thinned(reference), _thinned(current)
    shared = [name for name in reference.columns if name in current.columns]
    known = {name: min(int(reference[name].notna().sum()), int(current[name].notna().sum())) for name in shared}
    thresholds = {name: max(THRESHOLD, 2.5 / sqrt(known[name])) for name in shared if known[name] >= LEAST_ROWS}
    if not thresholds and not missing:
        return None
    return Sides(
        reference=reference[shared],
        current=current[shared],
        thresholds=thresholds,
        left_out=tuple(name for name in shared if name not in thresholds),
        missing=missing,
    )


def drift_of(sides: Sides, scores: Mapping[str, float]) -> DriftRecord:
    """What Evidently's score of each compared column says."""
    columns = []
    for name, threshold in sides.thresholds.items():
        score = scores[name] / _widened(sides.reference[name])
        columns.append(
            ColumnDrift(
                column=name,
                score=score,
                threshold=threshold,
                drifted=score >= threshold,
                reference_mean=float(sides.reference[name].mean()),
                current_mean=float(sides.current[name].mean()),
            )
        )
    return DriftRecord(
        columns=tuple(columns),
        left_out=sides.left_out,
        reference_rows=len(sides.reference),
        current_rows=len(sides.current),
        missing=sides.missing,
    )


def missing_shift(column: str, reference: tuple[int, int], current: tuple[int, int]) -> MissingShift | None:
    """A column's (missing, rows) on both sides, compared; None where a side has too few rows.

    >>> missing_shift("p_t", (0, 500), (400, 400)).drifted
    True
    >>> missing_shift("p_t", (20, 500), (18, 400)).drifted
    False
    """
    (absent, before), (gone, now) = reference, current
    if min(before, now) < LEAST_ROWS:
        return None
    together = (absent + gone) / (before + now)
    chance = 2.5 * sqrt(together * (1.0 - together) * (1.0 / before + 1.0 / now))
    return MissingShift(
        column=column,
        reference_share=absent / before,
        current_share=gone / now,
        threshold=max(MISSING_MORE, chance),
    )


def _widened(reference: "pd.Series[float]") -> float:
    """How many times Evidently's norm of a column the least spread is that is measured against; 1
    where it varies.
    """
    spread, norm = float(reference.std(ddof=0)), EVIDENTLY_LEAST
    return max(spread, LEAST_SPREAD * max(1.0, abs(float(reference.mean())))) / max(spread, norm)


def _thinned(rows: pd.DataFrame) -> pd.DataFrame:
    step = max(1, -(-len(rows) // MOST_ROWS))
    return rows.iloc[::step].reset_index(drop=True)
