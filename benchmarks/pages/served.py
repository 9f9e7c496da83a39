"""The service over the story's database, on a clock that stands at its end; and its pages."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from sqlalchemy import Engine, text

from benchmarks.pages.props import NOW
from benchmarks.pages.story import Size, tell
from services.clock import SimulatedClock
from services.jobs.job import JobContext
from services.jobs.sums import count_labels, sum_figures
from services.settings import read_settings
from services.web.app import create_app
from store import schema
from store.engine import open_engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page, by a name that a file may have, and its address."""

    name: str
    path: str


def story_at(file: Path, size: Size) -> Engine:
    """An engine over a fresh file with the story in it."""
    engine = open_engine(f"sqlite:///{file}")
    schema.upgrade(engine)
    tell(engine, size)
    _keep_sums(engine, file.parent)
    return engine


def _keep_sums(engine: Engine, folder: Path) -> None:
    """What the scheduler's `compact` keeps, as of the last full hour."""
    settings = read_settings({"KNOWGATE_DATA_DIR": str(folder)})
    clock = SimulatedClock(NOW.replace(minute=0))
    context = JobContext(engine=engine, settings=settings, clock=clock, owner="story")
    sum_figures(context, lambda session: None)
    count_labels(context, lambda session: None)


def fast_folder() -> str | None:
    """Memory where there is some: building goes by what a disk flushes."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def application(engine: Engine, folder: Path) -> FastAPI:
    """The service, which asks nobody for a token."""
    settings = read_settings(
        {"KNOWGATE_DATA_DIR": str(folder), "KNOWGATE_AUTH": "off", "KNOWGATE_HASH_KEY": "the key of the story"}
    )
    return create_app(settings, engine, clock=SimulatedClock(NOW))


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The address of the application, served on loopback meanwhile."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def pages_of(engine: Engine) -> tuple[Page, ...]:
    """Every page there is, with something on it."""
    with engine.connect() as connection:
        alert, decision, bundle = (
            str(connection.execute(text(query)).scalar_one())
            for query in (
                "SELECT id FROM alert WHERE rule = 'risk'",
                "SELECT max(id) FROM decision WHERE cascade = 'support'",
                "SELECT min(bundle) FROM promotion WHERE cascade = 'support' AND outcome = 'promoted'",
            )
        )
    of = "/cascades/support"
    return (
        Page(name="overview", path="/"),
        Page(name="cascade", path=f"{of}?range=30d"),
        Page(name="cascade-stopped", path="/cascades/search"),
        Page(name="cascade-new", path="/cascades/translate"),
        Page(name="how", path=f"{of}/how"),
        Page(name="slices", path=f"{of}/slices"),
        Page(name="figures", path=f"{of}/figures"),
        Page(name="decisions", path=f"{of}/decisions"),
        Page(name="decision", path=f"/decisions/{_dashed(decision)}"),
        Page(name="bundles", path=f"{of}/bundles"),
        Page(name="bundle", path=f"/bundles/{bundle}"),
        Page(name="labels", path=f"{of}/labels"),
        Page(name="reports", path=f"{of}/reports"),
        Page(name="alerts", path="/alerts"),
        Page(name="alert", path=f"/alerts/{_dashed(alert)}"),
        Page(name="runtimes", path="/runtimes"),
        Page(name="jobs", path="/jobs"),
        Page(name="messages", path="/messages"),
        Page(name="audit", path="/audit"),
        Page(name="resume", path="/cascades/search/resume"),
        Page(name="glossary", path="/glossary"),
        Page(name="reference", path="/docs"),
    )


def _dashed(key: str) -> str:
    return "-".join((key[:8], key[8:12], key[12:16], key[16:20], key[20:])) if "-" not in key else key
