"""How commands print: one JSON object with `--json`, else lines or a table for people."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from knowgate._wire import codec

PIPED_WIDTH = 1000  # of a table that no terminal shows: nothing is folded for a file or a pager


def print_record(record: object, *, as_json: bool) -> None:
    """A record, as JSON or as one line per field."""
    print_fields(as_json=as_json, **codec.encode(record))


def print_fields(*, as_json: bool, **fields: object) -> None:
    """What a command did, as JSON or as one line per field."""
    document = {name: codec.encode(value) for name, value in fields.items()}
    if as_json:
        print_json(document)
        return
    width = max(len(name) for name in document)
    for name, value in document.items():
        typer.echo(f"{name:<{width}}  {_show(value)}")


def print_rows(name: str, records: Sequence[object], *, as_json: bool, columns: Sequence[str]) -> None:
    """Records, as `{name: [...]}` or as a table of some of their fields."""
    rows = [codec.encode(record) for record in records]
    if as_json:
        print_json({name: rows})
        return
    if not rows:
        typer.echo("none", err=True)

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_show(row[column]) for column in columns))
    console = Console()
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(table)


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar over `total` things; yields a function that takes how many more are done."""
    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(what, total=total)
        yield lambda count: bars.advance(task, count)


def print_json(document: object) -> None:
    """One JSON value on standard output."""
    typer.echo(json.dumps(document, ensure_ascii=False, allow_nan=False))


def _show(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict) and set(value) == {"start", "end"}:  # a window
        return f"{value['start']} to {value['end']}"
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
