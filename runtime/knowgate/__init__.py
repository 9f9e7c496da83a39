"""The runtime of an LLM cascade: signals in, verdict out, every decision logged.

Everything public is re-exported here. What talks to disks and networks is imported on first use, so
that `import knowgate` costs numpy and safetensors and nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from knowgate._bundles.assignment import Assignment, Mode, read_assignment
from knowgate._bundles.bundle import Bundle, read_bundle, write_bundle
from knowgate._bundles.bundle_documents import BundleDocument, CertificateDocument, CertificateStatus, TierDocument
from knowgate._bundles.tier_models import REPLAY_TOLERANCE, TierModels
from knowgate._deciding.query import Query
from knowgate._deciding.ruling import Ruling
from knowgate._models.calibrator import Isotonic, Platt
from knowgate._models.features import Standardiser, features, stored_vector
from knowgate._models.ood import OodStatistics
from knowgate._models.probe import LinearProbe, MlpProbe, ProbeKind
from knowgate._models.score import ScoreModel
from knowgate._records.ids import decided_at, new_id
from knowgate._records.observation import Observation
from knowgate._records.records import (
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
from knowgate._serving.cascade import Cascade
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
from knowgate.policy import Gate, Policy, PolicyKind, decide, escalate_all, kept_tiers, retain_mask
from knowgate.spec import CascadeSpec, Privacy, TierSpec

if TYPE_CHECKING:
    from knowgate._serving.follower import Follower
    from knowgate._serving.serving import Answer
    from knowgate._shipping.client import Client
    from knowgate._shipping.labels import Labels
    from knowgate._shipping.shipper import Shipper
    from knowgate._shipping.spool import Overflow, Spool
    from knowgate.backends.tries import Patience

# The public names above that are imported on first use, and their modules.
_LAZY = {
    "Answer": "knowgate._serving.serving",
    "Client": "knowgate._shipping.client",
    "Labels": "knowgate._shipping.labels",
    "Overflow": "knowgate._shipping.spool",
    "Patience": "knowgate.backends.tries",
    "Shipper": "knowgate._shipping.shipper",
    "Spool": "knowgate._shipping.spool",
    "Follower": "knowgate._serving.follower",
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
    "Follower",
    "Gate",
    "GateOutcome",
    "Isotonic",
    "KnowgateError",
    "Label",
    "LabelSource",
    "Labels",
    "LinearProbe",
    "MlpProbe",
    "Mode",
    "NoAnswer",
    "Observation",
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
    "Window",
    "decide",
    "decided_at",
    "escalate_all",
    "features",
    "kept_tiers",
    "new_id",
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
