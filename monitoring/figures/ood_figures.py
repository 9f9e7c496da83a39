"""What the OOD gate costs: S, how often it alone escalates; G, what that gained; what it cost for
nothing.

The gate is asked last, so its being the reason means that every other gate passed: S comes from
logs alone. G needs labels of both tiers on those decisions, drawn by a coin with a known
propensity; anything else is "not identified".
"""

import numpy as np
import pandas as pd

from evidence.errors import EvidenceError
from evidence.estimation.estimates import Estimate
from evidence.signals.ood_conservativeness import matched_escalation_of, ood_conservativeness_of
from knowgate._records.arrays import BoolArray
from knowgate._records.records import Reason, Role
from knowgate.policy import NOTHING_KEPT
from monitoring.figures.estimates import Estimated, exact_share, unidentified
from monitoring.names import FigureName
from monitoring.rows.cohorts import Cohort
from monitoring.rows.pairing import both_labelled

UNLIKE_FROM = 0.95  # percentile of the OOD statistic in its reference
_READ = (
    *("decision", "tier", "role", "reason", "retained", "score", "ood", "tokens_in", "usd"),
    *("correct", "label_propensity", "label_coin"),
)
_LABELLED = (FigureName.OOD_GAIN, FigureName.OOD_AS_GOOD, FigureName.OOD_NEEDLESS_USD)
_MATCHED = (FigureName.OOD_MATCHED_DIFFERENCE, FigureName.OOD_MATCHED_RATIO, FigureName.OOD_UNMATCHED_SHARE)


def ood_figures(cohort: Cohort, tier: int) -> dict[FigureName, Estimated]:
    """S with its exact interval; G, how often the tier was as good as the last, the needless cost
    in USD; and the matched comparison of escalation.
    """
    attempts = cohort.attempts[list(_READ)]  # a week has many rows
    small = attempts[attempts["tier"] == tier].set_index("decision")
    last = attempts[attempts["tier"] == cohort.spec.last].set_index("decision").reindex(small.index)
    only = (small["reason"] == Reason.OOD).to_numpy()
    early = int((only & small["role"].isin([Role.SKIPPED, Role.EXPLORATION]).to_numpy()).sum())
    if early:
        unknown = unidentified(f"the ood gate ended {early} attempts before their p_t was known", len(small))
        return dict.fromkeys((FigureName.OOD_ONLY_SHARE, *_LABELLED, *_MATCHED), unknown)
    figures = {FigureName.OOD_ONLY_SHARE: exact_share(int(only.sum()), len(small))} | _matched_figures(small)
    reason = _why_unknown(small, last, only)
    if reason is not None:
        return figures | dict.fromkeys(_LABELLED, unidentified(reason))
    return figures | _labelled_figures(small, last, only)


def _labelled_figures(small: pd.DataFrame, last: pd.DataFrame, only: BoolArray) -> dict[FigureName, Estimated]:
    known = (small["correct"].notna() & last["correct"].notna()).to_numpy()
    pair = both_labelled(
        small["label_propensity"].to_numpy(dtype=np.float64),
        last["label_propensity"].to_numpy(dtype=np.float64),
        small["label_coin"].to_numpy(dtype=object),
    )
    result = ood_conservativeness_of(
        only | small["retained"].to_numpy(dtype=bool),
        ~only,
        small["correct"],
        last["correct"].astype(np.float64),
        np.where(known, pair, 1.0),
        last["usd"].astype(np.float64).fillna(0.0),
    )
    needless = Estimated(n=result.labels, value=result.needless_cost)
    if last["usd"][only].isna().any():
        needless = unidentified("the last tier has no cost in usd there; declare its price", result.labels)
    return {
        FigureName.OOD_GAIN: _bounded(result.gain, result.labels),
        FigureName.OOD_AS_GOOD: _bounded(result.as_good, result.labels),
        FigureName.OOD_NEEDLESS_USD: needless,
    }


def _matched_figures(small: pd.DataFrame) -> dict[FigureName, Estimated]:
    """The matched comparison over the answers of a policy that may keep some."""
    kept_nothing = small["reason"].isin([reason.value for reason in NOTHING_KEPT])
    rows = small[~kept_nothing & small[["ood", "score", "tokens_in"]].notna().all(axis=1)]
    if rows.empty:
        return dict.fromkeys(_MATCHED, unidentified("no answer has ood, score and tokens_in, under a policy"))
    silent = [name for name, side in rows.groupby("retained") if side["correct"].isna().all()]
    if silent:
        which = "retained" if silent[0] else "escalated"
        return dict.fromkeys(_MATCHED, unidentified(f"no labels on {which} answers"))
    try:
        found = matched_escalation_of(
            ~rows["retained"].to_numpy(dtype=bool),
            (rows["ood"] > UNLIKE_FROM).to_numpy(),
            rows["correct"],
            rows["label_propensity"].astype(np.float64),
            rows["score"].astype(np.float64),
            rows["tokens_in"].astype(np.float64),
        )
    except EvidenceError as error:
        return dict.fromkeys(_MATCHED, unidentified(str(error), int(rows["correct"].notna().sum())))
    n, low, high = found.labels, found.difference_low, found.difference_high
    ratio = unidentified("no like answer that is right is escalated", n)
    if found.ratio is not None:
        ratio = Estimated(n=n, value=found.ratio, low=found.ratio_low, high=found.ratio_high)
    return {
        FigureName.OOD_MATCHED_DIFFERENCE: Estimated(n=n, value=found.difference, low=low, high=high),
        FigureName.OOD_MATCHED_RATIO: ratio,
        FigureName.OOD_UNMATCHED_SHARE: Estimated(n=n, value=found.uncovered),
    }


def _why_unknown(small: pd.DataFrame, last: pd.DataFrame, only: BoolArray) -> str | None:
    if not only.any():
        return "the ood gate alone escalated nothing"
    known = (small["correct"].notna() & last["correct"].notna()).to_numpy() & only
    if not known.any():
        return "no labels of both tiers on what the ood gate alone escalated"
    unknown = (small["label_propensity"].isna() | last["label_propensity"].isna()).to_numpy() & known
    if unknown.any():
        return f"{int(unknown.sum())} of {int(known.sum())} labels have an unknown propensity; send it with them"
    return None


def _bounded(estimate: Estimate | None, n: int) -> Estimated:
    if estimate is None:
        return unidentified("no labels", n)
    return Estimated(n=n, value=estimate.value, low=estimate.lower, high=estimate.upper)
