"""`knowgate serve`: the HTTP API and the pages."""

import os
import sys
from pathlib import Path

import typer
import uvicorn
from sqlalchemy import Engine

from services.audit.recorded import started
from services.clock import SystemClock
from services.database import open_database
from services.listening import listening
from services.logs import start_logging
from services.pages.cascades.overview import look_once
from services.pages.rendering import load_templates
from services.serving import keep_loaded, server_config
from services.settings import Auth, Settings, read_settings, traces_wanted
from services.telemetry.spans import tracing
from services.web.app import create_app
from store.engine import transaction
from store.tokens import TokenRole, create_token, tokens

app = typer.Typer()


@app.command()
def serve() -> None:
    """Serve the API and the pages until interrupted. Host, port and the rest come from the
    environment.
    """
    settings = read_settings()
    start_logging(settings.log_level)
    with listening(settings.host, settings.port, host_name="KNOWGATE_HOST", port_name="KNOWGATE_PORT") as bound:
        engine = open_database(settings)
        started(engine, settings, "api", now=SystemClock().now())
        _greet(settings, engine)
        with tracing("api", wanted=traces_wanted()):
            served = create_app(settings, engine)
            load_templates()
            look_once(engine, now=SystemClock().now())
            keep_loaded()
            uvicorn.Server(server_config(served, address_connections=settings.address_connections)).run(sockets=[bound])


def _greet(settings: Settings, engine: Engine) -> None:
    """Says where to look; on a fresh database it makes the first token, or nobody could ever sign
    in.

    Raises OSError where the token can neither be shown nor kept: then none is made.
    """
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    typer.echo(f"knowgate is at http://{host}:{settings.port}/ and describes its API at /docs", err=True)
    if settings.auth is Auth.OFF:
        typer.echo("nobody is asked for a token (KNOWGATE_AUTH=off)", err=True)
        return
    with transaction(engine) as session:
        if tokens(session):
            return
        fresh = create_token(session, "first-admin", TokenRole.ADMIN, SystemClock().now())
        if sys.stderr.isatty():
            greeting = f"the first token, shown this once (role admin): {fresh}"
        else:  # a log is read by others than the administrator, and kept
            path = keep_secret(settings.data_dir / "first-admin.token", fresh)
            greeting = (
                f"the first token (role admin) is in {path}, for this user alone: sign in with it, then delete it"
            )
    typer.echo(greeting, err=True)


def keep_secret(path: Path, secret: str) -> Path:
    """The file, written anew, which only this user may read; a link in its place is not
    followed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret + "\n")
    return path.resolve()
