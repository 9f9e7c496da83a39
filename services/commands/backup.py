"""`knowgate backup` and `knowgate restore`."""

from pathlib import Path
from typing import Annotated

import typer

from services.audit.recorded import disclose
from services.clock import SystemClock
from services.database import database
from services.settings import operator, read_settings
from services.upkeep.backup import back_up
from services.upkeep.backup import restore as bring_back
from store.disclosures import Shown

app = typer.Typer()


@app.command()
def backup(folder: Annotated[Path, typer.Argument(help="A new folder, on a disk of its own if possible.")]) -> None:
    """Copy database, vectors and hash key into a folder, with a checksum of each file. The service
    may go on.
    """
    settings, now = read_settings(), SystemClock().now()
    with database(settings) as engine:
        disclose(engine, Shown.BACKED_UP, "the deployment", by=operator(settings), now=now)
        manifest = back_up(settings, engine, folder, now=now)
    size = sum(file.bytes for file in manifest.files)
    typer.echo(f"{len(manifest.files)} files, {size / 1e6:.1f} MB, are in {folder}")


@app.command()
def restore(folder: Annotated[Path, typer.Argument(help="A folder that `knowgate backup` wrote.")]) -> None:
    """Bring a backup into an empty deployment: every checksum is verified before anything is
    written.
    """
    manifest = bring_back(read_settings(), folder)
    typer.echo(f"the deployment of {manifest.created_at.isoformat(timespec='seconds')} is back")
