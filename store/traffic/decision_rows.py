"""Decisions and attempts to rows and back: what is kept of a record, what is filled in, what is
left out.

Costs and GFLOPs that the sender did not give are filled from the cascade's dated prices. Prompts
and answers are kept as the cascade's privacy allows, whatever was sent.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from knowgate._records.records import Attempt, Decision, Fingerprint, GateOutcome, Reason, Signals, Verdict
from knowgate._wire import codec
from knowgate.spec import CascadeSpec, Privacy, TierSpec
from store.days.day_files import DayFile
from store.days.recall import LeftDecision, decisions_in_file
from store.rows import record_of, row_of
from store.tables import AttemptRow, DecisionRow


def decision_row(decision: Decision, spec: CascadeSpec, *, version: int, received_at: datetime) -> dict[str, Any]:
    """The row of a decision as stored: within the cascade's privacy."""
    return row_of(
        DecisionRow,
        decision,
        received_at=received_at,
        served_tier=decision.served.tier,
        spec_version=version,
        prompt=decision.prompt if spec.privacy is Privacy.FULL else None,
        prompt_hash=None if spec.privacy is Privacy.NEVER else decision.prompt_hash,
    )


def attempt_rows(decision: Decision, spec: CascadeSpec) -> list[dict[str, Any]]:
    """The rows of a decision's attempts as stored, by tier."""
    return [attempt_row(decision, one, spec) for one in sorted(decision.attempts, key=attrgetter("tier"))]


def attempt_row(decision: Decision, attempt: Attempt, spec: CascadeSpec) -> dict[str, Any]:
    """The row of one attempt of a decision as stored: priced, and within the cascade's privacy."""
    verdict, fingerprint = attempt.verdict, attempt.fingerprint
    return row_of(
        AttemptRow,
        attempt,
        attempt.signals,
        verdict,
        decision_id=decision.id,
        answer=None if spec.privacy is Privacy.NEVER else attempt.answer,
        cost_usd=_cost(attempt, spec.tiers[attempt.tier], decision.occurred_at),
        gates=None if verdict is None else [_gate(outcome) for outcome in verdict.gates],
        fingerprint=None if fingerprint is None else fingerprint_id(fingerprint),
        gflops=_gflops(attempt, spec.tiers[attempt.tier]),
    )


@lru_cache(maxsize=4096)
def fingerprint_id(fingerprint: Fingerprint) -> str:
    """Hex SHA-256 of the canonical JSON."""
    return hashlib.sha256(codec.canonical(fingerprint)).hexdigest()


def read_decision(
    row: DecisionRow, attempts: Sequence[AttemptRow], fingerprints: Mapping[str, Fingerprint]
) -> Decision:
    """The record of a row and its attempts."""
    return record_of(Decision, row, attempts=tuple(_read_attempt(attempt, fingerprints) for attempt in attempts))


def _cost(attempt: Attempt, tier: TierSpec, occurred_at: datetime) -> float | None:
    price = tier.price_at(occurred_at)
    if attempt.cost_usd is not None or price is None:
        return attempt.cost_usd
    if attempt.tokens_in is None or attempt.tokens_out is None:
        return None
    return price.cost_usd(attempt.tokens_in, attempt.tokens_out)


def _gflops(attempt: Attempt, tier: TierSpec) -> float | None:
    if attempt.tokens_in is None or attempt.tokens_out is None:
        return None
    return tier.gflops(attempt.tokens_in + attempt.tokens_out)


def _gate(outcome: GateOutcome) -> list[Any]:
    return [outcome.gate.value, outcome.value, outcome.threshold, outcome.passed]


def _read_attempt(row: AttemptRow, fingerprints: Mapping[str, Fingerprint]) -> Attempt:
    return record_of(
        Attempt,
        row,
        signals=record_of(Signals, row),
        verdict=_read_verdict(row),
        fingerprint=None if row.fingerprint is None else fingerprints[row.fingerprint],
        vector=None,
    )


def _read_verdict(row: AttemptRow) -> Verdict | None:
    if row.action is None:
        return None
    gates = tuple(
        GateOutcome(gate=Reason(gate), value=value, threshold=float(threshold), passed=passed)
        for gate, value, threshold, passed in row.gates or ()
    )
    return record_of(Verdict, row, gates=gates)


def left_rows(left: LeftDecision) -> tuple[DecisionRow, list[AttemptRow]]:
    """The decision and its attempts by tier, of no session."""
    return DecisionRow(**left.decision), [AttemptRow(**attempt) for attempt in left.attempts]


def left_between(
    session: Session,
    file: DayFile,
    low: UUID,
    high: UUID,
    *,
    as_of: datetime | None,
    fingerprints: Mapping[str, Fingerprint],
) -> Iterator[Decision]:
    """The decisions of a part of a file that are not in the tables, oldest first; with `as_of`,
    those that had been received by then. Raises ShardRefused.
    """
    within = (DecisionRow.cascade == file.cascade, DecisionRow.id >= low, DecisionRow.id < high)
    here = frozenset(session.scalars(select(DecisionRow.id).where(*within)))
    for left in decisions_in_file(file):
        row, attempts = left_rows(left)
        if low <= row.id < high and row.id not in here and (as_of is None or row.received_at <= as_of):
            yield read_decision(row, attempts, fingerprints)
