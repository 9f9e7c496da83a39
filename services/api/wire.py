"""What the API answers, where that is no record of the runtime's or the store's."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from knowgate._records.observation import Observation
from knowgate._records.receipts import Rejected, Undeclared
from knowgate._records.records import Action, GateOutcome, Reason, Signals
from knowgate.policy import PolicyKind
from knowgate.spec import CascadeSpec
from services.acts import CascadeState
from services.alerts import AlertStory
from services.deliveries import DeliveryStory
from services.upkeep.checkup import Finding
from store.jobs.job_runs import JobRun
from store.releases.assignments import RuntimeState
from store.releases.bundles import BundleStatus
from store.tokens import TokenRecord, TokenRole
from store.watching.alert_acts import Act


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionsReceipt:
    """What became of a batch of decisions; all but the rejected ones are committed."""

    stored: int
    duplicates: int  # were there already; they changed nothing
    rejected: tuple[Rejected, ...]
    adopted: int = 0  # labels that had waited for these decisions
    undeclared: tuple[Undeclared, ...] = ()  # stored, but of models that the cascade does not declare
    vectors_dropped: int = 0  # hidden states with NaN or infinity; their decisions are stored without them


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideRequest(Observation):
    """What one tier showed. Hidden states come as numbers or as base64 of little-endian float16."""

    cascade: str
    tier: int = 0
    decision_id: UUID | None = None  # None = the service makes one
    hidden: tuple[float, ...] | None = None
    hidden_base64: str | None = None
    slice: str | None = None
    early: bool = False  # before the tier has answered


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideAnswer:
    """The verdict, and all that `POST /v1/decisions` wants to know about it."""

    cascade: str
    decision_id: UUID
    tier: int
    action: Action
    reason: Reason | None
    gates: tuple[GateOutcome, ...]
    fallback: bool
    signals: Signals
    fault: Reason | None
    generation: int | None
    bundle: str | None
    # Run what the verdict leaves out too, as exploration: the last tier, or with `early` this one.
    explore: bool
    exploration_rate: float  # this row's own; a decision logs it
    note: str | None  # which inputs were dropped, and why


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertList:
    """Alerts, oldest first."""

    alerts: tuple[AlertStory, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryList:
    """Messages to receivers, newest first."""

    deliveries: tuple[DeliveryStory, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActRequest:
    """What a person does about an alert."""

    act: Act
    reason: str
    duration: str | None = None  # of a silence


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeActRequest:
    """What a person does with a cascade, and why."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeRequest(CascadeActRequest):
    """That a cascade is to decide again."""

    despite_alarm: str | None = None  # why a condemned bundle is wanted all the same


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackRequest(ResumeRequest):
    """That a former champion is to decide again."""

    to: str | None = None  # its id or the start of it; None = the one before the present
    past_condemned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleActRequest(CascadeActRequest):
    """What a person says of a challenger."""

    bundle: str  # its id or the start of it


@dataclass(frozen=True, slots=True, kw_only=True)
class PromoteRequest(BundleActRequest):
    """That a certified bundle is to decide."""

    despite_alarm: str | None = None  # why a condemned bundle is wanted all the same


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest(CascadeActRequest):
    """That a training is to be made now."""

    insist: bool = False  # also where it could hardly win


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeRequest(CascadeActRequest):
    """That no job is to put anything in force for a `duration`, or `until` a time."""

    duration: str | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunList:
    """Windows of jobs, newest first."""

    runs: tuple[JobRun, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingList:
    """What `knowgate doctor` found."""

    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleLine:
    """A bundle in a list."""

    id: str
    status: BundleStatus
    created_at: datetime
    signed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleList:
    """A cascade's bundles, newest first."""

    bundles: tuple[BundleLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What became of a declaration."""

    cascade: str
    version: int
    changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenList:
    """Tokens without their secrets, by name."""

    tokens: tuple[TokenRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """What a token is to be."""

    name: str
    role: TokenRole
    cascades: tuple[str, ...] | None = None  # None = all that the asking token reaches
    expires_in: str | None = None  # a duration, such as 90d; None = it does not expire


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenMade:
    """A token with its secret, which is shown this once."""

    name: str
    role: TokenRole
    cascades: tuple[str, ...] | None
    expires_at: datetime | None
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeSummary:
    """A cascade in the list."""

    name: str
    version: int
    tiers: tuple[str, ...]
    rule: PolicyKind | None  # None = the declaration cannot be read
    generation: int | None  # None = nothing assigned yet
    mode: str | None
    champion: str | None
    open_alerts: int
    unreadable: str | None = None  # why its declaration or its assignment cannot be read: it escalates


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeList:
    """All cascades, by name."""

    cascades: tuple[CascadeSummary, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeDetail:
    """A cascade with its whole specification and its runtimes."""

    summary: CascadeSummary
    state: CascadeState
    spec: CascadeSpec
    runtimes: tuple[RuntimeState, ...]
