"""How long answers take, and what asking the smaller tiers first adds to those that are sent on.

Tiers are asked one after another, so a query waits for the sum of what it waited for. It does not
wait for explorations, nor for what ran beside the last tier, or not at all, because nothing could
be kept. Of a tier that a gate ended and that answered all the same to learn from, nobody knows how
long reading alone took: its decision is left out.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from evidence.bounds.quantiles import quantile
from knowgate._records.arrays import BoolArray, FloatArray, IntArray
from knowgate._records.records import Role
from monitoring.figures.estimates import CONFIDENCE, Estimated, unidentified
from monitoring.names import FigureName
from monitoring.rows.cohorts import Cohort
from monitoring.rows.pairing import beside_the_last

UNLOGGED = "no latency is logged; send latency_ms with the attempts"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Waits:
    """Per decision, in ms; NaN = not logged."""

    whole: FloatArray  # [n]
    before_last: FloatArray  # [n] for the tiers before the last
    retained: BoolArray  # [n] answered before the last tier


def latency_figures(cohort: Cohort) -> dict[FigureName, Estimated]:
    """The times of the cascade over the cohort's decisions (at least one)."""
    waits = waits_of(cohort)
    sent_on = waits.before_last[~waits.retained]
    added = _quantiles(sent_on, UNLOGGED if len(sent_on) else "no decision was answered by the last tier")
    whole = _quantiles(waits.whole, UNLOGGED)
    return {
        FigureName.LATENCY_P50_MS: whole[0],
        FigureName.LATENCY_P95_MS: whole[1],
        FigureName.ESCALATION_ADDED_P50_MS: added[0],
        FigureName.ESCALATION_ADDED_P95_MS: added[1],
    }


def tier_latencies(rows: pd.DataFrame) -> dict[FigureName, Estimated]:
    """The times of one tier's runs, explorations among them."""
    ran = rows.loc[rows["role"] != Role.SKIPPED, "latency_ms"].to_numpy(dtype=np.float64)
    half, most = _quantiles(ran, UNLOGGED if len(ran) else "the tier did not run")
    return {FigureName.LATENCY_P50_MS: half, FigureName.LATENCY_P95_MS: most}


def waits_of(cohort: Cohort) -> Waits:
    """What every decision waited for."""
    rows, last = cohort.attempts, cohort.spec.last
    place = np.unique(rows["decision"].to_numpy(), return_inverse=True)[1]
    role, tier = rows["role"].to_numpy(dtype=object), rows["tier"].to_numpy()
    beside = beside_the_last(rows)
    served = tier[role == Role.SERVED]
    # A gate ended it, and it answered to learn from: its reading was waited for, the rest not.
    unknown = (role == Role.EXPLORATION) & (tier < served[place]) & ~beside
    waited = (role != Role.EXPLORATION) & ~beside
    took = np.where(waited, rows["latency_ms"].to_numpy(dtype=np.float64), np.where(unknown, np.nan, 0.0))
    return Waits(
        whole=_totals(place, took),
        before_last=_totals(place, np.where(tier < last, took, 0.0)),
        retained=served < last,
    )


def _totals(place: IntArray, times: FloatArray) -> FloatArray:
    return np.bincount(place, times).astype(np.float64)


def _quantiles(times: FloatArray, missing: str) -> tuple[Estimated, Estimated]:
    """Half and 95 % of the times that are logged."""
    known = times[~np.isnan(times)]
    if not len(known):
        none = unidentified(missing)
        return none, none
    return _within(known, 0.5), _within(known, 0.95)


def _within(known: FloatArray, share: float) -> Estimated:
    found = quantile(known, share, confidence=CONFIDENCE)
    if found.lower is None or found.upper is None:
        return Estimated(n=found.n, value=found.value, not_identified=f"no interval: {found.n} times are too few")
    return Estimated(n=found.n, value=found.value, low=found.lower, high=found.upper)
