"""`python -m benchmarks.mutants --seed N`: the share of a sample of mutants that the tests kill."""

import argparse
import hashlib
import json
import os
import platform
import queue
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.mutants.changes import Mutant, mutants_of
from benchmarks.mutants.executed import executed
from benchmarks.mutants.trial import Copy, commit_of, tree_of

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDERS = (
    *("runtime/knowgate", "evidence", "store", "monitoring", "training"),
    *("services/promotion", "services/jobs", "services/audit"),
)
UNCHANGED = Path(__file__).with_name("unchanged.toml")
KILLED, LIVED, CHANGES_NOTHING = "killed", "lived", "changes nothing"
_SECONDS_TO_BE_SURE = 600

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to try, and with which tests."""

    seed: int
    size: int
    folders: Sequence[str] = FOLDERS
    tests: Sequence[str] = ()
    """All without any."""
    workers: int = 2
    seconds: float = 120
    """The longest that one mutant is tried; one that no test has failed by then lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A mutant and what became of it."""

    file: str
    line: int
    source: str
    change: str
    outcome: str
    by: str
    """The test that killed it; why it lived or changes nothing."""
    seconds: float


def survey(
    checkout: Path, commit: str, plan: Plan, unchanged: Mapping[Key, str], say: Callable[[Judged], object]
) -> list[Judged]:
    """The sample, judged; `say` hears of each mutant at once."""
    with tempfile.TemporaryDirectory(prefix="kg-mutants-") as folder, ThreadPoolExecutor(plan.workers) as pool:
        copies = [Copy(checkout, commit, Path(folder, str(number))) for number in range(plan.workers)]
        kept = checkout / "var" / "mutants" / f"{tree_of(checkout, commit)}{'-'.join(plan.tests).replace('/', '-')}"
        tests_of = executed(copies[0], kept, plan.tests, workers=plan.workers)
        free = queue.SimpleQueue[Copy]()
        for copy in copies:
            free.put(copy)

        def judge(mutant: Mutant) -> Judged:
            if key_of(mutant) in unchanged:
                return _judged(mutant, CHANGES_NOTHING, unchanged[key_of(mutant)])
            copy = free.get()
            try:
                return _tried(copy, mutant, tests_of.tests(mutant), plan.seconds)
            finally:
                free.put(copy)

        all_judged = []
        for judged in pool.map(judge, sample(mutants_of(copies[0].root, plan.folders), plan, unchanged)):
            say(judged)
            all_judged.append(judged)
        return _sure(all_judged, copies[0])


def sample(mutants: Iterable[Mutant], plan: Plan, unchanged: Collection[Key]) -> list[Mutant]:
    """As many as planned that change something, and those that change nothing met on the way.

    Drawn by a hash of what each changes: the others stay when a file is edited, or when one turns
    out to change nothing.
    """

    times: Counter[Key] = Counter()  # one line may offer a change twice
    drawn: list[tuple[bytes, int, Mutant]] = []
    for number, mutant in enumerate(mutants):
        times[key_of(mutant)] += 1
        named = repr((plan.seed, *key_of(mutant), times[key_of(mutant)]))
        drawn.append((hashlib.sha256(named.encode()).digest(), number, mutant))
    chosen, missing = [], plan.size
    for _, _, mutant in sorted(drawn):
        if not missing:
            break
        chosen.append(mutant)
        missing -= key_of(mutant) not in unchanged
    return chosen


def key_of(mutant: Mutant | Judged) -> Key:
    """What names a mutant when lines have moved."""
    return mutant.file, mutant.source, mutant.change


def read_unchanged(path: Path) -> dict[Key, str]:
    """Why each mutant listed in the file changes nothing."""
    listed = tomllib.loads(path.read_text("utf-8")).get("mutant", [])
    return {(each["file"], each["source"], each["change"]): each["reason"] for each in listed}


def _tried(copy: Copy, mutant: Mutant, tests: Sequence[str], limit: float) -> Judged:
    if not tests:
        return _judged(mutant, LIVED, "no test executes it")
    verdict = copy.judge(mutant, tests, limit)
    if verdict.killed_by is None:
        return _judged(mutant, LIVED, f"{len(tests)} tests execute it", verdict.seconds)
    return _judged(mutant, KILLED, verdict.killed_by, verdict.seconds)


def _judged(mutant: Mutant, outcome: str, by: str, seconds: float = 0) -> Judged:
    return Judged(
        file=mutant.file,
        line=mutant.line,
        source=mutant.source,
        change=mutant.change,
        outcome=outcome,
        by=by,
        seconds=seconds,
    )


def _sure(judged: Sequence[Judged], copy: Copy) -> list[Judged]:
    """Without the kills of tests that fail on the tree as it is when they are run by themselves."""
    tests = sorted({each.by for each in judged if each.outcome == KILLED and "::" in each.by})
    while tests and (failed := copy.failing_test(tests, limit=_SECONDS_TO_BE_SURE)) is not None:
        judged = [replace(each, outcome=LIVED) if each.by == failed else each for each in judged]
        tests.remove(failed)
    return list(judged)


def _counts(judged: Sequence[Judged]) -> dict[str, int | float]:
    counts = Counter(each.outcome for each in judged)
    killed, lived = counts[KILLED], counts[LIVED]
    return {
        "killed": killed,
        "lived": lived,
        "changes_nothing": counts[CHANGES_NOTHING],
        "share_killed": round(killed / max(killed + lived, 1), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants", description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--size", type=int, default=200)
    parser.add_argument("--under", nargs="+", default=FOLDERS, help="folders and files to change")
    parser.add_argument("--tests", nargs="+", default=(), help="the tests that may notice; all without it")
    parser.add_argument("--json", type=Path, help="where the result goes")
    options = parser.parse_args()
    plan = Plan(seed=options.seed, size=options.size, folders=options.under, tests=options.tests)
    commit, began = commit_of(CHECKOUT), time.monotonic()
    # A shell lets what runs in the background ignore it, and the tests that it is sent to too.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def say(judged: Judged) -> None:
        sys.stdout.write(
            f"{judged.outcome:<8} {judged.seconds:5.1f} s  {judged.file}:{judged.line}  {judged.change[:90]}\n"
        )
        sys.stdout.flush()

    judged = survey(CHECKOUT, commit, plan, read_unchanged(UNCHANGED), say)
    result: dict[str, object] = {
        "seed": plan.seed,
        "commit": commit,
        **_counts(judged),
        "seconds": round(time.monotonic() - began),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
    }
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    if options.json:
        result["mutants"] = [asdict(each) for each in judged]
        options.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
