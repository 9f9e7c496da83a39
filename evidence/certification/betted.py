"""Evidence by bets: a weighted or fractional count per row, in the order that no label can touch
(`evidence.bounds.betting`).

Rows seen by a coin count (A/π)·X; where a grader's forecasts are corrected by trusted labels,
`evidence.certification.forecasts` says what they count.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from evidence.bounds import betting, power
from evidence.certification.certificate import Basis
from evidence.inputs import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BettedDrop:
    """The drop E[X], from counts [n] whose mean it is; none lies beyond ± `bound`."""

    rests_on: Basis
    counts: FloatArray
    bound: float
    variance_guess: float | None = None  # made without a label of these rows

    @property
    def estimate(self) -> float:
        return float(self.counts.mean())

    def basis(self, _epsilon: float) -> Basis:
        return self.rests_on

    def testable(self, _epsilon: float, _delta: float) -> bool:
        return True

    def shown(self, epsilon: float, delta: float) -> bool:
        return betting.drop_refuted_by_betting(self.counts, epsilon, delta, self.bound, self.variance_guess)

    def missed(self, epsilon: float, delta: float) -> bool:
        return betting.drop_exceeds_by_betting(self.counts, epsilon, delta, self.bound, self.variance_guess)

    def lower_bound(self, delta: float) -> float:
        return max(betting.betting_lower_bound(self.counts, delta, self.bound, self.variance_guess), -1.0)

    def upper_bound(self, delta: float) -> float:
        return min(betting.betting_upper_bound(self.counts, delta, self.bound, self.variance_guess), 1.0)

    def rows_needed(self, epsilon: float, delta: float, *, exact: bool) -> int | None:
        return power.rows_needed_for_betting(float(self.counts.var()), epsilon - self.estimate, delta)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BettedAccuracy:
    """The accuracy of what is retained.

    `shortfall(a)` gives the counts [retained] of a − correct, below 0 on average iff the accuracy
    is above a, and the share of the forecasts that was used in them.
    """

    rests_on: Basis
    estimate: float | None
    retained: int
    shortfall: Callable[[float], tuple[FloatArray, float | None]]
    bound: float
    variance_guess: float | None = None

    def basis(self, at_least: float) -> Basis:
        return replace(self.rests_on, forecast_share=self.shortfall(at_least)[1])

    def testable(self, at_least: float, delta: float) -> bool:
        # As for the binomial: from where the bet would be won at half the allowed share of errors.
        half = (1.0 - at_least) / 2.0
        variance = self.bound * half * (1.0 - half) if self.variance_guess is None else self.variance_guess
        rows = power.rows_needed_for_betting(variance, half, delta)
        return rows is not None and self.retained >= rows

    def shown(self, at_least: float, delta: float) -> bool:
        return self.retained > 0 and betting.drop_refuted_by_betting(
            self.shortfall(at_least)[0], 0.0, delta, self.bound, self.variance_guess
        )

    def missed(self, at_least: float, delta: float) -> bool:
        return self.retained > 0 and betting.drop_exceeds_by_betting(
            self.shortfall(at_least)[0], 0.0, delta, self.bound, self.variance_guess
        )

    def lower_bound(self, delta: float) -> float:
        return _turning_point(lambda at_least: self.shown(at_least, delta))[0]

    def upper_bound(self, delta: float) -> float:
        return _turning_point(lambda at_least: not self.missed(at_least, delta))[1]

    def rows_needed(self, at_least: float, delta: float, *, exact: bool) -> int | None:
        if self.retained == 0:
            return None
        counts, _ = self.shortfall(at_least)
        rows = power.rows_needed_for_betting(float(counts.var()), -float(counts.mean()), delta)
        return None if rows is None else int(np.ceil(rows * self.rests_on.n / self.retained))


def _turning_point(holds: Callable[[float], bool]) -> tuple[float, float]:
    """Two points of [0, 1] at most 1e-5 apart: the condition holds from 0 to the first and no
    longer at the second.
    """
    low, high = 0.0, 1.0
    while high - low > 1e-5:
        middle = (low + high) / 2.0
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low, high
