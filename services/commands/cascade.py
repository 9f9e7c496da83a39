"""`knowgate cascade`: declare a cascade, look at one (what else a person may do with one:
`services.commands.rollout`).
"""

from pathlib import Path
from typing import Annotated

import typer

from knowgate._wire import codec
from services.acts import cascade_state
from services.clock import SystemClock
from services.commands import rollout
from services.commands.options import AsJson
from services.commands.printing import print_fields, print_json
from services.database import database
from services.declaration.cascade_file import read_cascade_file
from services.declaration.cascade_text import format_cascade, without_secrets
from services.promotion.generations import apply_spec
from services.settings import read_settings
from store.engine import reading, transaction
from store.releases import cascades

app = typer.Typer(help="Declare cascades, look at them, observe, stop, resume and freeze them.", no_args_is_help=True)


@app.command()
def apply(
    file: Annotated[Path, typer.Argument(help="A cascade.toml; docs/configuration.md lists its keys.")],
    as_json: AsJson = False,
) -> None:
    """Check the file and put it in force as the cascade's next version; an unchanged file changes
    nothing.
    """
    settings = read_settings()
    spec = read_cascade_file(file, webhook_networks=settings.outgoing_networks)
    with database(settings) as engine, transaction(engine) as session:
        version, changed = apply_spec(session, spec, settings, now=SystemClock().now())
    if as_json:
        print_fields(as_json=True, cascade=spec.name, version=version, changed=changed)
    else:
        typer.echo(f"cascade {spec.name} is {'now' if changed else 'unchanged,'} at version {version}")


@app.command()
def show(
    name: Annotated[str | None, typer.Argument(help="The cascade; left out, all are listed.")] = None,
    secrets: Annotated[bool, typer.Option("--secrets", help="Show the whole addresses of webhooks.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print a cascade as a file, with every key written out.

    Of the addresses of webhooks the hosts alone are shown, which `apply` does not take; with
    --secrets it takes all.
    """
    with database(read_settings()) as engine, reading(engine) as session:
        if name is None:
            names = cascades.cascade_names(session)
            if as_json:
                print_json({"cascades": list(names)})
            else:
                typer.echo("\n".join(names) or "no cascade yet: `knowgate cascade apply FILE` declares one")
            return
        version, spec = cascades.cascade_version(session, name), cascades.cascade(session, name)
        stands = cascade_state(session, name, now=SystemClock().now())
    spec = spec if secrets else without_secrets(spec)
    if as_json:
        print_json({"version": version, "spec": codec.encode(spec), "state": codec.encode(stands)})
    else:
        typer.echo("\n".join(f"# {line}" for line in (f"version {version}", *stands.lines)))
        typer.echo(format_cascade(spec), nl=False)


app.command("observe")(rollout.observe)
app.command("stop")(rollout.stop)
app.command("resume")(rollout.resume)
app.command("freeze")(rollout.freeze)
app.command("unfreeze")(rollout.unfreeze)
