"""`knowgate report`: a cascade's page as one HTML file."""

from pathlib import Path
from typing import Annotated

import typer

from services.clock import SystemClock
from services.commands.options import Cascade, require_folder
from services.database import database
from services.pages.report import render_report
from services.settings import read_settings
from store.engine import reading

app = typer.Typer()


@app.command()
def report(
    cascade: Cascade,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("report.html"),
) -> None:
    """Write what the service knows of a cascade as one HTML file that needs no server."""
    require_folder(out, "--out")
    with database(read_settings()) as engine, reading(engine) as session:
        html = render_report(session, cascade, now=SystemClock().now())
    out.write_text(html, encoding="utf-8")
    typer.echo(f"written to {out}")
