"""Hidden states beside an outcome table: `.npz` or `.safetensors` with `hidden` [n, d], `query_id`,
`tier`.

Neither format may carry code: an `.npz` is opened without pickle. Safetensors holds no text, so
there the query ids are the JSON list `__metadata__["query_id"]`.
"""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from knowgate._bundles.tensor_file import LENGTH_BYTES, header_length, parse_header, require_size
from knowgate._records.records import Fingerprint
from knowgate._wire import codec
from knowgate.errors import RecordInvalid
from services.errors import TableInvalid
from services.outcome_tables.outcomes import OutcomeTable
from store.shards.shards import SHARD_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenStates:
    """Vectors of attempts of an outcome table."""

    vectors: npt.NDArray[np.float16]  # [n, d]
    row_of: dict[tuple[str, int], int]  # (query, tier) -> row

    def of(self, query_id: str, tier: int) -> npt.NDArray[np.float16] | None:
        """The attempt's vector [d], or None."""
        row = self.row_of.get((query_id, tier))
        return None if row is None else self.vectors[row]


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenSource:
    """Hidden states, what they are hidden states of, and where their shards go."""

    states: HiddenStates
    fingerprint: Fingerprint
    shards_url: str
    shard_bytes: int = SHARD_BYTES  # a shard is never larger


def hidden_source(
    path: Path, fingerprint: Path, table: OutcomeTable, shards_url: str, shard_bytes: int = SHARD_BYTES
) -> HiddenSource:
    """Both files, read and checked. Raises TableInvalid."""
    try:
        said = codec.decode(Fingerprint, codec.parse(fingerprint.read_bytes()))
    except OSError as error:
        raise TableInvalid(f"--fingerprint is {fingerprint}: it cannot be read ({error.strerror})") from None
    except RecordInvalid as error:
        raise TableInvalid(
            f"--fingerprint is {fingerprint}: {error}; docs/outcome_tables.md shows what the file holds"
        ) from None
    states = read_hidden_states(path, table)
    return HiddenSource(states=states, fingerprint=said, shards_url=shards_url, shard_bytes=shard_bytes)


def read_hidden_states(path: Path, table: OutcomeTable) -> HiddenStates:
    """The hidden states in the file, each of an attempt that the table has.

    Raises TableInvalid naming what does not fit.
    """
    hidden, queries, tiers = _read(path)
    if hidden.ndim != 2 or not np.issubdtype(hidden.dtype, np.floating):
        raise TableInvalid(f"{path}: hidden is {hidden.dtype} {list(hidden.shape)}; floating point [n, d] is expected")
    if not len(hidden) == len(queries) == len(tiers):
        counts = f"{len(hidden)} vectors, {len(queries)} query ids, {len(tiers)} tiers"
        raise TableInvalid(f"{path} holds {counts}; give one of each per row")
    with np.errstate(over="ignore"):
        vectors = hidden.astype(np.float16)
    bad = ~np.isfinite(vectors).all(axis=1)
    if bad.any():
        raise TableInvalid(f"{path}: hidden[{int(np.argmax(bad))}] is not finite in float16; drop the row")
    place = {str(query): row for row, query in enumerate(table.query_ids)}
    row_of: dict[tuple[str, int], int] = {}
    for row, (query, tier) in enumerate(zip(queries, tiers, strict=True)):
        at = place.get(query)
        if at is None or not 0 <= tier < table.tiers or not table.ran[at, tier]:
            raise TableInvalid(f"{path}: row {row} is of query {query!r}, tier {tier}, which the table has not")
        if (query, tier) in row_of:
            raise TableInvalid(f"{path}: query {query!r}, tier {tier} has two vectors; keep one")
        row_of[query, tier] = row
    return HiddenStates(vectors=vectors, row_of=row_of)


def _read(path: Path) -> tuple[npt.NDArray[np.generic], list[str], list[int]]:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return arrays["hidden"], _names(path, arrays["query_id"].tolist()), _whole(path, arrays["tier"])
        if path.suffix == ".safetensors":
            _require_header(path)
            with safe_open(path, framework="numpy") as file:
                queries = json.loads((file.metadata() or {})["query_id"])
                return file.get_tensor("hidden"), _names(path, queries), _whole(path, file.get_tensor("tier"))
    except KeyError as error:
        raise TableInvalid(f"{path} has no {error}; hidden, query_id and tier are expected") from None
    except (OSError, ValueError, zipfile.BadZipFile, SafetensorError) as error:
        raise TableInvalid(f"{path} cannot be read: {error}") from error
    raise TableInvalid(f"{path}: {path.suffix or 'no suffix'!r} holds no hidden states; use .npz or .safetensors")


def _require_header(path: Path) -> None:
    """Raises RecordInvalid for a file that is not what its header says, and for a name
    given twice.
    """
    with path.open("rb") as file:
        header = parse_header(file.read(header_length(file.read(LENGTH_BYTES))))
    require_size(header, path.stat().st_size)


def _names(path: Path, queries: object) -> list[str]:
    """Ids as text; a whole number has one spelling, so it stands for its digits."""
    if not isinstance(queries, list):
        raise TableInvalid(f"{path}: query_id is {str(queries)[:40]!r}; a list of texts is expected")
    odd = next((query for query in queries if type(query) not in (str, int)), None)
    if odd is not None:
        raise TableInvalid(f"{path}: query_id holds {odd!r}, which has more than one spelling; write it as text")
    return [str(query) for query in queries]


def _whole(path: Path, tiers: npt.NDArray[np.generic]) -> list[int]:
    if not np.issubdtype(tiers.dtype, np.integer):
        raise TableInvalid(f"{path}: tier is {tiers.dtype}; whole numbers are expected")
    return [int(tier) for tier in tiers]
