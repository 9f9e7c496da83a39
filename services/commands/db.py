"""`knowgate db`: the schema's version."""

import typer

from services.database import answering
from services.settings import read_settings
from store import schema
from store.engine import closing_engine

app = typer.Typer(help="Bring the database's schema up to date, or compare it with the code.", no_args_is_help=True)


@app.command()
def upgrade() -> None:
    """Bring the schema up to the code's revision. Safe to run at every start, from several
    processes.
    """
    with closing_engine(read_settings().database_url) as engine, answering(engine):
        before = schema.current(engine)
        schema.upgrade(engine)
        after = schema.current(engine)
    typer.echo(f"the schema is at revision {after}" + ("" if before == after else f" (was {before or 'empty'})"))


@app.command()
def check() -> None:
    """Compare the database's schema with the code's; exits with 1 when they differ."""
    with closing_engine(read_settings().database_url) as engine, answering(engine):
        differences = schema.check(engine)
    for difference in differences:
        typer.echo(difference, err=True)
    if differences:
        raise typer.Exit(1)
    typer.echo("the schema is the code's")
