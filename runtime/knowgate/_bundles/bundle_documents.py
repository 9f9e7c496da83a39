"""What a bundle says about itself: one canonical JSON document, checked as a whole.

The tensors hold the numbers, this holds their meaning: which models, which policy, what was
promised, from which rows. A document whose parts do not fit each other (a gate on a signal that no
model of its tier makes, a tier too many) cannot exist.
"""

import math
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from knowgate._bundles.bundle_versions import SCHEMA
from knowgate._models.calibrator import Calibrator
from knowgate._models.probe import ProbeKind
from knowgate._models.score import ScoreModel
from knowgate._records.records import Fingerprint, LabelSource, PTKind, Reason, Window
from knowgate.errors import RecordInvalid
from knowgate.policy import Policy
from knowgate.spec import PromiseKind, TargetKind


class CertificateStatus(StrEnum):
    CERTIFIED = "certified"
    INFEASIBLE = "infeasible"
    INSUFFICIENT_EVIDENCE = "insufficient_evidence"
    SAVES_NOTHING = "saves_nothing"  # what would keep the promise costs as much as the last tier alone


@dataclass(frozen=True, slots=True, kw_only=True)
class TierDocument:
    """One non-last tier's models: what they read and how their raw outputs become probabilities."""

    fingerprint: Fingerprint
    probe: ProbeKind
    dimension: int  # of the hidden state
    ik_calibrator: Calibrator  # probe logit -> p_ik
    score_model: ScoreModel | None = None
    ood: bool = True  # whether the file holds OOD statistics for this tier
    resampled: bool = False  # whether it holds refits of the score's calibrator
    validation_auroc: float | None = None  # of p_ik, on rows that fitted nothing
    validation_macro_f1: float | None = None

    def __post_init__(self) -> None:
        if self.dimension < 1:
            raise RecordInvalid("dimension", self.dimension, "a hidden state has at least one dimension")
        if self.resampled and self.score_model is None:
            raise RecordInvalid("resampled", self.resampled, "refits are of a score's calibrator: there is no score")
        _unit("validation_auroc", self.validation_auroc)
        _unit("validation_macro_f1", self.validation_macro_f1)


@dataclass(frozen=True, slots=True, kw_only=True)
class GainWithinSlices:
    """What of a gain remains where the slice is known: over pairs of rows of one slice."""

    slices: int  # that have rows enough, right ones and wrong ones
    n: int  # rows in them
    auroc: float  # the signal's minus P(T)'s, the mean over slices by their rows
    auroc_low: float
    auroc_high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalGain:
    """What a learned signal of one tier adds to P(T) alone, on the same rows, which taught it
    nothing.

    Each figure is the signal's minus P(T)'s, with a 95 % interval; `evidence.signals.signal_gain`
    says how they are made.
    """

    tier: int
    signal: str  # p_ik or score
    n: int  # labelled rows that show both
    auroc: float
    auroc_low: float
    auroc_high: float
    at_share: float  # the share of the rows that is retained by either
    accuracy: float  # of what is retained then
    accuracy_low: float
    accuracy_high: float
    at_wrong: float  # share of the rows that P(T) retains then and that are wrong
    share: float  # of the rows, retained with as many wrong ones
    share_low: float
    share_high: float
    within_slices: GainWithinSlices | None = None  # None = fewer than two slices to compare, or not recorded then


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelBasis:
    """Whose labels a certificate rests on."""

    trusted: tuple[LabelSource, ...]  # whose labels count as the truth
    labels: dict[str, int]  # of trusted sources on the tested rows, by source
    forecasts: dict[str, int]  # of the others, which trusted labels correct
    rows_forecast: int = 0  # rows that enter by a forecast alone
    forecast_share: float | None = None  # how much of the forecasts was used, in [0, 1]; None = none were
    forecasts_left_out: str | None = None  # why they could not be used

    @property
    def agreement_with(self) -> tuple[LabelSource, ...]:
        """Sources that are trusted though they err: the promise is then agreement with them, not
        being right.
        """
        return tuple(source for source in self.trusted if source in (LabelSource.JUDGE, LabelSource.FEEDBACK))


