"""`knowgate token`: who may speak to the API."""

from typing import Annotated

import typer

from services.clock import SystemClock
from services.commands.options import AsJson
from services.commands.printing import print_rows
from services.database import database
from services.errors import InputInvalid
from services.http.new_tokens import ROLES, expiry, make_token
from services.settings import operator, read_settings
from store.engine import reading, transaction
from store.tokens import NewToken, TokenRole, revoke_token, tokens

app = typer.Typer(help="Make, revoke and list the API's tokens.", no_args_is_help=True)
_OPENS = "; ".join(f"{role}: {opens}" for role, opens in ROLES.items())


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="A name to revoke it by.")],
    role: Annotated[TokenRole, typer.Option(help=f"{_OPENS}.")],
    cascade: Annotated[
        list[str] | None, typer.Option(help="The cascade that it reaches, once for each; left out: all.")
    ] = None,
    expires_in: Annotated[
        str | None, typer.Option(help="How long it opens anything, e.g. 90d; left out: ever.")
    ] = None,
) -> None:
    """Make a token and print it. It is shown this once: only its hash is kept."""
    settings, now = read_settings(), SystemClock().now()
    wanted = NewToken(
        name=name,
        role=role,
        cascades=tuple(cascade) if cascade else None,
        expires_at=expiry(expires_in, now),
        created_by=operator(settings),
    )
    with database(settings) as engine, transaction(engine) as session:
        plaintext = make_token(session, wanted, now=now)
    typer.echo(plaintext)


@app.command()
def revoke(name: Annotated[str, typer.Argument(help="The token's name.")]) -> None:
    """Make a token worthless, within ten seconds everywhere, and end the sign-ins made with it."""
    settings = read_settings()
    with database(settings) as engine, transaction(engine) as session:
        revoked = revoke_token(session, name, now=SystemClock().now(), by=operator(settings))
    if not revoked:
        raise InputInvalid(f"token {name!r} is not there or revoked already; `knowgate token list` shows all")
    typer.echo(f"token {name} is revoked")


@app.command("list")
def list_tokens(as_json: AsJson = False) -> None:
    """List tokens by name, with what they reach and when they were last used; never the tokens
    themselves.
    """
    with database(read_settings()) as engine, reading(engine) as session:
        rows = tokens(session)
    columns = ("name", "role", "cascades", "created_at", "expires_at", "last_used_at", "revoked_at")
    print_rows("tokens", rows, as_json=as_json, columns=columns)
