"""The files that vectors lie in, as a whole: erasing rows, and sweeping what nothing refers to.

A shard is written before the transaction that refers to it ends, and an erasure or a compaction
writes a new shard before it lets go of the old one, so that a crash can leave a file that nothing
refers to and never a reference without its file. Such orphans, and shards that a compaction
superseded, are swept after a grace period, for the sake of those who still read them.

The files of days (`store.days`) lie under the same URL and are swept by the same rules.

An erasure waits for no grace period: what holds the erased vectors goes when its transaction has
ended, whether it is referred to, superseded, an orphan, a temporary file or a part of an upload
that never ended. It holds the files alone meanwhile (`store.traffic.vectors.hold_files`), so nobody
can be writing a copy.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from store.days.day_files import all_files
from store.engine import reading, transaction
from store.errors import ShardRefused
from store.shards.shard_format import ERASED
from store.shards.shard_storage import StoredFile, end_uploads, exists, files_under, path_of
from store.shards.shards import blank_rows, remove_shard, shard_ids
from store.traffic.shard_moves import forget_superseded, hold_moves
from store.traffic.vectors import ShardRecord, VectorPlace, locked_shards, move_shard, shards

Guard = Callable[[Session], None]  # called first in every transaction that has an effect


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What a sweep removed."""

    superseded: int  # shards that a compaction had emptied
    orphans: int  # files that nothing ever referred to, or that an earlier sweep did not get to
    unfinished: int  # temporary files and uploads of writers that were killed


def unguarded(_: Session) -> None:
    """The guard of somebody who runs no job."""


def blank_vectors(session: Session, places: Sequence[VectorPlace]) -> tuple[str, ...]:
    """Writes each shard anew without these rows and points the store at it; the old files' URLs.

    The caller holds the files alone, commits, and then removes the old ones. A shard whose file is
    gone has nothing left to erase. Raises ShardRefused for one that cannot be read, or whose rows
    are not what was stored.
    """
    rows: dict[UUID, dict[int, str]] = {}
    for place in places:
        rows.setdefault(place.shard, {})[place.row] = place.sha256
    old = []
    for shard in locked_shards(session, rows):
        if not exists(shard.url):
            continue
        written = blank_rows(shard.url, rows[shard.id])
        filled = sum(not name.startswith(ERASED) for name in shard_ids(written.url))
        move_shard(session, shard.id, url=written.url, sha256=written.sha256, rows=filled)
        if written.url != shard.url:
            old.append(shard.url)
    return tuple(old)


def remove_leftovers(
    session: Session, shards_url: str, decision: UUID, *, now: datetime, spare: Sequence[str] = ()
) -> int:
    """Removes files that no attempt's vector is read from and that hold one of this decision; how
    many.

    The caller holds the files alone. Not removed are the URLs in `spare`: those that this very
    transaction lets go of, and that are referred to again should it fail. A leftover that cannot be
    read is removed too: nobody can say that it does not hold one. So are temporary files, and
    uploads that never ended. Raises ShardRefused.
    """
    stored = {path_of(shard.url): shard for shard in shards(session, superseded=True)}
    spared = {path_of(url) for url in spare} | _days(session)
    wanted = [
        file
        for file in files_under(shards_url)
        if file.temporary or (file.path not in spared and _unread(stored.get(file.path)) and _may_hold(file, decision))
    ]
    gone = [shard.id for file in wanted if (shard := stored.get(file.path)) is not None]
    if gone:
        forget_superseded(session, ids=gone)
    remove_files([file.url for file in wanted])
    return len(wanted) + end_uploads(shards_url, before=now + timedelta(days=1))  # all of them: clocks may differ


def _unread(shard: ShardRecord | None) -> bool:
    return shard is None or shard.superseded_at is not None


def remove_files(urls: Sequence[str]) -> None:
    """Removes files that nothing refers to any more."""
    for url in urls:
        remove_shard(url)


def orphans(engine: Engine, shards_url: str, *, now: datetime, older_than: timedelta) -> tuple[StoredFile, ...]:
    """Files under `shards_url` that nothing refers to and that are older than `older_than`."""
    # Listed before the references are read: a file that comes in between is in neither list.
    files = files_under(shards_url)
    with reading(engine) as session:
        return _unreferred(session, files, before=now - older_than)


def missing(engine: Engine, shards_url: str) -> tuple[str, ...]:
    """The URLs of shards that vectors are read from and whose files are gone."""
    with reading(engine) as session:
        stored = shards(session)
    # Listed after the references were read: a file that comes in between is no fault. One listing
    # tells of most; only those that it does not have (another place, a shard that was just erased
    # from) are asked for one by one.
    there = {file.path for file in files_under(shards_url)}
    gone = [shard for shard in stored if path_of(shard.url) not in there and not exists(shard.url)]
    if not gone:
        return ()
    with reading(engine) as session:  # as it is now: a shard that was moved meanwhile is not gone
        urls = {shard.url for shard in shards(session)}
    return tuple(shard.url for shard in gone if shard.url in urls)


def sweep(engine: Engine, shards_url: str, *, now: datetime, grace: timedelta, guard: Guard = unguarded) -> Swept:
    """Removes superseded shards and orphans that are older than `grace`. Raises ShardRefused."""
    before = now - grace
    with transaction(engine) as session:
        guard(session)
        hold_moves(session)
        superseded = {path_of(url) for url in forget_superseded(session, before=before)}
    with transaction(engine) as session:
        guard(session)
        # Alone, so that nobody is about to refer to a file that is removed here. Listed anew for
        # the same reason.
        hold_moves(session, alone=True)
        unreferred = _unreferred(session, files_under(shards_url), before=before, superseded=superseded)
        remove_files([file.url for file in unreferred])
        uploads = end_uploads(shards_url, before=before)
    temporary = sum(file.temporary for file in unreferred)
    emptied = sum(file.path in superseded for file in unreferred)
    return Swept(superseded=emptied, orphans=len(unreferred) - temporary - emptied, unfinished=temporary + uploads)


def _unreferred(
    session: Session, files: Sequence[StoredFile], *, before: datetime, superseded: Collection[str] = ()
) -> tuple[StoredFile, ...]:
    """Files that nothing refers to: old ones, and those that were superseded long enough."""
    referred = {path_of(shard.url) for shard in shards(session, superseded=True)} | _days(session)
    return tuple(
        file for file in files if file.path not in referred and (file.written_at < before or file.path in superseded)
    )


def _days(session: Session) -> set[str]:
    """Where the files of days lie."""
    return {path_of(file.url) for file in all_files(session)}


def _may_hold(file: StoredFile, decision: UUID) -> bool:
    try:
        names = shard_ids(file.url)
    except ShardRefused:
        return True
    return not names or any(name.partition("/")[0] == str(decision) for name in names)
