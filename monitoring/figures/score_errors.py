"""The accuracy of what was retained as its own scores have it (CBPE: estimated from calibrated
confidence), with an interval only where the calibrator's own error is known.

The mean of the scores is the accuracy if the scores are calibrated on this traffic. The calibrator
was fitted to some hundred or thousand labels, and what it is off by does not shrink with the number
of decisions; an interval from the spread of the scores alone leaves it out (`python -m
benchmarks.intervals` shows what that covers). So a bundle keeps refits of its calibrator to
resamples (`knowgate._models.resampled`), and the interval is made of their error and of the chance
of these answers: it is for the accuracy of these decisions and of traffic like them. A shift of
what a score means is in no interval: read the figure beside the realised accuracy.

Source: Garg et al., arXiv 2201.04234 (average confidence); the name is NannyML's.
"""

from collections.abc import Mapping
from math import sqrt
from types import MappingProxyType

import numpy as np
import pandas as pd
from scipy.special import ndtri

from knowgate._models.resampled import ResampledScores
from monitoring.figures.estimates import CONFIDENCE, Estimated, unidentified

ScoreErrors = Mapping[tuple[str, int], ResampledScores]  # by bundle and tier
NONE_KNOWN: ScoreErrors = MappingProxyType({})
_Z = float(ndtri(0.5 + CONFIDENCE / 2.0))


def accuracy_by_scores(decisions: pd.DataFrame, errors: ScoreErrors) -> Estimated:
    """The mean score of what was retained, of those that have one.

    Without the refits of every bundle that decided there it has no interval, and `not_identified`
    says so beside the value. The errors of several bundles are added up, not their squares: they
    were learned from rows that overlap.
    """
    kept = decisions[decisions["retained"]]
    if kept.empty:
        return unidentified("nothing is retained")
    scored = kept[kept["score"].notna()]
    if scored.empty:
        return unidentified("no calibrated score is logged with the kept answers")
    n, value = len(scored), float(scored["score"].mean())
    decided = list(zip(scored["bundle"], scored["kept_tier"], strict=True))
    scores = scored["score"].to_numpy(dtype=np.float64)
    lacking = sum(one not in errors for one in decided)
    if lacking:
        return Estimated(n=n, value=value, not_identified=_why_not(lacking, n))
    error = 0.0
    for one in sorted(set(decided)):
        rows = scores[[other == one for other in decided]]
        error += len(rows) / n * errors[one].error_of_mean(rows)
    half = _Z * sqrt(error**2 + value * (1.0 - value) / n)
    return Estimated(n=n, value=value, low=max(0.0, value - half), high=min(1.0, value + half))


def _why_not(lacking: int, n: int) -> str:
    return (
        f"no interval: of {lacking} of {n} scores the calibrator's own error is not known, since their bundle keeps no "
        "refits; bundles trained from now on keep them"
    )
