"""Which tests execute a line: those of its own room first, of these the fast ones.

One run of the tests with coverage says it; its records are kept for as long as the tree stays.
"""

import json
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from operator import or_
from pathlib import Path

from benchmarks.mutants.changes import Mutant
from benchmarks.mutants.recorder import FOLDER, SETUP
from benchmarks.mutants.trial import Copy

_SECONDS_OF_ALL = 3600
_SECONDS_OF_ONE = 300


class Executed:
    """The tests of every line of the tree at `root`: bit n stands for the n-th test, fast first."""

    def __init__(self, records: Iterable[Path], root: Path) -> None:
        self._root = root
        loaded = [json.loads(path.read_text("utf-8")) for path in records]
        seconds: dict[str, float] = {}
        for record in loaded:
            seconds |= record["seconds"]
        # By tenths of a second, and the tests of one file together: each file has to be imported.
        self._tests = sorted(seconds, key=lambda test: (round(seconds[test], 1), test))
        self._lines: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        bits = {test: 1 << number for number, test in enumerate(self._tests)}
        of_file: dict[str, int] = defaultdict(int)
        for test, bit in bits.items():
            of_file[test.partition("::")[0]] |= bit
        for record in loaded:
            # A line of a fixture counts for all tests of the file: they may share it.
            contexts = [
                of_file[context.partition("::")[0]] if context.endswith(SETUP) else bits.get(context, 0)
                for context in record["contexts"]
            ]
            self._add(contexts, record["lines"])

    def tests(self, mutant: Mutant) -> list[str]:
        """Those that execute the line; at import, those of its module and of its importers."""
        lines = self._lines[mutant.file]
        tests = lines.get(mutant.line) or lines.get(mutant.statement)
        room = _room_of_tests(mutant.file)
        if tests and not mutant.at_import:
            return self._named(tests, room)
        if tests is None and not mutant.at_import:
            return []
        # Of a function that modules call while they are imported, what it made is used later.
        own = _any_of(lines.values())
        near = _any_of(tests for file in self._importers(mutant.file) for tests in self._lines[file].values())
        return self._named(own, room) + self._named(near & ~own, room)

    def _add(self, contexts: Sequence[int], lines: Mapping[str, Mapping[str, str]]) -> None:
        known: dict[str, int] = {}  # many lines are executed by the same tests
        for file, of_file in lines.items():
            for line, executed_in in of_file.items():
                if executed_in not in known:
                    known[executed_in] = _any_of(contexts[number] for number in _bits(int(executed_in, 16)))
                self._lines[file][int(line)] |= known[executed_in]

    def _named(self, tests: int, room: str) -> list[str]:
        """Those of the room's folder first: they were written for the line, others only pass it."""
        named = [self._tests[number] for number in _bits(tests)]
        return sorted(named, key=lambda test: not test.startswith(room))

    def _importers(self, file: str) -> list[str]:
        package, _, name = file.removeprefix("runtime/").removesuffix(".py").removesuffix("/__init__").rpartition("/")
        package = package.replace("/", ".")
        imports = re.compile(rf"^\s*(from {package}\.{name} import|from {package} import .*\b{name}\b)", re.MULTILINE)
        return [other for other in self._lines if imports.search((self._root / other).read_text("utf-8"))]


def _room_of_tests(file: str) -> str:
    """The folder of tests that mirrors the file's."""
    folder = file.rpartition("/")[0]
    package = "runtime/knowgate"
    return f"{folder.replace(package, 'runtime/tests', 1) if folder.startswith(package) else f'tests/{folder}'}/"


def _bits(mask: int) -> Iterator[int]:
    """Which bits are set, from the lowest on."""
    return (number for number, digit in enumerate(reversed(f"{mask:b}")) if digit == "1")


def _any_of(masks: Iterable[int]) -> int:
    return reduce(or_, masks, 0)


def executed(copy: Copy, kept: Path, tests: Sequence[str], *, workers: int) -> Executed:
    """From the records in the folder `kept`, which one run of the tests fills if it is empty."""
    if not (kept / "done").exists():
        shutil.rmtree(kept.parent, ignore_errors=True)  # of former trees: nobody asks for them again
        kept.mkdir(parents=True)
        code, output = copy.pytest(
            *("-p", "benchmarks.mutants.recorder", "-n", str(workers), "--dist", "loadfile", "-m", "not slow"),
            *(f"--timeout={_SECONDS_OF_ONE}", *tests),
            limit=_SECONDS_OF_ALL,
            environment={FOLDER: str(kept)},
        )
        if code not in (0, 1):
            raise RuntimeError(f"the tests ended with {code}:\n{output[-2000:]}")
        (kept / "done").write_text(output, "utf-8")
    return Executed(sorted(kept.glob("*.json")), copy.root)
