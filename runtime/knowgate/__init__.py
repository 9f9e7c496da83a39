"""The runtime of an LLM cascade: signals in, verdict out, every decision logged.

Everything public is re-exported here. What talks to disks and networks is imported on first use, so that
`import knowgate` costs numpy and safetensors and nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from knowgate.assignment import Assignment, Mode, read_assignment
from knowgate.bundle import Bundle, read_bundle, write_bundle
from knowgate.bundle_documents import BundleDocument, CertificateDocument, CertificateStatus, TierDocument
from knowgate.calibrator import Isotonic, Platt
from knowgate.cascade import Cascade
from knowgate.errors import (
    AssignmentRefused,
    BackendFailed,
    BundleRefused,
    KnowgateError,
    NoAnswer,
    RecordInvalid,
    ServiceUnreachable,
    SigningUnavailable,
    SpoolRefused,
)
from knowgate.features import Standardiser, features, stored_vector
from knowgate.ids import decided_at, new_decision_id
from knowgate.ood import OodStatistics
from knowgate.policy import Gate, Policy, PolicyKind, decide, escalate_all, kept_tiers, retain_mask
from knowgate.probe import LinearProbe, MlpProbe, ProbeKind
from knowgate.query import Query
from knowgate.records import (
    Action,
    Attempt,
    Decision,
    Fingerprint,
    GateOutcome,
    Label,
    LabelSource,
    PTKind,
    Reason,
    Role,
    Signals,
    Verdict,
    Window,
)
from knowgate.ruling import Ruling
from knowgate.score import ScoreModel
from knowgate.spec import CascadeSpec, Privacy, TierSpec
from knowgate.tier_models import REPLAY_TOLERANCE, TierModels

if TYPE_CHECKING:
    from knowgate.answer import Answer
    from knowgate.backends.tries import Patience
    from knowgate.client import Client
    from knowgate.shipper import Shipper
    from knowgate.spool import Overflow, Spool
    from knowgate.watch import Watcher

# The public names above that are imported on first use, and their modules.
_LAZY = {
    "Answer": "knowgate.answer",
    "Client": "knowgate.client",
    "Overflow": "knowgate.spool",
    "Patience": "knowgate.backends.tries",
    "Shipper": "knowgate.shipper",
    "Spool": "knowgate.spool",
    "Watcher": "knowgate.watch",
}

__all__ = [
    "REPLAY_TOLERANCE",
    "Action",
    "Answer",
    "Assignment",
    "AssignmentRefused",
    "Attempt",
    "BackendFailed",
    "Bundle",
    "BundleDocument",
    "BundleRefused",
    "Cascade",
    "CascadeSpec",
    "CertificateDocument",
    "CertificateStatus",
    "Client",
    "Decision",
    "Fingerprint",
    "Gate",
    "GateOutcome",
    "Isotonic",
    "KnowgateError",
    "Label",
    "LabelSource",
    "LinearProbe",
    "MlpProbe",
    "Mode",
    "NoAnswer",
    "OodStatistics",
    "Overflow",
    "PTKind",
    "Patience",
    "Platt",
    "Policy",
    "PolicyKind",
    "Privacy",
    "ProbeKind",
    "Query",
    "Reason",
    "RecordInvalid",
    "Role",
    "Ruling",
    "ScoreModel",
    "ServiceUnreachable",
    "Shipper",
    "Signals",
    "SigningUnavailable",
    "Spool",
    "SpoolRefused",
    "Standardiser",
    "TierDocument",
    "TierModels",
    "TierSpec",
    "Verdict",
    "Watcher",
    "Window",
    "decide",
    "decided_at",
    "escalate_all",
    "features",
    "kept_tiers",
    "new_decision_id",
    "read_assignment",
    "read_bundle",
    "retain_mask",
    "stored_vector",
    "write_bundle",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'knowgate' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
