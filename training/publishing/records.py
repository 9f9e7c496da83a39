"""What the model registry is given of a training run.

`RunReport` travels through the outbox as JSON, so a registry that is down for a day gets everything
a day later.
"""

from dataclasses import dataclass
from datetime import date, datetime

from evidence.signals.calibration import ReliabilityBin


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A named figure of the run, with its interval where it has one."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A named sequence, one value per step."""

    name: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskPoint:
    """The risk of what is kept, when the most certain share of the rows is kept."""

    retained_share: float
    risk: float  # share of wrong answers among the kept ones


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalReport:
    """What is drawn of one signal of one tier."""

    tier: int
    signal: str
    reliability: tuple[ReliabilityBin, ...]
    risk_coverage: tuple[RiskPoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """Everything that the model registry gets of one bundle."""

    cascade: str
    bundle: str
    status: str
    created_at: datetime
    parameters: dict[str, str]
    figures: tuple[Figure, ...]
    curves: tuple[Curve, ...]
    signals: tuple[SignalReport, ...]
    reason: str | None = None  # why the training was made; None = by hand
    why: str | None = None  # the same in a sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class DayReport:
    """What MLflow gets of a cascade's report of a day."""

    cascade: str
    day: date  # on which it begins
    ended_at: datetime
    figures: tuple[Figure, ...]
    snapshot: str  # Evidently's, as JSON
