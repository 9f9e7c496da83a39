"""The records of a decision: what was seen, what was decided, what was learned later.

A decision is one query's way through a cascade; an attempt is one tier's run within it; a label is
a statement about one attempt's correctness. All are frozen and checked when made, so a record that
exists is a record that holds.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import Any
from uuid import UUID

from knowgate.errors import RecordInvalid


class Action(StrEnum):
    RETAIN = "retain"
    ESCALATE = "escalate"
    NOT_YET = "not_yet"  # before the tier answers: no gate whose signal is known speaks against it; never recorded


class Role(StrEnum):
    """Why a tier ran: `served` its answer, was `superseded` by a larger tier, or ran as
    `exploration`; `skipped` = it was ended before it answered, by a gate, or since nothing of it
    could be kept.
    """

    SERVED = "served"
    SUPERSEDED = "superseded"
    EXPLORATION = "exploration"
    SKIPPED = "skipped"


class Reason(StrEnum):
    """Why a tier's answer was not kept: the first gate that failed, or what made gates void."""

    P_IK = "p_ik"
    P_T = "p_t"
    SCORE = "score"
    OOD = "ood"
    MISSING_SIGNAL = "missing_signal"
    FINGERPRINT_MISMATCH = "fingerprint_mismatch"
    P_T_KIND_MISMATCH = "p_t_kind_mismatch"
    NO_BUNDLE = "no_bundle"
    EXPIRED = "expired"
    ESCALATE_ALL = "escalate_all"
    OBSERVE = "observe"  # the cascade is watched and not switched on
    UNCERTIFIED_REQUEST = "uncertified_request"  # tools, another temperature: the last tier alone answered it


class LabelSource(StrEnum):
    """Who says whether an answer was right; earlier members take precedence over later ones."""

    GOLD = "gold"
    HUMAN = "human"
    JUDGE = "judge"
    FEEDBACK = "feedback"


class PTKind(StrEnum):
    """Which probability a tier's P(T) is. One tier sends one kind: thresholds of one kind mean
    nothing for another.
    """

    OPTION = "option"  # of the chosen option's token over the whole vocabulary, where the options are known
    FIRST_TOKEN = "first_token"  # of the answer's first token
    MEAN = "mean"  # the geometric mean over the answer's tokens: exp of their mean log-probability


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What a hidden state is a hidden state of. A vector and a probe meet only if
    theirs are equal.
    """

    model: str
    revision: str
    dtype: str
    engine: str
    engine_version: str
    chat_template_sha256: str
    layer: int  # 0 is the embedding output, n the output of block n
    position: str  # "last_prompt_token"
    normed: bool  # whether the final norm was applied


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """What one tier's gates look at. None = the signal is not there.

    All are probabilities or percentiles in [0, 1]; a value that is not finite counts as missing, a
    finite one outside [0, 1] is refused.
    """

    p_t: float | None = None  # probability of the answer's deciding token
    p_ik: float | None = None  # calibrated probe: the chance of being right, before the answer is seen
    score: float | None = None  # one calibrated chance of being right, from all signals
    ood: float | None = None  # percentile of the OOD statistic in its reference distribution

    def __post_init__(self) -> None:
        for name in ("p_t", "p_ik", "score", "ood"):
            value = getattr(self, name)
            if value is None or 0.0 <= value <= 1.0:
                continue
            if math.isfinite(value):
                raise RecordInvalid(name, value, "signals lie in [0, 1]")
            object.__setattr__(self, name, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateOutcome:
    """One gate's look at one signal: `value` None means that the signal was missing."""

    gate: Reason  # p_ik, p_t, score or ood
    value: float | None
    threshold: float
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Keep this tier's answer, or ask the next; with every gate's outcome."""

    action: Action
    reason: Reason | None  # None when retained
    gates: tuple[GateOutcome, ...] = ()
    fallback: bool = False  # the certified fallback policy decided, since a signal was missing

    @property
    def retained(self) -> bool:
        return self.action is Action.RETAIN


class Limit(Enum):
    """What a number that a tier shows can be."""

    COUNT = "count"  # whole, at least 0
    AMOUNT = "amount"  # at least 0
    SHARE = "share"  # in [0, 1]


def limited(limit: Limit) -> Any:
    """A field that holds a number within `limit`, or None."""
    return field(default=None, metadata={"limit": limit})


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a tier showed, in the fields that travel unchanged from the engine to the store."""

    answer: str | None = None  # stored as the cascade's privacy allows: the text, or its keyed hash
    fingerprint: Fingerprint | None = None  # of the hidden state
    p_t_kind: PTKind | None = None  # which probability P(T) is; None = the one that the cascade declares at the time
    entropy: float | None = limited(Limit.AMOUNT)  # of the options' distribution, in nats
    margin: float | None = limited(Limit.SHARE)  # how much likelier the likeliest option is than the next one
    tokens_in: int | None = limited(Limit.COUNT)
    tokens_out: int | None = limited(Limit.COUNT)
    latency_ms: float | None = limited(Limit.AMOUNT)
    cost_usd: float | None = limited(Limit.AMOUNT)  # None = priced on arrival from the dated prices


