"""An Arrow body means what the JSON body of the same names does, row for row, fault for fault."""

import copy
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from safetensors.numpy import save
from sqlalchemy import Engine, select

from knowgate import Attempt, Decision, Role, Signals
from knowgate._records.records import Action, GateOutcome, PTKind, Reason, Verdict
from knowgate._wire import codec
from services.api.arrow_body import ARROW_MEDIA_TYPE, MOST_FIELDS, MOST_MESSAGES, parse_arrow_body
from services.api.rows import SHORT, parse_decisions
from services.api.vectors_body import NO_VECTORS
from services.audit.verify import verify_ledger
from services.clock import SimulatedClock
from services.declaration.cascade_file import parse_cascade
from services.settings import Settings
from services.web.app import create_app
from store.engine import open_engine, reading, transaction
from store.ledger.ledger import seal_all
from store.releases import cascades
from store.sealing import row_leaves
from store.tables import AttemptRow, DecisionRow, LedgerLeafRow
from tests.services.conftest import CASCADE, FINGERPRINT, NOW

Make = Callable[..., Decision]
SAFETENSORS = "application/vnd.knowgate.safetensors"
LIMIT = 200_000


def stream(*batches: Any, options: Any = None) -> bytes:
    with io.BytesIO() as held:
        with pa.ipc.new_stream(held, batches[0].schema, options=options) as writer:
            for batch in batches:
                writer.write_batch(batch)
        return held.getvalue()


def of(rows: list[Any]) -> bytes:
    return stream(*(batch for batch in pa.Table.from_pylist(rows).to_batches()))


def one(**columns: Any) -> bytes:
    return stream(pa.RecordBatch.from_pydict(columns))


def full(make: Make, index: int = 0) -> dict[str, Any]:
    """A decision with something in every field, as JSON says it."""
    outcome = GateOutcome(gate=Reason.P_T, value=0.5, threshold=0.8, passed=False)
    small = Attempt(
        tier=0,
        role=Role.SUPERSEDED,
        model="tiny",
        signals=Signals(p_t=0.1 + 0.2, p_ik=1 / 3, score=0.5, ood=1.0),
        verdict=Verdict(action=Action.ESCALATE, reason=Reason.P_T, gates=(outcome,)),
        fault=Reason.EXPIRED,
        fingerprint=FINGERPRINT,
        p_t_kind=PTKind.MEAN,
        answer="Päris",
        entropy=1.25,
        margin=0.2,
        tokens_in=100,
        tokens_out=3,
        latency_ms=12.5,
        cost_usd=1e-7,
        run_propensity=0.25,
        note="late",
        span_id="ab" * 8,
    )
    large = Attempt(tier=1, role=Role.SERVED, model="huge", run_propensity=1.0, tokens_in=1, tokens_out=1)
    said = {"prompt": "Where?", "prompt_hash": "ab" * 16, "generation": 2, "bundle": "c" * 64, "trace_id": "d" * 32}
    made = make(index, attempts=(small, large), span_id="e" * 16, **said)
    row: dict[str, Any] = plainly(codec.encode(made))
    return row


def plainly(value: Any) -> Any:
    """Without what is null, but for the two fields that have to be said."""
    if isinstance(value, dict):
        return {key: plainly(item) for key, item in value.items() if item is not None or key in ("reason", "value")}
    return [plainly(item) for item in value] if isinstance(value, list) else value


DECISION, SMALL = (), ("attempts", 0)
SIGNALS, VERDICT, PRINT = (*SMALL, "signals"), (*SMALL, "verdict"), (*SMALL, "fingerprint")
GATE = (*VERDICT, "gates", 0)
TEXTS = (*((DECISION, name) for name in ("cascade", "slice", "external_id", "prompt_hash", "bundle", "trace_id")),
         *((SMALL, name) for name in ("model", "note", "span_id")), (PRINT, "engine"))  # fmt: skip
AMOUNTS = (*((SMALL, name) for name in ("entropy", "margin", "latency_ms", "cost_usd", "run_propensity")),
           *((SIGNALS, name) for name in ("p_t", "p_ik", "score", "ood")),
           (DECISION, "exploration_rate"), (GATE, "value"), (GATE, "threshold"))  # fmt: skip
WHOLE = ((SMALL, "tier"), (SMALL, "tokens_in"), (SMALL, "tokens_out"), (DECISION, "generation"), (PRINT, "layer"),
         (SMALL, "vector"))  # fmt: skip
WORDS = ((SMALL, "role"), (SMALL, "fault"), (SMALL, "p_t_kind"), (VERDICT, "action"), (VERDICT, "reason"),
         (GATE, "gate"))  # fmt: skip
