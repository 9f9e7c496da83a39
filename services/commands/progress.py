"""How a played deployment is shown: its progress on standard error, its figures when it is done."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from services.pages.report import Line
from services.simulation.play import Progress

QUIET = ("seal", "monitor", "compact")  # jobs whose outcomes say nothing that a spectator waits for


@contextmanager
def playing(queries: int | None = None) -> Iterator[Callable[[Progress], None]]:
    """A bar over `queries` (None = not known yet), with the simulated day and what the jobs did.

    Yields what a player tells after each block.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task("starting", total=queries)

        def report(progress: Progress) -> None:
            bars.update(task, description=f"{progress.at:%d %b}", advance=progress.truth.queries)
            for outcome in progress.outcomes:
                if outcome.job not in QUIET:
                    bars.console.print(f"{progress.at:%d %b %H:%M}  {outcome.job}: {outcome.outcome}")

        yield report


def print_lines(lines: Sequence[Line]) -> None:
    """The figures of a played deployment, as a table without a head."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for line in lines:
        table.add_row(line.name, line.value, line.note)
    Console().print(table)
