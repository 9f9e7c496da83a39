"""Evidence where forecasts stand beside trusted labels: two ways to count it, one chosen.

Either the trusted labels alone, thinned to one rate, by the exact tests; or forecasts on all rows,
corrected by the trusted labels, by a bet. The bet looks at far more rows and is the sharper the
better the grader is, the exact test is sharper by itself. Which of the two is used must not depend
on a trusted label of these rows: it is decided from coins, forecasts and an assumed error rate of
the grader, per candidate and per target.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from evidence.bounds import betting
from evidence.certification.betted import BettedAccuracy, BettedDrop
from evidence.certification.certificate import Basis, CertificationTest
from evidence.certification.certification_rows import CertificationRows
from evidence.certification.forecasts import Worth, checked_error, corrected, worth_of_difference, worth_of_verdict
from evidence.inputs import BoolArray, FloatArray, IntArray

# The bet may be won anywhere on the way, so that it needs less than its width at the end. Chosen on
# simulated rows; a wrong value costs power alone.
_BET_WIDTH = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How one mean of one candidate is tested, decided without a trusted label."""

    bet: bool  # on corrected forecasts, rather than the exact test on trusted labels alone
    first_share: float  # λ before any trusted label
    variance_guess: float


def plan_of_drop(rows: CertificationRows, kept: IntArray, delta: float) -> Plan:
    """How the drop is tested where each row is kept at a tier [n]."""
    guessed, open_rows = rows.forecast_of(kept), (kept < rows.tiers - 1) & ~rows.settled(kept)
    seen = open_rows & (rows.ran_weight > 0.0)
    square = float((guessed[seen] ** 2).mean()) if seen.any() else 0.0
    worth = worth_of_difference(square, checked_error(rows.forecast_error))
    return _plan(rows, open_rows, worth, delta, rows.corrected_bound)


def plan_of_accuracy(rows: CertificationRows, kept: IntArray, delta: float) -> Plan:
    """How the accuracy of what is retained is tested where each row is kept at a tier [n]."""
    answered, retained = _forecast_at(rows, kept), kept < rows.tiers - 1
    seen = retained & (rows.ran_weight > 0.0) & np.isfinite(answered)
    worth = worth_of_verdict(float(answered[seen].mean()) if seen.any() else 1.0, checked_error(rows.forecast_error))
    return _plan(rows, retained, worth, delta, rows.bound, among=retained)


def corrected_drop(rows: CertificationRows, kept: IntArray, x: FloatArray, plan: Plan) -> BettedDrop:
    """The drop from forecasts on all rows, corrected; x [n] is the worst case where a trusted label
    is missing.
    """
    assert rows.order is not None
    order = rows.order
    counts, share = corrected(
        x[order], rows.forecast_of(kept)[order], rows.drawn_weight[order], rows.ran_weight[order], plan.first_share
    )
    return BettedDrop(
        rests_on=_basis(rows, kept, CertificationTest.CORRECTED_DROP, kept < rows.tiers - 1, share),
        counts=counts,
        bound=rows.corrected_bound,
        variance_guess=plan.variance_guess,
    )


def corrected_accuracy(rows: CertificationRows, kept: IntArray, right: FloatArray, plan: Plan) -> BettedAccuracy:
    """The accuracy of what is retained, likewise; right [n] is the answer's correctness, 0 where
    unknown.
    """
    assert rows.order is not None
    retained = kept < rows.tiers - 1
    order = rows.order[retained[rows.order]]
    answered, value = _forecast_at(rows, kept), right[order]
    drawn_weight, ran_weight = rows.drawn_weight[order], rows.ran_weight[order]

    def shortfall(at_least: float) -> tuple[FloatArray, float]:
        forecast = np.nan_to_num(at_least - answered[order], nan=0.0)
        return corrected(at_least - value, forecast, drawn_weight, ran_weight, plan.first_share)

    mean = -float(shortfall(0.0)[0].mean()) if order.size else None
    return BettedAccuracy(
        rests_on=_basis(rows, kept, CertificationTest.CORRECTED_ACCURACY, retained & np.isfinite(answered)),
        estimate=None if mean is None else min(max(mean, 0.0), 1.0),
        retained=order.size,
        shortfall=shortfall,
        bound=rows.bound,  # a shortfall and its forecast lie in an interval of length 1 around 0: none is beyond 1/π
        variance_guess=plan.variance_guess,
    )


def _basis(
    rows: CertificationRows, kept: IntArray, test: CertificationTest, entered: BoolArray, share: float | None = None
) -> Basis:
    """`entered` [n]: rows whose forecast is looked at."""
    return Basis(
        test=test,
        n=rows.n,
        assumed_wrong=rows.assumed_wrong(kept),
        rows_forecast=int(((rows.drawn_weight == 0.0) & (rows.ran_weight > 0.0) & entered).sum()),
        forecast_share=share,
    )


def _forecast_at(rows: CertificationRows, kept: IntArray) -> FloatArray:
    """[n] what a grader says of the answer kept; NaN = nothing."""
    return np.asarray(rows.forecast, dtype=np.float64)[np.arange(rows.n), kept]


def _plan(
    rows: CertificationRows,
    open_rows: BoolArray,
    worth: Worth,
    delta: float,
    bound: float,
    among: BoolArray | None = None,
) -> Plan:
    """Which test is expected to need less, over all rows or those `among` which it is made.

    A mean of verdicts is bet on only if the grader's error was measured: unlike a difference of two
    verdicts it does not show by itself how often they are wrong.
    """
    measured = rows.forecast_error is not None or among is None
    counted = np.ones(rows.n, dtype=np.bool_) if among is None else among
    if not open_rows.any():
        return Plan(bet=False, first_share=worth.share, variance_guess=worth.residual)
    portion = float(open_rows.sum() / counted.sum())
    ran = rows.ran_weight[open_rows]
    # E[(A/π)²(v − λf)²] has 1/π on average, E[((R/ρ)λf)²] has 1/ρ, and the cross term is small:
    # they sum to this.
    spread = portion * (
        worth.residual * float(rows.row_weight[open_rows].mean())
        + max(worth.square - worth.residual, 0.0) * float((ran**2).mean())
    )
    # How far below ε the mean has to lie: for the exact test, and for bets no larger than the rows'
    # range allows.
    n, level = int(counted.sum()), float(np.log(1.0 / delta))
    exact = abs(float(ndtri(delta))) * float(np.sqrt(rows.bound * worth.square * portion / n))
    size = min(float(np.sqrt(2.0 * level / (n * spread))), betting.LARGEST_BET / bound)
    bet = _BET_WIDTH * (level / (n * size) + size * spread / 2.0)
    return Plan(bet=measured and bet < exact, first_share=worth.share, variance_guess=spread)