FAULTS: list[tuple[Any, str, Any]] = [
    *((*at, value) for at in TEXTS for value in ("", "a\0b", "x" * (SHORT + 1), 3, True, ["a"], {"a": 1})),
    *((*at, value) for at in AMOUNTS for value in (-1.0, 1.5, 1, 0, 2**62, "0.5", True, [0.5])),
    *((*at, value) for at in WHOLE for value in (-1, 0.5, 7, 2**63 - 1, "1", True)),
    *((*at, value) for at in WORDS for value in ("", "served", "strange", 3)),
    *((DECISION, "id", value) for value in ("", "1" * 36, "ab" * 16, 3, "019b76da-a800-4000-8000-000000000000")),
    *((DECISION, "occurred_at", value) for value in ("now", "2026-03-10T12:00:00", "2026-03-10", 3)),
    *((DECISION, "occurred_at", value) for value in ("1999-01-01T00:00:00Z", "2999-01-01T00:00:00Z")),
    *((DECISION, "attempts", value) for value in ([], "a", {"tier": 0}, [None], 3)),
    *((at, "more", "x") for at in (DECISION, SMALL, SIGNALS, VERDICT, GATE, PRINT)),
    *((GATE, "passed", value) for value in (1, "true")),
    *((at, name, None) for at, name in ((DECISION, "id"), (DECISION, "cascade"), (SMALL, "role"), (GATE, "passed"))),
    (VERDICT, "fallback", "no"),
    (SMALL, "signals", []),
    (SMALL, "verdict", "retain"),
]


@pytest.mark.parametrize("gone", [False, True])
def test_every_field_that_is_wrong_or_missing_is_refused_as_in_json(decision: Make, gone: bool) -> None:
    whole, differing = full(decision), []
    whole["attempts"] = [whole["attempts"][0] | {"role": "served"}]  # of two, one would give a column its type
    assert parse_decisions([whole], NOW, NO_VECTORS.check).records
    for path, name, value in FAULTS:
        row = copy.deepcopy(whole)
        at: Any = row
        for step in path:
            at = at[step]
        at[name] = value
        if gone:
            del at[name]
        by_json = parse_decisions([plainly(row)], NOW, NO_VECTORS.check)
        by_arrow = parse_decisions(parse_arrow_body(of([row]), LIMIT), NOW, NO_VECTORS.check)
        if by_json != by_arrow:
            differing.append((path, name, value, by_json.rejected, by_arrow.rejected))
    assert not differing


def test_columns_may_be_of_any_type_that_holds_their_values(decision: Make) -> None:
    rows = [full(decision, index) for index in range(3)]
    plain = pa.Table.from_pylist(rows)
    ids = pa.array([bytes.fromhex(row["id"].replace("-", "")) for row in rows], pa.binary(16))
    times = pa.array([row["occurred_at"] for row in rows]).cast(pa.timestamp("us", "UTC"))
    expected = parse_decisions(rows, NOW, NO_VECTORS.check)
    assert len(expected.records) == 3
    for changed in (
        {"id": ids},
        {"id": pa.ExtensionArray.from_storage(pa.uuid(), ids)},
        {"occurred_at": times},
        {"occurred_at": times.cast(pa.timestamp("ns", "Europe/Berlin"))},
        {"slice": plain["slice"].combine_chunks().dictionary_encode(), "prompt": plain["prompt"].cast("large_string")},
        {"generation": plain["generation"].cast(pa.uint8()), "more": pa.nulls(3)},
    ):
        table = plain
        for name, column in changed.items():
            table = table.drop_columns([name]) if name in table.column_names else table
            table = table.append_column(name, column)
        # In two batches, the first of which is cut from the middle of what it points at.
        body = stream(*table.slice(0, 1).to_batches(), *table.slice(1).combine_chunks().to_batches())
        assert parse_decisions(parse_arrow_body(body, LIMIT), NOW, NO_VECTORS.check) == expected


def test_times_that_are_none_and_numbers_that_are_not_finite_cost_their_row(decision: Make) -> None:
    rows = [full(decision, index) for index in range(2)]
    table = pa.Table.from_pylist(rows)
    for name, column in (
        ("occurred_at", pa.array([2**62, 0], pa.timestamp("s", "UTC"))),
        ("occurred_at", pa.array([0, 0], pa.timestamp("us"))),
        ("exploration_rate", pa.array([float("nan"), float("inf")])),
    ):
        changed = table.drop_columns([name]).append_column(name, column)
        parsed = parse_decisions(parse_arrow_body(stream(*changed.to_batches()), LIMIT), NOW, NO_VECTORS.check)
        assert [(row.index, row.field) for row in parsed.rejected] == [(0, name), (1, name)]


def nested(levels: int) -> pa.Array:
    array = pa.nulls(1)
    for _ in range(levels):
        array = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), array)
    return array


def out_of_range(low: int, high: int) -> bytes:
    """A text whose offsets point outside of what there is."""
    whole = one(slice=["a" * 77, "b" * 77])
    place = whole.index(np.array([0, 77, 154], np.int32).tobytes())
    return whole[:place] + np.array([0, low, high], np.int32).tobytes() + whole[place + 12 :]


