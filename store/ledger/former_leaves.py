"""What leaves of the former version say of a decision or a label, in the columns of today.

Their payloads are records as they were sent. They say nothing of what the store added: when a row
came, which tier served, which version priced it, to which decision a label by external id was
resolved. What the rows of all other tables were is stated anew at the upgrade
(`store.ledger.upgrade_leaves`).
"""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from knowgate._records.records import Label
from knowgate._wire import codec
from knowgate.errors import RecordInvalid
from store.sealing.states import Document, short_text
from store.tables import DecisionRow, LabelRow, LedgerLeafRow
from store.traffic.adoption import label_digest

KINDS = frozenset({"decision", "label", "bundle", "certification", "promotion", "assignment", "alert", "erasure"})

SAID = frozenset({"decision", "label"})  # what `stated` reads; all else was stated anew at the upgrade

_DECISION = frozenset({"id", "cascade", "external_id", "slice", "prompt", "prompt_hash", "generation", "bundle"})
_ATTEMPT = frozenset(
    {"tier", "role", "model", "fault", "entropy", "margin", "p_t_kind", "answer", "run_propensity", "tokens_in"}
    | {"tokens_out", "latency_ms", "cost_usd", "note"}
)
_LABEL = frozenset({"source", "correct", "label_propensity", "grader"})
_WAITING = frozenset({"cascade", "external_id", "decision_id", "tier"})


def stated(kind: str, payload: str, *, waiting: bool = False) -> Document:
    """The columns that a payload speaks of, null among them.

    Raises ValueError, KeyError, TypeError or AttributeError for none of ours.
    """
    said = json.loads(payload)
    return _decision(said) if kind == "decision" else _label(said, waiting)


def _decision(said: Any) -> Document:
    attempts = [_attempt(item) for item in sorted(said["attempts"], key=lambda item: item["tier"])]
    return _some(said, _DECISION | {"exploration_rate"}) | {
        "occurred_at": _time(said["occurred_at"]),
        "attempts": attempts,
    }


def _attempt(said: Any) -> Document:
    verdict, fingerprint = said["verdict"], said["fingerprint"]
    document: Document = _some(said, _ATTEMPT) | said["signals"]
    document["fingerprint"] = None if fingerprint is None else _sha256(fingerprint)
    for name in ("action", "reason", "fallback"):
        document[name] = None if verdict is None else verdict[name]
    gates = None if verdict is None else verdict["gates"]
    document["gates"] = (
        None if gates is None else [[gate["gate"], gate["value"], gate["threshold"], gate["passed"]] for gate in gates]
    )
    return document


def _label(said: Any, waiting: bool) -> Document:
    document = _some(said, _LABEL | _WAITING if waiting else _LABEL) | {"labelled_at": _time(said["labelled_at"])}
    if not waiting:  # where it names its decision and tier, it was resolved to these
        document |= {name: said[name] for name in ("decision_id", "tier") if said[name] is not None}
    return document


def _some(said: Any, names: frozenset[str]) -> Document:
    """What is said of these columns, as a state says it."""
    return {
        name: short_text(value) if isinstance(value, str) else value for name, value in said.items() if name in names
    }


def _time(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(UTC).isoformat()


def _sha256(fingerprint: Any) -> str:
    return hashlib.sha256(json.dumps(fingerprint, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def same_label_stands(session: Session, arrival: str) -> bool:
    """Whether what a label said stands under another arrival: one that had waited was dropped for
    its like.
    """
    query = select(LedgerLeafRow.payload).where(LedgerLeafRow.subject == arrival, LedgerLeafRow.kind == "label")
    payload = session.scalar(query.limit(1))
    try:
        label = codec.decode(Label, codec.parse(payload or ""))
    except RecordInvalid:
        return False
    digest = label_digest(label.correct, label.labelled_at, label.label_propensity, grader=label.grader)
    named = DecisionRow.id == label.decision_id
    if label.decision_id is None:
        named = (DecisionRow.cascade == label.cascade) & (DecisionRow.external_id == label.external_id)
    like = (
        select(LabelRow.decision_id)
        .join(DecisionRow, DecisionRow.id == LabelRow.decision_id)
        .where(named, LabelRow.source == label.source.value, LabelRow.digest == digest)
    )
    return session.execute(like.limit(1)).first() is not None
