"""What `knowgate doctor` looks at: everything that can be wrong in a deployment without a message
of its own.

Each check answers with what it found and, where something is wrong, the cure. A check that cannot
be made because an earlier one failed is left out: one cause, one line.

What does not run is not broken: a fresh folder, or a deployment that is stopped and gets no
traffic, is a note. Traffic that nobody watches, and a job that failed at its last try, are bad.
"""

import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from importlib import metadata
from pathlib import Path

import httpx2
from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from knowgate import CascadeSpec
from knowgate._bundles import signing
from knowgate._wire.shown import masked, shown_url
from knowgate.backends.checked import checked_client
from knowgate.errors import RecordInvalid
from monitoring.words import short
from services.acts import CascadeState, cascade_state
from services.audit.head_export import missing_head
from services.database import is_missing
from services.settings import Auth, Settings, is_loopback, unknown_settings
from services.sure_tokens import CURE
from services.upkeep import receivers
from services.upkeep.sure_tiers import sure_tiers
from services.vectors.shard_files import missing, orphans
from store import schema
from store.engine import closing_engine, reading
from store.errors import ShardRefused
from store.jobs import job_runs
from store.releases import assignments, cascades
from store.shards import shard_storage
from store.traffic import decisions, labels
from store.watching import alerts

LEAST_FREE = 1 << 30  # bytes of free disk under which writing will soon fail
PINNED = {"pandas": ((2, 2), (3, 1), "evidently 0.7 cannot be imported with it: install pandas >= 2.2, < 3.1")}


