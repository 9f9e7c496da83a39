"""What strangers' bytes come to: each target reads one input, and either takes it or refuses it
with an error that says why. Anything else it raises is a finding.
"""

import io
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from safetensors.numpy import save

from factories import make_decision, make_label
from knowgate import Attempt, BundleDocument, Policy, PolicyKind, Role, read_bundle, write_bundle
from knowgate._bundles.assignment import read_assignment
from knowgate._shipping import parcels, segment
from knowgate._shipping.recovery import recover
from knowgate._shipping.segment import Entry
from knowgate._wire import codec
from knowgate.backends.states_file import take_state
from knowgate.errors import KnowgateError, RecordInvalid
from services.api.arrow_body import parse_arrow_body
from services.api.rows import parse_decisions, parse_labels
from services.api.vectors_body import NO_VECTORS, parse_vectors_body
from services.http.bodies import parse_json, rows_of
from services.http.errors import ApiError

NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)
REFUSALS: tuple[type[Exception], ...] = (KnowgateError, ApiError)
_FOLDER = Path(tempfile.mkdtemp(prefix="kg-fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One reader, and inputs that it takes, from which others are made."""

    name: str
    reads: str
    run: Callable[[bytes], object]
    takes: Callable[[], list[bytes]]

    def reads_or_refuses(self, content: bytes) -> bool:
        """Whether it was taken. Raises what is a finding."""
        try:
            self.run(content)
        except REFUSALS:
            return False
        return True


def _bundles() -> list[bytes]:
    document = BundleDocument(
        cascade="trivia",
        tiers=(None,),
        models=("tiny", "huge"),
        p_t_kinds=("first_token",),
        policy=Policy.of(PolicyKind.P_T, ({"p_t": 0.8},)),
        certificate=None,
        training_window=None,
        rows={},
        mlflow_run=None,
        code_version="test",
        parent=None,
        created_at=NOW,
    )
    return [write_bundle(document, (None,)).content]


def _decision(vector: int | None) -> object:
    small = Attempt(tier=0, role=Role.SUPERSEDED, model="tiny", vector=vector)
    return make_decision(NOW, attempts=(small, Attempt(tier=1, role=Role.SERVED, model="huge")))


def _entries() -> list[bytes]:
    vector = np.arange(4, dtype=np.float16)
    decision = make_decision(NOW, attempts=(Attempt(tier=0, role=Role.SERVED, model="tiny", vector=0),))
    return [segment.framed(decision, [vector]), segment.framed(make_label(make_decision(NOW)))]


def _recover(content: bytes) -> None:
    """A segment as a crash or a disk left it, and what of it is shipped."""
    path = _FOLDER / "00000001.seg"
    path.write_bytes(content)
    recover(path)
    left = path.read_bytes() if path.exists() else b""
    for entry in segment.entries(left, 0):
        parcels.opened(entry)
    for one in _FOLDER.iterdir():
        one.unlink()


def _open_payload(content: bytes) -> None:
    """An entry whose checksum is right, whatever it holds."""
    entry = Entry(payload=content, end=len(content))
    if isinstance(opened := parcels.opened(entry), parcels.Parcel):
        list(parcels.batches([opened, opened]))
    else:
        json.dumps(parcels.readable(entry))
        raise RecordInvalid("entry", len(content), opened.reason)


def _take_state(content: bytes) -> None:
    path = _FOLDER / "states.safetensors"
    path.write_bytes(content)
    try:
        take_state(path, prompt_tokens=3, layer=1, layers=2, deadline=time.monotonic())
    finally:
        assert not path.exists(), "a file of states is deleted whatever it holds"


def _states() -> list[bytes]:
    states = np.ones((3, 2, 4), dtype=np.float16)
    tokens = np.arange(3)
    return [
        save({"hidden_states": states, "token_ids": tokens}),
        save({"hidden_states": states, "residual": states, "token_ids": tokens}),
    ]


def _json_body(content: bytes) -> None:
    document = parse_json(content)
    if isinstance(document, dict) and "labels" in document:
        parse_labels(rows_of(document, "labels"), NOW)
    else:
        parse_decisions(rows_of(document, "decisions"), NOW, NO_VECTORS.check)


def _json_bodies() -> list[bytes]:
    decision = make_decision(NOW)
    return [
        json.dumps({"decisions": [codec.encode(decision)]}).encode(),
        json.dumps({"labels": [codec.encode(make_label(decision))]}).encode(),
    ]


def _vectors_body(content: bytes) -> None:
    rows, vectors = parse_vectors_body(content, 2**20)
    parse_decisions(rows, NOW, vectors.check)


def _vectors_bodies() -> list[bytes]:
    rows = json.dumps([codec.encode(_decision(0))])
    return [save({"vectors/0": np.ones((1, 4), dtype=np.float16)}, metadata={"decisions": rows})]


def _arrow_body(content: bytes) -> None:
    parse_decisions(parse_arrow_body(content, 2**20), NOW, NO_VECTORS.check)


def _arrow_bodies() -> list[bytes]:
    rows = [codec.encode(make_decision(NOW, slice=name)) for name in ("a", "b")]
    plain = pa.Table.from_pylist(rows)
    named = plain.drop_columns(["trace_id"]).append_column("trace_id", plain["cascade"].dictionary_encode())
    return [_stream(table) for table in (plain, named)]


def _stream(table: pa.Table) -> bytes:
    with io.BytesIO() as held:
        with pa.ipc.new_stream(held, table.schema) as writer:
            writer.write_table(table)
        return held.getvalue()


def _assignment(content: bytes) -> None:
    read_assignment(codec.parse(content))


def _assignments() -> list[bytes]:
    from factories import make_assignment

    return [codec.canonical(make_assignment(cascade="trivia", issued_at=NOW))]


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(name="bundle", reads="a bundle's file", run=read_bundle, takes=_bundles),
        Target(name="assignment", reads="an assignment", run=_assignment, takes=_assignments),
        Target(name="spool", reads="a segment of the spool after a crash", run=_recover, takes=_entries),
        Target(
            name="entry",
            reads="an entry of the spool whose checksum is right",
            run=_open_payload,
            takes=lambda: [one[segment.FRAME.size :] for one in _entries()],
        ),
        Target(name="states", reads="a file of hidden states", run=_take_state, takes=_states),
        Target(name="json", reads="a JSON body of decisions or labels", run=_json_body, takes=_json_bodies),
        Target(name="arrow", reads="an Arrow body of decisions", run=_arrow_body, takes=_arrow_bodies),
        Target(name="safetensors", reads="a body with vectors", run=_vectors_body, takes=_vectors_bodies),
    )
}
