"""What a cascade is declared to be: tiers, dated prices, targets, label horizons, privacy.

Declared in `cascade.toml`, kept versioned in the store, read by every floor above. The last tier is
what a cascade is measured against.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from knowgate._records.options import require_options
from knowgate._records.receivers import Receiver
from knowgate._records.records import LabelSource, PTKind
from knowgate._records.request import named_model, require_request
from knowgate.errors import RecordInvalid
from knowgate.policy import PolicyKind

_COMMIT = re.compile(r"[0-9a-f]{40}")
CERTIFIABLE_KINDS = (PolicyKind.P_T, PolicyKind.P_IK, PolicyKind.GATES, PolicyKind.SCORE)  # what can be certified
_NEVER_IGNORED = ("model", "messages", "stream")  # what a request asks
# With how it is answered: none of it can be a parameter that tiers are given.
_NO_PARAMETERS = (*_NEVER_IGNORED, "stream_options", "metadata", "n", "logprobs", "top_logprobs")
LARGEST_DELTA = 0.5  # a certificate that errs more often than a coin tells nothing


class Privacy(StrEnum):
    """What is stored of prompts and answers. Splits need at least the keyed hash."""

    NEVER = "never"
    HASH = "hash"
    FULL = "full"


class TargetKind(StrEnum):
    MAX_ACCURACY_DROP = "max_accuracy_drop"  # the cascade's accuracy is at most `value` below its last tier's
    RETAINED_ACCURACY = "retained_accuracy"  # retained answers are right at least `value` of the time


class PromiseKind(StrEnum):
    """What is owed with confidence 1 − δ: that a week keeps the target, or that a season does."""

    ROLLING = "rolling"
    SEASON = "season"

    @property
    def sentence(self) -> str:
        """The promise in words, for whoever reads δ beside it.

        >>> PromiseKind.SEASON.sentence
        'in no week of the season do the thresholds in force break the target, confidence 1 − δ'
        """
        if self is PromiseKind.ROLLING:
            return "in any given week the thresholds in force keep the target, confidence 1 − δ"
        return "in no week of the season do the thresholds in force break the target, confidence 1 − δ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a tier's tokens cost from `since` on."""

    since: datetime
    usd_per_million_tokens_in: float
    usd_per_million_tokens_out: float

    def __post_init__(self) -> None:
        for name in ("usd_per_million_tokens_in", "usd_per_million_tokens_out"):
            if not getattr(self, name) >= 0:
                raise RecordInvalid(name, getattr(self, name), "a price is at least 0")
        if self.since.tzinfo is None:
            raise RecordInvalid("since", self.since.isoformat(), "the time is naive; add its offset, e.g. Z")

    def cost_usd(self, tokens_in: int, tokens_out: int) -> float:
        return (tokens_in * self.usd_per_million_tokens_in + tokens_out * self.usd_per_million_tokens_out) / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class TierSpec:
    """One model of a cascade."""

    name: str
    model: str  # a Hugging Face id, a local folder, or an API's model name
    parameters: float  # for 2 · parameters · tokens floating-point operations
    prices: tuple[Price, ...] = ()
    revision: str = "main"
    backend: str = "external"  # who runs it: external (the user's gateway), transformers, openai, vllm, sglang
    endpoint: str | None = None
    layers: tuple[int, ...] = ()  # whose hidden states are kept; empty = none, so there is no probe
    encoder: str | None = None  # a model whose hidden states the probe reads in place of a black box's own
    p_t_kind: PTKind = PTKind.FIRST_TOKEN
    options: tuple[str, ...] = ()  # the texts of the allowed answers, where they are known
    max_tokens: int = 256  # of an answer
    api_key_variable: str | None = None  # the environment variable that holds the endpoint's key; never the key
    # What its model is given with every request (knowgate._records.request).
    request: dict[str, Any] = field(default_factory=dict)
    timeout: timedelta | None = None  # of an answer, all tries together; None = what serves it says
    early: bool = False  # a gate may end it before it answers, as soon as the prompt is read

    def __post_init__(self) -> None:
        require_request(self.request, self.backend)
        if self.timeout is not None and not self.timeout > timedelta():
            raise RecordInvalid("timeout", self.timeout.total_seconds(), "a duration above 0 is expected")
        if self.early and not self.layers and self.encoder is None:
            cure = "nothing is known before the answer: name layers or an encoder, or leave early out"
            raise RecordInvalid("early", self.early, cure)
        if self.max_tokens < 1:
            raise RecordInvalid("max_tokens", self.max_tokens, "an answer has at least one token")
        if self.options and len(set(self.options)) < max(2, len(self.options)):
            raise RecordInvalid("options", list(self.options), "give at least two answers, each once, or none")
        require_options(self.options)
        if self.api_key_variable is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.api_key_variable):
            cure = "name the environment variable that holds the key; the key itself has no place here"
            raise RecordInvalid("api_key_variable", "(not shown)", cure)
        if self.p_t_kind is PTKind.OPTION and not self.options and self.backend != "external":
            raise RecordInvalid("p_t_kind", self.p_t_kind.value, f"backend {self.backend} has to know the options")
        if not self.parameters > 0:
            raise RecordInvalid("parameters", self.parameters, "the number of parameters is above 0")
        if self.encoder is not None and not self.encoder:
            raise RecordInvalid("encoder", self.encoder, "name a model or a folder, or leave it out")
        sinces = [price.since for price in self.prices]
        if sinces != sorted(sinces):
            raise RecordInvalid(
                "prices", [since.isoformat() for since in sinces], "list prices by date, earliest first"
            )

    @property
    def named_model(self) -> str:
        """The model's name with its request parameters: what attempts and bundles carry."""
        return named_model(self.model, self.request)

    def declares(self, model: str, revision: str | None = None) -> bool:
        """Whether an attempt of `model`, with hidden states of `revision` (None = not known), is of
        this tier.

        Revisions are compared where both are commits: a branch, a tag or a folder names no fixed
        weights. An encoder's revision says nothing of the tier's own model.
        """
        if model != self.named_model:
            return False
        commits = all(_COMMIT.fullmatch(text or "") for text in (revision, self.revision))
        return self.encoder is not None or not commits or revision == self.revision

    def price_at(self, time: datetime) -> Price | None:
        """The price in force at `time`; None before the first one."""
        valid = [price for price in self.prices if price.since <= time]
        return valid[-1] if valid else None

    def gflops(self, tokens: int) -> float:
        """2 · parameters · tokens / 10⁹ (prefill and decode alike)."""
        return 2 * self.parameters * tokens / 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What a certificate must promise."""

    kind: TargetKind = TargetKind.MAX_ACCURACY_DROP
    value: float = 0.02
    delta: float = 0.1
    promise: PromiseKind = PromiseKind.ROLLING
    rule: PolicyKind = PolicyKind.GATES
    min_retained_share: float = 0.05  # retaining less than this is not worth a cascade: infeasible
    # Whose labels a promise may rest on. Those of the others are forecasts, which trusted labels
    # correct.
    trusted: tuple[LabelSource, ...] = (LabelSource.GOLD, LabelSource.HUMAN)

    def __post_init__(self) -> None:
        for name in ("value", "delta", "min_retained_share"):
            if not 0 < getattr(self, name) < 1:
                raise RecordInvalid(name, getattr(self, name), "lies strictly between 0 and 1")
        if self.delta > LARGEST_DELTA:
            raise RecordInvalid("delta", self.delta, f"lies above 0 and is at most {LARGEST_DELTA}; 0.1 is usual")
        if not self.trusted:
            raise RecordInvalid("trusted", "[]", "name at least one source of labels, e.g. gold")

    @property
    def allowed(self) -> float:
        """The largest mean loss that keeps the promise: the drop itself, or the share of retained
        answers that may be wrong.
        """
        return self.value if self.kind is TargetKind.MAX_ACCURACY_DROP else 1.0 - self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizons:
    """How long labels of each source may take; a cohort older than `longest` is mature."""

    gold: timedelta = timedelta(days=7)
    human: timedelta = timedelta(days=7)
    judge: timedelta = timedelta(days=1)
    feedback: timedelta = timedelta(days=1)
    sources: tuple[LabelSource, ...] = (LabelSource.GOLD,)  # the sources this cascade waits for

    @property
    def longest(self) -> timedelta:
        return max(self.of(source) for source in self.sources)

    def of(self, source: LabelSource) -> timedelta:
        horizon: timedelta = getattr(self, source.value)
        return horizon


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How often each job has a window, how far apart trainings are at least, and how much history
    one reads.
    """

    train_every: timedelta = timedelta(days=7)
    train_pause: timedelta = timedelta(days=1)
    monitor_every: timedelta = timedelta(hours=1)
    seal_every: timedelta = timedelta(minutes=10)
    training_window: timedelta = timedelta(days=91)  # 13 periods of a week: what certifies, and what teaches before it

    @property
    def pause(self) -> timedelta:
        """How long a training that is not its turn waits after another, or after the first
        decision. As long as a period means that none is made but at its turn.

        >>> str(Schedule(train_every=timedelta(hours=6)).pause)
        '6:00:00'
        """
        return min(self.train_pause, self.train_every)


