"""The committed recording: what the model said to every question, and what that took.

`recorded/facts.parquet` has a row per question, form and tier, `recorded/popqa.parquet` a row per
question. States are float16, of one layer per form; processor seconds are of some rows, asked alone
(null elsewhere). The schema's metadata says of which weights, packages and machine all is.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet

from benchmarks.real_llm.errors import RealModelError
from knowgate._records.arrays import BoolArray, FloatArray
from knowgate._records.records import Fingerprint
from knowgate._wire import codec

FOLDER = Path(__file__).parent / "recorded"
DATA = ("facts", "popqa")  # what is recorded, each apart
FACTS, POPQA = (f"{name}.parquet" for name in DATA)
METADATA = b"knowgate.real_llm"
TEXTS = ("id", "kind", "question", "answer")
NUMBERS = ("correct", "p_t_first", "p_t_mean", "entropy", "tokens_in", "tokens_out", "read_s", "whole_s")
_WHOLE = ("tokens_in", "tokens_out")
Half = npt.NDArray[np.float16]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcomes:
    """What one tier said to n questions in one form; NaN = missing."""

    id: tuple[str, ...]  # [n] of the question
    kind: tuple[str, ...]  # [n]
    question: tuple[str, ...]  # [n]
    accepted: tuple[tuple[str, ...], ...]  # [n]
    answer: tuple[str, ...]  # [n]
    correct: FloatArray  # [n]
    p_t_first: FloatArray  # [n]
    p_t_mean: FloatArray  # [n]
    entropy: FloatArray  # [n] nats
    tokens_in: FloatArray  # [n]
    tokens_out: FloatArray  # [n]
    read_s: FloatArray  # [n] processor seconds of the prompt up to the probed layer, where measured
    whole_s: FloatArray  # [n] processor seconds of prompt and answer, where measured
    chose_layer: BoolArray  # [n] the probed layer was chosen on this row, so it certifies nothing
    hidden: Half | None  # [n, d]; None of a tier that is not probed
    fingerprint: Fingerprint | None  # of `hidden`
    abstained: BoolArray | None = None  # [n] of open questions
    popularity: FloatArray | None = None  # [n] monthly page views of the subject, of PopQA


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """A file of the recording."""

    outcomes: Mapping[str, tuple[Outcomes, ...]]  # form → its tiers, cheapest first
    made: Mapping[str, Any]  # of which weights, packages and machine


def write_table(table: Table, path: Path) -> None:
    """Writes a row per form, tier and question, whole or not at all."""
    pieces, fingerprints = [], {}
    for form, tiers in table.outcomes.items():
        for tier, outcomes in enumerate(tiers):
            pieces.append(_columns(form, tier, outcomes))
            if outcomes.fingerprint is not None:
                fingerprints[form] = codec.encode(outcomes.fingerprint)
    document = json.dumps({**table.made, "fingerprints": fingerprints}).encode()
    whole = pa.concat_tables(pieces).replace_schema_metadata({METADATA: document})
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    pyarrow.parquet.write_table(whole, unfinished, compression="zstd", compression_level=19)
    unfinished.replace(path)


def read_table(path: Path) -> Table:
    """Raises RealModelError for a file that is missing or is no such recording."""
    try:
        read = pyarrow.parquet.read_table(path)
        made = json.loads((read.schema.metadata or {})[METADATA])
        fingerprints = {form: codec.decode(Fingerprint, one) for form, one in made.pop("fingerprints").items()}
        outcomes: dict[str, tuple[Outcomes, ...]] = {}
        for form in dict.fromkeys(read["form"].to_pylist()):
            of_form = read.filter(pa.compute.equal(read["form"], form))
            tiers = sorted(set(of_form["tier"].to_pylist()))
            outcomes[form] = tuple(
                _outcomes(of_form.filter(pa.compute.equal(of_form["tier"], tier)), fingerprints.get(form))
                for tier in tiers
            )
    except (KeyError, ValueError, OSError, pa.ArrowInvalid) as error:
        raise RealModelError(f"{path} is no recording ({error}): make it with `record`") from error
    return Table(outcomes=outcomes, made=made)


def _columns(form: str, tier: int, outcomes: Outcomes) -> pa.Table:
    n = len(outcomes.id)
    columns: dict[str, pa.Array] = {
        "form": pa.array([form] * n, pa.string()),
        "tier": pa.array([tier] * n, pa.int8()),
        "accepted": pa.array(outcomes.accepted, pa.list_(pa.string())),
        "chose_layer": pa.array(outcomes.chose_layer),
        "state": pa.array(_bytes(outcomes.hidden, n), pa.binary()),
        "abstained": pa.array([None] * n if outcomes.abstained is None else outcomes.abstained, pa.bool_()),
        "popularity": pa.array([None] * n if outcomes.popularity is None else outcomes.popularity, pa.float64()),
    }
    columns |= {name: pa.array(getattr(outcomes, name), pa.string()) for name in TEXTS}
    for name in NUMBERS:
        values = getattr(outcomes, name)
        known = pa.array(values, pa.float64(), mask=np.isnan(values))
        columns[name] = known.cast(pa.int16()) if name in _WHOLE else known.cast(pa.float32())
    return pa.table(columns)


def _bytes(hidden: Half | None, n: int) -> Sequence[bytes | None]:
    return [None] * n if hidden is None else [row.tobytes() for row in hidden]


def _outcomes(rows: pa.Table, fingerprint: Fingerprint | None) -> Outcomes:
    states = rows["state"].to_pylist()
    probed = None not in states
    columns: dict[str, Any] = {name: tuple(rows[name].to_pylist()) for name in TEXTS}
    columns |= {name: _floats(rows[name]) for name in NUMBERS}
    known_popularity = rows["popularity"].null_count == 0
    return Outcomes(
        **columns,
        accepted=tuple(tuple(names) for names in rows["accepted"].to_pylist()),
        chose_layer=np.array(rows["chose_layer"].to_pylist(), dtype=np.bool_),
        hidden=np.frombuffer(b"".join(states), dtype=np.float16).reshape(len(states), -1) if probed else None,
        fingerprint=fingerprint if probed else None,
        abstained=None if rows["abstained"].null_count else np.array(rows["abstained"].to_pylist(), dtype=np.bool_),
        popularity=_floats(rows["popularity"]) if known_popularity else None,
    )


def _floats(column: pa.ChunkedArray) -> FloatArray:
    return np.array([np.nan if value is None else float(value) for value in column.to_pylist()])
