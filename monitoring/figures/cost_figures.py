"""What the cascade saves against its last tier alone, in USD, GFLOPs and tokens.

What the last tier would have cost where it never ran is imputed: c + (O/π)(C_last − c), with the
forecast c made of the tokens of the first attempt at the last tier's price, times the ratio that
earlier decisions of the slice have shown. c has not seen the decision it forecasts, so the
imputation is unbiased however poor c is (`evidence.costs.savings`).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtri

from evidence.costs.savings import SeenCosts, impute_last_cost, predictable_forecast, savings_of, seen_costs
from evidence.errors import EvidenceError
from knowgate._records.arrays import FloatArray
from monitoring.figures.estimates import CONFIDENCE, Estimated, unidentified
from monitoring.names import FigureName
from monitoring.rows.cohorts import Cohort
from monitoring.rows.pairing import UNITS

NOTHING: FloatArray = np.empty(0)


def cost_figures(cohort: Cohort) -> dict[FigureName, Estimated]:
    """Savings and the cost of exploration, per unit, over at least one decision."""
    figures = {}
    for unit in UNITS:
        figures[FigureName(f"savings_{unit}")] = savings_in(cohort, unit)
        figures[FigureName(f"exploration_cost_{unit}")] = exploration_cost(cohort, unit)
        figures[FigureName(f"ended_cost_{unit}")] = ended_cost(cohort, unit)
    figures[FigureName.SAVED_USD] = saved_usd(cohort)
    return figures


def savings_in(cohort: Cohort, unit: str, *, beside: FloatArray = NOTHING) -> Estimated:
    """1 − ΣC / ΣC_last over the cohort; exploration is not in C. `beside`: what the last tier alone
    cost on other requests, which is in both sums.
    """
    rows = cohort.decisions
    reason = _why_unknown(rows, unit)
    if reason is not None:
        return unidentified(reason, len(rows))
    cost = rows[unit].to_numpy(dtype=np.float64)
    try:
        figure = savings_of(np.append(cost, beside), np.append(_last_cost(rows, unit), beside))
    except EvidenceError as error:
        return unidentified(str(error), len(rows))
    return Estimated(n=figure.n, value=figure.value, low=figure.lower, high=figure.upper)


def saved_usd(cohort: Cohort) -> Estimated:
    """ΣC_last − ΣC over the cohort, in USD, with a normal interval; exploration is not in C."""
    rows = cohort.decisions
    reason = _why_unknown(rows, "usd")
    if reason is not None:
        return unidentified(reason, len(rows))
    saved = _last_cost(rows, "usd") - rows["usd"].to_numpy(dtype=np.float64)
    total = float(saved.sum())
    if len(saved) < 2:
        return Estimated(n=len(saved), value=total, not_identified="no interval: of one decision there is none")
    reach = float(ndtri(0.5 + CONFIDENCE / 2.0) * np.sqrt(len(saved)) * saved.std(ddof=1))
    return Estimated(n=len(saved), value=total, low=total - reach, high=total + reach)


def exploration_cost(cohort: Cohort, unit: str) -> Estimated:
    """What was paid to learn, in total."""
    rows = cohort.decisions
    explored = int((rows[f"exploration_{unit}"] > 0).sum())
    return Estimated(n=explored, value=float(rows[f"exploration_{unit}"].sum()))


def ended_cost(cohort: Cohort, unit: str) -> Estimated:
    """What reading cost, in total, where a gate then ended the tier; it is part of C."""
    paid = cohort.decisions[f"ended_{unit}"]
    if paid.isna().any():
        return unidentified(f"{int(paid.isna().sum())} skipped attempts have no cost in {unit}", len(paid))
    return Estimated(n=int((paid > 0).sum()), value=float(paid.sum()))


def forecast_last_cost(
    rows: pd.DataFrame, unit: str, before: Sequence[SeenCosts] = ()
) -> tuple[FloatArray, tuple[SeenCosts, ...]]:
    """[n] c, what the last tier would cost on each decision, from earlier decisions only (rows in
    order of time); and `before` with what these decisions have shown.

    The price of the first attempt's tokens, times ΣC_last / Σ of that price over the earlier
    decisions of the slice; the ratio over all slices counts as one of them, and 1 as one of those.
    `before`: what decisions before these rows have shown.
    """
    slices, last, expected = _shown(rows, unit)
    everywhere = np.full(len(rows), "", dtype=object)
    overall = predictable_forecast(everywhere, last, 1.0, size=expected, before=[all_costs(before)])
    ratio = predictable_forecast(slices, last, overall, size=expected, before=before)
    return expected * ratio, seen_costs(slices, last, expected, before)


def all_costs(seen: Sequence[SeenCosts]) -> SeenCosts:
    """Those of all slices together, as of one without a name."""
    cost, size = sum(one.cost for one in seen), sum(one.size for one in seen)
    return SeenCosts(slice="", cost=float(cost), size=float(size), rows=sum(one.rows for one in seen))


def _shown(rows: pd.DataFrame, unit: str) -> tuple[npt.NDArray[np.object_], FloatArray, FloatArray]:
    """Per decision its slice, C_last (NaN where it did not run, or no first answer stands beside
    it), and the last tier's price of the first attempt's tokens (0 where unknown).
    """
    given = rows[f"expected_last_{unit}"].to_numpy(dtype=np.float64)
    expected = np.nan_to_num(given)
    slices = rows["slice"].to_numpy(dtype=object)
    slices = np.where(pd.isna(slices), "", slices)
    return slices, np.where(np.isnan(given), np.nan, rows[f"last_{unit}"].to_numpy(dtype=np.float64)), expected


def _last_cost(rows: pd.DataFrame, unit: str) -> FloatArray:
    ran = rows["last_ran"].to_numpy(dtype=bool)
    # The propensity of a run that did not happen has no part in the imputation.
    propensity = np.where(ran, rows["run_propensity"].to_numpy(dtype=np.float64), 1.0)
    return impute_last_cost(forecast_last_cost(rows, unit)[0], ran, propensity, rows[f"last_{unit}"])


def _why_unknown(rows: pd.DataFrame, unit: str) -> str | None:
    unknown = int(rows[unit].isna().sum())
    if unknown:
        return f"{unknown} of {len(rows)} decisions have no cost in {unit}; log tokens and declare prices"
    if (rows["retained"] & rows[f"expected_last_{unit}"].isna()).any():
        return f"the last tier's cost in {unit} cannot be forecast; log tokens and declare its price"
    if (rows["last_ran"] & rows["run_propensity"].isna()).any():
        return "an exploration has an unknown run propensity; log the coin that ran it"
    if rows["retained"].any() and not rows["explored"].any() and not (rows["exploration_rate"] > 0.0).any():
        return "nothing is explored; raise the exploration rate above 0"
    return None
