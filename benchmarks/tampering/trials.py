"""A thousand changes of a small deployment, one at a time: does `audit verify` with the exported
head find each?

The changes are seeded and go over all tables and all kinds of `changes`. What is not
found must be on the list of what is not covered (`store.sealing.coverage`, docs/audit.md); anything
else counts as missed.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine, Table
from sqlalchemy.orm import Session

from benchmarks.shape import Figures
from benchmarks.tampering.changes import CHANGES, ON_A_TABLE, TABLES, Change, NothingToChange, make
from benchmarks.tampering.deployment import build
from services.audit.heads import Head
from services.audit.verify import verify_ledger
from services.settings import read_settings
from store import schema
from store.engine import open_engine

CHANGES_MADE = 1000
QUICK = 0  # beyond one of every kind on every table
TRIES = 50  # for one change that can be made
_SEED = 20_260_310
_SIGNING_KEY = "5e" * 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Tampered:
    """One change, and whether verification found it."""

    change: Change
    found: bool
    seconds: float

    @property
    def missed(self) -> bool:
        return not self.found and self.change.not_covered is None


def measure(quick: bool) -> Figures:
    with tempfile.TemporaryDirectory() as folder, deployment(Path(folder)) as (engine, head):
        made = tamper(engine, head, QUICK if quick else CHANGES_MADE)
    missed = Counter(f"{one.change.kind} {one.change.table}.{one.change.column}" for one in made if one.missed)
    return {
        "changes": len(made),
        "found": sum(one.found for one in made),
        "not_covered": sum(not one.found and not one.missed for one in made),
        "missed": sum(missed.values()),
        "missed_where": ", ".join(sorted(missed)),
        "tables": len({one.change.table for one in made}),
        "kinds": len({one.change.kind for one in made}),
        "verification_ms": 1000 * float(np.median([one.seconds for one in made])),
    }


@contextmanager
def deployment(folder: Path) -> Iterator[tuple[Engine, Head]]:
    """The deployment in a folder, and the head that was exported."""
    engine = open_engine(f"sqlite:///{folder / 'knowgate.db'}")
    try:
        schema.upgrade(engine)
        settings = read_settings({"KNOWGATE_DATA_DIR": str(folder), "KNOWGATE_SIGNING_KEY": _SIGNING_KEY})
        yield engine, build(engine, settings)
    finally:
        engine.dispose()


def tamper(engine: Engine, head: Head, count: int, *, seed: int = _SEED) -> Sequence[Tampered]:
    """Make at least `count` changes, each undone after verification.

    The first ones are of every kind on every table.
    """
    rng = np.random.default_rng(seed)
    plan: list[tuple[str, Table]] = [(kind, table) for kind in ON_A_TABLE for table in TABLES]
    plan += [(kind, TABLES[0]) for kind in CHANGES if kind not in ON_A_TABLE]
    made: list[Tampered] = []
    with closing(engine.connect()) as connection:
        _let_everything_by(connection)
        ahead = iter(plan)
        while (step := next(ahead, None)) or len(made) < count:
            kind, table = step or plan[int(rng.integers(len(plan)))]
            one = _one(connection, head, kind, table, rng)
            made += [] if one is None else [one]
    return made


def _one(connection: Connection, head: Head, kind: str, table: Table, rng: np.random.Generator) -> Tampered | None:
    for _ in range(TRIES):
        try:
            change = make(connection, kind, table, rng)
            began = time.perf_counter()
            with Session(connection) as session:
                verified = verify_ledger(session, head=head).verified
            return Tampered(change=change, found=not verified, seconds=time.perf_counter() - began)
        except NothingToChange:
            continue
        finally:
            connection.rollback()
    return None


def _let_everything_by(connection: Connection) -> None:
    driver: Any = connection.connection.driver_connection
    driver.execute("PRAGMA foreign_keys = OFF")
    driver.execute("PRAGMA ignore_check_constraints = ON")
