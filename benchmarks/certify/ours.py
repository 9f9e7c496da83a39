"""The product's choice on a resample, without the figures that a certificate also carries.

A certificate's bounds and its 480 policies cost more than its choice, and a benchmark of a thousand
resamples needs the choice alone. So one threshold per tier is searched for instead of asked of each
policy; the tallies and the test are the product's, and its walk is cut down to "the last candidate
before the first failure". Where the product would bet on the weights of a candidate on the way, it
is asked instead. Every setting holds its first resamples to the whole `certify_policy`, which would
show a difference.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from benchmarks.certify.rivals import Choice, at_thresholds
from evidence.bounds.betting import thinning_coins as coins_of
from evidence.certification.certificate import Target
from evidence.certification.certification_rows import CertificationRows
from evidence.certification.certify import certify_policy
from evidence.certification.nested_path import nested_tallies
from evidence.certification.path import GRID_POINTS
from knowgate._bundles.bundle_documents import CertificateStatus
from knowgate._records.arrays import BoolArray, FloatArray
from knowgate._records.records import Reason
from knowgate.policy import Gate, PolicyKind
from knowgate.spec import TargetKind

HELD_TO_PRODUCT = 5  # resamples of each setting


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """Rows to certify on."""

    p_t: FloatArray  # [n, tiers − 1]
    correct: FloatArray  # [n, tiers], NaN = unknown
    propensity: FloatArray | None = None  # [n], None: nothing is drawn by a coin
    observed: BoolArray | None = None  # [n]
    ids: tuple[str, ...] | None = None
    coins: FloatArray | None = None  # [n] the thinning coins of the ids, drawn once for all resamples
    first: tuple[float, ...] | None = None  # thresholds that the candidates start at; None: anywhere


def coins(ids: tuple[str, ...]) -> FloatArray:
    """The product's thinning coins of these rows [n]."""
    return coins_of(ids)


def certified(sample: Sample, epsilon: float, delta: float, *, held_to_product: bool) -> Choice:
    """The certified policy; None: nothing is.

    Raises AssertionError where `certify_policy` chooses otherwise and `held_to_product` asks it.
    """
    path = _path(sample)
    entry = np.column_stack([np.searchsorted(-grid, -tier) for grid, tier in zip(path.T, sample.p_t.T, strict=True)])
    equal = _equal_rows(sample)
    rows = CertificationRows(correct=sample.correct[equal])
    best, tested = None, 0
    for at, tally in enumerate(nested_tallies([()] * len(path), entry[equal], rows, delta)):
        if tally.retained_share > 0.0:
            tested = at
            if not tally.drop.shown(epsilon, delta):
                break
            best = at
    chosen = None if best is None else tuple(path[best].tolist())
    if not _exact_all_along(sample, entry, tested, delta):
        chosen = _by_product(sample, path, epsilon, delta)
    elif held_to_product:
        product = _by_product(sample, path, epsilon, delta)
        if product != chosen:
            raise AssertionError(f"certify_policy chose {product}, the cut-down walk {chosen}")
    return None if chosen is None else at_thresholds(chosen)


def _path(sample: Sample) -> FloatArray:
    """[candidates, tiers − 1] the product's 480 equal quantile levels, from `first` on where there
    is one.
    """
    n = len(sample.p_t)
    rank = np.ceil(np.arange(1, GRID_POINTS + 1) / GRID_POINTS * n - 1e-9).astype(np.int64)
    path = np.sort(sample.p_t, axis=0)[n - rank]
    if sample.first is None:
        return path
    return np.vstack([sample.first, path[(path <= sample.first).all(axis=1)]])


def _equal_rows(sample: Sample) -> BoolArray:
    """[n] rows that count equally: all, or what thinning to one rate leaves of the
    observed ones.
    """
    if sample.propensity is None or sample.observed is None or sample.coins is None:
        return np.ones(len(sample.p_t), dtype=np.bool_)
    kept: BoolArray = sample.coins < sample.propensity.min() / sample.propensity
    return sample.observed & kept


def _exact_all_along(sample: Sample, entry: npt.NDArray[np.int64], tested: int, delta: float) -> bool:
    """Whether the product makes the exact test, thinned or not, of every candidate up to the last
    one tested.
    """
    if sample.propensity is None:
        return True
    opened, weight = entry.min(axis=1), 1.0 / sample.propensity
    retained = np.cumsum(np.bincount(opened, minlength=tested + 1))[: tested + 1]
    weighed = np.cumsum(np.bincount(opened, weights=weight, minlength=tested + 1))[: tested + 1]
    mean = weighed[retained > 0] / retained[retained > 0]
    return bool((ndtri(delta) ** 2 * weight.max() <= 2.0 * np.log(1.0 / delta) * mean).all())


def _by_product(sample: Sample, path: FloatArray, epsilon: float, delta: float) -> tuple[float, ...] | None:
    rows = CertificationRows(
        correct=sample.correct, propensity=sample.propensity, observed=sample.observed, ids=sample.ids
    )
    answer = certify_policy(
        PolicyKind.P_T,
        [{"p_t": column} for column in sample.p_t.T],
        rows,
        Target(kind=TargetKind.MAX_ACCURACY_DROP, value=epsilon),
        delta,
        path=[tuple((Gate(signal=Reason.P_T, threshold=float(tier)),) for tier in at) for at in path],
        min_retained_share=0.0,  # what is not worth having is the operator's to say
    )
    if answer.status is not CertificateStatus.CERTIFIED:
        return None
    return tuple(tier[0].threshold for tier in answer.thresholds if tier is not None)
