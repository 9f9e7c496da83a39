"""The one shape of a benchmark: a name, flat figures, and where they were measured."""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from knowgate._records.records import Fingerprint

# what the states of every benchmark say they are
FINGERPRINT = Fingerprint(
    model="small",
    revision="main",
    dtype="bfloat16",
    engine="vllm",
    engine_version="1",
    chat_template_sha256="0" * 64,
    layer=20,
    position="last_prompt_token",
    normed=False,
)

Figures = Mapping[str, float | int | str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a benchmark prints."""

    name: str
    figures: dict[str, float | int | str | None]
    quick: bool
    machine: str
    python: str


def run(name: str, measure: Callable[[bool], Figures]) -> None:
    """Parse the two options, measure, print; `measure` is given whether to be quick."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer rounds")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    figures = dict(measure(options.quick))
    if options.json:
        sys.stdout.write(json.dumps(asdict(result(name, figures, quick=options.quick))) + "\n")
        return
    width = max(len(key) for key in figures)
    for key, value in figures.items():
        sys.stdout.write(f"{key:<{width}}  {value:.4g}\n" if isinstance(value, float) else f"{key:<{width}}  {value}\n")


def result(name: str, figures: Figures, *, quick: bool) -> Result:
    """Figures with where they were measured."""
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    return Result(name=name, figures=dict(figures), quick=quick, machine=machine, python=platform.python_version())


def seconds_in_turn(things: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """The median seconds of each, run in turn `rounds` times after one warm-up, so that all meet
    the same weather.
    """
    for thing in things:
        thing()
    taken: list[list[float]] = [[] for _ in things]
    for _ in range(rounds):
        for thing, times in zip(things, taken, strict=True):
            began = time.perf_counter()
            thing()
            times.append(time.perf_counter() - began)
    return [statistics.median(times) for times in taken]


def recorded_data() -> Path | None:
    """The folder of recorded outcomes: `KNOWGATE_RECORDED_DATA`, or `shared/data` beside the
    checkout; None without.
    """
    named = os.environ.get("KNOWGATE_RECORDED_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    return folder if folder.is_dir() else None
