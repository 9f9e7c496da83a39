"""How many events a weighted mean's interval rests on, and why it has none where they are few.

The standard error of a weighted mean is made of the rows that differ from the others: of a drop
those where one tier was right and the other was not. Where such rows are rare, most draws show next
to none; the interval is then a point, or reaches half as far as it should, and no quantile mends an
error that was not seen. So an interval is given from `LEAST_EVENTS` on. The number is the mean of
a Poisson count whose normal interval begins to cover; `python -m benchmarks.intervals` shows what
intervals cover on either side of it.
"""

import numpy as np
import numpy.typing as npt

from evidence.inputs import FloatArray, real_array

LEAST_EVENTS = 20


def events_among(values: npt.ArrayLike) -> int:
    """How many of the seen values [n] differ from the commonest one.

    Examples:
        >>> events_among([0.0, 0.0, 1.0, 0.0, -1.0])
        2
    """
    seen: FloatArray = np.asarray(values, dtype=np.float64)
    if seen.size == 0:
        return 0
    # Differences of floats that should be equal must not make events.
    _, counts = np.unique(np.round(real_array("values", seen), 9), return_counts=True)
    return int(seen.size - counts.max())


def why_no_interval(events: int) -> str | None:
    """The reason why a mean that rests on so many events has no interval; None where it has one.

    Examples:
        >>> why_no_interval(3)
        'no interval: 3 of the values seen differ from the others, an honest one takes 20'
        >>> why_no_interval(20) is None
        True
    """
    if events >= LEAST_EVENTS:
        return None
    return f"no interval: {events} of the values seen differ from the others, an honest one takes {LEAST_EVENTS}"
