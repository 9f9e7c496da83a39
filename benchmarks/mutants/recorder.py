"""A pytest plugin that writes down which tests execute which lines, and how long each takes.

`-p benchmarks.mutants.recorder`, with the folder for its files in `KNOWGATE_MUTANTS_RECORD`: one
per worker of pytest-xdist.
"""

import json
import os
from functools import reduce
from operator import or_
from pathlib import Path

import pytest
from coverage import Coverage

FOLDER = "KNOWGATE_MUTANTS_RECORD"
SETUP = "|setup"


class Recorder:
    """The lines that each test executes, its fixtures apart, and the seconds of what passed."""

    def __init__(self, file: Path, root: Path) -> None:
        self._file = file
        self._root = root
        self._seconds: dict[str, float] = {}
        self._coverage = Coverage(data_file=None, config_file=False, include=[f"{root}/*"], omit=[f"{root}/**/tests/*"])
        self._coverage.start()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self._coverage.switch_context(item.nodeid + SETUP)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        self._coverage.switch_context(item.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self) -> None:
        self._coverage.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.passed:
            self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0) + report.duration
        else:
            self._seconds.pop(report.nodeid, None)

    def pytest_sessionfinish(self) -> None:
        self._coverage.stop()
        data = self._coverage.get_data()
        numbers: dict[str, int] = {}  # of contexts; a line's bits say in which it was executed
        lines = {
            Path(file).relative_to(self._root).as_posix(): {
                line: f"{reduce(or_, (1 << numbers.setdefault(name, len(numbers)) for name in names if name), 0):x}"
                for line, names in data.contexts_by_lineno(file).items()
            }
            for file in data.measured_files()
        }
        record = {"seconds": self._seconds, "contexts": list(numbers), "lines": lines}
        self._file.write_text(json.dumps(record), "utf-8")


def pytest_configure(config: pytest.Config) -> None:
    """Record where tests run: not in the process that only hands them to workers."""
    if not config.getoption("numprocesses", None) or hasattr(config, "workerinput"):
        name = os.environ.get("PYTEST_XDIST_WORKER", "alone")
        config.pluginmanager.register(Recorder(Path(os.environ[FOLDER], f"{name}.json"), config.rootpath))