SHOWN = tuple(field.name for field in fields(Shown))
LIMITS: Mapping[str, Limit] = {
    field.name: field.metadata["limit"] for field in fields(Shown) if "limit" in field.metadata
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt(Shown):
    """One tier's run within a decision."""

    tier: int  # 0 = cheapest
    role: Role
    model: str
    signals: Signals = field(default_factory=Signals)
    verdict: Verdict | None = None  # None on the last tier and on explorations: nothing is decided there
    fault: Reason | None = None  # what the runtime found before the gates: fingerprint_mismatch, expired, ...
    run_propensity: float | None = None  # the chance that this tier ran (where skipped: answered); None = unknown
    vector: int | None = None  # row of this attempt's hidden state in the batch's vectors
    note: str | None = None  # what was dropped or failed, and why
    span_id: str | None = None  # of this run, in the traces or logs that it was taken from

    def __post_init__(self) -> None:
        _at_least("tier", self.tier, 0)
        for name, limit in LIMITS.items():
            value = getattr(self, name)
            _at_least(name, value, 0)
            if limit is Limit.SHARE and value is not None and value > 1.0:
                raise RecordInvalid(name, value, "a share lies in [0, 1]")
        _propensity("run_propensity", self.run_propensity)
        action = None if self.verdict is None else self.verdict.action
        if action is Action.NOT_YET:
            raise RecordInvalid("verdict.action", action, "log the verdict on the tier's answer")
        if self.role is Role.SKIPPED and (action is not Action.ESCALATE or self.answer is not None):
            raise RecordInvalid("role", self.role, "a skipped tier escalates and has no answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One query's way through a cascade."""

    id: UUID  # UUIDv7 of the decision's time
    cascade: str
    occurred_at: datetime
    attempts: tuple[Attempt, ...]
    external_id: str | None = None  # the user's own id
    slice: str | None = None
    prompt: str | None = None  # in full, only where the cascade's privacy says so
    prompt_hash: str | None = None  # keyed hash
    generation: int | None = None  # of the assignment in force; None = none was
    bundle: str | None = None  # id of the bundle that decided
    # The chance that the last tier ran, or would have run, beside this row's retained answer
    # (knowgate._deciding.exploration); the assignment's floor where no answer was retained before
    # the last tier.
    exploration_rate: float = 0.0
    trace_id: str | None = None  # of the caller's trace: 32 hex digits where it is a W3C one
    span_id: str | None = None  # of the caller's span, that asked

    def __post_init__(self) -> None:
        if self.id.version != 7:
            raise RecordInvalid("id", str(self.id), "decision ids are UUIDv7; make them with new_id()")
        _aware("occurred_at", self.occurred_at)
        _propensity_or_zero("exploration_rate", self.exploration_rate)
        if not self.cascade:
            raise RecordInvalid("cascade", self.cascade, "name the cascade")
        served = [attempt.tier for attempt in self.attempts if attempt.role is Role.SERVED]
        if len(served) != 1:
            raise RecordInvalid("attempts", f"{len(served)} served", "exactly one attempt is served")
        tiers = [attempt.tier for attempt in self.attempts]
        if len(set(tiers)) != len(tiers):
            raise RecordInvalid("attempts", tiers, "a tier runs at most once within a decision")
        if self.uncertified and (len(tiers) > 1 or self.served.verdict is not None):
            cure = "a request that no certificate covers is answered by the last tier alone, and nothing is decided"
            raise RecordInvalid("attempts.fault", Reason.UNCERTIFIED_REQUEST.value, cure)

    @property
    def served(self) -> Attempt:
        return next(attempt for attempt in self.attempts if attempt.role is Role.SERVED)

    @property
    def uncertified(self) -> bool:
        """Whether no certificate covers the request: it is outside every promise."""
        return any(attempt.fault is Reason.UNCERTIFIED_REQUEST for attempt in self.attempts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A statement about one attempt's correctness. Names its decision by id or by the user's
    external id.
    """

    cascade: str
    source: LabelSource
    correct: float  # in [0, 1]
    labelled_at: datetime  # when the statement was made
    decision_id: UUID | None = None
    external_id: str | None = None
    tier: int | None = None  # None = the served one
    label_propensity: float | None = None  # chance that this row is labelled, given its answers; None = unknown
    grader: str | None = None  # which machine said so, in which version: "name@version"; None = unknown
    origin: str | None = None  # the system that it was taken from, and its id there: "mlflow:a-17"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.correct) and 0.0 <= self.correct <= 1.0):
            raise RecordInvalid("correct", self.correct, "a label's correctness lies in [0, 1]")
        _aware("labelled_at", self.labelled_at)
        _propensity("label_propensity", self.label_propensity)
        _at_least("tier", self.tier, 0)
        if self.grader is not None and not 0 < len(self.grader) <= 200:
            raise RecordInvalid("grader", self.grader, "a name of 1 to 200 characters is expected, or none")
        if (self.decision_id is None) == (self.external_id is None):
            raise RecordInvalid("decision_id", self.decision_id, "give either decision_id or external_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A block of decision time, from `start` (in) to `end` (out)."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        _aware("start", self.start)
        _aware("end", self.end)
        if self.end <= self.start:
            raise RecordInvalid("end", self.end.isoformat(), f"a window ends after its start {self.start.isoformat()}")

    @property
    def length(self) -> timedelta:
        return self.end - self.start


def _at_least(name: str, value: float | None, least: float) -> None:
    if value is not None and not (math.isfinite(value) and value >= least):
        raise RecordInvalid(name, value, f"a finite number of at least {least} is expected")


def _aware(name: str, value: datetime) -> None:
    if value.tzinfo is None:
        raise RecordInvalid(name, value.isoformat(), "the time is naive; add its offset, e.g. Z")


def _propensity(name: str, value: float | None) -> None:
    if value is not None and not (math.isfinite(value) and 0.0 < value <= 1.0):
        raise RecordInvalid(name, value, "a propensity lies in (0, 1]; leave it out when unknown")


def _propensity_or_zero(name: str, value: float) -> None:
    if not (math.isfinite(value) and 0.0 <= value <= 1.0):
        raise RecordInvalid(name, value, "a rate lies in [0, 1]")