class LabelCoin(StrEnum):
    """How it is drawn which answers of one decision are labelled: what their label propensities
    mean together.
    """

    DECISION = "decision"  # one coin for all: the chance of all labels is the smallest of theirs
    ATTEMPT = "attempt"  # a coin for each answer: it is their product


class OnRisk(StrEnum):
    """What a risk alarm does beside telling people."""

    ESCALATE_ALL = "escalate_all"  # nothing is retained until a newly certified bundle is promoted
    FALLBACK = "fallback"  # likewise, but for what the most cautious certified bundle is shown to keep as promised
    ALERT = "alert"  # the champion goes on deciding


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarms:
    """The false-alarm rate α that all of a cascade's alarms together hold, and what follows from
    them.
    """

    alpha: float = 0.05
    savings_margin: float = 0.05
    max_tokens: int = 4096  # bounds a query's cost
    on_risk: OnRisk = OnRisk.ESCALATE_ALL  # a fault may cost money, never accuracy

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise RecordInvalid("alpha", self.alpha, "lies strictly between 0 and 1")


class SwitchOn(StrEnum):
    """Who ends the observing with which a cascade begins."""

    CERTIFIED = "certified"  # the first certified bundle that passes the promotion check
    PERSON = "person"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observe:
    """How a cascade is observed while nothing of it can be kept."""

    rate: float = 0.2  # share of the queries on which the tiers before the last run, beside it
    switch_on: SwitchOn = SwitchOn.CERTIFIED

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise RecordInvalid("rate", self.rate, "lies in (0, 1]: at 0, nothing is ever learned")


