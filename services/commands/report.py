"""`knowgate report`: a cascade's page, or its month, as one HTML file."""

from pathlib import Path
from typing import Annotated

import typer

from services.clock import SystemClock
from services.commands.options import Cascade, require_folder
from services.database import database
from services.pages.monthly.weeks import month_of
from services.pages.report import render_month, render_report
from services.settings import read_settings
from store.engine import reading

app = typer.Typer()


@app.command()
def report(
    cascade: Cascade,
    month: Annotated[str | None, typer.Option(help="Of this month instead, e.g. 2026-10: for a manager.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file to write; report.html unless said, or NAME-MONTH.html.")
    ] = None,
) -> None:
    """Write what the service knows of a cascade, or what a month of it was, as one HTML file that
    needs no server.
    """
    now = SystemClock().now()
    of = None if month is None else month_of(month, now=now)
    file = out or Path("report.html" if month is None else f"{cascade}-{month}.html")
    require_folder(file, "--out")
    with database(read_settings()) as engine, reading(engine) as session:
        html = render_report(session, cascade, now=now) if of is None else render_month(session, cascade, of, now=now)
    file.write_text(html, encoding="utf-8")
    typer.echo(f"written to {file}")
