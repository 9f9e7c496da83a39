"""One gate between two tiers, and any list of candidates: how tests ask for a walk."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from evidence.certification.certificate import Certification, Target, Thresholds
from evidence.certification.certification_rows import CertificationRows
from evidence.certification.certify import certify_policy
from evidence.certification.path import GRID_POINTS, equal_quantile_path
from evidence.certification.tally import tally_of
from evidence.certification.walk import MIN_RETAINED_SHARE, walk_path
from knowgate.policy import PolicyKind


def one_gate_path(scores: npt.ArrayLike, points: int = GRID_POINTS) -> list[Thresholds]:
    """The path of P(T) alone between two tiers."""
    return equal_quantile_path([{"p_t": scores}], points)


def certify_one_gate(
    scores: npt.ArrayLike, rows: CertificationRows, target: Target, delta: float, **more: Any
) -> Certification:
    """Certify P(T) alone between two tiers."""
    return certify_policy(PolicyKind.P_T, [{"p_t": np.asarray(scores, dtype=float)}], rows, target, delta, **more)


def walk_candidates(
    candidates: Iterable[tuple[Thresholds, npt.NDArray[np.int64]]],
    rows: CertificationRows,
    target: Target,
    delta: float,
) -> Certification:
    """Walk thresholds, each with the tier [n] that every row is kept at."""
    tallies = (tally_of(rows, kept, delta, thresholds) for thresholds, kept in candidates)
    return walk_path(tallies, rows, target, delta, MIN_RETAINED_SHARE)
