"""A log's rows as calls of a cascade's tiers: each field from where its format keeps it.

What is no answered call of a model that was named is left out and counted by the reason. A value
that cannot be used is refused with file, row, place, value and cure: a history with holes is worse
than none.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from knowgate._records.observation import Observation
from knowgate._records.records import SHOWN, Attempt, Role, Signals
from knowgate.errors import RecordInvalid
from knowgate.spec import CascadeSpec
from services.errors import TableInvalid
from services.history.log_formats import LogFormat
from services.history.places import (
    Json,
    ValueRefused,
    count_of,
    document_of,
    number_of,
    text_of,
    time_of,
    unquoted,
    value_at,
)
from services.history.said_texts import observed, prompt_at
from services.outcome_tables.times import Zone
from store.errors import FileRefused
from store.files import NestedRow, nested_rows
from store.files.wanted import cell_fault

T = TypeVar("T")
NO_MODEL = "it names no model"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedCall:
    """One call, or a prompt alone: such as a line of the file that asked for a batch."""

    query_id: str
    prompt: str | None
    asked: str | None  # digest of what was asked; None where the call's own row does not hold it
    slice: str | None
    occurred_at: datetime | None
    attempt: Attempt | None  # as if it had been served; None = a prompt alone


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSource:
    """What is read, and how."""

    files: Sequence[Path]
    format: LogFormat
    tiers: Mapping[str, int]  # by model
    mapping: Mapping[str, str | None] = field(default_factory=dict)  # a field's place; None = it is left out
    zone: Zone = field(default_factory=Zone)


class CallReader:
    """Reads a source once; then `left_out` says what was not taken, by reason."""

    def __init__(self, source: LogSource, spec: CascadeSpec) -> None:
        self.rows = 0
        self.left_out: Counter[str] = Counter()
        self._source = source
        self._spec = spec
        self._places = dict(source.format.places)
        self._places |= {name: () if place is None else (place,) for name, place in source.mapping.items()}
        self._unseen = {place for place in source.mapping.values() if place is not None}

    def calls(self) -> Iterator[LoggedCall]:
        """All of them, file by file. Raises TableInvalid."""
        for file in self._source.files:
            try:
                for row in nested_rows(file):
                    self.rows += 1
                    for call in self._of_row(row):
                        logged = self._call(_Cells(reader=self, file=file.name, row=row, call=call))
                        if logged is not None:
                            yield logged
            except FileRefused as error:
                raise TableInvalid(str(error)) from error
        if self._unseen and self.rows:
            raise TableInvalid(
                f"--map: nothing lies at {', '.join(sorted(self._unseen))} in any row; correct the place"
            )

    def _of_row(self, row: NestedRow) -> Sequence[Json]:
        for place in self._source.format.calls:
            calls = document_of(value_at(row.fields, place))
            if isinstance(calls, list):
                return calls
        return [row.fields]

    def _call(self, cells: "_Cells") -> LoggedCall | None:
        model = self._model(cells)
        prompt = cells.read("prompt", prompt_at)
        reason = self._reason_against(cells, model, prompt)
        if reason is not None:
            self.left_out[reason] += 1
            return None
        query_id = cells.read("query_id", text_of)
        if query_id is None:
            raise cells.fault("query_id", None, "say with --map query_id=PLACE what tells queries apart")
        occurred_at = cells.read("occurred_at", self._time)
        if model is not None and occurred_at is None:
            raise cells.fault("occurred_at", None, "say with --map occurred_at=PLACE when it was asked")
        return LoggedCall(
            query_id=query_id,
            prompt=None if prompt is None else prompt[0],
            asked=None if prompt is None or model is None else prompt[1],
            slice=cells.read("slice", text_of),
            occurred_at=occurred_at,
            attempt=None if model is None else self._attempt(cells, model, occurred_at),
        )

    def _reason_against(self, cells: "_Cells", model: str | None, prompt: object) -> str | None:
        """Why a row is not taken; None where it is."""
        if model is None and prompt is None:
            return NO_MODEL
        for place, values in self._source.format.only.items():
            value = cells.at(place)
            if value is not None and str(value) not in values:
                return f"{place} {value}"
        return f"model {model}" if model is not None and model not in self._source.tiers else None

    def _model(self, cells: "_Cells") -> str | None:
        """The first name that `--tier` knows, else the first."""
        names = [text for place in self._places.get("model", ()) if (text := cells.text(place)) is not None]
        return next((name for name in names if name in self._source.tiers), next(iter(names), None))

    def _attempt(self, cells: "_Cells", model: str, occurred_at: datetime | None) -> Attempt:
        tier = self._source.tiers[model]
        logprobs = cells.read("logprobs", lambda value: value)
        shown = cells.read("answer", lambda value: observed(value, logprobs, self._spec.tiers[tier])) or Observation()
        ended_at = cells.read("ended_at", self._time)
        took = None if ended_at is None or occurred_at is None else (ended_at - occurred_at).total_seconds() * 1e3
        latency_ms = cells.read("latency_ms", number_of)
        p_t = cells.read("p_t", number_of)
        tokens_in, tokens_out = cells.read("tokens_in", count_of), cells.read("tokens_out", count_of)
        shown = replace(
            shown,
            cost_usd=cells.read("cost_usd", number_of),
            latency_ms=took if latency_ms is None and took is not None and took >= 0 else latency_ms,
            tokens_in=shown.tokens_in if tokens_in is None else tokens_in,
            tokens_out=shown.tokens_out if tokens_out is None else tokens_out,
        )
        try:
            return Attempt(
                **{name: getattr(shown, name) for name in SHOWN},
                tier=tier,
                role=Role.SERVED,
                model=model,
                signals=Signals(p_t=shown.p_t if p_t is None else p_t),
                note="; ".join(shown.notes)[:1000] or None,
            )
        except RecordInvalid as error:
            raise cells.fault(error.field, error.value, error.cure) from None

    def _time(self, value: Json) -> datetime | None:
        return time_of(value, self._source.zone, utc=self._source.format.utc)

    def places(self, name: str) -> tuple[str, ...]:
        """Where a field may lie."""
        return self._places.get(name, ())

    def value(self, place: str, call: Json, row: NestedRow) -> Json:
        """What lies there in a call, else in its row."""
        value = value_at(call, place)
        if value is None and call is not row.fields:
            value = value_at(row.fields, place)
        texts = self._source.format.json_texts
        if texts and place.startswith(texts):
            value = unquoted(value)
        if value is not None:
            self._unseen.discard(place)
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cells:
    """One call's fields."""

    reader: CallReader
    file: str
    row: NestedRow
    call: Json

    def at(self, place: str) -> Json:
        return self.reader.value(place, self.call, self.row)

    def text(self, place: str) -> str | None:
        value = self.at(place)
        return value if isinstance(value, str) and value else None

    def read(self, name: str, read: Callable[[Json], T | None]) -> T | None:
        """A field from the first of its places that says something."""
        for place in self.reader.places(name):
            value = self.at(place)
            try:
                worth = None if value is None else read(value)
            except ValueRefused as error:
                raise self.fault(name, value, str(error), place) from None
            if worth is not None:
                return worth
        return None

    def fault(self, name: str, value: Any, cure: str, place: str | None = None) -> TableInvalid:
        """What is wrong with a field, by its place where it was looked for."""
        where = place or " or ".join(self.reader.places(name)) or name
        called = where if where == name else f"{name} ({where})"
        return TableInvalid(cell_fault(self.file, called, self.row.number, self.row.line, value, cure))
