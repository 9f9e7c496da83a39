"""Which tests execute a line, the fast ones first.

One run of the tests with coverage says it; its records are kept for as long as the tree stays.
"""

import json
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.mutants.changes import Mutant
from benchmarks.mutants.recorder import FOLDER, SETUP
from benchmarks.mutants.trial import Copy

_SECONDS_OF_ALL = 3600
_SECONDS_OF_ONE = 300


class Executed:
    """The tests of every line of the tree at `root`."""

    def __init__(self, records: Iterable[Path], root: Path) -> None:
        self._root = root
        self._seconds: dict[str, float] = {}
        self._lines: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._of_test_file: dict[str, list[str]] = defaultdict(list)
        loaded = [json.loads(path.read_text("utf-8")) for path in records]
        for record in loaded:
            self._seconds |= record["seconds"]
        for test in self._seconds:
            self._of_test_file[test.partition("::")[0]].append(test)
        for record in loaded:
            self._add(record["contexts"], record["lines"])

    def tests(self, mutant: Mutant) -> list[str]:
        """Those that execute the line; at import, those of its module and of its importers."""
        lines = self._lines[mutant.file]
        if not mutant.at_import:
            return self._fast_first(lines[mutant.line] or lines[mutant.statement])
        own = set[str]().union(*lines.values())
        near = set[str]().union(
            *(tests for file in self._importers(mutant.file) for tests in self._lines[file].values())
        )
        return self._fast_first(own) + self._fast_first(near - own)

    def _add(self, contexts: Sequence[str], lines: Mapping[str, Mapping[str, Sequence[int]]]) -> None:
        """A line of a fixture counts for all tests of the file: they may share it."""
        tests = [
            self._of_test_file[context.partition("::")[0]] if context.endswith(SETUP) else [context]
            for context in contexts
        ]
        for file, numbers_of in lines.items():
            for line, numbers in numbers_of.items():
                self._lines[file][int(line)].update(test for number in numbers for test in tests[number])

    def _fast_first(self, tests: Iterable[str]) -> list[str]:
        """By tenths of a second, and tests of one file together: each file has to be imported."""
        known = (test for test in tests if test in self._seconds)
        return sorted(known, key=lambda test: (round(self._seconds[test], 1), test))

    def _importers(self, file: str) -> list[str]:
        package, _, name = file.removeprefix("runtime/").removesuffix(".py").removesuffix("/__init__").rpartition("/")
        package = package.replace("/", ".")
        imports = re.compile(rf"^\s*(from {package}\.{name} import|from {package} import .*\b{name}\b)", re.MULTILINE)
        return [other for other in self._lines if imports.search((self._root / other).read_text("utf-8"))]


def executed(copy: Copy, kept: Path, tests: Sequence[str], *, workers: int) -> Executed:
    """From the records in the folder `kept`, which one run of the tests fills if it is empty."""
    if not (kept / "done").exists():
        shutil.rmtree(kept, ignore_errors=True)
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
