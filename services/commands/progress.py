"""How a played deployment is shown: its progress on standard error, its figures when it is done."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from services.pages.report import Event, Line
from services.simulation.play import Progress


@contextmanager
def playing(queries: int | None = None) -> Iterator[Callable[[Progress], None]]:
    """A bar over `queries` (None = not known yet), with the simulated day and what happened in it.

    Yields what a player tells after each block.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task("starting", total=queries)

        def report(progress: Progress) -> None:
            bars.update(task, description=f"{progress.at:%d %b}", advance=progress.truth.queries)
            if progress.events:
                bars.console.print(_as_table(progress.events))

        yield report


def _as_table(events: Sequence[Event]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(width=6)
    table.add_column(width=9)
    for event in events:
        table.add_row(f"{event.at:%d %b}", event.what, Text(event.text))
    return table


def print_lines(lines: Sequence[Line]) -> None:
    """The figures of a played deployment, as a table without a head."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for line in lines:
        table.add_row(line.name, line.value, line.note)
    Console().print(table)