class Approval(StrEnum):
    """Who has the last word on a challenger that passed the promotion check."""

    AUTOMATIC = "automatic"  # the check: what passes comes into force
    MANUAL = "manual"  # a person, who approves or declines it


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """How a challenger comes into force."""

    approval: Approval = Approval.AUTOMATIC
    # Shares of the queries that a challenger decides, one after the other; 0 = none yet: it decides
    # beside the champion. None at all: once it has passed the check, all of them.
    steps: tuple[float, ...] = ()
    dwell: timedelta = timedelta(days=1)  # a step lasts at least
    least: int | None = None  # rows that a step must count; None = twice as many as can show the target at all
    deadline: timedelta = timedelta(days=14)  # a step that has not shown enough by then ends the rollout

    def __post_init__(self) -> None:
        shares = list(self.steps)
        if not all(0.0 <= share <= 1.0 for share in shares) or shares != sorted(set(shares)):
            cure = "give shares in [0, 1], each larger than the one before, such as [0, 0.05, 0.25]"
            raise RecordInvalid("steps", shares, cure)
        if self.least is not None and self.least < 1:
            raise RecordInvalid("least", self.least, "at least one row counts; leave it out for the default")
        if self.deadline <= self.dwell:
            cure = "a step ends before it may pass: give more than promotion.dwell"
            raise RecordInvalid("deadline", f"{self.deadline / timedelta(days=1):g} days", cure)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySpec:
    """Which requests a gateway answers from the cascade, beside those that say what it says."""

    certified_parameters: tuple[str, ...] = ()  # go to every tier; such requests are part of what is certified
    ignore: tuple[str, ...] = ()  # no tier gets them, as if they had not been sent

    def __post_init__(self) -> None:
        for field_name, reserved in (("certified_parameters", _NO_PARAMETERS), ("ignore", _NEVER_IGNORED)):
            names = getattr(self, field_name)
            for name in names:
                if not name or name in reserved:
                    cure = f"name a request's parameter, such as temperature, and none of {', '.join(reserved)}"
                    raise RecordInvalid(field_name, name, cure)
            if len(set(names)) != len(names):
                raise RecordInvalid(field_name, list(names), "name every parameter once")
        both = sorted(set(self.certified_parameters) & set(self.ignore))
        if both:
            raise RecordInvalid("ignore", both[0], "it is among certified_parameters: name it once")


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeSpec:
    """A cascade as its owner declares it."""

    name: str
    tiers: tuple[TierSpec, ...]  # cheapest first
    targets: Targets = field(default_factory=Targets)
    horizons: Horizons = field(default_factory=Horizons)
    schedule: Schedule = field(default_factory=Schedule)
    alarms: Alarms = field(default_factory=Alarms)
    gateway: GatewaySpec = field(default_factory=GatewaySpec)
    observe: Observe = field(default_factory=Observe)
    promotion: Promotion = field(default_factory=Promotion)
    exploration_rate: float = 0.05  # the floor
    exploration_extra: float = 0.0  # more of it near a threshold; knowgate._deciding.exploration says how
    exploration_width: float = 0.1
    vector_rate: float = 1.0  # share of decisions whose hidden states are shipped; the explored always are
    vector_retention: timedelta | None = None  # vectors of older decisions are forgotten; None = the deployment says
    privacy: Privacy = Privacy.HASH
    label_coin: LabelCoin = LabelCoin.DECISION  # as `knowgate labels queue` draws
    webhooks: tuple[str, ...] = ()  # addresses that hear of alerts
    receivers: tuple[Receiver, ...] = ()  # others that hear of alerts and moves, by name

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", self.name):
            raise RecordInvalid("name", self.name, "use 1 to 63 of a-z, 0-9, - and _")
        if len(self.tiers) < 2:
            raise RecordInvalid("tiers", len(self.tiers), "a cascade has at least two tiers")
        heard = [receiver.name for receiver in self.receivers]
        if len(set(heard)) != len(heard):
            raise RecordInvalid("receivers", heard, "every receiver has a name of its own")
        names = [tier.name for tier in self.tiers]
        if len(set(names)) != len(names):
            raise RecordInvalid("tiers", names, "every tier has a name of its own")
        if not 0 < self.exploration_rate <= 1:
            raise RecordInvalid(
                "exploration_rate",
                self.exploration_rate,
                "lies in (0, 1]: at 0, risk goes blind",
            )
        if not 0 <= self.exploration_extra <= 1:
            raise RecordInvalid("exploration_extra", self.exploration_extra, "lies in [0, 1]")
        if not 0 < self.exploration_width <= 1:
            raise RecordInvalid("exploration_width", self.exploration_width, "lies in (0, 1]")
        if not 0 <= self.vector_rate <= 1:
            raise RecordInvalid("vector_rate", self.vector_rate, "lies in [0, 1]")
        if self.vector_retention is not None and self.horizons.sources:
            needed = self.schedule.training_window + self.horizon
            if self.vector_retention < needed:
                kept, back = (f"{span / timedelta(days=1):g} days" for span in (self.vector_retention, needed))
                cure = f"training reads vectors {back} back; keep them so long, or shorten schedule.training_window"
                raise RecordInvalid("vector_retention", kept, cure)
        if self.promotion.steps and self.promotion.deadline <= self.horizon:
            days = f"{self.promotion.deadline / timedelta(days=1):g} days"
            cure = (
                f"no decision is old enough to be judged by then: labels take {self.horizon / timedelta(days=1):g} days"
            )
            raise RecordInvalid("promotion.deadline", days, cure)
        if self.tiers[-1].early:
            raise RecordInvalid(f"tiers.{names[-1]}.early", True, "the last tier always answers: leave it out")
        if self.targets.rule is PolicyKind.ESCALATE_ALL:
            raise RecordInvalid("targets.rule", self.targets.rule.value, f"use one of {', '.join(CERTIFIABLE_KINDS)}")

    @property
    def last(self) -> int:
        return len(self.tiers) - 1

    @property
    def horizon(self) -> timedelta:
        return self.horizons.longest
