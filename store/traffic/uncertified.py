"""Requests that no certificate covers: what they cost, and nothing else.

The last tier answered them alone, as the gateway found them: with tools, at another temperature.
They are in no promise, no figure of correctness and no training window, so the join of attempts
with labels (`store.traffic.examples`) leaves them out. What they cost is real, and is read here.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from knowgate._records.records import Reason, Window
from store import dialects, partitions
from store.tables import AttemptRow, DecisionRow
from store.traffic.attempt_columns import Floats, Ids, Objects, id_bytes, objects

_DECISION = dialects.table_of(DecisionRow)
_ATTEMPT = dialects.table_of(AttemptRow)

UNCERTIFIED = _ATTEMPT.c.fault == Reason.UNCERTIFIED_REQUEST.value
CERTIFIABLE = _ATTEMPT.c.fault.is_(None) | (_ATTEMPT.c.fault != Reason.UNCERTIFIED_REQUEST.value)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UncertifiedRuns:
    """Such requests of a window as columns of equal length n, in order of their ids."""

    ids: Ids  # [n] of the decisions
    slice: Objects  # [n]
    bundle: Objects  # [n] that was in force
    tier: Floats  # [n] the cascade's last then
    usd: Floats  # [n] NaN = unknown
    gflops: Floats
    tokens_in: Floats
    tokens_out: Floats
    latency_ms: Floats


def uncertified(session: Session, cascade: str, window: Window, *, as_of: datetime) -> UncertifiedRuns:
    """The requests of a window of decision time that no certificate covers, received by `as_of`."""
    low, high = partitions.first_id(window.start), partitions.first_id(window.end)
    texts = (_DECISION.c.id, _DECISION.c.slice, _DECISION.c.bundle)
    numbers = (
        *(_ATTEMPT.c.tier, _ATTEMPT.c.cost_usd, _ATTEMPT.c.gflops),
        *(_ATTEMPT.c.tokens_in, _ATTEMPT.c.tokens_out, _ATTEMPT.c.latency_ms),
    )
    rows = session.execute(
        select(*texts, *numbers)
        .select_from(_DECISION)
        .join(_ATTEMPT, _ATTEMPT.c.decision_id == _DECISION.c.id)
        .where(
            *(_DECISION.c.cascade == cascade, _DECISION.c.id >= low, _DECISION.c.id < high),
            *(_DECISION.c.received_at <= as_of, UNCERTIFIED),
            *(_ATTEMPT.c.decision_id >= low, _ATTEMPT.c.decision_id < high),
        )
        .order_by(_DECISION.c.id)
    ).all()
    columns: list[Any] = list(zip(*rows, strict=True)) if rows else [()] * (len(texts) + len(numbers))
    ids, slices, bundles = columns[: len(texts)]
    names = ("tier", "usd", "gflops", "tokens_in", "tokens_out", "latency_ms")
    read = {name: np.array(values, dtype=np.float64) for name, values in zip(names, columns[len(texts) :], strict=True)}
    return UncertifiedRuns(ids=id_bytes(ids), slice=objects(slices), bundle=objects(bundles), **read)
