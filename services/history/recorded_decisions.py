"""An outcome table's rows as decisions and labels.

What a table does not say is filled in by these rules, and by no guess beyond them:

- Who was served: the column `role` where it is there. Otherwise a last tier that ran with a
  propensity below 1 was an exploration; of the other tiers the highest was served and those below
  were superseded.
- Propensities: where every tier ran on every query, each ran with certainty, so its run propensity
  is 1; where every attempt has a label, so is its label propensity. In any other table an absent
  propensity stays unknown.
- The exploration rate: the one propensity below 1 that the last tier's runs have; 0 where there is
  none, or several.
- Times: the column `occurred_at`, else evenly over the span that was given. A label without a time
  of its own was made when its query was served.
- What the column `forecast` says is a grader's label, made when its query was served.
- Ids: made of cascade, query and time, so that the same table imported again changes nothing.

A superseded or skipped attempt carries the verdict that it had, an escalation without a bundle; a
served one carries none, since nothing here kept it.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np

from knowgate._records.records import (
    Action,
    Attempt,
    Decision,
    Label,
    LabelSource,
    Reason,
    Role,
    Signals,
    Verdict,
    Window,
)
from knowgate.errors import RecordInvalid
from services.errors import TableInvalid
from services.outcome_tables.columns import FloatArray
from services.outcome_tables.outcomes import COLUMNS, OutcomeTable

_SIGNALS = [field.name for field in fields(Signals) if field.name in COLUMNS]
_OF_ATTEMPTS = {name: COLUMNS[name] for name in (*_SIGNALS, *(f.name for f in fields(Attempt) if f.name in COLUMNS))}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # where the ids of decisions begin
UNDECIDED = Verdict(action=Action.ESCALATE, reason=Reason.NO_BUNDLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One query of a table: its decision, and what is known of its answers."""

    row: int  # of the table's queries
    decision: Decision
    labels: tuple[Label, ...]


def recorded_decisions(
    table: OutcomeTable,
    cascade: str,
    *,
    span: Window | None = None,
    source: LabelSource = LabelSource.GOLD,
) -> Iterator[Recorded]:
    """Every query as a decision of `cascade`, in the table's order.

    `span` is when queries happened whose time the table does not tell; `source` whose labels are
    that name none. Raises TableInvalid where a time is missing, or where the roles of a query do
    not fit together.
    """
    reader = _Reader(
        table=table,
        cascade=cascade,
        times=_times(table, span),
        run_propensity=_filled(table.run_propensity, table, complete=bool(table.ran.all())),
        label_propensity=_filled(
            table.label_propensity, table, complete=bool(np.isfinite(table.correct[table.ran]).all())
        ),
        exploration_rate=_exploration_rate(table),
        source=source,
    )
    for row in range(table.queries):
        yield reader.recorded(row)


