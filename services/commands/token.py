"""`knowgate token`: who may speak to the API."""

from typing import Annotated

import typer

from services.clock import SystemClock
from services.commands.options import AsJson
from services.commands.printing import print_rows
from services.database import database
from services.errors import InputInvalid
from services.settings import read_settings
from store.engine import reading, transaction
from store.tokens import TokenRole, create_token, revoke_token, tokens

app = typer.Typer(help="Make, revoke and list the API's tokens.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="A name to revoke it by.")],
    role: Annotated[
        TokenRole,
        typer.Option(
            help="ingest: decisions, labels, decide; runtime: assignments, bundles, acknowledgements, decisions; "
            "read: pages, cascades, metrics; operator: the same, and to act on cascades and alerts; admin: all."
        ),
    ],
) -> None:
    """Make a token and print it. It is shown this once: only its hash is kept."""
    with database(read_settings()) as engine, transaction(engine) as session:
        plaintext = create_token(session, name, role, SystemClock().now())
    typer.echo(plaintext)


@app.command()
def revoke(name: Annotated[str, typer.Argument(help="The token's name.")]) -> None:
    """Make a token worthless, within ten seconds everywhere."""
    with database(read_settings()) as engine, transaction(engine) as session:
        revoked = revoke_token(session, name, now=SystemClock().now())
    if not revoked:
        raise InputInvalid(f"token {name!r} is not there or revoked already; `knowgate token list` shows all")
    typer.echo(f"token {name} is revoked")


@app.command("list")
def list_tokens(as_json: AsJson = False) -> None:
    """List tokens by name, with their roles and when they were last used; never the tokens
    themselves.
    """
    with database(read_settings()) as engine, reading(engine) as session:
        rows = tokens(session)
    print_rows("tokens", rows, as_json=as_json, columns=("name", "role", "created_at", "last_used_at", "revoked_at"))
