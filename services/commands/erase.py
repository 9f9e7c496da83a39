"""`knowgate erase`: a person's query, gone; the figures, as they were."""

from typing import Annotated
from uuid import UUID

import typer
from sqlalchemy import Engine

from services.clock import SystemClock
from services.commands.options import AsJson, By
from services.commands.printing import print_record
from services.database import database
from services.errors import InputInvalid
from services.settings import operator, read_settings
from services.upkeep import erasing
from store.engine import reading
from store.traffic.decisions import find_decision

app = typer.Typer()


@app.command()
def erase(
    decision: Annotated[str, typer.Argument(help="The decision's id, or, with --cascade, the user's own external id.")],
    cascade: Annotated[str | None, typer.Option(help="Of which cascade the external id is.")] = None,
    by: By = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase prompt, answers, external id and hidden states of a decision. Signals, costs and
    correctness stay.

    The ledger keeps its hashes, so it still verifies, and who asked. What is erased cannot be
    brought back, but from a backup. Ends with 1 where something of it is still in a file; the same
    command then finishes it.
    """
    settings, now = read_settings(), SystemClock().now()
    with database(settings) as engine:
        wanted = _named(engine, decision, cascade)
        if not yes:
            typer.confirm(f"Erase decision {wanted}? It cannot be brought back", abort=True)
        erased = erasing.erase(engine, settings, wanted, by=by or operator(settings), now=now)
    print_record(erased, as_json=as_json)
    if not erased.log_emptied:
        warning = "the database's log still holds what was erased, since somebody reads an older state: run it again"
        typer.echo(warning, err=True)
        raise typer.Exit(1)


def _named(engine: Engine, decision: str, cascade: str | None) -> UUID:
    if cascade is None:
        try:
            return UUID(decision)
        except ValueError:
            raise InputInvalid(f"{decision!r} is no decision's id; with an external id, name its --cascade") from None
    with reading(engine) as session:
        match = find_decision(session, cascade, decision)
    if match is None:
        raise InputInvalid(f"{cascade} has no decision with external id {decision!r}; check both")
    return match.id
