"""`python -m benchmarks.paper {answers,table,sweep,outcomes}`: the paper's experiments, one step at
a time.

Without a command it is `table`, so that it can be called as every other benchmark is.
"""

import argparse
import json
import logging
import os
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks import shape
from benchmarks.paper.answer_files import read_answers, write_answers
from benchmarks.paper.catalogue import model_named
from benchmarks.paper.data_sets import fetch, read_questions
from benchmarks.paper.endpoint import Endpoint, answer_by_endpoint
from benchmarks.paper.errors import PaperError

COMMANDS = ("answers", "table", "sweep", "outcomes")


def main(arguments: list[str]) -> int:
    """Runs a command; 0 = done, 1 = it could not be, said in one message."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if not arguments or arguments[0] not in (*COMMANDS, "-h", "--help"):
        arguments = ["table", *arguments]
    options = _parser().parse_args(arguments)
    try:
        {"answers": _answers, "table": _table, "sweep": _sweep, "outcomes": _outcomes}[options.command](options)
    except PaperError as error:
        sys.stderr.write(f"benchmarks.paper: {error}\n")
        return 1
    return 0


def _answers(options: argparse.Namespace) -> None:
    """Ask one model one data set and keep what it said."""
    questions = read_questions(options.data, options.file or fetch(options.data), limit=options.limit)
    model = model_named(options.model, source=options.source, parameters=options.parameters)
    if options.endpoint:
        key = os.environ.get(options.key_env)
        endpoint = Endpoint(url=options.endpoint, key=key, max_tokens=options.max_tokens, at_once=options.at_once)
        answers = answer_by_endpoint(model, endpoint, questions, report=_counter(len(questions)))
    else:
        from benchmarks.paper.local import answer_locally, load

        loaded = load(model, device=options.device, dtype=options.dtype)
        layers = None if options.layers is None else [int(layer) for layer in options.layers.split(",")]
        answers = answer_locally(
            loaded,
            questions,
            parameters=model.parameters,
            layers=layers,
            batch=options.batch,
            report=_counter(len(questions)),
        )
    path = write_answers(answers, options.out)
    sys.stdout.write(f"{path}: {len(answers.ids)} answers, {answers.correct.mean():.2%} right\n")


def _table(options: argparse.Namespace) -> None:
    """Every setting of the paper, filled as far as it can be."""
    from benchmarks.paper.reproduce import reproduce
    from benchmarks.paper.stand_ins import stand_ins
    from benchmarks.paper.table import render, write_into

    figures = reproduce(options.answers, () if options.no_stand_ins else stand_ins(quick=options.quick))
    if options.markdown:
        write_into(options.markdown, figures)
    if options.json:
        sys.stdout.write(json.dumps(asdict(shape.result("paper", figures, quick=options.quick))) + "\n")
    else:
        sys.stdout.write(render(figures) + "\n")


def _sweep(options: argparse.Namespace) -> None:
    """One chain of any models: all figures, and P(T) from .50 to .95 with and without P(IK)."""
    from benchmarks.paper.experiment import Rule, measure
    from benchmarks.paper.reproduce import chain_figures, sweep_figures, taught_from_files

    chain = options.chain.split(",")
    taught = taught_from_files(options.answers, options.data, chain, options.taught_on)
    if taught is None:
        raise PaperError(f"{options.answers} lacks answers of the chain {options.chain}: gather them with `answers`")
    name = "_".join(chain)
    figures = chain_figures(measure(taught, Rule(p_t=options.p_t, p_ik=options.p_ik))) | sweep_figures(name, taught)
    sys.stdout.write(json.dumps(asdict(shape.result("paper", figures, quick=False))) + "\n")


def _outcomes(options: argparse.Namespace) -> None:
    """The chain's answers as an outcome table, for `knowgate certify`, `advise` and `simulate`."""
    from benchmarks.paper.chain import chain_of
    from benchmarks.paper.outcome_file import write_outcome_table

    of_models = [(name, read_answers(options.answers, options.data, name)) for name in options.chain.split(",")]
    missing = [name for name, one in of_models if one is None]
    if missing:
        raise PaperError(f"{options.answers} has no answers of {', '.join(missing)} on {options.data}: gather them")
    chain = chain_of([one for _, one in of_models if one is not None])
    write_outcome_table(chain, options.out)
    sys.stdout.write(f"{options.out}: {chain.n} queries, {len(chain.tiers)} tiers\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper")
    commands = parser.add_subparsers(dest="command", required=True)
    ask = commands.add_parser("answers", help="ask one model one data set")
    ask.add_argument("--model", required=True, help="a catalogue name, a Hugging Face id or a folder")
    ask.add_argument("--data", required=True, help="mmlu, gpqa or popqa")
    ask.add_argument("--file", type=Path, help="the data set's file or folder; else it is fetched from the hub")
    ask.add_argument("--out", type=Path, required=True, help="the folder of answers")
    ask.add_argument("--source", help="another place of the weights, or the model's name at the endpoint")
    ask.add_argument("--parameters", type=float, help="the model's size, where it is not known")
    ask.add_argument("--endpoint", help="ask an OpenAI-compatible endpoint, e.g. http://127.0.0.1:8000/v1")
    ask.add_argument("--key-env", default="OPENAI_API_KEY", help="the environment variable that holds its key")
    ask.add_argument("--max-tokens", type=int, default=48)
    ask.add_argument("--at-once", type=int, default=8, help="calls at a time")
    ask.add_argument("--layers", help="layers to keep, e.g. 16,24; else the paper's, or all of a smaller model")
    ask.add_argument("--device", default="cpu")
    ask.add_argument("--dtype", default="float32", help="float32 or bfloat16")
    ask.add_argument("--batch", type=int, default=32)
    ask.add_argument("--limit", type=int, help="the first questions only")
    table = commands.add_parser("table", help="the paper's table")
    table.add_argument("--answers", type=Path, help="the folder of answers; without it only stand-ins are measured")
    table.add_argument("--no-stand-ins", action="store_true")
    table.add_argument("--quick", action="store_true", help="fewer of the demo's questions")
    table.add_argument("--json", action="store_true", help="print one JSON object")
    table.add_argument("--markdown", type=Path, help="a page to write the table into, between its marks")
    for name, summary in (("sweep", "figures of any chain"), ("outcomes", "a chain's answers as an outcome table")):
        command = commands.add_parser(name, help=summary)
        command.add_argument("--answers", type=Path, required=True)
        command.add_argument("--data", required=True)
        command.add_argument("--chain", required=True, help="model names, cheapest first, with commas")
        if name == "outcomes":
            command.add_argument("--out", type=Path, required=True)
            continue
        command.add_argument("--taught-on", help="the data set that teaches the probes, where it is another one")
        command.add_argument("--p-t", type=float, default=0.9)
        command.add_argument("--p-ik", type=float, default=0.5)
        command.add_argument("--json", action="store_true", help="as every benchmark; it is always JSON")
    return parser


class _counter:  # noqa: N801  a function with a memory
    """Tells how many questions were answered, every tenth of them."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0

    def __call__(self, more: int) -> None:
        before, self.done = self.done, self.done + more
        if before * 10 // self.total != self.done * 10 // self.total:
            logging.getLogger(__name__).info("%d of %d", self.done, self.total)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
