"""The command `knowgate`.

A command's module is loaded when the command is run, so that `knowgate --help` costs nothing. A
command ends with 0 when it is done, 1 when it failed, 2 for bad usage (an unknown cascade too) and
3 when the answer is no; an error of ours is reported on standard error in one message, without a
traceback. A new command is a file in services/commands and a line here.
"""

import os
import sys
import traceback
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from knowgate._wire.shown import masked
from knowgate.errors import KnowgateError, RecordInvalid
from services.errors import ServicesError

COMMANDS = {  # name: its module in services/commands, and its line in the list of commands
    "demo": ("demo", "Play the demo into var/demo: a deployment's story with a real, tiny model pair."),
    "init": ("init", "Ask your endpoints what they can do, and write a cascade.toml."),
    "cascade": ("cascade", "Declare cascades, look at them, stop and resume them."),
    "simulate": ("simulate", "Play an outcome table through the real service."),
    "import": ("history", "Store an outcome table as a cascade's history."),
    "export": ("history", "Write a cascade's history as an outcome table."),
    "labels": ("labels", "Import, grade and estimate; choose the rows to label next."),
    "certify": ("certify", "Choose the boldest thresholds that keep a promise."),
    "advise": ("advise", "Say whether a cascade is worth it."),
    "train": ("jobs", "Train what is due, or what you ask for, now."),
    "jobs": ("jobs", "List what the jobs did, and why a training was made."),
    "monitor": ("jobs", "Watch every window that is due, now."),
    "report": ("report", "Write a cascade's page as one HTML file."),
    "evidently": ("evidently", "Export the daily reports for Evidently's own pages."),
    "promote": ("rollout", "Judge one certified bundle now, and put it in force if it passes."),
    "approve": ("rollout", "Put a challenger in force that passed the check and awaits a person."),
    "decline": ("rollout", "Say that a challenger that waits is not to come into force."),
    "rollback": ("rollout", "Put a former champion back in force."),
    "alert": ("alert", "Look at alerts; acknowledge, silence and resolve them."),
    "deliveries": ("deliveries", "Look at messages to receivers; try one again."),
    "bundle": ("bundle", "Look at bundles, verify one, compare two."),
    "audit": ("audit", "Explain, replay, verify and prove what was decided."),
    "doctor": ("doctor", "Say what is wrong with this deployment, and what to do about it."),
    "backup": ("backup", "Copy database, vectors and hash key into a folder."),
    "restore": ("backup", "Bring a backup into an empty deployment."),
    "erase": ("erase", "Erase the texts and hidden states of a decision."),
    "vectors": ("vectors", "Compact, sweep and verify stored hidden states."),
    "serve": ("serve", "Serve the API and the pages."),
    "gateway": ("gateway", "Serve a cascade behind an OpenAI-compatible API."),
    "fingerprint": ("fingerprint", "Print what an engine's hidden states are states of."),
    "scheduler": ("jobs", "Run the scheduler."),
    "db": ("db", "Bring the database's schema up to date, or compare it with the code."),
    "token": ("token", "Make, revoke and list the API's tokens."),
}


class Commands(TyperGroup):
    """Lists the commands by their lines above, and loads the one that is run."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that is meant, and what is left for it."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, listed if name is None else load(name), rest


def load(name: str) -> Any:
    """A command, or a group of commands, by its name."""
    group = get_group(import_module(f"services.commands.{COMMANDS[name][0]}").app)
    return group.commands.get(name, group)


app = typer.Typer(
    name="knowgate",
    cls=Commands,
    help="Keeps an LLM cascade honest: labels, probes, certificates, audits.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _name, (_, _line) in COMMANDS.items():
    app.command(_name, help=_line)(lambda: None)


def main() -> None:
    """Runs the command; the entry point of the installed script."""
    for name, value in {"DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}.items():
        os.environ.setdefault(name, value)  # libraries, here and in what is started here, are to send nothing home
    try:
        app()
    except Exception as error:  # noqa: BLE001  # a fault too is shown with no secret of an address
        code = exit_code_of(error)
        message = traceback.format_exc() if code is None else f"knowgate: {error}"
        typer.echo(masked(message), err=True)
        sys.exit(1 if code is None else code)


def exit_code_of(error: Exception) -> int | None:
    """How the process ends for an error of ours; None for one that is a fault and deserves its
    traceback.
    """
    from evidence.errors import EvidenceError, InvalidInputError
    from store.errors import CascadeUnknown, StoreError

    if isinstance(error, ServicesError):
        return error.exit_code
    if isinstance(error, (RecordInvalid, InvalidInputError, CascadeUnknown)):
        return 2  # a value or a name that was given cannot be used
    return 1 if isinstance(error, (KnowgateError, StoreError, EvidenceError, OSError)) else None
