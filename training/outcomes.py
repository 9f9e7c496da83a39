"""What the certification rows know, in the form that `evidence` tests.

Decisions, all on the side of caution:
- By which coins the outcomes are known, and what is assumed without one, is `evidence.known_outcomes`' to say.
- A tier in the middle that did not run may have kept anything: such a row counts as kept there, outcome unknown.
- Labels of sources that are not trusted are forecasts. Trusted labels drawn by a known coin correct them; where no such
  coin is known they are left out, and it is said why.
"""

import numpy as np
import numpy.typing as npt

from evidence import known_outcomes
from evidence.certification_rows import CertificationRows
from evidence.known_outcomes import LoggedRows, outcome_coin, run_coin
from training.dataset import CascadeRows, TierColumns

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


NO_COIN = (
    "not identified: trusted labels have no known label_propensity below 1, so nothing says how to correct the labels"
    " of other sources, and they are left out; draw trusted labels with `knowgate labels queue`"
)
LEAST_COMPARED = 30  # answers with a trusted label and a forecast, before an error rate is read from them


def certification_rows(rows: CascadeRows, forecast_error: float | None = None) -> CertificationRows:
    """The n decisions as certification sees them; at least one is expected.

    `forecast_error` is of other rows (`forecast_error_on`); it chooses between tests that all hold.
    """
    last = rows.tiers[-1]
    correct = np.column_stack([tier.correct for tier in rows.tiers])
    agrees = np.column_stack([_agrees(tier, last) for tier in rows.tiers[:-1]])
    logged = _logged(rows, agrees)
    run = run_coin(logged)
    propensity, observed = outcome_coin(logged)
    if forecasts_left_out(rows) is not None or _no_forecasts(rows):
        return CertificationRows(correct=correct, agrees=agrees, propensity=propensity, observed=observed, ids=rows.ids)
    unknown = np.full(rows.n, np.nan)
    return CertificationRows(
        correct=correct,
        agrees=agrees,
        propensity=propensity,
        observed=observed,
        ids=rows.ids,
        forecast=np.column_stack([unknown if tier.forecast is None else tier.forecast for tier in rows.tiers]),
        ran=last.ran,
        run_propensity=run,
        forecast_error=forecast_error,
    )


def forecasts_left_out(rows: CascadeRows) -> str | None:
    """Why the labels of sources that are not trusted cannot enter; None where they can, or where there are none."""
    return NO_COIN if not _no_forecasts(rows) and label_coin(rows) is None else None


def forecast_error_on(rows: CascadeRows, taught: BoolArray) -> float | None:
    """How often a verdict errs where a trusted label speaks of it too, among rows [n] that do not certify; None where
    too few are compared, or where it errs as often as a coin."""
    wrong = [
        np.abs((tier.forecast >= 0.5).astype(np.float64) - (tier.correct >= 0.5))[
            taught & np.isfinite(tier.forecast) & np.isfinite(tier.correct)
        ]
        for tier in rows.tiers
        if tier.forecast is not None
    ]
    compared = np.concatenate(wrong) if wrong else np.empty(0)
    if len(compared) < LEAST_COMPARED:
        return None
    error = float(compared.mean())
    return error if error < 0.45 else None


def _no_forecasts(rows: CascadeRows) -> bool:
    return all(tier.forecast is None or not np.isfinite(tier.forecast).any() for tier in rows.tiers)


def _agrees(tier: TierColumns, last: TierColumns) -> BoolArray:
    return np.array([a is not None and a == b for a, b in zip(tier.answers, last.answers, strict=True)], dtype=bool)


def label_coin(rows: CascadeRows) -> FloatArray | None:
    """[n] the chance that a row's answers were all labelled (`evidence.known_outcomes.label_coin`)."""
    agrees = np.column_stack([_agrees(tier, rows.tiers[-1]) for tier in rows.tiers[:-1]])
    return known_outcomes.label_coin(_logged(rows, agrees))


def _logged(rows: CascadeRows, agrees: BoolArray) -> LoggedRows:
    return LoggedRows(
        ran=rows.ran,
        agrees=agrees,
        correct=np.column_stack([tier.correct for tier in rows.tiers]),
        label_propensity=np.column_stack([tier.label_propensity for tier in rows.tiers]),
        run_propensity=rows.tiers[-1].run_propensity,
        exploration_rate=rows.exploration_rate,
        apart=np.zeros(rows.n, dtype=np.bool_) if rows.coins_apart is None else rows.coins_apart,
    )
