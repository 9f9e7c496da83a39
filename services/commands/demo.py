"""`knowgate demo`: the story of a deployment of a real, tiny model pair."""

import subprocess
import sys

import typer

app = typer.Typer()


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def demo(context: typer.Context) -> None:
    """Play the demo into var/demo; further options are those of `python -m demo`."""
    # A process of its own: the demo stands above the services, and loads what they never do.
    done = subprocess.run([sys.executable, "-m", "demo", *context.args], check=False)
    raise typer.Exit(done.returncode)
