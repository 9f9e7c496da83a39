"""What requests take that no certificate covers.

The last tier answers them alone, so they are in no promise and in no figure of correctness, and the
savings that are promised are those of the rest. The bill has them all the same: `savings_of_all`
counts them on both sides, as saved nothing.
"""

import numpy as np
import pandas as pd

from monitoring.figures.cost_figures import savings_in
from monitoring.figures.estimates import Estimated, share, unidentified
from monitoring.names import FigureName
from monitoring.rows.cohorts import Cohort
from monitoring.rows.pairing import UNITS


def uncertified_figures(cohort: Cohort) -> dict[FigureName, Estimated]:
    """Count, share and cost of such requests, and savings over all; none where they were not
    read.
    """
    runs = cohort.uncertified
    if runs is None or not len(runs) + cohort.size:
        return {}
    n, every = len(runs), len(runs) + cohort.size
    figures = {
        FigureName.UNCERTIFIED_QUERIES: Estimated(n=every, value=float(n)),
        FigureName.UNCERTIFIED_SHARE: share(n, every),
    }
    for unit in UNITS:
        figures[FigureName(f"uncertified_cost_{unit}")] = _cost(runs, unit)
        if cohort.size:
            figures[FigureName(f"savings_of_all_{unit}")] = _savings_of_all(cohort, runs, unit)
    return figures


def _cost(runs: pd.DataFrame, unit: str) -> Estimated:
    unknown = int(runs[unit].isna().sum())
    if unknown:
        return unidentified(f"{unknown} of {len(runs)} such requests have no cost in {unit}", len(runs))
    return Estimated(n=len(runs), value=float(runs[unit].sum()))


def _savings_of_all(cohort: Cohort, runs: pd.DataFrame, unit: str) -> Estimated:
    cost = _cost(runs, unit)
    if cost.value is None:
        return cost
    return savings_in(cohort, unit, beside=runs[unit].to_numpy(dtype=np.float64))
