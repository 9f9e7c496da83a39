"""A log's rows as calls of a cascade's tiers.

What is no answered call of a model that was named is left out and counted by the reason. A value
that cannot be used ends the import: a history with holes is worse than none.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from knowgate._records.observation import Observation
from knowgate._records.records import SHOWN, Attempt, Role, Signals
from knowgate.errors import RecordInvalid
from knowgate.spec import CascadeSpec
from services.history.log_formats import LogFormat
from services.history.said_texts import observed, prompt_at
from services.outcome_tables.nested_rows import Item, NestedLog
from services.outcome_tables.places import Json, count_of, hex_of, number_of, text_of, time_of
from services.outcome_tables.times import Zone

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
        self.left_out: Counter[str] = Counter()
        self._source = source
        self._spec = spec
        self._log = NestedLog(source.files, source.format, source.mapping)

    @property
    def rows(self) -> int:
        """How many were read so far."""
        return self._log.rows

    def calls(self) -> Iterator[LoggedCall]:
        """All of them, file by file. Raises TableInvalid."""
        for item in self._log.items():
            model, prompt = self._model(item), item.read("prompt", prompt_at)
            reason = self._reason_against(item, model, prompt)
            if reason is None:
                yield self._call(item, model, prompt)
            else:
                self.left_out[reason] += 1

    def _reason_against(self, item: Item, model: str | None, prompt: object) -> str | None:
        """Why an item is not taken; None where it is."""
        if model is None and prompt is None:
            return NO_MODEL
        return item.unwanted() or (f"model {model}" if model is not None and model not in self._source.tiers else None)

    def _model(self, item: Item) -> str | None:
        """The first name that `--tier` knows, else the first."""
        names = item.texts("model")
        return next((name for name in names if name in self._source.tiers), next(iter(names), None))

    def _call(self, item: Item, model: str | None, prompt: tuple[str, str] | None) -> LoggedCall:
        query_id, occurred_at = item.read("query_id", text_of), item.read("occurred_at", self._time)
        if query_id is None:
            raise item.fault("query_id", None, "say with --map query_id=PLACE what tells queries apart")
        if model is not None and occurred_at is None:
            raise item.fault("occurred_at", None, "say with --map occurred_at=PLACE when it was asked")
        return LoggedCall(
            query_id=query_id,
            prompt=None if prompt is None else prompt[0],
            asked=None if prompt is None or model is None else prompt[1],
            slice=item.read("slice", text_of),
            occurred_at=occurred_at,
            attempt=None if model is None or occurred_at is None else self._attempt(item, model, occurred_at),
        )

    def _attempt(self, item: Item, model: str, occurred_at: datetime) -> Attempt:
        tier = self._source.tiers[model]
        logprobs = item.read("logprobs", lambda value: value)
        shown = item.read("answer", lambda value: observed(value, logprobs, self._spec.tiers[tier])) or Observation()
        ended_at, latency_ms = item.read("ended_at", self._time), item.read("latency_ms", number_of)
        if latency_ms is None and ended_at is not None and ended_at >= occurred_at:
            latency_ms = (ended_at - occurred_at).total_seconds() * 1e3
        p_t = item.read("p_t", number_of)
        tokens_in, tokens_out = item.read("tokens_in", count_of), item.read("tokens_out", count_of)
        shown = replace(
            shown,
            cost_usd=item.read("cost_usd", number_of),
            latency_ms=latency_ms,
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
                span_id=item.read("span_id", self._span),
            )
        except RecordInvalid as error:
            raise item.fault(error.field, error.value, error.cure) from None

    def _time(self, value: Json) -> datetime | None:
        return time_of(value, self._source.zone, utc=self._source.format.utc)

    def _span(self, value: Json) -> str | None:
        name = text_of(value)
        return name if name is None or not self._source.format.base64_spans else hex_of(name)
