"""The two doors to certified thresholds: any path of candidates, and one gate between two tiers.

Both only gather the evidence on each candidate; `evidence.walk` decides. One gate has a door of its own because its
candidates are nested: sorted once, a million rows and 240 thresholds are a few cumulative sums.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from evidence import path as paths
from evidence.certificate import Certification, Target, Thresholds
from evidence.certification_rows import CertificationRows
from evidence.errors import InvalidInputError, OverlapError
from evidence.inputs import FloatArray, real_array, same_length
from evidence.path import Candidate
from evidence.tally import PlainTally, tally_of
from evidence.walk import MIN_RETAINED_SHARE, walk_path


def certify_path(
    candidates: Iterable[Candidate],
    rows: CertificationRows,
    target: Target,
    delta: float,
    *,
    min_retained_share: float = MIN_RETAINED_SHARE,
    learned_on: Collection[str] = frozenset(),
) -> Certification:
    """Certify the boldest candidate that a path supports, for any number of gates and tiers.

    Args: candidates from conservative to bold, lazily if need be; delta, the level of this attempt (spend a family's δ
    with `delta_for_attempt` first); learned_on, ids of rows that probe, calibrator, ordering or path have seen.

    Raises OverlapError where a certification row is among `learned_on`, InvalidInputError on bad input.

    Examples:
        >>> from evidence.certificate import TargetKind
        >>> rows = CertificationRows(correct=np.tile([[1, 1], [1, 1], [0, 1], [1, 1]], (500, 1)))
        >>> scores = np.tile([0.9, 0.8, 0.3, 0.7], 500)
        >>> path = paths.single_gate_path("p_t", scores)
        >>> keep = lambda thresholds: paths.kept_tier([scores >= thresholds[0][0].value])
        >>> target = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.02)
        >>> answer = certify_path(paths.candidates_of(path, keep), rows, target, 0.1)
        >>> answer.status.value, answer.thresholds[0][0].value, answer.retained_share
        ('certified', 0.7, 0.75)
    """
    refuse_overlap(rows.ids, learned_on)
    return walk_path((tally_of(rows, candidate) for candidate in candidates), rows, target, delta, min_retained_share)


def certify_single_gate(
    gate: str,
    scores: npt.ArrayLike,
    rows: CertificationRows,
    target: Target,
    delta: float,
    *,
    path: Sequence[Thresholds] | None = None,
    min_retained_share: float = MIN_RETAINED_SHARE,
    learned_on: Collection[str] = frozenset(),
) -> Certification:
    """Certify one gate between two tiers: what `certify_path` gives, from one sort, so a million rows take seconds.

    Args: scores [n], NaN = missing (escalates); path, 240 quantiles of the scores unless given (of earlier traffic).

    Examples:
        >>> from evidence.certificate import TargetKind
        >>> rows = CertificationRows(correct=np.tile([[1, 1], [1, 1], [0, 1], [1, 1]], (500, 1)))
        >>> target = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.02)
        >>> answer = certify_single_gate("p_t", np.tile([0.9, 0.8, 0.3, 0.7], 500), rows, target, 0.1)
        >>> answer.status.value, answer.thresholds[0][0].value, answer.estimated_drop
        ('certified', 0.7, 0.0)
    """
    scores = real_array("scores", scores, unknown_allowed=True)
    same_length(scores=scores, rows=rows.counted)
    if rows.tiers != 2:
        raise InvalidInputError(f"rows has {rows.tiers} tiers, expected 2; use certify_path for a longer chain")
    refuse_overlap(rows.ids, learned_on)
    path = paths.single_gate_path(gate, scores) if path is None else path
    if rows.order is None:
        return walk_path(_sorted_tallies(gate, scores, rows, path), rows, target, delta, min_retained_share)
    sign = -1.0 if gate in paths.AT_MOST_GATES else 1.0
    masks = (sign * scores >= sign * _only_threshold(gate, at) for at in path)
    candidates = (Candidate(thresholds=at, kept=np.where(mask, 0, 1)) for at, mask in zip(path, masks, strict=True))
    return walk_path((tally_of(rows, candidate) for candidate in candidates), rows, target, delta, min_retained_share)


def refuse_overlap(certification_ids: Collection[str] | None, learned_on: Collection[str]) -> None:
    """Raise OverlapError where a row (by id, or by prompt hash: call it for each) both taught and certifies.

    Examples:
        >>> refuse_overlap(["a", "b"], {"c"})
    """
    if not learned_on:
        return
    if certification_ids is None:
        raise InvalidInputError("ids is None while learned_on is given; give each certification row's id")
    both = set(certification_ids) & set(learned_on)
    if both:
        raise OverlapError(
            f"{len(both)} certification rows, {min(both)!r} among them, were learned on; certify on rows that"
            " nothing was learned on (an ordering learned on its own rows breaks its promise with probability .76)"
        )


def _sorted_tallies(
    gate: str, scores: FloatArray, rows: CertificationRows, path: Sequence[Thresholds]
) -> Iterator[PlainTally]:
    """Tallies of one gate by cumulative sums over rows sorted by score."""
    sign = -1.0 if gate in paths.AT_MOST_GATES else 1.0
    key = np.where(np.isnan(scores), np.inf, -sign * scores)  # ascending = conservative first; missing never passes
    everything = np.sort(key)
    order = np.argsort(key[rows.counted], kind="stable")
    counted_key = key[rows.counted][order]
    retain_all = np.zeros(rows.n, dtype=np.int64)
    outcome = rows.outcome(retain_all)[rows.counted][order]
    right = np.nan_to_num(np.asarray(rows.correct, dtype=np.float64)[rows.counted, 0][order], nan=0.0)
    unknown = np.isnan(outcome)
    sums = {
        name: np.concatenate([[0], np.cumsum(flags)])
        for name, flags in {
            "plus": unknown | (outcome == 1.0),
            "minus": outcome == -1.0,
            "right": right == 1.0,
            "unknown": unknown,
        }.items()
    }
    for thresholds in path:
        edge = -sign * _only_threshold(gate, thresholds)
        kept = int(np.searchsorted(counted_key, edge, side="right"))
        yield PlainTally(
            thresholds=thresholds,
            n=len(counted_key),
            retained_share=int(np.searchsorted(everything, edge, side="right")) / rows.n,
            plus=int(sums["plus"][kept]),
            minus=int(sums["minus"][kept]),
            retained=kept,
            right=int(sums["right"][kept]),
            assumed_wrong=int(sums["unknown"][kept]),
        )


def _only_threshold(gate: str, thresholds: Thresholds) -> float:
    """The threshold of the one gate; infinitely strict where the tier retains nothing."""
    if len(thresholds) != 1 or (thresholds[0] is not None and [g.gate for g in thresholds[0]] != [gate]):
        raise InvalidInputError(f"path holds {thresholds}, expected the one gate {gate} of one tier; use certify_path")
    strictest = -np.inf if gate in paths.AT_MOST_GATES else np.inf
    return strictest if thresholds[0] is None else thresholds[0][0].value