@dataclass(frozen=True, slots=True, kw_only=True)
class SeasonMark:
    """Which season a certificate is of."""

    number: int  # from 1
    opened_at: datetime  # decision time of its first attempt: its quarter runs from then


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateDocument:
    """What the policy is guaranteed, and what was seen on the cohort that guaranteed it."""

    status: CertificateStatus
    target: TargetKind
    target_value: float  # ε, or the least retained accuracy
    delta: float  # used by this attempt
    delta_family: float  # of the promise: of every attempt, or of all attempts of a season together
    attempt: int  # k, from 1
    test: str  # e.g. "exact_paired", "betting"
    n: int  # rows of the cohort
    cohort: Window
    split: str  # how the rows were kept apart from fitting
    estimated_drop: float | None = None
    drop_upper_bound: float | None = None
    retained_share: float | None = None
    savings: float | None = None
    savings_low: float | None = None
    savings_high: float | None = None
    probe_auroc: float | None = None
    p_t_auroc: float | None = None
    score_auroc: float | None = None
    gains: tuple[SignalGain, ...] = ()  # of each learned signal over P(T) alone
    label_basis: LabelBasis | None = None  # None = a certificate made before it was recorded
    promise: PromiseKind | None = None  # None = made before promises were declared, with δ spent over all attempts
    season: SeasonMark | None = None  # None = of no season that is counted; δ was spent by attempts

    @property
    def sentence(self) -> str:
        """What δ is the chance against, in words."""
        if self.promise is PromiseKind.ROLLING:
            return f"{self.promise}: {self.promise.sentence}"
        if self.season is not None:
            return f"{PromiseKind.SEASON} {self.season.number}: {PromiseKind.SEASON.sentence}"
        return f"of a former account: {PromiseKind.SEASON.sentence}; each attempt spent a share of δ"

    def __post_init__(self) -> None:
        for name in ("target_value", "delta", "delta_family"):
            if not 0 < getattr(self, name) < 1:
                raise RecordInvalid(name, getattr(self, name), "lies strictly between 0 and 1")
        if self.attempt < 1 or self.n < 0:
            name, value = ("attempt", self.attempt) if self.attempt < 1 else ("n", self.n)
            raise RecordInvalid(name, value, "attempts count from 1, rows from 0")
        for name in ("estimated_drop", "drop_upper_bound", "savings", "savings_low", "savings_high"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise RecordInvalid(name, value, "a finite number is expected; leave it out when unknown")
        for name in ("retained_share", "probe_auroc", "p_t_auroc", "score_auroc"):
            _unit(name, getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonDocument:
    """A challenger beside the champion on the rows that certified it, which neither has learned
    from.
    """

    champion: str  # bundle id
    passed: bool  # an accuracy loss above epsilon is refuted at level delta
    harmful: bool  # one is shown
    champion_broken: bool  # on these rows the champion's own drop against the last tier is shown to exceed epsilon
    estimated_drop: float  # accuracy of the champion minus the challenger's
    drop_upper_bound: float
    epsilon: float
    delta: float
    test: str
    n: int
    savings_gain: float | None = None  # challenger minus champion, in shares of the last tier's cost
    champion_ended: bool = False  # what the champion promised ended with its season, or with its period
    bolder: bool = True  # on the champion's own path it keeps more, or may; False: another path, or nothing more

    def __post_init__(self) -> None:
        for name in ("estimated_drop", "drop_upper_bound", "savings_gain"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise RecordInvalid(name, value, "a finite number is expected; leave it out when unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleDocument:
    """The JSON document of a bundle."""

    cascade: str
    models: tuple[str, ...]  # every tier's model, cheapest first, the last tier's too
    tiers: tuple[TierDocument | None, ...]  # per non-last tier; None = no probe there, p_t only
    policy: Policy
    code_version: str
    created_at: datetime
    certificate: CertificateDocument | None = None
    comparison: ComparisonDocument | None = None  # with the champion at the time; None = nothing was retained then
    training_window: Window | None = None
    rows: dict[str, int] = field(default_factory=dict)  # what was read, by purpose: train, calibrate, certify …
    mlflow_run: str | None = None
    parent: str | None = None  # id of the bundle it was trained to replace
    p_t_kinds: tuple[PTKind, ...] = ()  # per non-last tier, of the P(T) its thresholds are for; () = first_token
    schema: str = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise RecordInvalid("schema", self.schema, f"this runtime writes {SCHEMA}")
        if not self.cascade:
            raise RecordInvalid("cascade", self.cascade, "name the cascade")
        if self.created_at.tzinfo is None:
            raise RecordInvalid("created_at", self.created_at.isoformat(), "the time is naive; add its offset, e.g. Z")
        if len(self.models) < 2:
            raise RecordInvalid("models", len(self.models), "a cascade has at least two tiers")
        non_last = len(self.models) - 1
        if len(self.tiers) != non_last:
            raise RecordInvalid("tiers", len(self.tiers), f"{len(self.models)} models have {non_last} non-last tiers")
        if len(self.policy.rules) != non_last:
            raise RecordInvalid(
                "policy.rules", len(self.policy.rules), f"give the gates (or null) for each of {non_last} tiers"
            )
        if not self.p_t_kinds:
            object.__setattr__(self, "p_t_kinds", (PTKind.FIRST_TOKEN,) * non_last)
        if len(self.p_t_kinds) != non_last:
            raise RecordInvalid("p_t_kinds", len(self.p_t_kinds), f"give one for each of {non_last} non-last tiers")
        for name, count in self.rows.items():
            if count < 0:
                raise RecordInvalid(f"rows.{name}", count, "a number of rows is at least 0")
        _require_models("policy", self.policy, self.tiers)
        if self.policy.fallback is not None:
            _require_models("policy.fallback", self.policy.fallback, self.tiers)


def _require_models(path: str, policy: Policy, tiers: tuple[TierDocument | None, ...]) -> None:
    """Every gate's signal must be one that its tier's models make."""
    for index, (gates, tier) in enumerate(zip(policy.rules, tiers, strict=True)):
        made = {Reason.P_T}
        if tier is not None:
            made.add(Reason.P_IK)
            made |= {Reason.OOD} if tier.ood else set()
            made |= {Reason.SCORE} if tier.score_model is not None else set()
        for gate in gates or ():
            if gate.signal not in made:
                signals = ", ".join(sorted(made))
                raise RecordInvalid(f"{path}.rules[{index}]", str(gate.signal), f"tier {index} makes only {signals}")


def _unit(name: str, value: float | None) -> None:
    if value is not None and not 0.0 <= value <= 1.0:
        raise RecordInvalid(name, value, "lies in [0, 1]; leave it out when unknown")
