"""One maker per record that tests need: whole and valid, with `changes` where a test cares; and a
log that keeps decisions.

All tests use them, those of the control plane too.
"""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from knowgate._bundles.assignment import Assignment, Mode
from knowgate._bundles.bundle_documents import CertificateDocument, CertificateStatus, ComparisonDocument
from knowgate._models.features import Float16Array
from knowgate._records.ids import new_id
from knowgate._records.records import Attempt, Decision, Fingerprint, Label, LabelSource, Role, Window
from knowgate.spec import TargetKind

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


class Kept:
    """A decision log in memory."""

    def __init__(self) -> None:
        self.rows: list[tuple[Decision, list[Float16Array]]] = []
        self.arrived = threading.Event()

    def append(self, decision: Decision, vectors: Sequence[Float16Array] = ()) -> None:
        self.rows.append((decision, list(vectors)))
        self.arrived.set()

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Of the one decision."""
        ((decision, _),) = self.rows
        return decision.attempts


def make_fingerprint(**changes: Any) -> Fingerprint:
    fields: dict[str, Any] = {
        "model": "small",
        "revision": "main",
        "dtype": "float16",
        "engine": "transformers",
        "engine_version": "5",
        "chat_template_sha256": "0" * 64,
        "layer": 2,
        "position": "last_prompt_token",
        "normed": False,
    }
    return Fingerprint(**fields | changes)


def make_decision(at: datetime = NOW, **changes: Any) -> Decision:
    """A decision of the cascade `questions` at this time, that its small tier's answer served."""
    fields: dict[str, Any] = {
        "id": new_id(at),
        "cascade": "questions",
        "occurred_at": at,
        "attempts": (Attempt(tier=0, role=Role.SERVED, model="small"),),
    }
    return Decision(**fields | changes)


def make_label(of: Decision | None = None, **changes: Any) -> Label:
    """A gold label, an hour after the decision: its answer was right."""
    about: dict[str, Any] = {}
    if of is None and not {"decision_id", "external_id"} & changes.keys():
        about = {"decision_id": UUID(int=1)}
    elif of is not None:
        about = {"cascade": of.cascade, "decision_id": of.id, "labelled_at": of.occurred_at + timedelta(hours=1)}
    fields: dict[str, Any] = {
        "cascade": "questions",
        "source": LabelSource.GOLD,
        "correct": 1.0,
        "labelled_at": NOW,
    }
    return Label(**fields | about | changes)


def make_assignment(**changes: Any) -> Assignment:
    """The first assignment of `questions`, in force for a day from `issued_at`."""
    issued_at = changes.get("issued_at", NOW)
    fields: dict[str, Any] = {
        "cascade": "questions",
        "generation": 1,
        "mode": Mode.ACTIVE,
        "champion": None,
        "exploration_rate": 0.25,
        "issued_at": issued_at,
        "valid_until": issued_at + timedelta(days=1),
    }
    return Assignment(**fields | changes)


def make_certificate(**changes: Any) -> CertificateDocument:
    """The first attempt on a drop of two points held, on the day before `NOW`."""
    fields: dict[str, Any] = {
        "status": CertificateStatus.CERTIFIED,
        "target": TargetKind.MAX_ACCURACY_DROP,
        "target_value": 0.02,
        "delta": 0.05,
        "delta_family": 0.1,
        "attempt": 1,
        "test": "exact_paired",
        "n": 1000,
        "cohort": Window(start=NOW - timedelta(days=1), end=NOW),
        "split": "by prompt",
    }
    return CertificateDocument(**fields | changes)


def make_comparison(champion: str, **changes: Any) -> ComparisonDocument:
    """A challenger that is as accurate as `champion` and saves more."""
    fields: dict[str, Any] = {
        "champion": champion,
        "passed": True,
        "harmful": False,
        "champion_broken": False,
        "estimated_drop": 0.0,
        "drop_upper_bound": 0.01,
        "epsilon": 0.02,
        "delta": 0.05,
        "test": "exact_paired",
        "n": 1000,
        "savings_gain": 0.05,
    }
    return ComparisonDocument(**fields | changes)
