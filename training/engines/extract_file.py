"""`python -m training extract`: hidden states and signals of a file of prompts, as the interchange
format has them.

Reads `query_id` and `prompt` from Parquet, CSV or JSONL (an outcome table has both); writes one
`.npz` or `.safetensors` with `hidden` [n, d] (or [n, layers × positions, d] where several are asked
for), `query_id`, `tier`, and unless only states are asked for `p_t`, its kind, `entropy`, and with
options `margin`. A query that stands there once per tier is asked once.

A killed run goes on where it was, also with another engine: what is done lies in parts beside the
file, and a complete file of the same job is not computed again.
"""

import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO
from zipfile import BadZipFile, is_zipfile

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from knowgate._wire import codec
from training.engines.extraction import ExtractionEngine, Work
from training.engines.local import LocalExtraction
from training.errors import ExtractionRefused
from training.extraction import Answerer
from training.extraction.extract_parts import Parts, Tensors, job_of, rows_left, write_whole
from training.extraction.progress import Progress
from training.extraction.prompt_files import read_prompts
from training.extraction.tokens import token_ids

PART_PROMPTS = 1024  # in a part at least, and so lost by a kill at most (beside one batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """What was written."""

    path: str
    queries: int
    layers: tuple[int, ...]
    positions: tuple[str, ...]
    dimension: int
    resumed: int  # queries that an earlier run had done


def extract_file(
    answerer: Answerer,
    prompts: Path,
    out: Path,
    *,
    tier: int = 0,
    states_only: bool = False,
    part_prompts: int = PART_PROMPTS,
    stream: TextIO | None = None,
    engine: ExtractionEngine | None = None,
    parts_url: str | None = None,
) -> Extracted:
    """Extract every query's states; progress goes to `stream` (stderr if left out).

    `engine` computes them (this process if left out); `parts_url` is where it keeps what is done
    until the file is complete (a folder beside `out` if left out), in a folder under it that is
    this extraction's own. Raises ExtractionRefused for a file that cannot be read or written so, or
    parts of another extraction; and what the engine raises.
    """
    if tier < 0 or part_prompts < 1:
        name, value, least = ("tier", tier, 0) if tier < 0 else ("part_prompts", part_prompts, 1)
        raise ExtractionRefused(f"{name} is {value}: give at least {least}")
    if states_only and answerer.option_texts:
        raise ExtractionRefused("options are given and nothing is answered: leave out --options or --states-only")
    if out.suffix not in (".npz", ".safetensors"):
        raise ExtractionRefused(f"out is {out}: name a .npz or a .safetensors file")
    if parts_url is not None and not parts_url.rpartition("://")[2].strip():
        raise ExtractionRefused(f"parts_url is {parts_url!r}: name a folder or an fsspec URL, or leave it out")
    ids, texts = read_prompts(prompts)
    if not ids:
        raise ExtractionRefused(f"{prompts} has no rows: give at least one prompt")
    asked = [list(answerer.option_texts), str(answerer.p_t_kind), answerer.max_new_tokens]
    job = job_of(ids, texts, list(answerer.fingerprints), asked, tier, states_only)
    done = _complete(out, job)
    if done is not None:
        return _extracted(answerer, out, done, len(ids))
    parts = Parts(out, job, parts_url)
    with parts.open(), _named(prompts, ids):
        rows = rows_left(len(ids), parts.folder.read())
        work = Work(
            prompts=token_ids(answerer.loaded, texts), rows=rows, states_only=states_only, part_prompts=part_prompts
        )
        progress = Progress(
            stream or sys.stderr, prompts=len(rows), tokens=work.tokens_of(rows), before=len(ids) - len(rows)
        )
        (engine or LocalExtraction()).write_parts(answerer, work, parts.folder, progress)
        tensors = _whole(parts, len(ids))
        del tensors["rows"]
        tensors["tier"] = np.full(len(ids), tier, dtype=np.int64)
        _write(out, _content(out.suffix, ids, tensors, answerer, job))
        parts.remove()
    return _extracted(answerer, out, tensors["hidden"].shape, len(ids) - len(rows))


