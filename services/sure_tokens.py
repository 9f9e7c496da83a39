"""When P(T) says little though it says so surely: the first token's, of answers of several tokens.

A model that answers in a sentence begins it the same way whether it knows or not ("The", "In"), so
the first token's probability is near 1 for right and wrong answers alike. `knowgate advise` and
`knowgate doctor` say so, with what helps: the mean over the answer's tokens, or a probe.
"""

import numpy as np

from evidence.signals.calibration import misplaced_certainty
from knowgate._records.arrays import FloatArray
from knowgate._records.records import PTKind
from monitoring.words import percent

CURE = (
    'declare p_t_kind = "mean" for the tier (P(T) over all tokens of the answer) and let the serving code send it, '
    "or train P(IK) on its hidden states"
)


def too_sure(tier: str, kind: str | None, p_t: FloatArray, correct: FloatArray) -> str | None:
    """What is wrong with a tier's P(T) of this kind, where it is near 1 on most answers [n] and far
    fewer of them are right; None where it is not, or where nothing tells. NaN = unknown.

    A kind that nobody named may be the first token's.
    """
    if kind not in (None, PTKind.FIRST_TOKEN.value):
        return None
    known = np.isfinite(p_t) & np.isfinite(correct)
    found = misplaced_certainty(p_t[known], correct[known]) if known.any() else None
    if found is None:
        return None
    whose = "the first token's P(T)" if kind is not None else "P(T) (the first token's, as it seems)"
    return (
        f"{whose} of {tier} is {found.at_least:g} or more on {percent(found.share, digits=0)} of {found.n} labelled "
        f"answers, and only {percent(found.accuracy, digits=0)} of those are right"
    )
