"""The evidence on one candidate where forecasts stand beside trusted labels: two ways to count it, one chosen.

Either the trusted labels alone, thinned to one rate, by the exact tests; or forecasts on all rows, corrected by the
trusted labels, by a bet. The bet looks at far more rows and is the sharper the better the judge is, the exact test is
sharper by itself. Which of the two is used must not depend on a trusted label of these rows: it is decided from coins,
forecasts and an assumed error rate of the judge, per candidate and per target.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from evidence import betting, power
from evidence.certificate import Basis, CertificationTest, Target, TargetKind, Thresholds
from evidence.certification_rows import CertificationRows
from evidence.forecasts import Worth, checked_error, corrected, worth_of_difference, worth_of_verdict
from evidence.inputs import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from evidence.tally import Tally

# The bet may be won anywhere on the way, so that it needs less than its width at the end. Chosen on simulated rows; a
# wrong value costs power alone.
_BET_WIDTH = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How one quantity of one candidate is tested, decided without a trusted label."""

    bet: bool  # on corrected forecasts, rather than the exact test on trusted labels alone
    first_share: float  # λ before any trusted label
    variance_guess: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ForecastTally:
    """Values per row in the fixed order; `plain` is the same candidate on the trusted labels alone."""

    plain: "Tally"
    thresholds: Thresholds
    retained_share: float
    drop_plan: Plan
    accuracy_plan: Plan
    x: FloatArray  # [n] X, the worst case where a trusted label is missing
    x_forecast: FloatArray  # [n] X as the forecasts have it
    kept: BoolArray  # [n] by a tier that is not the last
    right: FloatArray  # [n] correctness of the answer kept, 0 where unknown
    right_forecast: FloatArray  # [n] as the forecasts have it; NaN = no forecast
    drawn_weight: FloatArray  # [n] A/π
    ran_weight: FloatArray  # [n] R/ρ
    bound: float
    accuracy_bound: float
    unknown: int  # drawn rows without the label that was to be there

    def basis_of(self, target: Target) -> Basis:
        """Of the test that decides on this target: the drop and the retained accuracy each have a plan of their own."""
        if target.kind is TargetKind.MAX_ACCURACY_DROP:
            bet, test, entered = self.drop_plan.bet, CertificationTest.CORRECTED_DROP, self.kept
        else:
            bet, test = self.accuracy_plan.bet, CertificationTest.CORRECTED_ACCURACY
            entered = self.kept & np.isfinite(self.right_forecast)
        if not bet:
            return self.plain.basis_of(target)
        corrections = self._drop() if test is CertificationTest.CORRECTED_DROP else self._shortfall(target.value)
        return Basis(
            test=test,
            n=len(self.x),
            assumed_wrong=self.unknown,
            rows_forecast=int(((self.drawn_weight == 0.0) & (self.ran_weight > 0.0) & entered).sum()),
            forecast_share=corrections[1],
        )

    @property
    def estimated_drop(self) -> float:
        return float(self._drop()[0].mean()) if self.drop_plan.bet else self.plain.estimated_drop

    @property
    def retained_accuracy(self) -> float | None:
        if not self.accuracy_plan.bet:
            return self.plain.retained_accuracy
        return min(max(-float(self._shortfall(0.0)[0].mean()), 0.0), 1.0) if self.kept.any() else None

    def drop_refuted(self, epsilon: float, delta: float) -> bool:
        if not self.drop_plan.bet:
            return self.plain.drop_refuted(epsilon, delta)
        return betting.drop_refuted_by_betting(self._drop()[0], epsilon, delta, self.bound, self._drop_guess)

    def drop_exceeds(self, epsilon: float, delta: float) -> bool:
        if not self.drop_plan.bet:
            return self.plain.drop_exceeds(epsilon, delta)
        return betting.drop_exceeds_by_betting(self._drop()[0], epsilon, delta, self.bound, self._drop_guess)

    def drop_upper_bound(self, delta: float) -> float:
        if not self.drop_plan.bet:
            return self.plain.drop_upper_bound(delta)
        return min(betting.betting_upper_bound(self._drop()[0], delta, self.bound, self._drop_guess), 1.0)

    def drop_lower_bound(self, delta: float) -> float:
        if not self.drop_plan.bet:
            return self.plain.drop_lower_bound(delta)
        return max(betting.betting_lower_bound(self._drop()[0], delta, self.bound, self._drop_guess), -1.0)

    def accuracy_testable(self, at_least: float, delta: float) -> bool:
        if not self.accuracy_plan.bet:
            return self.plain.accuracy_testable(at_least, delta)
        # As for the other tests: from where it would be won at half the allowed share of errors.
        rows = power.rows_needed_for_betting(self.accuracy_plan.variance_guess, (1.0 - at_least) / 2.0, delta)
        return rows is not None and int(self.kept.sum()) >= rows

    def accuracy_shown(self, at_least: float, delta: float) -> bool:
        if not self.accuracy_plan.bet:
            return self.plain.accuracy_shown(at_least, delta)
        guess = self.accuracy_plan.variance_guess
        return bool(self.kept.any()) and betting.drop_refuted_by_betting(
            self._shortfall(at_least)[0], 0.0, delta, self.accuracy_bound, guess
        )

    def accuracy_missed(self, at_least: float, delta: float) -> bool:
        if not self.accuracy_plan.bet:
            return self.plain.accuracy_missed(at_least, delta)
        guess = self.accuracy_plan.variance_guess
        return bool(self.kept.any()) and betting.drop_exceeds_by_betting(
            self._shortfall(at_least)[0], 0.0, delta, self.accuracy_bound, guess
        )

    def accuracy_lower_bound(self, delta: float) -> float:
        if not self.accuracy_plan.bet:
            return self.plain.accuracy_lower_bound(delta)
        return _last_true(lambda share: self.accuracy_shown(share, delta))

    def accuracy_upper_bound(self, delta: float) -> float:
        if not self.accuracy_plan.bet:
            return self.plain.accuracy_upper_bound(delta)
        return _last_true(lambda share: not self.accuracy_missed(share, delta))

    def rows_for_drop(self, epsilon: float, delta: float, *, exact: bool) -> int | None:
        if not self.drop_plan.bet:
            return self.plain.rows_for_drop(epsilon, delta, exact=exact)
        counts = self._drop()[0]
        return power.rows_needed_for_betting(float(counts.var()), epsilon - float(counts.mean()), delta)

    def rows_for_accuracy(self, at_least: float, delta: float) -> int | None:
        if not self.accuracy_plan.bet:
            return self.plain.rows_for_accuracy(at_least, delta)
        if not self.kept.any():
            return None
        counts = self._shortfall(at_least)[0]
        rows = power.rows_needed_for_betting(float(counts.var()), -float(counts.mean()), delta)
        return None if rows is None else int(np.ceil(rows * len(self.x) / self.kept.sum()))

    @property
    def _drop_guess(self) -> float:
        return self.drop_plan.variance_guess

    def _drop(self) -> tuple[FloatArray, float]:
        return corrected(self.x, self.x_forecast, self.drawn_weight, self.ran_weight, self.drop_plan.first_share)

    def _shortfall(self, at_least: float) -> tuple[FloatArray, float]:
        """[kept] what `at_least` − correct counts as: below 0 on average iff retained accuracy is above at_least; and
        the share of the forecasts that was used in the end."""
        forecast = np.nan_to_num(at_least - self.right_forecast, nan=0.0)[self.kept]
        value, weights = at_least - self.right[self.kept], (self.drawn_weight[self.kept], self.ran_weight[self.kept])
        return corrected(value, forecast, *weights, self.accuracy_plan.first_share)


