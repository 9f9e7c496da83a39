"""How old a decision is when its label comes, estimated while many are still waiting.

Young decisions have had no time for a late label, so the plain share of labelled rows by age is too
low, and the mean delay of the labels that came is too short: it knows only the fast ones. The
product-limit estimate counts each row for as long as it has been watched. Some labels never come;
the curve then levels off below 1, at the share that is labelled at all.

Sources: Kaplan & Meier, JASA 53 (1958); Greenwood (1926); interval on the log(-log) scale:
Kalbfleisch & Prentice, The Statistical Analysis of Failure Time Data (2002), section 1.4.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from evidence.inputs import flag_array, number, real_array, same_length


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalPoint:
    """The share of rows that have their label by an age."""

    age: float  # in the unit of the ages given
    share: float | None  # None = no row has been watched for so long
    lower: float | None
    upper: float | None
    watched: int  # rows as old as this, or labelled before


def arrival_curve(
    age: npt.ArrayLike, arrived: npt.ArrayLike, at: npt.ArrayLike, *, confidence: float = 0.95
) -> tuple[ArrivalPoint, ...]:
    """The share of rows labelled by each age of `at` [k], in the order given.

    Args: age [n] ≥ 0, of the row when its label came, or today where none has; arrived [n], whether
    one has. A label that came at an age counts at that age.

    Examples:
        >>> [point.share for point in arrival_curve([1.0, 2.0, 2.5, 4.0], [1, 0, 1, 0], [1.0, 3.0])]
        [0.25, 0.625]
    """
    age, came = real_array("age", age, low=0.0), flag_array("arrived", arrived)
    same_length(age=age, arrived=came)
    wanted = real_array("at", at, low=0.0)
    confidence = number("confidence", confidence, low=0.0, high=0.9999)
    times, events = np.unique(age[came], return_counts=True)
    waiting = len(age) - np.searchsorted(np.sort(age), times, side="left")  # rows at risk just before each time
    remaining = np.cumprod(1.0 - events / waiting)
    greenwood = np.cumsum(events / (waiting * np.maximum(waiting - events, 1)))
    points = []
    for one in wanted.tolist():
        watched = int(((age >= one) | came).sum())
        index = int(np.searchsorted(times, one, side="right")) - 1
        still, variance = (1.0, 0.0) if index < 0 else (float(remaining[index]), float(greenwood[index]))
        if one > age.max() and still > 0.0:
            points.append(ArrivalPoint(age=one, share=None, lower=None, upper=None, watched=watched))
            continue
        lower, upper = _interval(still, variance, watched, confidence)
        points.append(ArrivalPoint(age=one, share=1.0 - still, lower=lower, upper=upper, watched=watched))
    return tuple(points)


def _interval(still: float, greenwood: float, n: int, confidence: float) -> tuple[float, float]:
    """Of 1 − still; at 0 and 1, where the variance is 0 and proves little, by the binomial's exact
    end points.
    """
    tail = (1.0 - confidence) / 2.0
    if still >= 1.0:
        return 0.0, 1.0 - tail ** (1.0 / n)
    if still <= 0.0:
        return tail ** (1.0 / n), 1.0
    reach = float(ndtri(1.0 - tail)) * np.sqrt(greenwood) / abs(np.log(still))
    return 1.0 - float(still ** np.exp(-reach)), 1.0 - float(still ** np.exp(reach))
