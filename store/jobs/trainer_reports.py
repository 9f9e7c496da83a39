"""What the trainer reports to the scheduler that started it as a process: one of these records, as
the last line that it writes.

They lie here because the scheduler, which must load no torch, reads what the trainer writes.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from knowgate._bundles.bundle_documents import CertificateDocument


class TrainingStatus(StrEnum):
    CERTIFIED = "certified"
    INFEASIBLE = "infeasible"
    INSUFFICIENT_EVIDENCE = "insufficient_evidence"
    SAVES_NOTHING = "saves_nothing"
    NOT_ATTEMPTED = "not_attempted"  # it could hardly have certified anything; what is in force stays so meanwhile
    NO_DATA = "no_data"  # not one row whose outcomes are known: nothing was tested and no δ spent


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOutcome:
    """What became of one window."""

    status: TrainingStatus
    cascade: str
    bundle: str | None = None  # id; also of an attempt that certified nothing (its policy escalates all)
    certificate: CertificateDocument | None = None
    # Further labelled rows for 80 % power, or those that an attempt waits for; None where none
    # would do, or where it is unknown.
    labels_needed: int | None = None
    rows: dict[str, int] = field(default_factory=dict)  # decisions by purpose, as in the bundle's document


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What one drain of the outbox for MLflow did."""

    registered: int
    failed: int  # to be tried again
    last_error: str | None = None
