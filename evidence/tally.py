"""What the certification rows say of one candidate, and the tests that may be made of it.

One contract, and two kinds. A `PlainTally` holds counts of rows that count equally, X in {−1, 0, 1}, thinned to one
rate where their coins differed: its tests are exact. A `WeightedTally` holds one weighted value per row in the fixed
order: its tests bet. A third, the `ForecastTally`, stands where a judge's forecasts are corrected. Nothing else in
certification asks which kind it has.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from evidence import betting, binomial, exact_drop, power
from evidence.certificate import Basis, CertificationTest, Target, TargetKind, Thresholds
from evidence.certification_rows import CertificationRows
from evidence.errors import InvalidInputError
from evidence.forecast_tally import forecast_tally
from evidence.inputs import BoolArray, FloatArray
from evidence.path import Candidate


class Tally(Protocol):
    """The evidence on one candidate."""

    @property
    def thresholds(self) -> Thresholds: ...
    @property
    def retained_share(self) -> float: ...
    @property
    def estimated_drop(self) -> float: ...
    @property
    def retained_accuracy(self) -> float | None: ...

    def basis_of(self, target: Target) -> Basis: ...
    def drop_refuted(self, epsilon: float, delta: float) -> bool: ...
    def drop_exceeds(self, epsilon: float, delta: float) -> bool: ...
    def drop_upper_bound(self, delta: float) -> float: ...
    def drop_lower_bound(self, delta: float) -> float: ...
    def accuracy_testable(self, at_least: float, delta: float) -> bool: ...
    def accuracy_shown(self, at_least: float, delta: float) -> bool: ...
    def accuracy_missed(self, at_least: float, delta: float) -> bool: ...
    def accuracy_lower_bound(self, delta: float) -> float: ...
    def accuracy_upper_bound(self, delta: float) -> float: ...
    def rows_for_drop(self, epsilon: float, delta: float, *, exact: bool) -> int | None: ...
    def rows_for_accuracy(self, at_least: float, delta: float) -> int | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainTally:
    """Counts over rows that count equally."""

    thresholds: Thresholds
    n: int
    retained_share: float  # of all rows, also those whose outcomes no coin showed
    plus: int  # rows with X = +1, unknown ones among them
    minus: int  # rows with X = −1
    retained: int  # counted rows kept by a tier that is not the last
    right: int  # of those, known to be right
    assumed_wrong: int
    thinned: bool = False  # the rows are what thinning left of a weighted sample

    @property
    def estimated_drop(self) -> float:
        return (self.plus - self.minus) / self.n

    def basis_of(self, target: Target) -> Basis:
        if target.kind is TargetKind.MAX_ACCURACY_DROP:
            test = CertificationTest.THINNED_DROP if self.thinned else CertificationTest.EXACT_DROP
        else:
            test = CertificationTest.THINNED_BINOMIAL if self.thinned else CertificationTest.EXACT_BINOMIAL
        return Basis(test=test, n=self.n, assumed_wrong=self.assumed_wrong)

    @property
    def retained_accuracy(self) -> float | None:
        return self.right / self.retained if self.retained else None

    def drop_refuted(self, epsilon: float, delta: float) -> bool:
        return exact_drop.drop_refuted(self.plus, self.minus, self.n, epsilon, delta)

    def drop_exceeds(self, epsilon: float, delta: float) -> bool:
        return exact_drop.drop_exceeds(self.plus, self.minus, self.n, epsilon, delta)

    def drop_upper_bound(self, delta: float) -> float:
        return exact_drop.drop_upper_bound(self.plus, self.minus, self.n, delta)

    def drop_lower_bound(self, delta: float) -> float:
        return exact_drop.drop_lower_bound(self.plus, self.minus, self.n, delta)

    def accuracy_testable(self, at_least: float, delta: float) -> bool:
        return self.retained >= binomial.retained_rows_to_start(at_least, delta)

    def accuracy_shown(self, at_least: float, delta: float) -> bool:
        return self.retained > 0 and binomial.proportion_at_least(self.right, self.retained, at_least, delta)

    def accuracy_missed(self, at_least: float, delta: float) -> bool:
        return self.accuracy_upper_bound(delta) < at_least

    def accuracy_lower_bound(self, delta: float) -> float:
        return binomial.proportion_lower_bound(self.right, self.retained, delta) if self.retained else 0.0

    def accuracy_upper_bound(self, delta: float) -> float:
        return binomial.proportion_upper_bound(self.right, self.retained, delta) if self.retained else 1.0

    def rows_for_drop(self, epsilon: float, delta: float, *, exact: bool) -> int | None:
        rows = power.rows_needed_for_drop if exact else power.approximate_rows_for_drop
        return rows(self.plus / self.n, self.minus / self.n, epsilon, delta)

    def rows_for_accuracy(self, at_least: float, delta: float) -> int | None:
        if self.retained == 0:
            return None
        rows = power.rows_needed_for_accuracy(self.right / self.retained, at_least, delta)
        return None if rows is None else int(np.ceil(rows * self.n / self.retained))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WeightedTally:
    """Weighted values per row, in the fixed order; `bound` = 1 / π_min."""

    thresholds: Thresholds
    n: int
    retained_share: float
    x: FloatArray  # [n] weighted X
    kept: BoolArray  # [n] by a tier that is not the last
    retained: FloatArray  # [n] weight where retained, else 0
    right: FloatArray  # [n] weight · correctness where retained, else 0
    bound: float
    assumed_wrong: int

    @property
    def estimated_drop(self) -> float:
        return float(self.x.mean())

    def basis_of(self, target: Target) -> Basis:
        drop = target.kind is TargetKind.MAX_ACCURACY_DROP
        test = CertificationTest.BETTING_DROP if drop else CertificationTest.BETTING_ACCURACY
        return Basis(test=test, n=self.n, assumed_wrong=self.assumed_wrong)

    @property
    def retained_accuracy(self) -> float | None:
        weight = float(self.retained.sum())
        return float(self.right.sum()) / weight if weight > 0.0 else None

    def drop_refuted(self, epsilon: float, delta: float) -> bool:
        return betting.drop_refuted_by_betting(self.x, epsilon, delta, self.bound)

    def drop_exceeds(self, epsilon: float, delta: float) -> bool:
        return betting.drop_exceeds_by_betting(self.x, epsilon, delta, self.bound)

    def drop_upper_bound(self, delta: float) -> float:
        return betting.betting_upper_bound(self.x, delta, self.bound)

    def drop_lower_bound(self, delta: float) -> float:
        return betting.betting_lower_bound(self.x, delta, self.bound)

    def accuracy_testable(self, at_least: float, delta: float) -> bool:
        # As for the binomial: from where the bet would be won at half the allowed share of errors.
        half = (1.0 - at_least) / 2.0
        rows = power.rows_needed_for_betting(self.bound * half * (1.0 - half), half, delta)
        return rows is not None and int(self.kept.sum()) >= rows

    def accuracy_shown(self, at_least: float, delta: float) -> bool:
        return bool(self.kept.any()) and betting.drop_refuted_by_betting(
            self._shortfall(at_least), 0.0, delta, self.bound
        )

    def accuracy_missed(self, at_least: float, delta: float) -> bool:
        return bool(self.kept.any()) and betting.drop_exceeds_by_betting(
            self._shortfall(at_least), 0.0, delta, self.bound
        )

    def accuracy_lower_bound(self, delta: float) -> float:
        low, high = 0.0, 1.0
        while high - low > 1e-5:
            middle = (low + high) / 2.0
            low, high = (middle, high) if self.accuracy_shown(middle, delta) else (low, middle)
        return low

    def accuracy_upper_bound(self, delta: float) -> float:
        low, high = 0.0, 1.0
        while high - low > 1e-5:
            middle = (low + high) / 2.0
            low, high = (low, middle) if self.accuracy_missed(middle, delta) else (middle, high)
        return high

    def rows_for_drop(self, epsilon: float, delta: float, *, exact: bool) -> int | None:
        return power.rows_needed_for_betting(float(self.x.var()), epsilon - self.estimated_drop, delta)

    def rows_for_accuracy(self, at_least: float, delta: float) -> int | None:
        if not self.kept.any():
            return None
        shortfall = self._shortfall(at_least)
        rows = power.rows_needed_for_betting(float(shortfall.var()), -float(shortfall.mean()), delta)
        return None if rows is None else int(np.ceil(rows * self.n / self.kept.sum()))

    def _shortfall(self, at_least: float) -> FloatArray:
        """[kept] (at_least − correct), weighted: its mean is below 0 iff retained accuracy is above at_least."""
        return (self.retained * at_least - self.right)[self.kept]


def tally_of(rows: CertificationRows, candidate: Candidate, delta: float) -> Tally:
    """The evidence of the rows on one candidate; its kept tiers [n] must lie in [0, tiers).

    `delta` decides, before any label is looked at, whether weighted rows are thinned or bet on, and forecasts used.
    """
    kept = candidate.kept
    if kept.shape != (rows.n,) or kept.min() < 0 or kept.max() >= rows.tiers:
        raise InvalidInputError(
            f"kept has shape {kept.shape} and range [{kept.min()}, {kept.max()}], expected a tier index below"
            f" {rows.tiers} for each of {rows.n} rows"
        )
    retained = kept < rows.tiers - 1
    correct = np.nan_to_num(np.asarray(rows.correct, dtype=np.float64)[np.arange(rows.n), kept], nan=0.0)
    outcome = rows.outcome(kept)
    tally = _tally(rows, candidate.thresholds, retained, outcome, 1.0, correct, delta)
    if rows.forecast is None:
        return tally
    return forecast_tally(rows, tally, kept, np.nan_to_num(outcome, nan=1.0), correct, delta)


def tally_of_least_drop(rows: CertificationRows, delta: float) -> PlainTally | WeightedTally:
    """The rows under the best tier that each query could have been kept at: no rule that retains all does better.

    Unknown outcomes count as X = −1, so that a lower bound of this drop is one whatever they are.
    """
    outcomes = [
        np.nan_to_num(rows.outcome(np.full(rows.n, tier, dtype=np.int64)), nan=-1.0) for tier in range(rows.tiers - 1)
    ]
    correct = np.nan_to_num(np.asarray(rows.correct, dtype=np.float64)[:, :-1], nan=1.0).max(axis=1)
    everywhere = np.ones(rows.n, dtype=np.bool_)
    return _tally(rows, (None,) * (rows.tiers - 1), everywhere, np.min(outcomes, axis=0), -1.0, correct, delta)


def _tally(
    rows: CertificationRows,
    thresholds: Thresholds,
    kept: BoolArray,
    outcome: FloatArray,
    unknown_as: float,
    correct: FloatArray,
    delta: float,
) -> PlainTally | WeightedTally:
    """Counts where rows count equally and X is whole; else the values in the order that no label can touch.

    Args: kept [n], by a tier that is not the last; outcome [n], X with NaN = unknown; correct [n] of the answer kept.
    """
    unknown = np.isnan(outcome)
    x = np.where(unknown, unknown_as, outcome)
    mean_weight = float(rows.row_weight[kept].mean()) if kept.any() else 1.0
    if rows.order is None or bool(rows.thinning_is_sharper(mean_weight, delta)):
        equal = rows.equal
        return PlainTally(
            thresholds=thresholds,
            n=int(equal.sum()),
            retained_share=float(kept.mean()),
            plus=int((x[equal] == 1.0).sum()),
            minus=int((x[equal] == -1.0).sum()),
            retained=int(kept[equal].sum()),
            right=int((kept & (correct == 1.0))[equal].sum()),
            assumed_wrong=int(unknown[equal].sum()),
            thinned=rows.weighted,
        )
    assert rows.order is not None
    return WeightedTally(
        thresholds=thresholds,
        n=int(rows.counted.sum()),
        retained_share=float(kept.mean()),
        x=rows.weigh(x)[rows.order],
        kept=kept[rows.counted][rows.order],
        retained=rows.weigh(kept.astype(np.float64))[rows.order],
        right=rows.weigh(np.where(kept, correct, 0.0))[rows.order],
        bound=rows.bound,
        assumed_wrong=int((unknown & rows.seen).sum()),
    )
