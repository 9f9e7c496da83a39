"""The runtime of an LLM cascade: signals in, verdict out, every decision logged.

Everything public is re-exported here. What needs the network (and so `ssl` and `http`) is imported on first use, so
that `import knowgate` costs numpy and safetensors and nothing else.
"""

from importlib import import_module
from typing import Any

from knowgate.assignment import Assignment, Mode, read_assignment
from knowgate.bundle import Bundle, read_bundle, write_bundle
from knowgate.bundle_documents import BundleDocument, CertificateDocument, CertificateStatus, TierDocument
from knowgate.calibrator import Isotonic, Platt
from knowgate.errors import (
    AssignmentRefused,
    BundleRefused,
    KnowgateError,
    RecordInvalid,
    ServiceUnreachable,
    SigningUnavailable,
    SpoolRefused,
)
from knowgate.features import Standardiser, features, stored_vector
from knowgate.ids import decided_at, new_decision_id
from knowgate.ood import OodStatistics
from knowgate.policy import Gate, Policy, PolicyKind, decide, escalate_all, retain_mask
from knowgate.probe import LinearProbe, MlpProbe, ProbeKind
from knowgate.records import (
    Action,
    Attempt,
    Decision,
    Fingerprint,
    GateOutcome,
    Label,
    LabelSource,
    Reason,
    Role,
    Signals,
    Verdict,
    Window,
)
from knowgate.score import ScoreModel
from knowgate.spec import CascadeSpec, TierSpec
from knowgate.tier_models import REPLAY_TOLERANCE, TierModels

# Public name -> its module, imported on first use. Type checkers need the same under TYPE_CHECKING.
_LAZY: dict[str, str] = {}

__all__ = [
    "REPLAY_TOLERANCE",
    "Action",
    "Assignment",
    "AssignmentRefused",
    "Attempt",
    "Bundle",
    "BundleDocument",
    "BundleRefused",
    "CascadeSpec",
    "CertificateDocument",
    "CertificateStatus",
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
    "OodStatistics",
    "Platt",
    "Policy",
    "PolicyKind",
    "ProbeKind",
    "Reason",
    "RecordInvalid",
    "Role",
    "ScoreModel",
    "ServiceUnreachable",
    "Signals",
    "SigningUnavailable",
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
