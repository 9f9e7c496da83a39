"""The fewest rows on which anything can be shown at all: none of them speaks against it."""

import math

from evidence.inputs import level


def fewest_rows(allowed: float, delta: float) -> int:
    """Rows without one loss among them that show, at level δ, that losses are no likelier than
    `allowed`: the smallest n with (1 − allowed)ⁿ ≤ δ. Every test of the target needs as many.

    Source: the exact binomial bound of no events, Clopper & Pearson, Biometrika 26 (1934) 404–413.

    Examples:
        >>> fewest_rows(0.02, 0.1), fewest_rows(0.05, 0.1)
        (114, 45)
    """
    return math.ceil(math.log(level("delta", delta)) / math.log1p(-level("allowed", allowed)))