def recorded_id(cascade: str, query_id: str, occurred_at: datetime) -> UUID:
    """The UUIDv7 of a recorded query: its time, and a hash where a fresh id has chance."""
    digest = hashlib.sha256(f"{cascade}\x00{query_id}\x00{occurred_at.isoformat()}".encode()).digest()
    value = int(occurred_at.timestamp() * 1000) << 80 | int.from_bytes(digest[:10], "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    return UUID(int=value & ~(0b11 << 62) | 0b10 << 62)


def presumed_roles(tiers: Sequence[int], *, explored: bool = False) -> list[tuple[int, Role]]:
    """Each of the tiers that ran, in their order, with the role that it had where it has none."""
    served = tiers[-2] if explored else tiers[-1]
    return [
        (tier, Role.SERVED if tier == served else Role.SUPERSEDED if tier < served else Role.EXPLORATION)
        for tier in tiers
    ]


def role_fields(role: Role) -> dict[str, Any]:
    """What an attempt of this role carries, as far as it follows from the role."""
    escalated = role in (Role.SUPERSEDED, Role.SKIPPED)
    return {
        "role": role,
        "verdict": UNDECIDED if escalated else None,
        "fault": Reason.NO_BUNDLE if escalated else None,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    table: OutcomeTable
    cascade: str
    times: list[datetime]
    run_propensity: FloatArray
    label_propensity: FloatArray
    exploration_rate: float
    source: LabelSource

    def recorded(self, row: int) -> Recorded:
        table = self.table
        query = str(table.query_ids[row])
        occurred_at, rate = self.times[row], float(table.exploration_rate[row])
        tiers = [int(tier) for tier in np.flatnonzero(table.ran[row])]
        try:
            decision = Decision(
                id=recorded_id(self.cascade, query, occurred_at),
                cascade=self.cascade,
                occurred_at=occurred_at,
                external_id=query,
                slice=table.slice[row],
                prompt=table.prompt[row],
                exploration_rate=self.exploration_rate if _known(rate) is None else rate,
                attempts=tuple(self._attempt(row, tier, role) for tier, role in self._roles(row, tiers)),
            )
        except RecordInvalid as error:
            raise TableInvalid(f"query {query!r}: {error}") from error
        labels = tuple(self._label(row, tier, decision) for tier in tiers if np.isfinite(table.correct[row, tier]))
        foreseen = tuple(self._judged(row, tier, decision) for tier in tiers if np.isfinite(table.forecast[row, tier]))
        return Recorded(row=row, decision=decision, labels=labels + foreseen)

    def _roles(self, row: int, tiers: list[int]) -> list[tuple[int, Role]]:
        given = self.table.role[row]
        if any(given[tier] is not None for tier in tiers):
            blank = [tier for tier in tiers if given[tier] is None]
            if blank:
                query = self.table.query_ids[row]
                raise TableInvalid(f"query {query!r}, tier {blank[0]} has no role but others have: give all or none")
            return [(tier, Role(given[tier])) for tier in tiers]
        last = self.table.tiers - 1
        explored = len(tiers) > 1 and tiers[-1] == last and self.run_propensity[row, last] < 1
        return presumed_roles(tiers, explored=explored)

    def _attempt(self, row: int, tier: int, role: Role) -> Attempt:
        cells = {name: column.cell(getattr(self.table, name)[row, tier]) for name, column in _OF_ATTEMPTS.items()}
        cells |= role_fields(role) | {"run_propensity": _known(self.run_propensity[row, tier])}
        return Attempt(tier=tier, signals=Signals(**{name: cells.pop(name) for name in _SIGNALS}), **cells)

    def _judged(self, row: int, tier: int, decision: Decision) -> Label:
        return Label(
            cascade=self.cascade,
            source=LabelSource.JUDGE,
            correct=float(self.table.forecast[row, tier]),
            labelled_at=decision.occurred_at,
            decision_id=decision.id,
            tier=tier,
        )

    def _label(self, row: int, tier: int, decision: Decision) -> Label:
        table = self.table
        made = table.labelled_at[row, tier]
        source = table.label_source[row, tier]
        return Label(
            cascade=self.cascade,
            source=self.source if source is None else LabelSource(source),
            correct=float(table.correct[row, tier]),
            labelled_at=decision.occurred_at if np.isnat(made) else _aware(made),
            decision_id=decision.id,
            tier=tier,
            label_propensity=_known(self.label_propensity[row, tier]),
        )


def _times(table: OutcomeTable, span: Window | None) -> list[datetime]:
    known = ~np.isnat(table.occurred_at)
    if known.all():
        return [_aware(time) for time in table.occurred_at]
    if known.any():
        query = table.query_ids[int(np.argmin(known))]
        raise TableInvalid(f"query {query!r} has no occurred_at but others have: give it for all or for none")
    if span is None:
        raise TableInvalid("the table has no occurred_at: say when its queries happened with --start and --end")
    if span.start < EPOCH:
        raise TableInvalid(f"--start is {span.start.isoformat()}: give a time from 1970 on")
    step: timedelta = span.length / table.queries
    return [span.start + row * step for row in range(table.queries)]


def _filled(propensity: FloatArray, table: OutcomeTable, *, complete: bool) -> FloatArray:
    """The propensities; 1 where none is given and nothing was left to chance."""
    if complete and np.isnan(propensity).all():
        return np.where(table.ran, 1.0, np.nan)
    return propensity


def _exploration_rate(table: OutcomeTable) -> float:
    last = table.run_propensity[:, -1]
    rates = np.unique(last[np.isfinite(last) & (last < 1)])
    return float(rates[0]) if rates.size == 1 else 0.0


def _aware(time: np.datetime64) -> datetime:
    naive: datetime = time.astype("datetime64[us]").item()
    return naive.replace(tzinfo=UTC)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
