"""What the model said to n prompts, as columns, and the Parquet parts that a recording is made of.

A part is written whole or not at all, so a recording that was stopped goes on where it stopped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet

from knowgate._records.arrays import FloatArray

NUMBERS = ("p_t_first", "p_t_mean", "entropy", "tokens_in", "tokens_out")
Half = npt.NDArray[np.float16]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """Answers to n prompts; NaN = missing."""

    ids: tuple[str, ...]  # [n]
    texts: tuple[str, ...]  # [n]
    p_t_first: FloatArray  # [n]
    p_t_mean: FloatArray  # [n]
    entropy: FloatArray  # [n] nats, over the vocabulary at the first token
    tokens_in: FloatArray  # [n]
    tokens_out: FloatArray  # [n]
    hidden: Half  # [n, layers, d]; no layers where states are not kept


def joined(parts: Sequence[Answers]) -> Answers:
    """The answers of all parts, in their order."""
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in (*NUMBERS, "hidden")
    }
    columns |= {name: tuple(one for part in parts for one in getattr(part, name)) for name in ("ids", "texts")}
    return Answers(**columns)


def write_part(answers: Answers, path: Path) -> None:
    n, layers, d = answers.hidden.shape
    rows = [row.tobytes() for row in answers.hidden.reshape(n, layers * d)]
    columns = {"id": pa.array(answers.ids, pa.string()), "text": pa.array(answers.texts, pa.string())}
    columns |= {name: pa.array(getattr(answers, name), pa.float64()) for name in NUMBERS}
    columns["hidden"] = pa.array(rows, pa.binary())
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    table = pa.table(columns).replace_schema_metadata({"layers": str(layers), "dimension": str(d)})
    pyarrow.parquet.write_table(table, unfinished)
    unfinished.replace(path)


def read_part(path: Path) -> Answers:
    table = pyarrow.parquet.read_table(path)
    layers, d = (int(table.schema.metadata[name]) for name in (b"layers", b"dimension"))
    shape = (table.num_rows, layers, d if layers else 0)
    rows = b"".join(table["hidden"].to_pylist())
    return Answers(
        ids=tuple(table["id"].to_pylist()),
        texts=tuple(table["text"].to_pylist()),
        hidden=np.frombuffer(rows, dtype=np.float16).reshape(shape),
        **{name: table[name].to_numpy() for name in NUMBERS},
    )
