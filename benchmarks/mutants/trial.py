"""A copy of the tree, and whether its tests notice a mutant there.

The checkout itself is never changed.
"""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mutants.changes import Mutant, changed_source

_FIRST = 30
"""Tests of the first run: more are collected only for a mutant that these let live."""
_SECONDS_OF_A_TEST = 30
_SECONDS_TO_STOP = 20
_RESULTS = "\tbenchmarks/results/"
_RECORDER = Path(__file__).resolve().parents[2]
"""Where pytest has the recorder from if the tree has none."""


def commit_of(checkout: Path) -> str:
    """A commit of the tree as it stands, changes of known files that wait to be committed too."""
    return _git(checkout, "stash", "create") or _git(checkout, "rev-parse", "HEAD")


def tree_of(checkout: Path, commit: str) -> str:
    """A hash of what the commit holds, but for prose, results and what changes nothing."""
    files = _git(checkout, "ls-tree", "-r", commit).splitlines()
    code = [file for file in files if not file.endswith((".md", "/unchanged.toml")) and _RESULTS not in file]
    return hashlib.sha256("\n".join(code).encode()).hexdigest()[:40]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a mutant."""

    killed_by: str | None
    seconds: float


class Copy:
    """A clone in a folder of its own, in which one mutant at a time is tried."""

    def __init__(self, checkout: Path, commit: str, folder: Path) -> None:
        folder.mkdir()
        self.root = folder / "tree"
        self._folder = folder
        self._changes = int(time.time())
        _git(checkout, "clone", "--quiet", "--shared", "--no-checkout", ".", str(self.root))
        _git(self.root, "checkout", "--quiet", "--detach", commit)

    def judge(self, mutant: Mutant, tests: Sequence[str], limit: float) -> Verdict:
        """Run the tests with the mutant until one fails, or `limit` seconds are over."""
        path = self.root / mutant.file
        source = path.read_text("utf-8")
        began = time.monotonic()
        try:
            self._write(path, changed_source(source, mutant.number))
            killed_by = None
            for batch in filter(None, (tests[:_FIRST], tests[_FIRST:])):
                remaining = began + limit - time.monotonic()
                killed_by = self.failing_test(batch, remaining) if remaining > 0 else None
                if killed_by is not None:
                    break
        finally:
            self._write(path, source)
        return Verdict(killed_by=killed_by, seconds=round(time.monotonic() - began, 1))

    def failing_test(self, tests: Sequence[str], limit: float, *options: str) -> str | None:
        """The first of the tests that fails, or how pytest ended; None if `limit` came first."""
        arguments = self._folder / "tests.txt"
        arguments.write_text("\n".join(tests), "utf-8")
        code, output = self.pytest("-x", *options, f"@{arguments}", limit=limit)
        if not code:
            return None
        summary = (line.partition(" ")[2] for line in output.splitlines() if line.startswith(("FAILED ", "ERROR ")))
        failed = next(summary, f"pytest ended with {code}: {output[-500:]}")
        return max((test for test in tests if f"{failed} - ".startswith(f"{test} - ")), key=len, default=failed)

    def pytest(
        self, *options: str, limit: float, environment: Mapping[str, str] | None = None
    ) -> tuple[int | None, str]:
        """Run pytest in the copy: its exit code, None if `limit` came first, and its output."""
        command = [
            *(sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=no", "-p", "no:cacheprovider"),
            *(
                "--hypothesis-seed=0",
                f"--timeout={_SECONDS_OF_A_TEST}",
                f"--basetemp={self._folder / 'tests'}",
                *options,
            ),
        ]
        path = os.pathsep.join(map(str, (self.root, self.root / "runtime", _RECORDER)))
        environment = {**os.environ, "PYTHONPATH": path, **(environment or {})}
        log = self._folder / "output.txt"  # a pipe would stay open for as long as what a test has left running
        with log.open("w") as output:
            process = subprocess.Popen(
                command, cwd=self.root, env=environment, stdout=output, stderr=output, start_new_session=True
            )
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                if process.poll() is None:
                    _stop(process)
        return code, log.read_text("utf-8", errors="replace")

    def _write(self, path: Path, source: str) -> None:
        """With a time of its own: Python takes a compiled module by the second of its source."""
        path.write_text(source, "utf-8")
        self._changes += 1
        os.utime(path, (self._changes, self._changes))


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask, so that what the tests have started is stopped too; then end."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()
