"""`knowgate doctor`: what is wrong with this deployment, and what to do about it."""

import typer

from services.clock import SystemClock
from services.commands.options import AsJson
from services.commands.printing import print_rows
from services.settings import read_settings
from services.upkeep.checkup import State, examine

app = typer.Typer()


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Look at settings, packages, disk, database, shards, signing and every cascade. Exits with 1
    when one is bad.
    """
    findings = examine(read_settings(), now=SystemClock().now())
    print_rows("findings", findings, as_json=as_json, columns=("state", "check", "found", "cure"))
    if any(finding.state is State.BAD for finding in findings):
        raise typer.Exit(1)
