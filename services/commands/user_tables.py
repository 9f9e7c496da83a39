"""Users' tables as commands read them; what is odd about a file is said beside the output."""

from pathlib import Path

import typer

from services.clock import SystemClock
from services.outcome_tables.outcomes import OutcomeTable, column_mapping, read_outcomes
from store.files import lines_without_rows


def read_table(outcomes: Path, timezone: str | None, mapping: str | None = None) -> OutcomeTable:
    """The outcome table; lines that are no rows and columns that nobody reads are named."""
    table = read_outcomes(outcomes, timezone=timezone, now=SystemClock().now(), mapping=column_mapping(mapping))
    tell_lines(outcomes, table.rows_read, table.lines_in_file)
    if table.ignored:
        typer.echo(f"columns that nobody reads: {', '.join(table.ignored)}", err=True)
    return table


def tell_lines(file: Path, rows: int, lines: int | None) -> None:
    """Says how many lines of a file are no row of their own."""
    warning = lines_without_rows(file, rows, lines)
    if warning is not None:
        typer.echo(warning, err=True)
