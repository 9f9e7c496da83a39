"""`knowgate labels import`: a user's own file of labels, its columns mapped to ours.

A mapping says `field=column` for each field whose column goes by another name, and `field=` to
leave out a column that goes by a field's name and means something else. Times without an offset are
refused unless the zone is named in which they were written. Two rows of one source that say
different things of one answer at one time contradict each other, and no order of theirs says which
is right: such a file is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import numpy as np

from knowgate._records.records import Label, LabelSource
from knowgate.errors import RecordInvalid
from services.errors import TableInvalid
from services.outcome_tables.columns import Columns, parse_mapping
from services.outcome_tables.table_files import read_columns
from services.outcome_tables.times import Zone
from store.files import Wanted
from store.rejections import LEAST_CHANCE
from store.statements import contradict, in_words

FIELDS = ("decision_id", "external_id", "tier", "source", "correct", "labelled_at", "label_propensity", "grader")
MAY_BE_LEFT_OUT = tuple(name for name in FIELDS if name != "correct")
WANTED = Wanted(
    texts=("decision_id", "external_id", "source", "grader"),
    numbers=("tier", "label_propensity"),
    truths=("correct",),
    times=("labelled_at",),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFile:
    """The labels of a file, in its order, and how much of it they are."""

    labels: tuple[Label, ...]
    places: tuple[str, ...]  # per label the row that it is, as messages name it
    rows_read: int
    lines_in_file: int | None  # None where it has none (Parquet)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelDefaults:
    """What holds for every row of a file that does not say it itself."""

    cascade: str
    source: LabelSource | None = None
    labelled_at: datetime | None = None
    tier: int | None = None


def label_mapping(text: str | None) -> dict[str, str | None]:
    """`correct=is_right,source=` as a mapping from field to column. Raises InputInvalid."""
    return parse_mapping(text, FIELDS, MAY_BE_LEFT_OUT)


def read_labels(
    path: str | Path,
    defaults: LabelDefaults,
    *,
    mapping: Mapping[str, str | None],
    timezone: str | None = None,
    now: datetime | None = None,
) -> LabelFile:
    """The file's labels; `now` is what a date of the day that is not over stands for.

    Raises TableInvalid naming the column, row, line, value and cure.
    """
    zone = Zone(name=timezone, now=now)
    columns = read_columns(Path(path), WANTED, mapping)
    labels = _labels(columns, defaults, zone)
    _refuse_contradictions(columns, labels)
    return LabelFile(
        labels=labels,
        places=tuple(columns.place(row) for row in range(columns.rows)),
        rows_read=columns.rows,
        lines_in_file=columns.source.lines,
    )


def _refuse_contradictions(columns: Columns, labels: Sequence[Label]) -> None:
    """Names by different ids may still mean one decision: the store, which knows, looks again."""
    said: dict[tuple[object, ...], int] = {}
    for row, label in enumerate(labels):
        of_one = (label.decision_id, label.external_id, label.tier, label.source, label.labelled_at)
        first = said.setdefault(of_one, row)
        if contradict(labels[first], label):
            before, after = (in_words(one.correct, one.label_propensity, one.grader) for one in (labels[first], label))
            one, other = columns.place(first), columns.place(row)
            raise TableInvalid(
                f"{columns.file}: {one} and {other} contradict each other: both are the {label.source.value} label of"
                f" {label.external_id or label.decision_id} at {label.labelled_at.isoformat()}, and say"
                f" {before} and {after}; keep one, or give a correction its own, later labelled_at"
            )


def _labels(columns: Columns, defaults: LabelDefaults, zone: Zone) -> tuple[Label, ...]:
    there = columns.names
    named = [name for field in ("decision_id", "external_id") if (name := columns.called(field))]
    if not set(named) & set(there):
        either = " or ".join(named) or "for a decision's id"
        raise columns.absent(either, "say with --map external_id=COLUMN which one names the decision")
    if columns.called("correct") not in there:
        raise columns.missing("correct", "say with --map correct=COLUMN which one tells right from wrong")
    correct = columns.numbers("correct", high=1.0)
    ids, externals = columns.ids("decision_id"), columns.ids("external_id")
    sources, graders = columns.texts("source"), columns.texts("grader")
    tiers = columns.numbers("tier", high=31, whole=True)
    propensities = columns.numbers("label_propensity", low=LEAST_CHANCE, high=1.0)
    times = columns.times("labelled_at", zone)
    if np.isnan(correct).any():
        row = int(np.argmax(np.isnan(correct)))
        raise columns.fault("correct", row, None, "a label says 0 to 1, or true or false; leave out unlabelled rows")
    labels = []
    for row in range(columns.rows):
        try:
            labels.append(
                Label(
                    cascade=defaults.cascade,
                    source=_source(sources[row], defaults),
                    correct=float(correct[row]),
                    labelled_at=_time(times[row], defaults),
                    decision_id=None if ids[row] is None else _uuid(ids[row]),
                    external_id=externals[row] if ids[row] is None else None,
                    tier=defaults.tier if np.isnan(tiers[row]) else int(tiers[row]),
                    label_propensity=None if np.isnan(propensities[row]) else float(propensities[row]),
                    grader=graders[row],
                )
            )
        except RecordInvalid as error:
            field = error.field
            if field == "decision_id" and columns.called(field) not in there:
                field = "external_id"  # the file names its decisions by these alone
            raise columns.fault(field, row, error.value, error.cure) from None
    return tuple(labels)


def _source(given: str | None, defaults: LabelDefaults) -> LabelSource:
    if given is None:
        if defaults.source is None:
            raise RecordInvalid("source", None, "say whose labels these are with --source, or map a column")
        return defaults.source
    try:
        return LabelSource(given)
    except ValueError:
        cure = f"use one of {', '.join(LabelSource)}, or leave the column out with --map source= and say --source"
        raise RecordInvalid("source", given, cure) from None


def _time(given: np.datetime64, defaults: LabelDefaults) -> datetime:
    if np.isnat(given):
        if defaults.labelled_at is None:
            raise RecordInvalid("labelled_at", None, "map a column of times, or say --labelled-at for all")
        return defaults.labelled_at
    naive: datetime = given.astype("datetime64[us]").item()
    return naive.replace(tzinfo=UTC)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise RecordInvalid("decision_id", text, "a UUID is expected; map the user's own ids to external_id") from None