@contextmanager
def _named(prompts: Path, ids: Sequence[str]) -> Iterator[None]:
    """Whoever wrote the file knows a prompt by its query's id; what was done before it is kept for
    the next run.
    """
    try:
        yield
    except ExtractionRefused as error:
        if error.row is None:
            raise
        raise ExtractionRefused(f"{prompts}: query {ids[error.row]!r}: {error}", row=error.row) from error


def _extracted(answerer: Answerer, out: Path, shape: Sequence[int], resumed: int) -> Extracted:
    return Extracted(
        path=str(out),
        queries=shape[0],
        layers=answerer.layers,
        positions=answerer.positions,
        dimension=shape[-1],
        resumed=resumed,
    )


def _whole(parts: Parts, count: int) -> Tensors:
    """The parts together. Raises ExtractionRefused where some of `count` prompts are in none."""
    tensors = parts.folder.read()
    lost = rows_left(count, tensors)
    if tensors is None or lost:
        raise ExtractionRefused(
            f"{len(lost)} of {count} prompts are in no part under {parts.folder.url} though they were done: it lost "
            "what it took; look at that storage, and start the same command again"
        )
    return tensors


def _complete(out: Path, job: str) -> tuple[int, ...] | None:
    """The shape of `hidden` in a file that this very job has written before; None where the name is
    free.

    Raises ExtractionRefused for a file of anything else, a damaged one, and a place where none can
    be.
    """
    try:
        there = out.exists()
        if not there and not out.parent.is_dir():
            raise ExtractionRefused(f"out is {out}: the folder {out.parent} is not there; make it, or name another")
        shape = (_shape_in_npz if out.suffix == ".npz" else _shape_in_safetensors)(out, job) if there else None
    except ExtractionRefused:
        raise
    except (SafetensorError, OSError, ValueError, KeyError, EOFError, BadZipFile, NotImplementedError) as error:
        raise ExtractionRefused(
            f"out is {out}: it cannot be read as a result ({error}); remove it or name another"
        ) from error
    if there and shape is None:
        raise ExtractionRefused(f"out is {out}: it exists, from other prompts or options; remove it or name another")
    return shape


def _shape_in_npz(out: Path, job: str) -> tuple[int, ...] | None:
    """None for another job's file."""
    if not is_zipfile(out):
        raise BadZipFile("it is no whole archive")
    with np.load(out) as arrays:
        if "job" not in arrays or str(arrays["job"]) != job:
            return None
        shapes = {name: arrays[name].shape for name in arrays.files}  # all are read: so their checksums are compared
        return tuple(shapes["hidden"])


def _shape_in_safetensors(out: Path, job: str) -> tuple[int, ...] | None:
    """None for another job's file."""
    with safe_open(out, "np") as file:
        same = (file.metadata() or {}).get("job") == job
        return tuple(file.get_slice("hidden").get_shape()) if same else None


def _write(out: Path, content: bytes) -> None:
    try:
        write_whole(out, content)
    except OSError as error:
        raise ExtractionRefused(
            f"out is {out}: it cannot be written ({error}); see to its disk and start the same command again, nothing "
            "done is lost"
        ) from error


def _content(suffix: str, ids: Sequence[str], tensors: Tensors, answerer: Answerer, job: str) -> bytes:
    if suffix == ".npz":
        content = io.BytesIO()
        names: dict[str, Any] = {
            "query_id": np.array(ids),
            "fingerprints": np.array([codec.canonical(one).decode() for one in answerer.fingerprints]),
            "job": np.array(job),
            "p_t_kind": np.array(str(answerer.p_t_kind)),
        }
        np.savez(content, **(names | tensors))
        return content.getvalue()
    metadata = {
        "query_id": codec.canonical(list(ids)).decode(),
        "fingerprints": codec.canonical(list(answerer.fingerprints)).decode(),
        "job": job,
        "p_t_kind": str(answerer.p_t_kind),
    }
    return save(tensors, metadata=metadata)
