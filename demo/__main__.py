"""`python -m demo`: plays the story, prints its table, and writes summary.json and report.html."""

import argparse
import sys
from pathlib import Path

from training.collector import collect_rarely


def main() -> int:
    """The exit status: 0 = played, replayed and verified."""
    parser = argparse.ArgumentParser(prog="knowgate demo", description="The story of a deployment, in minutes.")
    parser.add_argument("--directory", type=Path, default=Path("var/demo"), help="emptied first; var/demo by default")
    options = parser.parse_args()

    collect_rarely()
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from demo.story import tell
    from services.commands.progress import playing, print_lines
    from services.simulation.summary_lines import summary_lines

    console = Console(stderr=True)
    console.print("Both models answer every question of the traffic, then time runs.")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars, playing() as report:
        asking = bars.add_task("answers", total=None)
        done = tell(
            options.directory,
            answered=lambda count, total: bars.update(asking, advance=count, total=total),
            report=report,
        )
    print_lines(summary_lines(done.summary))
    console.print(f"\nwritten: {options.directory / 'summary.json'}, {options.directory / 'report.html'}")
    console.print("to look around in a browser: make serve")
    audit = done.summary.audit
    return 0 if audit.verified and audit.mismatches == 0 else 3


if __name__ == "__main__":
    sys.exit(main())
