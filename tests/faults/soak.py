"""`python -m tests.faults.soak`: the whole service on PostgreSQL for an hour, at half of what the
machine takes, with late labels, promotions, alarms and erasures; then kills.

It fails where memory or a table that should be flat is not, where a lag grows, and where it has not
gone away when nothing comes any more. Labels come late, some of them
after their horizon. A second cascade is followed by a runtime whose small model is broken now and
then, so that alarms ring; whoever is on call resumes it.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from benchmarks.shape import Figures, result
from knowgate.spec import Schedule
from store.engine import reading
from store.releases import promotions
from store.traffic import decisions
from store.watching import alerts
from tests import day_of_operation
from tests.faults import checks
from tests.faults.fire import under_fire
from tests.faults.gauges import OURS, Sample, grown, is_flat, lag, look
from tests.faults.table import TABLE
from tests.faults.traffic import ASKED, Asking, Manner, Traffic
from tests.faults.world import PATIENCE_S, World, spec, world_on_postgresql

LOOK_EVERY_S = 10.0
ERASE_EVERY_S = 60.0
BROKEN_FOR_S, BROKEN_EVERY_S = 60.0, 300.0  # the second cascade's small model
HORIZON = timedelta(seconds=30)
SCHEDULE = Schedule(
    train_every=timedelta(minutes=2),
    monitor_every=timedelta(seconds=30),
    training_window=timedelta(minutes=10),
)
QUIZ = day_of_operation.CASCADE.replace('"7d"', '"3m"')
MANNER = Manner(pause_s=0.0, idle=1.0, late_share=0.3, late_s=45.0, kept=0.1)
# What is kept of a process's memory is warm after the first third; a table that a watched window or
# a training writes to grows with time, one of traffic with traffic, these with neither.
FLAT_TABLES = ("cascade", "cascade_version", "job_tick", "token", "outbox", "runtime")
MEMORY_SHARE, MEMORY_SLACK_MB = 0.1, 16.0
LAG_SHARE = 0.5
LAG_SLACK = {"monitor_s": 60.0, "unsealed_leaves": 50_000.0, "waiting_for_mlflow": 3.0, "undelivered_messages": 3.0}
# Three windows of monitoring: the one that goes on, the one that is looked at, and one to spare.
AT_REST = {"monitor_s": 90.0, "waiting_for_mlflow": 0.0, "undelivered_messages": 0.0, "unshipped_answers": 0.0}


@dataclass
class Soak:
    """A world in its daily life, and what was seen of it."""

    world: World
    traffic: Traffic
    asking: Asking
    heard: list[tuple[str, Any]]  # by who is on call
    broken: Path  # the file that breaks the second cascade's small model
    rng: random.Random
    samples: list[Sample] = field(default_factory=list)
    erased: list[UUID] = field(default_factory=list)
    refused: int = 0  # acts of whoever is on call

    def go_on(self, seconds: float) -> None:
        """Looks, erases, breaks and resumes until the time is over."""
        engine = self.world.engine()
        began = time.monotonic()
        erase_at = ERASE_EVERY_S
        while (at := time.monotonic() - began) < seconds:
            self.samples.append(look(self.world, engine, at, self._unshipped(engine)))
            self._break_or_mend(at)
            if at >= erase_at:
                erase_at += ERASE_EVERY_S
                self._erase()
            for name, process in self.world.processes.items():
                assert process.poll() is None, f"{name} has ended with {process.returncode}"
            assert self.traffic.error is None, self.traffic.error
            time.sleep(max(0.0, LOOK_EVERY_S - (time.monotonic() - began - at)))
        engine.dispose()

    def check(self) -> None:
        """What was acknowledged is there once, but for what was erased; no job took effect
        twice; and every answer was kept.
        """
        for one in (self.traffic, self.asking):
            one.stopping.set()
            one.join()
        engine = self.world.engine()
        checks.until(lambda: checks.trained_windows(engine) > 0, "a training ends", within_s=PATIENCE_S)
        checks.until(lambda: not self._behind(engine), "what lags catches up", within_s=PATIENCE_S)
        self.world.end("scheduler")
        checks.check_acknowledged(engine, self.traffic.acknowledged, self.erased)
        checks.until(lambda: self._unshipped(engine) == 0, "the gateway ships", within_s=PATIENCE_S)
        checks.check_jobs(engine)
        engine.dispose()

    def _behind(self, engine: Engine) -> dict[str, float]:
        """What lags by more than it may, when nothing comes any more."""
        found = lag(self.world, engine, self._unshipped(engine))
        return {name: found[name] for name, most in AT_REST.items() if found[name] > most}

    def _break_or_mend(self, at: float) -> None:
        if at % BROKEN_EVERY_S > BROKEN_EVERY_S - BROKEN_FOR_S:
            self.broken.touch()
            return
        self.broken.unlink(missing_ok=True)
        state = self._ask("/v1/cascades/quiz", None)["state"]
        if state["state"] == "stopped":
            said = {"reason": "mended", "despite_alarm": "the model was at fault"}
            try:
                self._ask("/v1/cascades/quiz/resume", said)
            except urllib.error.HTTPError:
                self.refused += 1

    def _erase(self) -> None:
        """A decision that was acknowledged, by the command."""
        written_down = list(self.traffic.acknowledged.decisions)
        if not written_down:
            return
        doomed = self.rng.choice(written_down)
        command = [sys.executable, "-m", "services", "erase", str(doomed), "--yes"]
        done = subprocess.run(
            command, env=os.environ | self.world.environment("api"), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        self.erased.append(doomed)

    def _unshipped(self, engine: Engine) -> int:
        """Answers that are not stored, of those from two looks ago."""
        named = self.asking.newest(200)[:-100]
        with reading(engine) as session:
            return sum(decisions.find_decision(session, ASKED, name) is None for name in named)

    def _ask(self, path: str, body: object) -> Any:
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.world.url + path, content, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


@contextmanager
def living(folder: Path, seed: int) -> Iterator[Soak]:
    """The whole service, and who uses it."""
    cascade = spec(SCHEDULE, HORIZON)
    with ExitStack() as stack:
        world = stack.enter_context(world_on_postgresql(folder, cascade, proxied=False))
        hears, heard = stack.enter_context(day_of_operation.hearing())
        (folder / "quiz.toml").write_text(
            QUIZ.format(hears=hears, alertmanager=hears, promotion='approval = "automatic"'), encoding="utf-8"
        )
        command = [sys.executable, "-m", "services", "cascade", "apply", str(folder / "quiz.toml")]
        subprocess.run(command, env=os.environ | world.environment("api"), check=True, capture_output=True)
        following = [sys.executable, "-m", "tests.quiz_runtime", world.url, "quiz", str(folder)]
        world.run("runtime", following, {"KNOWGATE_TOKEN": "kg_unused"})
        traffic, asking = Traffic(world.url, seed, MANNER), Asking(world.gateway_url)
        traffic.start()
        asking.start()
        yield Soak(world, traffic, asking, heard, folder / "broken", random.Random(seed))
        for one in (traffic, asking):
            one.stopping.set()
            one.join()


def faults_of(samples: Sequence[Sample]) -> list[str]:
    """What should be flat and is not."""
    said = []
    for name in OURS:
        memory = [one.memory_mb[name] for one in samples if name in one.memory_mb]
        if not is_flat(memory, share=MEMORY_SHARE, slack=MEMORY_SLACK_MB):
            said.append("memory of {}: {:.0f} MB, then {:.0f}".format(name, *grown(memory)))
    for name in FLAT_TABLES:
        sizes = [one.tables_mb.get(name, 0.0) for one in samples]
        if not is_flat(sizes, share=0.0, slack=1.0):
            said.append("table {}: {:.1f} MB, then {:.1f}".format(name, *grown(sizes)))
    for name, slack in LAG_SLACK.items():
        lags = [one.lag[name] for one in samples]
        if not is_flat(lags, share=LAG_SHARE, slack=slack, by=min):
            said.append("least {}: {:.0f}, then {:.0f}".format(name, *grown(lags, min)))
    return said


def figures_of(soak: Soak, seconds: float) -> dict[str, float | int | str | None]:
    """What was carried, and how it stood at the beginning, in the middle and at the end."""
    engine = soak.world.engine()
    with reading(engine) as session:
        moves = Counter(one.outcome.value for one in promotions.newest_promotions(session, limit=10_000))
        rang = Counter(one.rule for one in alerts.newest_alerts(session, limit=10_000))
    engine.dispose()
    figures: dict[str, float | int | str | None] = {
        "minutes": seconds / 60,
        "decisions_a_second": soak.traffic.sent / seconds,
        "decisions": soak.traffic.sent,
        "labels": soak.traffic.labels_sent,
        "labels_late": soak.traffic.late_labels,
        "answers": len(soak.asking.answered),
        "unanswered": len(soak.asking.failed),
        "erasures": len(soak.erased),
        "alarms": sum(rang.values()),
        "messages_heard": len(soak.heard),
    }
    figures |= {f"moves.{name}": count for name, count in sorted(moves.items())}
    samples = soak.samples
    for name in sorted(samples[-1].memory_mb):
        memory = [one.memory_mb[name] for one in samples if name in one.memory_mb]
        figures[f"memory_mb.{name}.middle"], figures[f"memory_mb.{name}.end"] = grown(memory)
    for name in sorted(samples[-1].lag):
        lags = [one.lag[name] for one in samples]
        figures[f"lag.{name}.median"], figures[f"lag.{name}.most"] = statistics.median(lags), max(lags)
        figures[f"lag.{name}.least_at_the_end"] = grown(lags, min)[1]
    for name, size in sorted(samples[-1].tables_mb.items()):
        if size >= 1.0:
            figures[f"table_mb.{name}"] = size
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--kills", type=int, default=200, help="kill -9 at seeded moments, in a second world")
    parser.add_argument("--seed", type=int, default=20260305)
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    figures: dict[str, float | int | str | None] = {"seed": options.seed}
    said: list[str] = []
    sys.stderr.write(f"seed {options.seed}\n")
    if options.minutes:
        with tempfile.TemporaryDirectory() as folder, living(Path(folder), options.seed) as soak:
            soak.go_on(options.minutes * 60)
            figures |= figures_of(soak, options.minutes * 60)
            said = faults_of(soak.samples)
            figures["not_flat"] = "; ".join(said)
            write(options.json, figures, quick=True)
            soak.check()
    if options.kills:
        with tempfile.TemporaryDirectory() as folder, world_on_postgresql(Path(folder)) as world:
            faults = [fault for fault in TABLE if "postgresql" in fault.on and fault.needs()]
            counts = under_fire(world, seed=options.seed, kills=options.kills, faults=faults, say=_say)
            figures |= {f"fire.{name}": count for name, count in counts.items()}
    write(options.json, figures, quick=options.minutes < 60)
    for name, value in figures.items():
        _say(f"{name}  {value:.4g}" if isinstance(value, float) else f"{name}  {value}")
    return 1 if said else 0


def write(path: Path | None, figures: Figures, *, quick: bool) -> None:
    if path is not None:
        document = asdict(result("soak", figures, quick=quick))
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