BODIES: list[tuple[Callable[[], bytes], int]] = [
    (lambda: b"", 400),
    (lambda: b"no stream", 400),
    (lambda: one(slice=["a"])[:-20], 400),
    (lambda: one(slice=["a"]) + one(slice=["b"]), 400),
    (lambda: stream(pa.RecordBatch.from_arrays([pa.array(["a"])] * 2, ["slice", "slice"])), 400),
    (lambda: one(slice=pa.array([b"a"])), 400),
    (lambda: one(slice=pa.array(["a"], pa.string_view())), 400),
    (lambda: one(slice=pa.array([[1]], pa.list_(pa.int8(), 1))), 400),
    (lambda: one(occurred_at=pa.array([0], pa.date32())), 400),
    (lambda: one(**{f"f{index}": pa.nulls(1) for index in range(MOST_FIELDS + 1)}), 400),
    (lambda: one(attempts=nested(40)), 400),
    (lambda: out_of_range(10**6, 10**6), 400),
    (lambda: out_of_range(-5, 3), 400),
    *(
        (
            lambda name=name: stream(
                pa.RecordBatch.from_pydict({"slice": ["a" * 10**7]}), options=pa.ipc.IpcWriteOptions(compression=name)
            ),
            400,
        )
        for name in ("lz4", "zstd")
    ),
    (
        lambda: stream(
            pa.RecordBatch.from_pydict({"slice": pa.array(["a" * 10**5]).dictionary_encode()}),
            options=pa.ipc.IpcWriteOptions(compression="zstd"),
        ),
        400,
    ),
    (lambda: one(prompt=pa.DictionaryArray.from_arrays(pa.array([0] * 99, pa.int8()), ["a" * 10**4])), 413),
    (lambda: one(slice=pa.nulls(100_001)), 413),
    (lambda: one(attempts=pa.ListArray.from_arrays(pa.array([0, 6 * 10**6], pa.int32()), pa.nulls(6 * 10**6))), 413),
    (lambda: stream(*[pa.RecordBatch.from_pydict({"slice": pa.nulls(0)})] * (MOST_MESSAGES + 1)), 413),
]


@pytest.mark.parametrize("number", range(len(BODIES)))
def test_what_is_no_stream_or_comes_to_too_much_is_refused_whole(client: TestClient, number: int) -> None:
    make, status = BODIES[number]
    body = make()
    assert len(body) < LIMIT
    response = client.post("/v1/decisions", content=body, headers={"Content-Type": ARROW_MEDIA_TYPE})
    assert response.status_code == status, response.text
    assert set(response.json()["error"]) == {"field", "value", "cure", "message"}


def stored(engine: Engine) -> list[Any]:
    """All rows and what the leaves say of them, but for what is drawn."""
    with reading(engine) as session:
        rows: list[Any] = []
        for table in (DecisionRow.__table__, AttemptRow.__table__):
            kept = [row._asdict() for row in session.execute(select(table))]
            rows += sorted(kept, key=repr)
        for leaf in session.scalars(select(LedgerLeafRow).where(LedgerLeafRow.kind == "decision")):
            said = row_leaves.read_payload(leaf.payload)
            subjects = [row.subject for row in row_leaves.unpacked(leaf.rows, said.rows)]
            rows.append((leaf.version, leaf.cascade, leaf.subject, said.columns, said.parts, subjects))
        assert verify_ledger(session).verified
        return rows


@pytest.fixture
def beside(sqlite_template: Path, tmp_path: Path) -> Any:
    path = tmp_path / "beside.db"
    shutil.copy(sqlite_template, path)
    opened = open_engine(f"sqlite:///{path}")
    yield opened
    opened.dispose()


def test_the_same_decisions_leave_the_same_rows_and_the_same_leaf(
    engine: Engine, beside: Engine, settings: Settings, decision: Make
) -> None:
    rows = [full(decision, index) for index in range(4)]
    rows[1]["attempts"][0]["signals"]["p_t"] = 1.5
    rows[2]["cascade"] = "strange"
    del rows[3]["attempts"][0]["verdict"], rows[3]["slice"]
    rows[3]["attempts"][0]["vector"] = rows[0]["attempts"][0]["vector"] = 0
    states = {"vectors/0": np.arange(4, dtype=np.float16).reshape(1, 4)}
    text = json.dumps(rows)
    by_arrow = save(states | {"decisions": np.frombuffer(of(rows), np.uint8)})
    receipts = []
    for where, bodies in (
        (beside, [(save(states, metadata={"decisions": text}), SAFETENSORS)] * 2),
        (engine, [(by_arrow, SAFETENSORS), (by_arrow, SAFETENSORS)]),
    ):
        with transaction(where) as session:
            cascades.apply_cascade(session, parse_cascade(CASCADE), now=NOW)
        with TestClient(create_app(settings, where, clock=SimulatedClock(NOW)), base_url="http://127.0.0.1") as client:
            answers = [
                client.post("/v1/decisions", content=body, headers={"Content-Type": kind}).json()
                for body, kind in bodies
            ]
        receipts.append(answers)
        with transaction(where) as session:
            seal_all(session, now=NOW)
    by_json, by_columns = receipts
    assert by_json[0] == by_columns[0]
    assert (by_json[0]["stored"], [row["index"] for row in by_json[0]["rejected"]]) == (2, [1, 2])
    assert (by_columns[1]["stored"], by_columns[1]["duplicates"]) == (0, 2)
    assert stored(engine) == stored(beside)
