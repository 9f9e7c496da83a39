"""Calls of a log as decisions: those of one query, from anywhere in the files, are its attempts.

Calls are of one query where they have one id and were asked the same: one trace may hold several
questions. The calls are written to a file of their own first, so that of a log of any size some
tens of bytes a call are in memory; then they are read query by query, in the order in which queries
appeared. A tier that was asked twice, as retries do, has the later answer.
"""

import hashlib
import json
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from knowgate._records.records import Attempt, Decision
from knowgate._wire import codec
from knowgate.errors import RecordInvalid
from services.errors import TableInvalid
from services.history.logged_calls import LoggedCall
from services.history.recorded_decisions import EPOCH, Recorded, presumed_roles, recorded_id, role_fields
from services.outcome_tables.columns import IntArray
from services.outcome_tables.places import trace_named


class GatheredCalls:
    """All calls of a log, to be read query by query."""

    def __init__(self, cascade: str, file: IO[bytes], places: "_Places", *, tiers: int) -> None:
        self.queries = len(places.groups)  # with a call, not with a prompt alone
        self.repeated = places.calls - int(np.bitwise_count(places.ran).sum())  # a tier's earlier answers
        self.complete = bool((places.ran == (1 << tiers) - 1).all())  # every tier ran on every query
        self._cascade = cascade
        self._file = file
        self._places = places

    def decisions(self) -> Iterator[Recorded]:
        """Every query as a decision. Raises TableInvalid for one that cannot be one."""
        for row, (start, end) in enumerate(self._places.groups):
            by_query: dict[tuple[str, str | None], list[LoggedCall]] = {}  # one, unless two have one digest
            for begin in self._places.begins[start:end]:
                self._file.seek(int(begin))
                call = codec.decode(LoggedCall, json.loads(self._file.readline()))
                by_query.setdefault((call.query_id, call.asked), []).append(call)
            for calls in by_query.values():
                yield Recorded(row=row, decision=self._decision(calls), labels=())

    def _decision(self, calls: Sequence[LoggedCall]) -> Decision:
        answers = {call.attempt.tier: call.attempt for call in sorted(calls, key=_when) if call.attempt is not None}
        query_id, asked = calls[0].query_id, calls[0].asked
        occurred_at = min(_when(call) for call in calls if call.attempt is not None)
        name = query_id if asked is None else f"{query_id}\x00{asked}"
        try:
            return Decision(
                id=recorded_id(self._cascade, name, occurred_at),
                cascade=self._cascade,
                occurred_at=occurred_at,
                external_id=query_id,
                trace_id=trace_named(query_id),
                slice=_first(call.slice for call in calls),
                prompt=_first(call.prompt for call in calls),
                attempts=tuple(
                    self._attempt(answers[tier], role_fields(role)) for tier, role in presumed_roles(sorted(answers))
                ),
            )
        except RecordInvalid as error:
            raise TableInvalid(f"query {query_id!r}: {error}") from error

    def _attempt(self, answer: Attempt, fields: dict[str, Any]) -> Attempt:
        return replace(answer, run_propensity=1.0 if self.complete else None, **fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """Where the calls of each query lie."""

    begins: IntArray  # [n] of a call's line in the file, query by query
    groups: npt.NDArray[np.int64]  # [queries, 2] from and to which of them are a query's
    ran: IntArray  # [queries] a bit for each tier that ran
    calls: int  # that are no prompt alone


@contextmanager
def gathered(calls: Iterable[LoggedCall], cascade: str, *, tiers: int) -> Iterator[GatheredCalls]:
    """The calls, gathered by query for as long as the context lasts; `tiers` is how many the
    cascade has.
    """
    keys, begins, bits = array("Q"), array("q"), array("I")
    with tempfile.TemporaryFile() as file:
        for call in calls:
            begins.append(file.tell())
            keys.append(_key(call))
            bits.append(0 if call.attempt is None else 1 << call.attempt.tier)
            file.write(json.dumps(codec.encode(call)).encode() + b"\n")
        yield GatheredCalls(cascade, file, _places(keys, begins, bits), tiers=tiers)


def _places(keys: Sequence[int], begins: Sequence[int], bits: Sequence[int]) -> _Places:
    _, first, group = np.unique(np.asarray(keys, dtype=np.uint64), return_index=True, return_inverse=True)
    appeared = first[group]
    order = np.argsort(appeared, kind="stable")
    starts = np.flatnonzero(np.diff(appeared[order], prepend=-1))
    ran = np.bitwise_or.reduceat(np.asarray(bits, dtype=np.int64)[order], starts) if starts.size else starts
    groups = np.column_stack([starts, np.append(starts[1:], len(order))[: len(starts)]])
    return _Places(
        begins=np.asarray(begins, dtype=np.int64)[order],
        groups=groups[ran > 0],
        ran=ran[ran > 0],
        calls=int(np.count_nonzero(bits)),
    )


def _key(call: LoggedCall) -> int:
    name = f"{call.query_id}\x00{call.asked or ''}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest())


def _when(call: LoggedCall) -> datetime:
    return EPOCH if call.occurred_at is None else call.occurred_at


def _first(texts: Iterable[str | None]) -> str | None:
    return next((text for text in texts if text is not None), None)
