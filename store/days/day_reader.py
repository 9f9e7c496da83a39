"""The join of attempts with their labels, read from the files of days by DuckDB.

DuckDB reads local files itself and others through fsspec, which is what knows their credentials;
it downloads nothing and attaches no database. An attempt's labels lie in the order in which they
are in force, so what was in force at a time is the first of those that were there by then.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import pyarrow as pa

from knowgate._records.records import LabelSource, Reason
from store.days.day_columns import ID, KEY, LABELS
from store.days.day_files import DayFile
from store.errors import ShardRefused
from store.shards import shard_storage

_IN_FORCE = {
    "correct": "correct",
    "label_source": "source",
    "labelled_at": "labelled_at",
    "label_received_at": "received_at",
    "label_propensity": "label_propensity",
}
_FORESEEN = {"forecast": "correct", "forecast_source": "source"}
_OTHERWISE = {"ids": KEY, "retained": "coalesce(action = 'retain', false)"}


@contextmanager
def opened(files: Sequence[DayFile]) -> Iterator[Any]:
    """A connection of DuckDB that can read these files, as the view `attempts`, by decision and
    tier. Raises ShardRefused.
    """
    import duckdb  # a quarter of a second: not for those who read no file

    config: dict[str, Any] = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    with closing(duckdb.connect(config=config)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        places = [shard_storage.locate(file.url) for file in files]
        for system in {id(place.filesystem): place.filesystem for place in places if not place.local}.values():
            connection.register_filesystem(system)
        names = [place.path if place.local else place.url for place in places]
        try:
            connection.read_parquet(names, union_by_name=True).create_view("attempts")
            yield connection
        except duckdb.Error as error:
            urls = f"{files[0].url} and {len(files) - 1} more" if len(files) > 1 else files[0].url
            cure = "`knowgate audit verify` names what is damaged; restore it from a backup"
            raise ShardRefused(f"the files of days {urls} cannot be read ({error}): {cure}") from error


def labelled_rows(
    files: Sequence[DayFile],
    names: Sequence[str],
    *,
    low: UUID,
    high: UUID,
    as_of: datetime,
    trusted: Collection[LabelSource],
) -> pa.Table:
    """The attempts of decisions in [low, high) that had been received by `as_of`, in the order of
    the files, with these columns of `store.traffic.example_columns.Examples`, `ids` among them.
    """
    others = [source for source in LabelSource if source not in trusted]
    columns = [f"{_expression(name)} AS {name}" for name in names]
    query = f"""
        SELECT {", ".join(columns)}
        FROM (SELECT *, {_first(trusted)} AS in_force, {_first(others)} AS foreseen FROM attempts)
        WHERE {KEY} >= $low AND {KEY} < $high AND received_at <= $as_of
          AND (fault IS NULL OR fault <> '{Reason.UNCERTIFIED_REQUEST.value}')
    """
    given = {"low": low.bytes, "high": high.bytes, "as_of": as_of}
    with opened(files) as connection:
        table: pa.Table = connection.sql(query, params=given).to_arrow_table()
    at = table.column_names.index("ids")
    return table.set_column(at, "ids", table.column(at).cast(ID))  # DuckDB's bytes are of any length


def newest_named(files: Sequence[DayFile], external_id: str) -> UUID | None:
    """The newest decision of this external id in files of one cascade; None where there is none.
    Raises ShardRefused.
    """
    if not files:
        return None
    with opened(files) as connection:
        query = f"SELECT max({KEY}) FROM attempts WHERE external_id = $name"
        (found,) = connection.execute(query, {"name": external_id}).fetchone()
    return None if found is None else UUID(bytes=found)


def _expression(name: str) -> str:
    if name in _IN_FORCE:
        return f"in_force.{_IN_FORCE[name]}"
    if name in _FORESEEN:
        return f"foreseen.{_FORESEEN[name]}"
    return _OTHERWISE.get(name, f'"{name}"')


def _first(sources: Collection[LabelSource]) -> str:
    """The label in force of these sources; typed as one where there are none."""
    said = ", ".join(f"'{source.value}'" for source in sources) or "NULL"
    there = "said.labelled_at <= $as_of AND said.received_at <= $as_of"
    return f"list_filter({LABELS}, lambda said: {there} AND said.source IN ({said}))[1]"
