"""What certification knows of each query, and what it assumes where it knows nothing.

X = retained · (correct_last − correct_kept). If both answers agree, X = 0 without a label. A row
drawn by a coin counts with 1 / propensity. A row whose coin is unknown counts once, and if its
outcome is missing it counts as the worst case, X = +1: missing labels can cost savings, never the
guarantee.

Rows of unequal coins are thinned: a second coin, drawn from the row's id, keeps a row of propensity
π with chance π_min/π. What is left was seen at one rate, so it is a plain sample and the exact test
holds for it. That throws rows away, and is still sharper than betting on the weights, whose width
grows with sqrt(2·log(1/δ)) where the exact test's grows with z_δ (2.15 against 1.28 at δ = 0.1),
unless the rows of rare coins are few among those retained. Neither coin has seen a label, so which
of the two tests is used can be decided row weights in hand. Rows may carry forecasts, which trusted
labels correct (`evidence.certification.forecasts`): then there is a third way to count them.
Source: thinning is rejection sampling from the observed to the uniform design (von Neumann 1951).
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from evidence.bounds.betting import fixed_order, thinning_coins
from evidence.certification.forecasts import checked_error, refuse_coin_in_forecasts
from evidence.errors import InvalidInputError, NotIdentifiedError
from evidence.inputs import BoolArray, FloatArray, IntArray, flag_array, real_array, same_length


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CertificationRows:
    """Outcomes of n queries at every tier of a cascade.

    Args: correct [n, tiers] in [0, 1], NaN = unknown; agrees [n, tiers − 1], the tier's answer
    equals the last tier's; propensity [n] in (0, 1], the chance that this row's outcomes are known,
    NaN = no known coin; observed [n], what that coin gave (required with a propensity); ids [n],
    unique per query; forecast [n, tiers] in [0, 1], what a grader says of each answer, NaN =
    nothing (`evidence.certification.forecasts`), with run_propensity [n], the part of the
    propensity that the tiers ran, ran [n], whether they did (both 1 where left out), and
    forecast_error, how often a verdict of the grader is assumed to be wrong: learned from other
    rows, and no promise rests on it; share_weight [n], how many rows each stands for in the share
    that is kept (1 each unless given).

    Raises InvalidInputError on shapes or values out of range, NotIdentifiedError on a propensity of
    0.

    Examples:
        >>> rows = CertificationRows(correct=[[1, 1], [0, 1], [float("nan"), 1]])
        >>> rows.n, rows.tiers
        (3, 2)
        >>> rows.drops(np.array([0, 0, 0])).tolist()
        [0.0, 1.0, 1.0]
    """

    correct: npt.ArrayLike
    agrees: npt.ArrayLike | None = None
    propensity: npt.ArrayLike | None = None
    observed: npt.ArrayLike | None = None
    ids: tuple[str, ...] | None = None
    forecast: npt.ArrayLike | None = None
    ran: npt.ArrayLike | None = None
    run_propensity: npt.ArrayLike | None = None
    forecast_error: npt.ArrayLike | None = None  # one number
    share_weight: npt.ArrayLike | None = None
    weighted: bool = field(init=False, default=False)  # rows count unequally; one constant coin leaves them equal
    counted: BoolArray = field(init=False)  # [n] rows the test counts: all, or those that one constant coin showed
    order: IntArray | None = field(init=False, default=None)  # of counted rows, where a test depends on it
    equal: BoolArray = field(init=False)  # [n] rows that count equally: the exact tests' sample; none if fractional
    row_weight: FloatArray = field(init=False)  # [n] 1 / propensity; 1 without a known coin

    def __post_init__(self) -> None:
        correct = np.asarray(self.correct, dtype=np.float64)
        if correct.ndim != 2 or correct.shape[0] == 0 or correct.shape[1] < 2:
            raise InvalidInputError(f"correct has shape {correct.shape}, expected [n ≥ 1, tiers ≥ 2]")
        real_array("correct", correct.ravel(), low=0.0, high=1.0, unknown_allowed=True)
        object.__setattr__(self, "correct", correct)
        if self.agrees is not None:
            agrees = np.asarray(self.agrees, dtype=np.bool_)
            if agrees.shape != (correct.shape[0], correct.shape[1] - 1):
                raise InvalidInputError(f"agrees has shape {agrees.shape}; give a flag per row and non-last tier")
            object.__setattr__(self, "agrees", agrees)
        object.__setattr__(self, "counted", np.ones(correct.shape[0], dtype=np.bool_))
        self._check_coins(correct)
        self._check_forecasts(correct)
        if self.ids is not None:
            same_length(correct=correct, ids=self.ids)
        stands_for = np.ones(len(correct)) if self.share_weight is None else self.share_weight
        stands_for = real_array("share_weight", stands_for, low=0.0)
        same_length(correct=correct, share_weight=stands_for)
        object.__setattr__(self, "share_weight", stands_for if stands_for.any() else np.ones(len(correct)))
        fractional = bool(((correct > 0.0) & (correct < 1.0)).any())
        if self.weighted or fractional:
            if self.ids is None:
                raise InvalidInputError(
                    "ids is None, but weighted or fractional rows are tested in an order fixed before labels are seen;"
                    " give each row's id"
                )
            counted_ids = [name for name, counts in zip(self.ids, self.counted, strict=True) if counts]
            object.__setattr__(self, "order", fixed_order(counted_ids))
        object.__setattr__(self, "row_weight", self._weights())
        object.__setattr__(self, "equal", np.zeros(self.n, dtype=np.bool_) if fractional else self._equal_rows())

    def _weights(self) -> FloatArray:
        if not self.weighted:
            return np.ones(self.n)
        return np.where(np.isnan(self._propensity), 1.0, 1.0 / self._propensity)

    def _equal_rows(self) -> BoolArray:
        if not self.weighted:
            return self.counted
        assert self.ids is not None
        return self.seen & (thinning_coins(self.ids) < self.row_weight / self.bound)

    def thinning_is_sharper(self, mean_weight: npt.ArrayLike, delta: float) -> BoolArray:
        """Whether the exact test on the thinned rows is sharper than the bet, given the mean weight
        of retained rows.

        Compares the squared widths z_δ²/π_min and 2·log(1/δ)·E[1/π | retained]. Looks at no label.
        """
        if not self.weighted or not self.equal.any():
            return np.zeros(np.shape(mean_weight), dtype=np.bool_)
        thinned = float(ndtri(delta)) ** 2 * self.bound
        return np.asarray(thinned <= 2.0 * np.log(1.0 / delta) * np.asarray(mean_weight), dtype=np.bool_)

    def _check_coins(self, correct: FloatArray) -> None:
        if self.propensity is None and self.observed is None:
            return
        if self.propensity is None or self.observed is None:
            raise InvalidInputError("propensity and observed come together; give the coin's chance and what it gave")
        propensity = real_array("propensity", self.propensity, low=0.0, high=1.0, unknown_allowed=True)
        observed = flag_array("observed", self.observed)
        same_length(correct=correct, propensity=propensity, observed=observed)
        if (propensity == 0.0).any():
            row = int(np.argmax(propensity == 0.0))
            raise NotIdentifiedError(f"propensity[{row}] is 0: such rows are never seen; raise the rate above 0 there")
        object.__setattr__(self, "propensity", propensity)
        object.__setattr__(self, "observed", observed)
        one_coin = bool(np.isfinite(propensity).all() and np.ptp(propensity) < 1e-12) and self.forecast is None
        object.__setattr__(self, "weighted", not one_coin)
        if one_coin:
            object.__setattr__(self, "counted", observed)
            if not observed.any():
                raise InvalidInputError("observed is false in every row; certify once some outcomes are known")

    def _check_forecasts(self, correct: FloatArray) -> None:
        if self.forecast is None:
            return
        forecast = np.asarray(self.forecast, dtype=np.float64)
        if forecast.shape != correct.shape:
            raise InvalidInputError(f"forecast has shape {forecast.shape}, correct {correct.shape}; make them equal")
        real_array("forecast", forecast.ravel(), low=0.0, high=1.0, unknown_allowed=True)
        if self.propensity is None or not np.isfinite(self._propensity).any():
            raise NotIdentifiedError(
                "forecasts can be corrected only by trusted labels of a known propensity, and none has one; draw them"
                " with `knowgate labels queue`"
            )
        ran = np.ones(len(correct), dtype=np.bool_) if self.ran is None else flag_array("ran", self.ran)
        chance = np.ones(len(correct)) if self.run_propensity is None else self.run_propensity
        chance = real_array("run_propensity", chance, low=0.0, high=1.0, unknown_allowed=True)
        same_length(correct=correct, ran=ran, run_propensity=chance)
        coin = np.isfinite(self._propensity) & np.isfinite(chance)
        if (chance[coin] < self._propensity[coin] * (1.0 - 1e-9)).any() or (self._observed & coin & ~ran).any():
            raise InvalidInputError("a row was labelled by a likelier coin than it ran; propensity includes the run's")
        checked_error(self.forecast_error)
        object.__setattr__(self, "forecast", forecast)
        object.__setattr__(self, "ran", ran & coin)
        object.__setattr__(self, "run_propensity", np.where(coin, chance, 1.0))
        labelled = np.where(coin, self._propensity / np.where(coin, chance, 1.0), 0.0)
        refuse_coin_in_forecasts(forecast, ran & coin, self._observed, np.minimum(labelled, 1.0))

    @property
    def n(self) -> int:
        return len(self._correct)

    @property
    def known(self) -> int:
        """Rows whose outcomes a coin showed, or that have no coin: what was paid for in labels."""
        return int(self.seen.sum())

    @property
    def seen(self) -> BoolArray:
        """[n] rows whose coin fell, or that have none."""
        return self._observed | np.isnan(self._propensity) if self.weighted else self.counted

    @property
    def tested(self) -> BoolArray:
        """[n] rows that a test counts: the exact tests' sample, or all that a bet is made on where
        there is none. No label decides it.
        """
        return self.equal if self.equal.any() else self.counted

    @property
    def tiers(self) -> int:
        return int(self._correct.shape[1])

    @property
    def bound(self) -> float:
        """The largest |X| of a weighted row: 1 / π_min."""
        if not self.weighted:
            return 1.0
        return float(1.0 / np.nanmin(np.append(self._propensity, 1.0)))

    def share_of(self, kept: BoolArray) -> float:
        """The share of the queries for which `kept` [n] holds."""
        return float(np.average(kept, weights=np.asarray(self.share_weight, dtype=np.float64)))

    def outcome(self, kept: IntArray) -> FloatArray:
        """[n] unweighted X of each row under the kept tiers, NaN = unknown."""
        rows, last = np.arange(self.n), self.tiers - 1
        return np.where(self.settled(kept), 0.0, self._correct[:, last] - self._correct[rows, kept])

    def settled(self, kept: IntArray) -> BoolArray:
        """[n] whether X is 0 whatever the labels say: escalated to the last tier, or of the same
        answer as its.
        """
        last = self.tiers - 1
        if self.agrees is None:
            return np.asarray(kept == last, dtype=np.bool_)
        agrees = np.asarray(self.agrees, dtype=np.bool_)
        return np.asarray((kept == last) | agrees[np.arange(self.n), np.minimum(kept, last - 1)], dtype=np.bool_)

    def drops(self, kept: IntArray) -> FloatArray:
        """[counted rows] X of each row, unknown = +1, weighted where rows are weighted."""
        return self.weigh(np.nan_to_num(self.outcome(kept), nan=1.0))

    def assumed_wrong(self, kept: IntArray) -> int:
        """How many counted rows enter as the worst case for want of an outcome."""
        return int((np.isnan(self.outcome(kept)) & self.seen).sum())

    def weigh(self, values: FloatArray) -> FloatArray:
        """[counted rows] values (A/π)·v of rows with a coin, v of rows without one."""
        if not self.weighted:
            return values[self.counted]
        return values * self.drawn_weight

    @property
    def corrected_bound(self) -> float:
        """The largest |count| of a row whose forecast is corrected: 2/π − 1/ρ, for a forecast that
        is all wrong.
        """
        coin = np.isfinite(self._propensity)
        reach = 2.0 / self._propensity[coin] - 1.0 / self._run_propensity[coin]
        return float(max(reach.max(initial=1.0), 1.0))

    @property
    def drawn_weight(self) -> FloatArray:
        """[n] A/π; 1 for a row without a known coin."""
        coin = np.isfinite(self._propensity)
        return np.where(coin, self._observed / np.where(coin, self._propensity, 1.0), 1.0)

    @property
    def ran_weight(self) -> FloatArray:
        """[n] R/ρ; 0 for a row without a known coin, which no forecast enters."""
        return np.where(np.asarray(self.ran, dtype=np.bool_), 1.0 / self._run_propensity, 0.0)

    def forecast_of(self, kept: IntArray) -> FloatArray:
        """[n] the forecast X under the kept tiers: 0 where X is known to be 0, or where a verdict
        is missing.
        """
        forecast, rows, last = np.asarray(self.forecast, dtype=np.float64), np.arange(self.n), self.tiers - 1
        x = np.nan_to_num(forecast[:, last] - forecast[rows, kept], nan=0.0)
        return np.where(self.settled(kept), 0.0, x)

    @property
    def _run_propensity(self) -> FloatArray:
        return np.asarray(self.run_propensity, dtype=np.float64)

    @property
    def _correct(self) -> FloatArray:
        return np.asarray(self.correct, dtype=np.float64)

    @property
    def _propensity(self) -> FloatArray:
        return np.asarray(self.propensity, dtype=np.float64)

    @property
    def _observed(self) -> BoolArray:
        return np.asarray(self.observed, dtype=np.bool_)
