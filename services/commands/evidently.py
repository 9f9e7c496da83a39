"""`knowgate evidently`: the daily reports, for Evidently's own pages."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Engine

from monitoring.errors import DriftUnavailable
from services.commands.options import Cascade
from services.database import database
from services.errors import InputInvalid, Refused, ServicesError
from services.settings import read_settings
from store.engine import reading
from store.releases.cascades import cascade_version
from store.watching.drift_reports import daily_report, daily_windows

app = typer.Typer(no_args_is_help=True)


@app.callback()
def evidently() -> None:
    """The daily reports, for Evidently's own pages."""


@app.command()
def export(
    cascade: Cascade,
    to: Annotated[Path, typer.Option(help="The workspace's folder: a new or an empty one.")],
) -> None:
    """Write all daily reports as a workspace that `evidently ui --workspace DIR` opens."""
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise InputInvalid(f"--to is {to}: there is something already; name a folder that is new or empty")
    from monitoring.reports.stored_reports import write_workspace  # seconds of imports

    with database(read_settings()) as engine:
        with reading(engine) as session:
            cascade_version(session, cascade)
            any_there = bool(daily_windows(session, cascade))
        if not any_there:
            raise Refused(f"{cascade} has no daily report yet: the scheduler makes one after each day with decisions")
        try:
            count = write_workspace(to, cascade, _documents(engine, cascade))
        except DriftUnavailable as error:
            raise ServicesError(str(error)) from error
    typer.echo(f"{count} reports written to {to}; look at them with: evidently ui --workspace {to}")


def _documents(engine: Engine, cascade: str) -> Iterator[str]:
    """The reports' documents, earliest first, one at a time: a year of them is large."""
    with reading(engine) as session:
        windows = daily_windows(session, cascade)
    for window in reversed(windows):
        with reading(engine) as session:
            stored = daily_report(session, cascade, window)
        if stored is not None:
            yield stored.document