class State(StrEnum):
    OK = "ok"
    NOTE = "note"  # works, or waits to be started, and deserves a look
    BAD = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found."""

    check: str
    state: State
    found: str
    cure: str | None = None


def _ok(check: str, found: str) -> Finding:
    return Finding(check=check, state=State.OK, found=found)


def _note(check: str, found: str, cure: str) -> Finding:
    return Finding(check=check, state=State.NOTE, found=found, cure=cure)


def _bad(check: str, found: str, cure: str) -> Finding:
    return Finding(check=check, state=State.BAD, found=found, cure=cure)


def examine(settings: Settings, *, now: datetime) -> tuple[Finding, ...]:
    """All findings, in the order in which they depend on each other."""
    return tuple(replace(one, found=masked(one.found)) for one in _examine(settings, now))


def _examine(settings: Settings, now: datetime) -> Iterator[Finding]:
    yield from _environment(settings)
    yield from _packages()
    yield _disk(settings.data_dir)
    shards = _shards(settings.shards_url)
    yield shards
    yield from _mlflow(settings.mlflow_url)
    yield _signing(settings)
    if is_missing(settings):
        cure = "the first command that needs it makes it, or `knowgate demo` plays a whole deployment"
        shown = shown_url(settings.database_url)
        yield _note("database", f"{shown} is not there yet", cure)
        return
    with closing_engine(settings.database_url) as engine:
        database = _database(engine)
        yield database
        if database.state is State.OK:
            yield from _deployment(engine, settings, now)
            if (lacking := missing_head(engine, settings)) is not None:
                yield _bad("heads", lacking, "each seal tries again: check that KNOWGATE_HEADS_URL can be written")
            if shards.state is State.OK:
                yield from _lost(engine, settings)
                yield from _leftovers(engine, settings, now)


def _environment(settings: Settings) -> Iterator[Finding]:
    for name in unknown_settings():
        cure = "docs/configuration.md lists the settings there are; unset it, or correct its name"
        yield _note("environment", f"{name} is no setting", cure)
    auth = f"auth {settings.auth}, host {settings.host}"
    if settings.auth is Auth.ON and not is_loopback(settings.host):
        yield _note("access", auth, "put a proxy that speaks TLS before it: tokens travel in the clear otherwise")
    else:
        yield _ok("access", auth)


def _packages() -> Iterator[Finding]:
    for name, (low, high, cure) in PINNED.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # the API's image goes without
        parts = tuple(int(part) for part in version.split(".")[:2])
        found = f"{name} {version}"
        yield _ok("packages", found) if low <= parts < high else _bad("packages", found, cure)


def _disk(data_dir: Path) -> Finding:
    there = next(path for path in (data_dir.absolute(), *data_dir.absolute().parents) if path.exists())
    if not os.access(there, os.W_OK):
        return _bad("disk", f"{there} cannot be written", "give this user the folder")
    free = shutil.disk_usage(there).free
    found = f"{free / 1e9:.1f} GB free under {data_dir}"
    if free < LEAST_FREE:
        return _bad("disk", found, "free some space, or move KNOWGATE_DATA_DIR")
    return _ok("disk", found)


def _shards(url: str) -> Finding:
    folder = Path(url)
    fresh = [] if "://" in url else [path for path in (folder, *folder.parents) if not path.exists()]
    probe = f"{url.rstrip('/')}/.doctor-{uuid.uuid4().hex}"
    try:
        shard_storage.put(probe, [memoryview(b"knowgate")])
        shard_storage.remove(probe)
        for made in fresh:
            made.rmdir()  # looking leaves nothing behind
    except (ShardRefused, OSError) as error:
        return _bad("shards", str(error), "check KNOWGATE_SHARDS_URL, its credentials and its fsspec package")
    return _ok("shards", f"{shown_url(url)} can be written")


def _mlflow(url: str) -> Iterator[Finding]:
    if not url.startswith("http"):
        return  # a file of ours, or a database that MLflow looks after
    try:
        with checked_client(timeout=5) as client:
            client.get(f"{url.rstrip('/')}/health").raise_for_status()
        yield _ok("mlflow", f"{shown_url(url)} answers")
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        cure = "registration waits in the outbox until it answers; nothing else does"
        yield _note("mlflow", f"{shown_url(url)}: {masked(str(error))}", cure)


def _signing(settings: Settings) -> Finding:
    if settings.signing_key is None:
        cure = "set KNOWGATE_SIGNING_KEY, and give runtimes the public key, where the network between is not yours"
        return _note("signing", "assignments are served unsigned", cure)
    return _ok("signing", f"public key {signing.public_key_of(settings.signing_key)}")


def _database(engine: Engine) -> Finding:
    shown = shown_url(engine.url.render_as_string(hide_password=False))
    try:
        found, wanted = schema.current(engine), schema.head()
    except DatabaseError as error:
        cure = "check KNOWGATE_DATABASE_URL, and that the server runs or the file is a database"
        return _bad("database", f"{shown}: {error.orig}", cure)
    if found != wanted:
        revisions = f"{shown} is at revision {found or 'empty'}, the code needs {wanted}"
        if engine.dialect.name == "sqlite" and found in (None, *schema.former()):
            return _note("database", revisions, "the next command brings it up to date")
        return _bad("database", revisions, "run `knowgate db upgrade`")
    return _ok("database", f"{shown} at revision {found}")


def _deployment(engine: Engine, settings: Settings, now: datetime) -> Iterator[Finding]:
    with reading(engine) as session:
        names = cascades.cascade_names(session)
        if not names:
            yield _note("cascades", "no cascade yet", "declare one with `knowgate cascade apply`")
        for name in names:
            yield from _declared(session, name, settings, now)


def _declared(session: Session, name: str, settings: Settings, now: datetime) -> Iterator[Finding]:
    """One cascade's findings; one that was stored before its values were refused hides none of the
    others'.
    """
    try:
        found = tuple(_of_cascade(session, cascades.cascade(session, name), settings, now))
    except (RecordInvalid, OverflowError) as error:
        cure = "apply a good file again: `knowgate cascade apply FILE`; until then its jobs stand still"
        found = (_bad(name, f"this cascade cannot be read: {error}", cure),)
    yield from found


def _of_cascade(session: Session, spec: CascadeSpec, settings: Settings, now: datetime) -> Iterator[Finding]:
    name = spec.name
    assignment = assignments.assignment(session, name)
    generation = None if assignment is None else assignment.generation
    behind = [
        said.runtime
        for said in assignments.acknowledgements(session, name)
        if not said.accepted or (generation is not None and said.generation < generation)
    ]
    watched = job_runs.watermark(session, "monitor", name)
    late = watched is not None and now - watched > 3 * spec.schedule.monitor_every + timedelta(minutes=10)
    yield from _retention(spec, settings.vector_retention)
    yield from _cascade(name, behind, len(alerts.alerts(session, name, open_only=True)))
    yield from _acts(name, cascade_state(session, name, now=now))
    if late and watched is not None:
        yield _unwatched(name, watched, decisions.last_time(session, name))
    yield from _failing(name, job_runs.failing(session, name))
    for found in sure_tiers(session, spec, now=now):
        yield _note(name, found, CURE)
    for found in receivers.unheard(spec):
        yield _note(name, found, receivers.CURE.format(cascade=name))
    kinds = labels.waiting_counts(session, name)
    parked = ", ".join(f"{one.labels} {one.reason}" for one in kinds if one.reason is not None)
    waiting = labels.waiting_count(session, name)
    if waiting:
        cure = "their decisions have not arrived: check the spools, and the ids that labels carry"
        found = f"{waiting} labels wait" + (f", parked of them: {parked}" if parked else "")
        yield _note(name, found, cure)


def _lost(engine: Engine, settings: Settings) -> Iterator[Finding]:
    """Whether a file that vectors are read from is gone; whether it is whole, `vectors verify`
    says.
    """
    gone = missing(engine, settings.shards_url)
    if gone:
        cure = "restore them from a backup; `knowgate vectors verify` names every one, and training stops at them"
        found = f"{len(gone)} shards that vectors are read from are gone, e.g. {gone[0]}"
        yield _bad("shards", found, cure)


def _leftovers(engine: Engine, settings: Settings, now: datetime) -> Iterator[Finding]:
    lost = orphans(engine, settings.shards_url, now=now, older_than=settings.shard_grace)
    if lost:
        cure = "left by a crash; `knowgate vectors sweep` removes them, and the scheduler every hour"
        yield _note("shards", f"{len(lost)} files that nothing refers to", cure)


def _retention(spec: CascadeSpec, retention: timedelta | None) -> Iterator[Finding]:
    """The cascade's own retention was checked when it was applied."""
    needed = spec.schedule.training_window + spec.horizon
    if spec.vector_retention is None and retention is not None and retention < needed:
        found = f"vectors are forgotten after {retention}, training reads them {needed} back"
        yield _note(spec.name, found, "lengthen KNOWGATE_VECTOR_RETENTION, or shorten schedule.training_window")


