"""A day's file as bytes: Parquet, and what is counted of it.

Files are a few tens of megabytes: whoever writes one holds its bytes and no more, an erasure
rewrites no more, and an object store takes it in one request.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from store.days import day_columns
from store.days.day_columns import KEY, LABELS
from store.errors import ShardRefused
from store.shards import shard_storage

ROWS_OF_ONE = 1 << 18  # attempts of a file, about
_ROW_GROUP = 1 << 15
_SUFFIX = "parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What a range of decisions holds."""

    decisions: int
    attempts: int
    labels: int
    erased: int  # decisions


@dataclass(frozen=True, slots=True, kw_only=True)
class DayBytes:
    """A file that lies nowhere yet."""

    content: memoryview
    sha256: str  # hex
    counts: Counts

    def url(self, base_url: str) -> str:
        """Where it is to lie."""
        return shard_storage.shard_url(base_url, self.sha256, _SUFFIX)

    def put(self, base_url: str) -> None:
        """Write it there: whole, or not at all, also in place of one that was damaged. Raises
        ShardRefused.
        """
        url = self.url(base_url)
        if shard_storage.exists(url) and not _is_what(_content(url), self.sha256):
            shard_storage.remove(url)
        shard_storage.put(url, [self.content])


def encoded(rows: pa.Table) -> DayBytes:
    """Rows of `day_rows`, by decision and tier, as a file."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd", row_group_size=_ROW_GROUP)
    content = memoryview(sink.getvalue())
    return DayBytes(content=content, sha256=hashlib.sha256(content).hexdigest(), counts=counts_of(rows))


def counts_of(rows: pa.Table) -> Counts:
    """What these rows are."""
    ids = rows.column(KEY).combine_chunks()
    gone = ids.filter(rows.column("erased_at").is_valid().combine_chunks())
    return Counts(
        decisions=pc.count_distinct(ids).as_py(),
        attempts=rows.num_rows,
        labels=pc.sum(pc.list_value_length(rows.column(LABELS))).as_py() or 0,
        erased=pc.count_distinct(gone).as_py(),
    )


def read_file(url: str, sha256: str, *, only: Collection[UUID] | None = None) -> pa.Table:
    """The rows of a file; with `only`, of these decisions. Raises ShardRefused where it is not
    there or not what was written.
    """
    content = _content(url)
    if not _is_what(content, sha256):
        raise ShardRefused(f"{url} is not the file of {sha256[:12]}… that was written: restore it from a backup")
    filters = None if only is None else pc.field(KEY).isin(pa.array([one.bytes for one in only], day_columns.ID))
    return pq.read_table(pa.BufferReader(content), filters=filters).cast(day_columns.schema())


def _content(url: str) -> bytes:
    place = shard_storage.locate(url)
    return shard_storage.fetch(place, 0, shard_storage.size_of(place))


def _is_what(content: bytes, sha256: str) -> bool:
    return hashlib.sha256(content).hexdigest() == sha256


def patched(rows: pa.Table, fresh: pa.Table) -> pa.Table:
    """These rows, those of the fresh decisions in place of what was said of them."""
    kept = rows.filter(pc.invert(pc.is_in(rows.column(KEY), fresh.column(KEY).combine_chunks())))
    joined = pa.concat_tables([kept, fresh]).combine_chunks()
    return joined.sort_by([(KEY, "ascending"), ("tier", "ascending")])
