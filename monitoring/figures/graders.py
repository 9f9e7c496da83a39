"""How often what is not trusted errs, by the trusted labels of the same answers.

Every version of a grader is measured apart (`store.traffic.verdicts`). Counts are plain: trusted
labels are drawn by coins that have not looked at the verdict, so each of the two rates is a mean
over a sample of its own (`knowgate labels queue` draws so). Sources: Rogan & Gladen, American
Journal of Epidemiology 107 (1978) (the two rates); Clopper & Pearson, Biometrika 26 (1934) (their
intervals).
"""

import pandas as pd

from knowgate._records.arrays import BoolArray
from monitoring.figures.estimates import Estimated, exact_share
from monitoring.names import FigureName


def grader_figures(attempts: pd.DataFrame) -> dict[FigureName, Estimated]:
    """The two error rates of what is not trusted, over all attempts [rows of `pair_attempts`] that
    both speak of.
    """
    said, right = compared(attempts)
    return {
        FigureName.JUDGE_WRONG_CALLED_RIGHT: _rate(said[~right], "wrong answers"),
        FigureName.JUDGE_RIGHT_CALLED_WRONG: _rate(~said[right], "right answers"),
    }


def compared(attempts: pd.DataFrame) -> tuple[BoolArray, BoolArray]:
    """What was said and what is right, where both are known."""
    both = attempts["forecast"].notna() & attempts["correct"].notna()
    return (attempts.loc[both, "forecast"] >= 0.5).to_numpy(), (attempts.loc[both, "correct"] >= 0.5).to_numpy()


def _rate(hits: BoolArray, of: str) -> Estimated:
    nothing = f"no {of} have both a trusted label and one of a source that is not"
    return exact_share(int(hits.sum()), len(hits), nothing=nothing)
