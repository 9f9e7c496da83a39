"""`python -m benchmarks.real_llm {record,report,outcomes}`.

Without a command it is `report`, so that it can be called as every other benchmark is.
"""

import argparse
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks import shape
from benchmarks.real_llm.errors import RealModelError
from benchmarks.real_llm.recording import DATA, FACTS, FOLDER, read_table

COMMANDS = ("record", "report", "outcomes")


def main(arguments: list[str]) -> int:
    """Runs a command; 0 = done, 1 = it could not be, said in one message."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if not arguments or arguments[0] not in (*COMMANDS, "-h", "--help"):
        arguments = ["report", *arguments]
    options = _parser().parse_args(arguments)
    try:
        {"record": _record, "report": _report, "outcomes": _outcomes}[options.command](options)
    except RealModelError as error:
        sys.stderr.write(f"benchmarks.real_llm: {error}\n")
        return 1
    return 0


def _record(options: argparse.Namespace) -> None:
    from benchmarks.real_llm.asked.record import Recorder

    Recorder(work=options.work, out=options.out, dtype=options.dtype, limit=options.limit).record(options.data)


def _report(options: argparse.Namespace) -> None:
    from benchmarks.real_llm.judged.report import DRAWS, UNTAUGHT_DRAWS, report
    from benchmarks.real_llm.judged.table import render, write_into

    draws, untaught = (1, 1) if options.quick else (DRAWS, UNTAUGHT_DRAWS)
    figures = report(draws=draws, untaught_draws=untaught, folder=options.recorded)
    if options.markdown:
        write_into(options.markdown, figures)
    if options.json:
        sys.stdout.write(json.dumps(asdict(shape.result("real_llm", figures, quick=options.quick))) + "\n")
    else:
        sys.stdout.write(render(figures) + "\n")


def _outcomes(options: argparse.Namespace) -> None:
    from benchmarks.real_llm.judged.outcome_file import write_outcome_table

    tiers = read_table(options.recorded / FACTS).outcomes[options.form]
    write_outcome_table(tiers, options.out)
    sys.stdout.write(f"{options.out}: {len(tiers[0].id)} queries, {len(tiers)} tiers\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_llm")
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record", help="ask the model everything")
    record.add_argument("--work", type=Path, default=Path("var/real_llm"), help="where weights and parts lie meanwhile")
    record.add_argument("--out", type=Path, default=FOLDER, help="where the recording is written")
    record.add_argument("--data", nargs="+", default=DATA, choices=DATA, help="which data sets; all by default")
    record.add_argument("--dtype", default="bfloat16", help="float32 or bfloat16")
    record.add_argument("--limit", type=int, help="so many questions of each data set only")
    report = commands.add_parser("report", help="certify on the recording")
    report.add_argument("--recorded", type=Path, default=FOLDER, help="the folder of the recording")
    report.add_argument("--quick", action="store_true", help="one draw of each kind")
    report.add_argument("--json", action="store_true", help="print one JSON object")
    report.add_argument("--markdown", type=Path, help="a page to write the tables into, between its marks")
    outcomes = commands.add_parser("outcomes", help="one form as an outcome table")
    outcomes.add_argument("--recorded", type=Path, default=FOLDER, help="the folder of the recording")
    outcomes.add_argument("--form", default="short", choices=("short", "sentence"))
    outcomes.add_argument("--out", type=Path, required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