def forecast_tally(
    rows: CertificationRows, plain: "Tally", kept: IntArray, x: FloatArray, right: FloatArray, delta: float
) -> ForecastTally:
    """The evidence of rows with forecasts on one candidate.

    Args: plain, the same on trusted labels alone; kept [n] the tier of each row; x [n] and right [n], unknown as the
    worst case.
    """
    assert rows.order is not None
    order, retained = rows.order, kept < rows.tiers - 1
    answered = np.asarray(rows.forecast, dtype=np.float64)[np.arange(rows.n), kept]
    guessed, ran_weight = rows.forecast_of(kept), rows.ran_weight
    open_rows = retained & ~rows.settled(kept)
    error = checked_error(rows.forecast_error)
    seen = open_rows & (ran_weight > 0.0)
    drop = worth_of_difference(float((guessed[seen] ** 2).mean()) if seen.any() else 0.0, error)
    seen = retained & (ran_weight > 0.0) & np.isfinite(answered)
    accuracy = worth_of_verdict(float(answered[seen].mean()) if seen.any() else 1.0, error)
    return ForecastTally(
        plain=plain,
        thresholds=plain.thresholds,
        retained_share=plain.retained_share,
        drop_plan=_plan(rows, open_rows, drop, delta, rows.corrected_bound),
        accuracy_plan=_plan(rows, retained, accuracy, delta, rows.bound, among=retained),
        x=x[order],
        x_forecast=guessed[order],
        kept=retained[order],
        right=right[order],
        right_forecast=answered[order],
        drawn_weight=rows.drawn_weight[order],
        ran_weight=ran_weight[order],
        bound=rows.corrected_bound,
        # A shortfall and its forecast lie in an interval of length 1 around 0, so no count is beyond 1/π.
        accuracy_bound=rows.bound,
        unknown=int((np.isnan(rows.outcome(kept)) & rows.seen).sum()),
    )


def _plan(
    rows: CertificationRows,
    open_rows: BoolArray,
    worth: Worth,
    delta: float,
    bound: float,
    among: BoolArray | None = None,
) -> Plan:
    """Which test is expected to need less, over all rows or those `among` which it is made.

    A mean of verdicts is bet on only if the judge's error was measured: unlike a difference of two verdicts it does not
    show by itself how often they are wrong.
    """
    measured = rows.forecast_error is not None or among is None
    held = np.ones(rows.n, dtype=np.bool_) if among is None else among
    if not open_rows.any():
        return Plan(bet=False, first_share=worth.share, variance_guess=worth.residual)
    portion = float(open_rows.sum() / held.sum())
    ran = rows.ran_weight[open_rows]
    # E[(A/π)²(v − λf)²] has 1/π on average, E[((R/ρ)λf)²] has 1/ρ, and the cross term is small: they sum to this.
    spread = portion * (
        worth.residual * float(rows.row_weight[open_rows].mean())
        + max(worth.square - worth.residual, 0.0) * float((ran**2).mean())
    )
    # How far below ε the mean has to lie: for the exact test, and for bets no larger than the rows' range allows.
    n, level = int(held.sum()), float(np.log(1.0 / delta))
    exact = abs(float(ndtri(delta))) * float(np.sqrt(rows.bound * worth.square * portion / n))
    size = min(float(np.sqrt(2.0 * level / (n * spread))), betting.LARGEST_BET / bound)
    bet = _BET_WIDTH * (level / (n * size) + size * spread / 2.0)
    return Plan(bet=measured and bet < exact, first_share=worth.share, variance_guess=spread)


def _last_true(holds: Callable[[float], bool]) -> float:
    """The end of the part of [0, 1], from 0 on, where a condition holds; to 1e-5."""
    low, high = 0.0, 1.0
    while high - low > 1e-5:
        middle = (low + high) / 2.0
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
