"""The command `knowgate`.

Commands import what they need when they run, so that `knowgate --help` costs nothing. A command
ends with 0 when it is done, 1 when it failed, 2 for bad usage (an unknown cascade too) and 3 when
the answer is no; an error of ours is told on standard error in one message, without a traceback. A
new command is a file in services/commands and a line here.
"""

import os
import sys
import traceback

import typer

from knowgate._wire.shown import masked
from knowgate.errors import KnowgateError, RecordInvalid
from services.commands import (
    advise,
    audit,
    backup,
    bundle,
    cascade,
    certify,
    db,
    demo,
    doctor,
    erase,
    gateway,
    history,
    jobs,
    labels,
    report,
    rollout,
    serve,
    simulate,
    token,
    vectors,
)
from services.errors import ServicesError

app = typer.Typer(
    name="knowgate",
    help="Keeps an LLM cascade honest: labels, probes, certificates, audits.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.command("demo", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(demo.demo)
cascade.app.command("stop")(rollout.stop)
cascade.app.command("resume")(rollout.resume)
app.add_typer(cascade.app, name="cascade")
app.command("simulate")(simulate.simulate)
app.command("import")(history.import_history)
app.command("export")(history.export_history)
app.add_typer(labels.app, name="labels")
app.command("certify")(certify.certify)
app.command("advise")(advise.advise)
app.command("train")(jobs.train)
app.command("monitor")(jobs.monitor)
app.command("report")(report.report)
app.command("promote")(rollout.promote)
app.command("rollback")(rollout.rollback)
app.add_typer(bundle.app, name="bundle")
app.add_typer(audit.app, name="audit")
app.command("doctor")(doctor.doctor)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("erase")(erase.erase)
app.add_typer(vectors.app, name="vectors")
app.command("serve")(serve.serve)
app.command("gateway")(gateway.gateway)
app.command("scheduler")(jobs.scheduler)
app.add_typer(db.app, name="db")
app.add_typer(token.app, name="token")


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
