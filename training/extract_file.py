"""`python -m training extract`: hidden states and signals of a file of prompts, as the interchange format has them.

Reads `query_id` and `prompt` from Parquet, CSV or JSONL (an outcome table has both); writes one `.npz` or
`.safetensors` with `hidden` [n, d] (or [n, layers, d] where several layers are asked for), `query_id`, `tier`, `p_t`
and `entropy`. A query that stands there once per tier is asked once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv, json, parquet
from safetensors.numpy import save_file

from knowgate import codec
from knowgate.features import stored_vector
from training.errors import ExtractionRefused
from training.extraction import Answerer, Extraction

_READERS: dict[str, Callable[[str], pa.Table]] = {
    ".parquet": parquet.read_table,
    ".csv": csv.read_csv,
    ".jsonl": json.read_json,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """What was written."""

    path: str
    queries: int
    layers: tuple[int, ...]
    dimension: int


def extract_file(answerer: Answerer, prompts: Path, out: Path, *, tier: int = 0) -> Extracted:
    """Extract every query's states. Raises ExtractionRefused for a file that cannot be read or written so."""
    if out.suffix not in (".npz", ".safetensors"):
        raise ExtractionRefused(f"out is {out}: name a .npz or a .safetensors file")
    ids, texts = _read_prompts(prompts)
    extraction = answerer.extract(texts)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.tmp{out.suffix}")
    _write(temporary, ids, extraction, tier)
    temporary.replace(out)
    n, layers, dimension = extraction.hidden.shape
    return Extracted(path=str(out), queries=n, layers=answerer.layers[:layers], dimension=dimension)


def _read_prompts(path: Path) -> tuple[list[str], list[str]]:
    reader = _READERS.get(path.suffix)
    if reader is None or not path.is_file():
        raise ExtractionRefused(f"prompts is {path}: name an existing {', '.join(_READERS)} file")
    table = reader(str(path))
    missing = [name for name in ("query_id", "prompt") if name not in table.column_names]
    if missing:
        raise ExtractionRefused(f"{path} has no column {missing[0]!r} ({', '.join(table.column_names)}): add it")
    prompts: dict[str, str] = {}
    for query, prompt in zip(table["query_id"].to_pylist(), table["prompt"].to_pylist(), strict=True):
        if prompt is None or query is None:
            raise ExtractionRefused(f"query {query!r} in {path} has no prompt: leave such rows out")
        prompts.setdefault(str(query), str(prompt))
    return list(prompts), list(prompts.values())


def _write(path: Path, ids: Sequence[str], extraction: Extraction, tier: int) -> None:
    n, layers, dimension = extraction.hidden.shape
    hidden = stored_vector(extraction.hidden.reshape(n * layers, dimension)).reshape(n, layers, dimension)
    if layers == 1:
        hidden = np.ascontiguousarray(hidden[:, 0])
    tiers = np.full(n, tier, dtype=np.int64)
    if path.suffix == ".npz":
        np.savez(
            path,
            hidden=hidden,
            query_id=np.array(ids),
            tier=tiers,
            p_t=extraction.p_t,
            entropy=extraction.entropy,
            fingerprints=np.array([codec.canonical(one).decode() for one in extraction.fingerprints]),
        )
        return
    metadata = {"query_id": codec.canonical(list(ids)).decode()}
    metadata["fingerprints"] = codec.canonical(list(extraction.fingerprints)).decode()
    tensors: dict[str, npt.NDArray[Any]] = {
        "hidden": hidden,
        "tier": tiers,
        "p_t": extraction.p_t,
        "entropy": extraction.entropy,
    }
    save_file(tensors, path, metadata=metadata)
