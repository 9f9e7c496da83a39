"""What one model answered to one data set: a Parquet file with its hidden states beside it.

`FOLDER/DATA_SET/MODEL.parquet` holds a row per question; the model's name and size, layers and
fingerprints are its schema's metadata. `MODEL.npz` holds `hidden` [n, layers, d] in half precision
and `query_id`, where the model's states could be read.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet

from benchmarks.paper.errors import PaperError
from knowgate._models.features import stored_vector
from knowgate._records.arrays import BoolArray, FloatArray
from knowgate._records.records import Fingerprint
from knowgate._wire import codec

METADATA = b"knowgate.paper"
NUMBERS = ("correct", "p_t", "entropy", "tokens_in", "tokens_out", "latency_ms")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelAnswers:
    """One model's answers to n questions; NaN = unknown."""

    model: str
    parameters: float | None  # None = undisclosed
    data_set: str
    ids: tuple[str, ...]  # [n] distinct
    slices: tuple[str, ...]  # [n]
    prompts: tuple[str, ...]  # [n]
    answers: tuple[str, ...]  # [n]
    correct: FloatArray  # [n]
    abstained: BoolArray  # [n]
    p_t: FloatArray  # [n]
    entropy: FloatArray  # [n] nats
    tokens_in: FloatArray  # [n]
    tokens_out: FloatArray  # [n]
    latency_ms: FloatArray  # [n]
    hidden: npt.NDArray[np.float16] | None = None  # [n, layers, d]
    fingerprints: tuple[Fingerprint, ...] = ()  # one per layer

    def take(self, rows: npt.NDArray[np.int64]) -> "ModelAnswers":
        """The answers to the chosen questions, in the order of `rows`."""
        chosen: dict[str, Any] = {name: getattr(self, name)[rows] for name in (*NUMBERS, "abstained")}
        for name in ("ids", "slices", "prompts", "answers"):
            values = getattr(self, name)
            chosen[name] = tuple(values[row] for row in rows)
        return replace(self, hidden=None if self.hidden is None else self.hidden[rows], **chosen)


def write_answers(answers: ModelAnswers, folder: Path) -> Path:
    """Writes both files, whole or not at all; returns the Parquet file's path."""
    path = folder / answers.data_set / f"{answers.model}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    columns: dict[str, pa.Array] = {
        "query_id": pa.array(answers.ids, pa.string()),
        "slice": pa.array(answers.slices, pa.string()),
        "prompt": pa.array(answers.prompts, pa.string()),
        "answer": pa.array(answers.answers, pa.string()),
        "abstained": pa.array(answers.abstained),
    }
    for name in NUMBERS:
        values = getattr(answers, name)
        columns[name] = pa.array(values, pa.float64(), mask=np.isnan(values))
    document = {
        "model": answers.model,
        "parameters": answers.parameters,
        "data_set": answers.data_set,
        "fingerprints": [codec.encode(one) for one in answers.fingerprints],
    }
    table = pa.table(columns).replace_schema_metadata({METADATA: json.dumps(document).encode()})
    if answers.hidden is not None:
        beside = path.with_suffix(".tmp.npz")
        np.savez(beside, hidden=stored_shape(answers.hidden), query_id=np.array(answers.ids))
        beside.replace(path.with_suffix(".npz"))
    temporary = path.with_suffix(".parquet.tmp")
    pyarrow.parquet.write_table(table, temporary)
    temporary.replace(path)
    return path


def read_answers(folder: Path, data_set: str, model: str) -> ModelAnswers | None:
    """The answers gathered of a model on a data set; None where nobody has. Raises PaperError for a
    broken file.
    """
    path = folder / data_set / f"{model}.parquet"
    if not path.is_file():
        return None
    try:
        table = pyarrow.parquet.read_table(path)
        document = json.loads((table.schema.metadata or {})[METADATA])
        numbers = {name: table[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in NUMBERS}
        texts = {name: tuple(table[name].to_pylist()) for name in ("query_id", "slice", "prompt", "answer")}
        hidden = None
        if path.with_suffix(".npz").is_file():
            with np.load(path.with_suffix(".npz"), allow_pickle=False) as beside:
                if tuple(beside["query_id"].tolist()) != texts["query_id"]:
                    raise PaperError(f"{path.with_suffix('.npz')} holds other questions than {path.name}: gather both")
                hidden = beside["hidden"]
        return ModelAnswers(
            model=document["model"],
            parameters=document["parameters"],
            data_set=document["data_set"],
            ids=texts["query_id"],
            slices=texts["slice"],
            prompts=texts["prompt"],
            answers=texts["answer"],
            abstained=np.asarray(table["abstained"].to_pylist(), dtype=np.bool_),
            hidden=hidden,
            fingerprints=tuple(codec.decode(Fingerprint, one) for one in document["fingerprints"]),
            **numbers,
        )
    except (KeyError, ValueError, pa.ArrowInvalid, OSError) as error:
        raise PaperError(f"{path} is not a file of answers ({error}): gather them again with `answers`") from error


def stored_shape(hidden: npt.NDArray[np.floating]) -> npt.NDArray[np.float16]:
    """States [n, layers, d] in half precision, clipped as the runtime clips them."""
    n, layers, d = hidden.shape
    return stored_vector(hidden.reshape(n * layers, d)).reshape(n, layers, d)
