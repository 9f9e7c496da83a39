"""Evidence by bets: a weighted or fractional count per row, in the order that no label can touch
(`evidence.bounds.betting`).

Rows seen by a coin count (A/π)·X; where a grader's forecasts are corrected by trusted labels,
`evidence.certification.forecasts` says what they count.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from evidence.bounds import betting
from evidence.bounds.power import rows_needed_for_betting
from evidence.certification.certificate import Basis
from evidence.inputs import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Betted(ABC):
    """A mean of counts, none beyond ± `bound`, in their fixed order."""

    rests_on: Basis
    bound: float
    variance_guess: float | None = None  # made without a label of these rows

    @abstractmethod
    def wager(self, value: float) -> tuple[FloatArray, float]:
        """The counts [rows] that speak for or against the value promised, and what their mean is at
        most if the promise is kept.
        """

    def shown(self, value: float, delta: float) -> bool:
        counts, most = self.wager(value)
        return counts.size > 0 and betting.drop_refuted_by_betting(counts, most, delta, self.bound, self.variance_guess)

    def missed(self, value: float, delta: float) -> bool:
        counts, most = self.wager(value)
        return counts.size > 0 and betting.drop_exceeds_by_betting(counts, most, delta, self.bound, self.variance_guess)

    def rows_needed(self, value: float, delta: float, *, exact: bool, power: float = 0.8) -> int | None:
        counts, most = self.wager(value)
        if counts.size == 0:
            return None
        rows = rows_needed_for_betting(float(counts.var()), most - float(counts.mean()), delta, power)
        return None if rows is None else int(np.ceil(rows * self.rests_on.n / counts.size))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BettedDrop(_Betted):
    """The drop E[X], from counts [n] whose mean it is."""

    counts: FloatArray

    @property
    def estimate(self) -> float:
        return float(self.counts.mean())

    def basis(self, _epsilon: float) -> Basis:
        return self.rests_on

    def testable(self, _epsilon: float, _delta: float) -> bool:
        return True

    def wager(self, epsilon: float) -> tuple[FloatArray, float]:
        return self.counts, epsilon

    def lower_bound(self, delta: float) -> float:
        return max(betting.betting_lower_bound(self.counts, delta, self.bound, self.variance_guess), -1.0)

    def upper_bound(self, delta: float) -> float:
        return min(betting.betting_upper_bound(self.counts, delta, self.bound, self.variance_guess), 1.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BettedAccuracy(_Betted):
    """The accuracy of what is retained.

    `shortfall(a)` gives the counts [retained] of a − correct, below 0 on average iff the accuracy
    is above a, and the share of the forecasts that was used in them.
    """

    estimate: float | None
    retained: int
    shortfall: Callable[[float], tuple[FloatArray, float | None]]

    def basis(self, at_least: float) -> Basis:
        return replace(self.rests_on, forecast_share=self.shortfall(at_least)[1])

    def testable(self, at_least: float, delta: float) -> bool:
        # As for the binomial: from where the bet would be won at half the allowed share of errors.
        half = (1.0 - at_least) / 2.0
        variance = self.bound * half * (1.0 - half) if self.variance_guess is None else self.variance_guess
        rows = rows_needed_for_betting(variance, half, delta)
        return rows is not None and self.retained >= rows

    def wager(self, at_least: float) -> tuple[FloatArray, float]:
        return self.shortfall(at_least)[0], 0.0

    def lower_bound(self, delta: float) -> float:
        return _turning_point(lambda at_least: self.shown(at_least, delta))[0]

    def upper_bound(self, delta: float) -> float:
        return _turning_point(lambda at_least: not self.missed(at_least, delta))[1]


def _turning_point(holds: Callable[[float], bool]) -> tuple[float, float]:
    """Two points of [0, 1] at most 1e-5 apart: the condition holds from 0 to the first and no
    longer at the second.
    """
    low, high = 0.0, 1.0
    while high - low > 1e-5:
        middle = (low + high) / 2.0
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low, high