def _cascade(name: str, behind: list[str], open_alerts: int) -> Iterator[Finding]:
    if behind:
        cure = "see their refusals on the cascade's page, or whether they still run"
        yield _note(name, f"runtimes behind: {', '.join(behind)}", cure)
    if open_alerts:
        yield _note(name, f"{open_alerts} open alerts", "see the cascade's page")
    if not behind and not open_alerts:
        yield _ok(name, "no alerts, every runtime up to date")


def _acts(name: str, stands: CascadeState) -> Iterator[Finding]:
    """What waits for a person, or for a time that a person named."""
    if stands.frozen is not None:
        found = f"frozen until {stands.frozen.until.isoformat(timespec='minutes')} by {stands.frozen.by}"
        cure = f"no job puts anything in force until then; `knowgate cascade unfreeze {name} --reason TEXT` ends it"
        yield _note(name, f"{found}: {stands.frozen.reason}", cure)
    if stands.awaiting is not None:
        cure = "`knowgate approve` or `knowgate decline` it, with --reason"
        yield _note(name, f"bundle {short(stands.awaiting)} passed the check and awaits approval", cure)


def _unwatched(name: str, watched: datetime, newest: datetime | None) -> Finding:
    """A scheduler that stands still: bad where traffic goes by unwatched, else only not running."""
    found = f"watched until {watched.isoformat(timespec='minutes')}"
    if newest is not None and newest > watched:
        found += f", decisions come until {newest.isoformat(timespec='minutes')}"
        return _bad(name, found, "start `knowgate scheduler`, or see in its log why it stands still")
    cure = "no traffic since; start `knowgate scheduler` before there is"
    return _note(name, found + ": the scheduler is not running", cure)


def _failing(name: str, failed: tuple[job_runs.JobRun, ...]) -> Iterator[Finding]:
    for run in failed:
        window = run.window.end.isoformat(timespec="minutes")
        found = f"{run.job} until {window} failed, try {run.token}: {run.last_error}"
        again = run.lease_until.isoformat(timespec="minutes")
        cure = f"it is tried again at {again} at the latest, and later windows wait; the scheduler's log says more"
        yield _bad(name, found, cure)
