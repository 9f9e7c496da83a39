"""What is watched of a world for as long as it runs: memory of processes, sizes of tables, and how
far behind it is; and whether what should be flat is flat.
"""

import json
import statistics
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import psutil
from sqlalchemy import Engine, text

from store.engine import reading
from store.jobs import job_runs, outbox
from store.ledger import ledger
from store.watching import deliveries
from tests.faults.traffic import CASCADE
from tests.faults.world import World

Summary = Callable[[Sequence[float]], float]
OURS = ("api", "scheduler", "gateway", "runtime")
# Of partitioned tables all parts together.
_SIZES = text("""
SELECT coalesce(pg_partition_root(c.oid)::regclass, c.oid::regclass)::text AS name, sum(pg_total_relation_size(c.oid))
  FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace GROUP BY 1""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look."""

    at_s: float  # since the beginning
    memory_mb: dict[str, float]  # by process, without its children
    tables_mb: dict[str, float]
    lag: dict[str, float]  # jobs in seconds; what waits to be shipped, delivered or registered, counted


def look(world: World, engine: Engine, at_s: float, unshipped: int) -> Sample:
    """Now."""
    with engine.connect() as connection:
        sizes = {str(name): float(size) / 2**20 for name, size in connection.execute(_SIZES)}
    return Sample(at_s=at_s, memory_mb=_memory(world), tables_mb=sizes, lag=lag(world, engine, unshipped))


def grown(values: Sequence[float], by: Summary = statistics.median) -> tuple[float, float]:
    """The middle third, and the last: what is warm is compared with itself."""
    third = len(values) // 3
    return by(values[third : 2 * third]), by(values[2 * third :])


def is_flat(values: Sequence[float], *, share: float, slack: float, by: Summary = statistics.median) -> bool:
    """Whether the last third lies at most a share and a slack above the middle one. A lag that
    goes away again is judged `by` its least: one that does not has a least that grows, too.
    """
    middle, last = grown(values, by)
    return last <= middle * (1.0 + share) + slack


def lag(world: World, engine: Engine, unshipped: int) -> dict[str, float]:
    """How far behind the world is, as `Sample.lag`."""
    now = datetime.now(UTC)
    with reading(engine) as session:
        done = job_runs.watermark(session, "monitor", CASCADE)
        waiting = {one.topic: one.waiting for one in outbox.backlogs(session)}
        undelivered = len(deliveries.newest_deliveries(session, fates=[deliveries.Fate.WAITING], limit=1000))
        unsealed = ledger.unsealed_count(session).leaves
    with urllib.request.urlopen(f"{world.gateway_url}/healthz", timeout=30) as answer:
        rejected = json.load(answer)["rejected"]
    return {
        "monitor_s": 0.0 if done is None else (now - done).total_seconds(),
        "unsealed_leaves": float(unsealed),
        "waiting_for_mlflow": float(waiting.get("mlflow", 0)),
        "undelivered_messages": float(undelivered),
        "unshipped_answers": float(unshipped),
        "rejected_answers": float(rejected),
    }


def _memory(world: World) -> dict[str, float]:
    found = {}
    for name, process in world.processes.items():
        with suppress(psutil.NoSuchProcess):
            found[name] = psutil.Process(process.pid).memory_info().rss / 2**20
    return found
