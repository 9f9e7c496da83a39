"""`knowgate labels import`: a user's own file of labels, its columns mapped to ours.

A mapping says `field=column` for each field whose column goes by another name. Times without an offset are refused
unless the zone is named in which they were written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import numpy as np

from knowgate.errors import RecordInvalid
from knowgate.records import Label, LabelSource
from services.errors import InputInvalid, TableInvalid
from services.history.columns import Columns, require_zone
from services.history.table_files import read_table

FIELDS = ("decision_id", "external_id", "tier", "source", "correct", "labelled_at", "label_propensity", "grader")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelDefaults:
    """What holds for every row of a file that does not say it itself."""

    cascade: str
    source: LabelSource | None = None
    labelled_at: datetime | None = None
    tier: int | None = None


def parse_mapping(text: str | None) -> dict[str, str]:
    """`correct=is_right,external_id=id` as a mapping from field to column. Raises InputInvalid."""
    mapping = {}
    for part in (text or "").split(","):
        if not part.strip():
            continue
        field, _, column = (piece.strip() for piece in part.partition("="))
        if field not in FIELDS or not column:
            raise InputInvalid(f"--map {part.strip()!r}: write field=column, the field one of {', '.join(FIELDS)}")
        if field in mapping:
            raise InputInvalid(f"--map names {field} twice; give it once")
        mapping[field] = column
    return mapping


def read_labels(
    path: str | Path, defaults: LabelDefaults, *, mapping: Mapping[str, str], timezone: str | None = None
) -> tuple[Label, ...]:
    """The file's labels. Raises TableInvalid naming the column, row, value and cure."""
    require_zone(timezone)
    path = Path(path)
    names = {field: mapping.get(field, field) for field in FIELDS}
    texts = tuple(names[field] for field in ("decision_id", "external_id", "source", "grader"))
    table = read_table(path, text_columns=texts, time_columns=(names["labelled_at"],))
    columns = Columns(table=table, file=path.name)
    missing = [column for column in mapping.values() if column not in table.column_names]
    if missing:
        held = ", ".join(table.column_names)
        raise TableInvalid(f"{path.name} has no column {missing[0]}; it has {held}: correct --map")
    return _labels(columns, names, defaults, timezone)


def _labels(
    columns: Columns, names: Mapping[str, str], defaults: LabelDefaults, timezone: str | None
) -> tuple[Label, ...]:
    held = columns.table.column_names
    if names["decision_id"] not in held and names["external_id"] not in held:
        told = f"{names['decision_id']} or {names['external_id']}"
        raise columns.missing(told, "say with --map external_id=COLUMN which one names the decision")
    if names["correct"] not in held:
        raise columns.missing(names["correct"], "say with --map correct=COLUMN which one tells right from wrong")
    correct = columns.numbers(names["correct"], high=1.0)
    ids, externals = columns.texts(names["decision_id"]), columns.texts(names["external_id"])
    sources, graders = columns.texts(names["source"]), columns.texts(names["grader"])
    tiers = columns.numbers(names["tier"], high=31, whole=True)
    propensities = columns.numbers(names["label_propensity"], high=1.0, above_low=True)
    times = columns.times(names["labelled_at"], timezone=timezone)
    if np.isnan(correct).any():
        row = int(np.argmax(np.isnan(correct)))
        raise columns.fault(
            names["correct"], row, None, "a label says 0 to 1, or true or false; leave out unlabelled rows"
        )
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
            if field == "decision_id" and names[field] not in held:
                field = "external_id"  # the file names its decisions by these alone
            raise columns.fault(names.get(field, field), row, error.value, error.cure) from None
    return tuple(labels)


def _source(given: str | None, defaults: LabelDefaults) -> LabelSource:
    if given is None:
        if defaults.source is None:
            raise RecordInvalid("source", None, "say whose labels these are with --source, or map a column")
        return defaults.source
    try:
        return LabelSource(given)
    except ValueError:
        raise RecordInvalid("source", given, f"use one of {', '.join(LabelSource)}") from None


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
