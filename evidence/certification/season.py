"""The promise of a whole season: "never broken in any week of it, with confidence 1 − δ".

1. A season has one path, fixed before its first row. Of each level three numbers are kept: rows
   with X = +1 (unknown ones among them), rows with X = −1, and all rows. Rows are added once, batch
   by batch, each batch thinned to one rate of its own: a plain sample of what was asked then.
2. A level is shown by a bet on ε − X that is mixed over sixteen stakes: were its drop above ε, its
   wealth would ever reach 2/δ with probability δ/2 at most (Ville), so it may be looked at daily.
3. It is shown as well by the exact test, which needs a fixed number of rows and is therefore made
   only when the rows have doubled: at the j-th time at (δ/2)·6/(π²j²), which adds up to δ/2.
4. Levels are shown one after another, from the most conservative on, and what was shown stays so. A
   promise broken in any week needs the first broken level to be shown: probability ≤ δ.

Under drift it promises the mean drop since the season began. A season begins anew with a new path,
a risk alarm, or a quarter. A retained accuracy a is the same bet on what is retained: X = 1 for a
wrong answer, ε = 1 − a, and the exact test is the binomial.

Source: betting on a bounded mean as in Waudby-Smith & Ramdas, JRSS B 86 (2024) 1–27, with a mixture
over constant stakes; a sequence of levels tested with e-processes as in arXiv 2406.10490.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
from scipy.special import logsumexp

from evidence.bounds.binomial import proportion_at_least, retained_rows_to_start
from evidence.bounds.exact_drop import drop_refuted
from evidence.bounds.spending import delta_for_attempt
from evidence.certification.certificate import Target, Thresholds
from evidence.certification.certification_rows import CertificationRows
from evidence.certification.nested_path import NestedCounts
from evidence.errors import InvalidInputError
from evidence.inputs import FloatArray, IntArray, level, number, same_length
from knowgate.spec import TargetKind

QUARTER = timedelta(weeks=13)  # the longest season
STAKES = np.geomspace(0.02, 0.9, 16)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Season:
    """What a season has counted at each level of its path, and how many levels are shown."""

    path: tuple[Thresholds, ...]  # the most conservative level first
    target: Target
    delta: float  # of the whole season
    plus: IntArray  # [levels] rows with X = +1; of a retained accuracy: wrong ones of what is retained
    minus: IntArray  # [levels] rows with X = −1
    counted: IntArray  # [levels] rows in all; of a retained accuracy: those that are retained
    rows: int = 0  # added so far
    looks: int = 0  # exact tests made
    rows_at_look: int = 0  # at the last of them
    certified: int = 0  # levels shown, from the most conservative on

    @property
    def thresholds(self) -> Thresholds | None:
        """The boldest that are certified; None where none are."""
        return self.path[self.certified - 1] if self.certified else None


def season_of(path: Sequence[Thresholds], target: Target, delta: float) -> Season:
    """A season that begins: nothing is counted, nothing certified.

    `path` is nested and fixed without a label of the season's rows. Of a retained accuracy it is to
    start at a level that retains a share worth having, since each level waits for rows of its own.

    Examples:
        >>> target = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.02)
        >>> season_of([(None,)], target, 0.1).certified
        0
    """
    if not path:
        raise InvalidInputError("path is empty; a season needs at least one level")
    nothing = np.zeros(len(path), dtype=np.int64)
    return Season(
        path=tuple(path), target=target, delta=level("delta", delta), plus=nothing, minus=nothing, counted=nothing
    )


def with_rows(season: Season, entry: IntArray, rows: CertificationRows) -> Season:
    """The season with a batch of rows added, which it has not counted before.

    Args: entry [n, tiers − 1], the rows' entry points on the season's path
    (`evidence.certification.nested_path.entry_points`). Raises InvalidInputError for fractional
    outcomes, which no exact test counts.

    Examples:
        >>> target = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.02)
        >>> rows = CertificationRows(correct=[[0, 1], [1, 1], [1, 0]])
        >>> season = with_rows(season_of([(None,)], target, 0.1), np.array([[0], [0], [0]]), rows)
        >>> season.plus.tolist(), season.minus.tolist(), season.rows
        ([1], [1], 3)
    """
    same_length(entry=entry, rows=rows.counted)
    correct = np.asarray(rows.correct, dtype=np.float64)
    if ((correct > 0.0) & (correct < 1.0)).any():
        raise InvalidInputError("correct holds fractions; a season counts rows, so give labels of 0 or 1")
    counts = NestedCounts(len(season.path), entry, rows)
    if season.target.kind is TargetKind.MAX_ACCURACY_DROP:
        plus, minus, counted = counts.plus, counts.minus, np.full(len(season.path), counts.n, dtype=np.int64)
    else:
        plus, minus, counted = counts.retained - counts.right, np.zeros_like(counts.right), counts.retained
    return replace(
        season,
        plus=season.plus + plus,
        minus=season.minus + minus,
        counted=season.counted + counted,
        rows=season.rows + counts.n,
    )


def with_look(season: Season) -> Season:
    """The season after a look at what it has counted, at any time.

    Examples:
        >>> target = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.02)
        >>> rows = CertificationRows(correct=np.ones((500, 2)))
        >>> season = with_rows(season_of([(None,)], target, 0.1), np.zeros((500, 1), int), rows)
        >>> with_look(season).certified
        1
    """
    exact = _exact_is_due(season)
    looks = season.looks + exact
    evidence = log_evidence(season.plus, season.minus, season.counted, _allowed(season.target))
    shown, certified = evidence >= np.log(2.0 / season.delta), season.certified
    while certified < len(season.path) and (
        shown[certified] or (exact and _shown_exactly(season, certified, delta_for_attempt(season.delta / 2.0, looks)))
    ):
        certified += 1
    rows_at_look = season.rows if exact else season.rows_at_look
    return replace(season, certified=certified, looks=looks, rows_at_look=rows_at_look)


def log_evidence(plus: IntArray, minus: IntArray, counted: IntArray, epsilon: float) -> FloatArray:
    """[levels] the logarithm of the wealth of a bet that E[X] ≤ ε, from 1; it is in logarithms
    throughout, since a few thousand rows take it beyond any float.

    Examples:
        >>> log_evidence(np.array([0]), np.array([0]), np.array([0]), 0.02).tolist()
        [0.0]
        >>> np.exp(log_evidence(np.array([10]), np.array([10]), np.array([1000]), 0.02)).round(1)
        array([272.4])
    """
    epsilon = number("epsilon", epsilon, low=0.0, high=1.0)
    same_length(plus=plus, minus=minus, counted=counted)
    if (plus < 0).any() or (minus < 0).any() or (plus + minus > counted).any():
        raise InvalidInputError("plus + minus is more than counted at a level, or below 0; count every row once")
    won = (
        np.outer(plus, np.log1p(-STAKES * (1.0 - epsilon)))
        + np.outer(minus, np.log1p(STAKES * (1.0 + epsilon)))
        + np.outer(counted - plus - minus, np.log1p(STAKES * epsilon))
    )
    return np.asarray(logsumexp(won, axis=1) - np.log(len(STAKES)), dtype=np.float64)


def _allowed(target: Target) -> float:
    """ε: the largest mean of X that keeps the promise."""
    return target.value if target.kind is TargetKind.MAX_ACCURACY_DROP else 1.0 - target.value


def _exact_is_due(season: Season) -> bool:
    """Whether the rows have doubled since the last exact test; the first waits until rows without a
    single loss would pass. No label decides it.
    """
    if season.looks:
        return season.rows >= 2 * season.rows_at_look
    delta = delta_for_attempt(season.delta / 2.0, 1)
    if season.target.kind is TargetKind.MAX_ACCURACY_DROP:
        return season.rows > 0 and drop_refuted(0, 0, season.rows, season.target.value, delta)
    return int(season.counted[0]) >= retained_rows_to_start(season.target.value, delta)


def _shown_exactly(season: Season, at: int, delta: float) -> bool:
    plus, minus, counted = int(season.plus[at]), int(season.minus[at]), int(season.counted[at])
    if season.target.kind is TargetKind.MAX_ACCURACY_DROP:
        return drop_refuted(plus, minus, counted, season.target.value, delta)
    return counted > 0 and proportion_at_least(counted - plus, counted, season.target.value, delta)
