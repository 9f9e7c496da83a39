"""The evidence on every candidate of a path at once, where each candidate retains whatever the one
before it retains.

A path that opens all its gates together is nested, so a row has one entry point per tier: the first
candidate under which that tier retains it. `knowgate.policy.retain_mask` decides; each row is asked
about nine candidates of 480 (bisection), and the counts of all candidates are sums over entry
points. So a million rows cost a few passes over them, for any number of gates and tiers.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from evidence.certification.certificate import Thresholds
from evidence.certification.certification_rows import CertificationRows
from evidence.certification.counted import CountedAccuracy, CountedDrop, CountedRows
from evidence.certification.tally import Tally, tally_of
from evidence.inputs import BoolArray, FloatArray, IntArray
from knowgate.policy import Gate, Policy, first_retaining, retain_mask

Signals = Mapping[str, FloatArray]


def signals_of_rows(signals: Sequence[Signals], which: BoolArray) -> tuple[Signals, ...]:
    """Per non-last tier the signals [n] of the rows for which `which` [n] says so."""
    return tuple({name: values[which] for name, values in tier.items()} for tier in signals)


def is_nested(policies: Sequence[Policy]) -> bool:
    """Whether each policy retains, tier by tier, all that the one before it retains.

    Examples:
        >>> from knowgate.policy import PolicyKind
        >>> bold, strict = (Policy.of(PolicyKind.P_T, ({"p_t": at},)) for at in (0.5, 0.9))
        >>> is_nested([strict, bold]), is_nested([bold, strict])
        (True, False)
    """
    return all(
        earlier.fallback == later.fallback
        and all(_opens(old, new) for old, new in zip(earlier.rules, later.rules, strict=True))
        for earlier, later in itertools.pairwise(policies)
    )


def _opens(old: tuple[Gate, ...] | None, new: tuple[Gate, ...] | None) -> bool:
    if old is None or new is None:
        return old is None
    return [gate.signal for gate in old] == [gate.signal for gate in new] and all(
        bool(looser.passes(stricter.threshold)) for stricter, looser in zip(old, new, strict=True)
    )


def entry_points(policies: Sequence[Policy], signals: Sequence[Signals], ran: BoolArray | None = None) -> IntArray:
    """[n, tiers − 1] the first of the nested policies under which each tier retains each row; their
    number = never.

    Args: signals, per non-last tier what `knowgate.policy.retain_mask` takes, arrays of one length
    n; ran [n, tiers], where each ran: one that did not counts as retaining.

    Examples:
        >>> from knowgate.policy import PolicyKind
        >>> path = [Policy.of(PolicyKind.P_T, ({"p_t": at},)) for at in (0.9, 0.5)]
        >>> entry_points(path, [{"p_t": np.array([0.95, 0.6, 0.1, np.nan])}]).ravel().tolist()
        [0, 1, 2, 2]
    """
    n = len(next(iter(signals[0].values())))
    entry = np.empty((n, len(signals)), dtype=np.int64)
    for tier, shown in enumerate(signals):
        todo = [(np.arange(n), 0, len(policies))]
        while todo:
            rows, first, last = todo.pop()
            if first == last or rows.size == 0:
                entry[rows, tier] = first
                continue
            middle = (first + last) // 2
            some = {name: column[rows] for name, column in shown.items()}
            there = None if ran is None else ran[rows, tier]
            kept = retain_mask(policies[middle], some, tier=tier, ran=there)
            todo += [(rows[kept], first, middle), (rows[~kept], middle + 1, last)]
    return entry


def nested_tallies(
    path: Sequence[Thresholds], entry: IntArray, rows: CertificationRows, delta: float
) -> Iterator[Tally]:
    """The tallies of a nested path's candidates, in order, from the rows' entry points [n, tiers −
    1].
    """
    if rows.forecast is not None:
        for at, thresholds in enumerate(path):
            yield tally_of(rows, first_retaining(list((entry <= at).T)), delta, thresholds)
        return
    thinned = thinned_is_sharper(path, entry, rows, delta)
    counts = NestedCounts(len(path), entry, rows)
    for at, thresholds in enumerate(path):
        if thinned[at]:
            yield counts.tally(at, thresholds)
        else:
            yield tally_of(rows, first_retaining(list((entry <= at).T)), delta, thresholds)


def thinned_is_sharper(path: Sequence[Thresholds], entry: IntArray, rows: CertificationRows, delta: float) -> BoolArray:
    """[candidates] whether counts are used: always where rows count equally, else as
    `CertificationRows` says.
    """
    if not rows.weighted:
        return np.full(len(path), rows.order is None)
    opened = entry.min(axis=1)
    retained = np.cumsum(np.bincount(opened, minlength=len(path) + 1))[: len(path)]
    weight = np.cumsum(np.bincount(opened, weights=rows.row_weight, minlength=len(path) + 1))[: len(path)]
    return rows.thinning_is_sharper(weight / np.maximum(retained, 1), delta)


class NestedCounts:
    """Per candidate: how many of the equally counting rows are kept, right, and so on."""

    def __init__(self, candidates: int, entry: IntArray, rows: CertificationRows) -> None:
        self.rows, self.candidates = rows, candidates
        equal = rows.equal
        self.n = int(equal.sum())
        self.plus, self.minus, self.right, self.unknown, self.retained = np.zeros((5, candidates), dtype=np.int64)
        self.share = np.zeros(candidates)  # of all rows, each as many as it stands for
        stands_for = np.asarray(rows.share_weight, dtype=np.float64)
        self.all = float(stands_for.sum())
        closing = np.full(rows.n, candidates, dtype=np.int64)  # where an earlier tier takes the row over
        for tier in range(entry.shape[1]):
            opening = entry[:, tier]
            self.share += self._span(opening, closing, opening < closing, stands_for)
            x = rows.outcome(np.full(rows.n, tier, dtype=np.int64))
            opens = equal & (opening < closing)
            unknown = np.isnan(x)
            self.retained += self._span(opening, closing, opens)
            self.unknown += self._span(opening, closing, opens & unknown)
            self.plus += self._span(opening, closing, opens & (unknown | (x == 1.0)))
            self.minus += self._span(opening, closing, opens & (x == -1.0))
            right = np.asarray(rows.correct, dtype=np.float64)[:, tier] == 1.0
            self.right += self._span(opening, closing, opens & right)
            closing = np.minimum(closing, opening)

    def _span(self, opening: IntArray, closing: IntArray, which: BoolArray, weight: FloatArray | None = None) -> Any:
        """[candidates] how many of the chosen rows have opening ≤ candidate < closing, or what they
        weigh together.
        """
        own = None if weight is None else weight[which]
        change = np.bincount(opening[which], own, minlength=self.candidates + 1)
        change = change - np.bincount(closing[which], own, minlength=self.candidates + 1)
        return np.cumsum(change)[: self.candidates]

    def tally(self, at: int, thresholds: Thresholds) -> Tally:
        counted = CountedRows(n=self.n, assumed_wrong=int(self.unknown[at]), thinned=self.rows.weighted)
        return Tally(
            thresholds=thresholds,
            retained_share=float(self.share[at] / self.all),
            drop=CountedDrop(rows=counted, plus=int(self.plus[at]), minus=int(self.minus[at])),
            accuracy=CountedAccuracy(rows=counted, right=int(self.right[at]), retained=int(self.retained[at])),
        )
