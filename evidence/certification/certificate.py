"""What a certification asks and what it answers.

Three answers exist and none of them is an exception: `certified` thresholds; `infeasible`, where
every policy worth having was shown to break the target; and `insufficient_evidence`, with the
labelled rows that would settle it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from evidence.errors import InvalidInputError
from evidence.inputs import number
from knowgate._bundles.bundle_documents import CertificateStatus
from knowgate.policy import Gate
from knowgate.spec import TargetKind


class CertificationTest(StrEnum):
    EXACT_DROP = "exact_unconditional_score"  # unweighted rows, X in {−1, 0, 1}
    THINNED_DROP = "thinned_exact_unconditional_score"  # weighted rows, thinned to one rate before labels are seen
    BETTING_DROP = "betting"  # fractional rows, and weighted ones where thinning would waste more
    EXACT_BINOMIAL = "exact_binomial"  # retained accuracy of unweighted rows
    THINNED_BINOMIAL = "thinned_exact_binomial"
    BETTING_ACCURACY = "betting_retained_accuracy"  # retained accuracy of weighted or fractional rows
    CORRECTED_DROP = "betting_corrected_forecasts"  # forecasts on all rows, corrected by labels drawn by coin
    SEASON = "season"  # bets and exact tests on what a season has counted
    CORRECTED_ACCURACY = "betting_corrected_forecasts_retained_accuracy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The promise that is to be shown.

    Examples:
        >>> Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.02).value
        0.02
    """

    kind: TargetKind
    # A share in (0, 1): how far the cascade's accuracy may lie below its last tier's, or how often
    # a retained answer must be right.
    value: float

    def __post_init__(self) -> None:
        number("target value", self.value)
        if not 0.0 < self.value < 1.0:
            raise InvalidInputError(f"target value is {self.value}, expected a share in (0, 1); 0.02 is two points")


Thresholds: TypeAlias = tuple[tuple[Gate, ...] | None, ...]
"""Per non-last tier its gates, as `Policy.rules` has them; None = that tier retains nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What the test of one candidate against one target rests on."""

    test: CertificationTest
    n: int  # rows the test counted
    assumed_wrong: int  # of those, kept ones without a known outcome, counted as the worst case
    rows_forecast: int = 0  # of those, rows that enter by a forecast alone
    forecast_share: float | None = None  # how much of the forecasts was used in the end; None = none were


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateFigures:
    """How one candidate did on the certification rows."""

    thresholds: Thresholds
    retained_share: float  # of all rows, kept by a tier that is not the last
    estimated_drop: float  # mean X, unknown rows counted as +1
    drop_upper_bound: float  # at level δ, for this candidate looked at alone
    retained_accuracy: float | None  # of retained rows; None where none is retained
    retained_accuracy_lower_bound: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Certification:
    """The outcome of one walk along a path of candidates.

    `thresholds` and the figures beside it describe what is guaranteed: where nothing is certified
    that is "escalate all", with nothing retained and no drop. The guarantee of the whole walk is
    the target at confidence 1 − δ; `drop_upper_bound` below ε is the chosen candidate's own bound
    and not simultaneous over the walk.
    """

    status: CertificateStatus
    target: Target
    delta: float  # the level this test used, after spending
    test: CertificationTest
    n: int  # rows the test counted
    thresholds: Thresholds
    retained_share: float
    estimated_drop: float
    drop_upper_bound: float
    retained_accuracy: float | None
    retained_accuracy_lower_bound: float | None
    stopped_at: CandidateFigures | None  # the first candidate that failed; None where all passed
    labels_needed: int | None  # further labelled rows for 80 % power; 0 if certified; None where none would do
    least_escalation: float | None  # any policy must escalate at least this share (lower bound); None if certified
    rows_assumed_wrong: int  # retained rows without a known outcome, counted as the worst case
    min_retained_share: float  # candidates below it do not count against feasibility
    rows_forecast: int = 0  # counted rows that enter by a forecast alone: no trusted label tells of them
    forecast_share: float | None = None  # how much of the forecasts was used in the end, in [0, 1]; None = none were

    @property
    def epsilon(self) -> float | None:
        """The drop allowed; None for a target of another kind."""
        return self.target.value if self.target.kind is TargetKind.MAX_ACCURACY_DROP else None
