"""`knowgate labels import --from SYSTEM`: labels that another system gathered, as they stand there.

Who said it is the label's source, and his or its name the grader; when it was last changed is its
time, so that a revision supersedes what it revises; its id there is the origin. One on a span is of
the run that the span was: a label that no stored run answers to is refused, for nothing says which
answer it means. One on a trace is of the answer that was served, and waits for its decision.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from knowgate._records.receipts import Rejected
from knowgate._records.records import Label, LabelSource
from knowgate.errors import RecordInvalid
from services.errors import InputInvalid
from services.labelling.files import LabelDefaults, LabelFile
from services.labelling.log_formats import FORMATS, LabelKind
from services.outcome_tables.nested_rows import Item, NestedLog
from services.outcome_tables.places import Json, ValueRefused, text_of, time_of, trace_named
from services.outcome_tables.times import Zone
from store.traffic.runs import runs_of_spans

WORDS: Mapping[str, float] = {
    "true": 1.0,
    "yes": 1.0,
    "pass": 1.0,
    "correct": 1.0,
    "right": 1.0,
    "false": 0.0,
    "no": 0.0,
    "fail": 0.0,
    "incorrect": 0.0,
    "wrong": 0.0,
}
NO_RUN = "no stored run has this span: import the decisions first, with knowgate import --from"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelLog:
    """What is read, and how."""

    file: Path
    kind: LabelKind
    name: str | None = None  # of the scores that say right or wrong; None = there is one name
    values: Mapping[str, float] = field(default_factory=dict)  # what a word or a number is worth, in [0, 1]
    mapping: Mapping[str, str | None] = field(default_factory=dict)
    zone: Zone = field(default_factory=Zone)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedLabels:
    """Labels of a log; `spans` names, beside each, the span that it is of (None = its trace)."""

    file: LabelFile
    spans: tuple[str | None, ...]
    left_out: Mapping[str, int]  # by reason


def read_label_log(log: LabelLog, defaults: LabelDefaults) -> LoggedLabels:
    """The log's labels, each as one of its trace.

    Raises TableInvalid, and InputInvalid where scores of several names are there and none is
    chosen.
    """
    reader = _Reader(log, defaults)
    read = list(reader.labels())
    return LoggedLabels(
        file=LabelFile(
            labels=tuple(label for label, _, _ in read),
            places=tuple(place for _, _, place in read),
            rows_read=reader.source.rows,
            lines_in_file=None,
        ),
        spans=tuple(span for _, span, _ in read),
        left_out=dict(reader.left_out.most_common()),
    )


def of_runs(session: Session, read: LoggedLabels, cascade: str) -> tuple[list[Label], list[int], list[Rejected]]:
    """The labels, those of spans naming the run; which of the log's they are; and those whose span
    no run has.
    """
    runs = runs_of_spans(session, cascade, [span for span in read.spans if span is not None])
    labels, indexes, rejected = [], [], []
    for index, (label, span) in enumerate(zip(read.file.labels, read.spans, strict=True)):
        run = None if span is None else runs.get(span)
        if span is not None and run is None:
            rejected.append(Rejected(index=index, field="span_id", value=span, cure=NO_RUN))
            continue
        if run is not None:
            label = replace(label, external_id=None, decision_id=run.decision_id, tier=run.tier)
        labels.append(label)
        indexes.append(index)
    return labels, indexes, rejected


class _Reader:
    def __init__(self, log: LabelLog, defaults: LabelDefaults) -> None:
        self.format = FORMATS[log.kind]
        self.source = NestedLog([log.file], self.format, log.mapping)
        self.left_out: Counter[str] = Counter()
        self._log = log
        self._name = log.name  # where none is chosen, the first
        self._defaults = defaults

    def labels(self) -> Iterator[tuple[Label, str | None, str]]:
        """Each with the span it is of, and its place in the file."""
        for item in self.source.items():
            reason = item.unwanted() or self._reason_against(item)
            correct = item.read("correct", self._worth) if reason is None else None
            if correct is None:
                self.left_out[reason or "no value"] += 1
                continue
            span = item.read("span_id", text_of)
            yield self._label(item, correct, span), span, item.place

    def _reason_against(self, item: Item) -> str | None:
        name = item.read("name", text_of) or ""
        self._name = name if self._name is None else self._name
        if name != self._name and self._log.name is None:
            raise InputInvalid(f"{item.file} holds labels named {self._name} and {name}: say with --name which")
        if name != self._name:
            return f"named {name}"
        return "given away by knowgate" if any(item.at(place) is not None for place in self.format.own) else None

    def _label(self, item: Item, correct: float, span: str | None) -> Label:
        trace = item.read("trace_id", text_of)
        if trace is None and span is None:
            raise item.fault("trace_id", None, "say with --map trace_id=PLACE what it is of")
        labelled_at = item.read("labelled_at", self._time) or self._defaults.labelled_at
        if labelled_at is None:
            raise item.fault("labelled_at", None, "say with --map labelled_at=PLACE, or --labelled-at for all")
        source = item.read("source", self._source) or self._defaults.source
        if source is None:
            raise item.fault("source", None, "say whose labels these are with --source")
        name = item.read("id", text_of)
        try:
            return Label(
                cascade=self._defaults.cascade,
                source=source,
                correct=correct,
                labelled_at=labelled_at,
                external_id=(trace_named(trace) or trace) if trace is not None else span,
                tier=self._defaults.tier,
                grader=item.read("grader", text_of),
                origin=None if name is None else f"{self._log.kind.value}:{name}",
            )
        except RecordInvalid as error:
            raise item.fault(error.field, error.value, error.cure) from None

    def _worth(self, value: Json) -> float | None:
        """What a value says of an answer: 0 to 1."""
        if value == "":
            return None
        word = str(value).strip().lower()
        number = self._log.values.get(word, WORDS.get(word))
        if number is None:
            try:
                number = float(word)
            except ValueError:
                number = -1.0
        if not 0.0 <= number <= 1.0:
            raise ValueRefused(f"0 to 1, or a word such as yes, is expected: say with --value {word}=NUMBER its worth")
        return number

    def _source(self, value: Json) -> LabelSource | None:
        word = text_of(value)
        if word is None or word in self.format.sources:
            return None if word is None else self.format.sources[word]
        if word.lower() in tuple(LabelSource):
            return LabelSource(word.lower())
        raise ValueRefused(f"one of {', '.join(self.format.sources)} is expected; or --map source= and --source")

    def _time(self, value: Json) -> datetime | None:
        return time_of(value, self._log.zone, utc=self.format.utc)


def parse_values(texts: list[str] | None) -> dict[str, float]:
    """`good=1` as a mapping from word to worth. Raises InputInvalid."""
    values: dict[str, float] = {}
    for text in texts or []:
        word, _, number = text.rpartition("=")
        try:
            worth = float(number)
        except ValueError:
            worth = -1.0
        if not word or not 0.0 <= worth <= 1.0:
            raise InputInvalid(f"--value is {text!r}: write WORD=NUMBER, the number from 0 (wrong) to 1 (right)")
        values[word.strip().lower()] = worth
    return values
