"""What the certification rows say of one candidate: evidence on its drop, and on the accuracy of
what it retains.

Each is by counts (`evidence.certification.counted`), by bets on weighted rows
(`evidence.certification.betted`), or by bets on a grader's forecasts that trusted labels correct
(`evidence.certification.forecast_evidence`). Nothing else in certification asks which it has.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from evidence.certification.betted import BettedAccuracy, BettedDrop
from evidence.certification.certificate import Basis, CertificationTest, Thresholds
from evidence.certification.certification_rows import CertificationRows
from evidence.certification.counted import CountedAccuracy, CountedDrop, CountedRows
from evidence.certification.forecast_evidence import corrected_accuracy, corrected_drop, plan_of_accuracy, plan_of_drop
from evidence.errors import InvalidInputError
from evidence.inputs import BoolArray, FloatArray, IntArray
from knowgate.spec import TargetKind


class Evidence(Protocol):
    """What the rows say of one mean, and of the value that is promised of it: a drop of at most, an
    accuracy of at least.
    """

    @property
    def estimate(self) -> float | None: ...

    def basis(self, value: float, /) -> Basis:
        """The test against this value, and what it rests on."""

    def testable(self, value: float, delta: float, /) -> bool:
        """Whether the test has a chance; no label decides it."""

    def shown(self, value: float, delta: float, /) -> bool:
        """Whether "the promise is broken" is rejected at level δ."""

    def missed(self, value: float, delta: float, /) -> bool:
        """Whether "the promise is kept" is rejected at level δ."""

    def lower_bound(self, delta: float) -> float: ...

    def upper_bound(self, delta: float) -> float: ...

    def rows_needed(self, value: float, delta: float, /, *, exact: bool, power: float = 0.8) -> int | None:
        """Rows with which it would be shown with this power; None where no number would do."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tally:
    """The evidence on one candidate."""

    thresholds: Thresholds
    retained_share: float  # of all rows, also those whose outcomes no coin showed
    drop: CountedDrop | BettedDrop
    accuracy: CountedAccuracy | BettedAccuracy

    def on(self, kind: TargetKind) -> Evidence:
        return self.drop if kind is TargetKind.MAX_ACCURACY_DROP else self.accuracy


def tally_of(rows: CertificationRows, kept: IntArray, delta: float, thresholds: Thresholds = ()) -> Tally:
    """The evidence of the rows on one candidate; `kept` [n] is the tier that each is kept at.

    `delta` decides, before any label is looked at, whether weighted rows are thinned or bet on, and
    forecasts used.
    """
    if kept.shape != (rows.n,) or kept.min() < 0 or kept.max() >= rows.tiers:
        raise InvalidInputError(
            f"kept has shape {kept.shape} and range [{kept.min()}, {kept.max()}], expected a tier index below"
            f" {rows.tiers} for each of {rows.n} rows"
        )
    retained = kept < rows.tiers - 1
    correct = np.nan_to_num(np.asarray(rows.correct, dtype=np.float64)[np.arange(rows.n), kept], nan=0.0)
    outcome = rows.outcome(kept)
    tally = _tally(rows, thresholds, retained, outcome, 1.0, correct, delta)
    if rows.forecast is None:
        return tally
    drop, accuracy = plan_of_drop(rows, kept, delta), plan_of_accuracy(rows, kept, delta)
    worst = np.nan_to_num(outcome, nan=1.0)
    return replace(
        tally,
        drop=corrected_drop(rows, kept, worst, drop) if drop.bet else tally.drop,
        accuracy=corrected_accuracy(rows, kept, correct, accuracy) if accuracy.bet else tally.accuracy,
    )


def charitable_tally_of(rows: CertificationRows, kept: IntArray, delta: float) -> Tally:
    """As `tally_of`, with what nobody knows taken as right and X = −1, and without forecasts: that
    a promise is broken by these rows holds whatever the missing labels say.
    """
    outcome = np.nan_to_num(rows.outcome(kept), nan=-1.0)
    correct = np.nan_to_num(np.asarray(rows.correct, dtype=np.float64)[np.arange(rows.n), kept], nan=1.0)
    return _tally(rows, (), kept < rows.tiers - 1, outcome, -1.0, correct, delta)


def tally_of_least_drop(rows: CertificationRows, delta: float) -> Tally:
    """The rows under the best tier that each query could have been kept at: no policy that retains
    all does better.

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
) -> Tally:
    """Counts where rows count equally and X is whole; else the values in the order that no label
    can touch.

    Args: kept [n], by a tier that is not the last; outcome [n], X with NaN = unknown; correct [n]
    of the answer kept.
    """
    unknown = np.isnan(outcome)
    x = np.where(unknown, unknown_as, outcome)
    mean_weight = float(rows.row_weight[kept].mean()) if kept.any() else 1.0
    if rows.order is None or bool(rows.thinning_is_sharper(mean_weight, delta)):
        equal = rows.equal
        counted = CountedRows(n=int(equal.sum()), assumed_wrong=int(unknown[equal].sum()), thinned=rows.weighted)
        plus, minus = int((x[equal] == 1.0).sum()), int((x[equal] == -1.0).sum())
        right, retained = int((kept & (correct == 1.0))[equal].sum()), int(kept[equal].sum())
        return Tally(
            thresholds=thresholds,
            retained_share=rows.share_of(kept),
            drop=CountedDrop(rows=counted, plus=plus, minus=minus),
            accuracy=CountedAccuracy(rows=counted, right=right, retained=retained),
        )
    n, assumed_wrong = int(rows.counted.sum()), int((unknown & rows.seen).sum())
    return Tally(
        thresholds=thresholds,
        retained_share=rows.share_of(kept),
        drop=BettedDrop(
            rests_on=Basis(test=CertificationTest.BETTING_DROP, n=n, assumed_wrong=assumed_wrong),
            counts=rows.weigh(x)[rows.order],
            bound=rows.bound,
        ),
        accuracy=_betted_accuracy(rows, kept, correct, n, assumed_wrong),
    )


def _betted_accuracy(
    rows: CertificationRows, kept: BoolArray, correct: FloatArray, n: int, assumed_wrong: int
) -> BettedAccuracy:
    assert rows.order is not None
    among = kept[rows.counted][rows.order]
    weight = rows.weigh(kept.astype(np.float64))[rows.order][among]
    right = rows.weigh(np.where(kept, correct, 0.0))[rows.order][among]
    total = float(weight.sum())
    return BettedAccuracy(
        rests_on=Basis(test=CertificationTest.BETTING_ACCURACY, n=n, assumed_wrong=assumed_wrong),
        estimate=float(right.sum()) / total if total > 0.0 else None,
        retained=int(among.sum()),
        shortfall=lambda at_least: (weight * at_least - right, None),
        bound=rows.bound,
    )
