"""A batch of decisions with its hidden states, as one safetensors file.

The format holds numbers and text and cannot hold code: the header is JSON, the rest is tensors
whose shapes the parser checks. `__metadata__["decisions"]` is the JSON list that the JSON body has,
or a tensor `decisions` holds the bytes of an Arrow stream; `vectors/<tier>` is float16 [n, d], or
one tensor `vectors` for all tiers. An attempt's `vector` is its row.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load

from knowgate._records.records import Attempt, Decision
from knowgate.errors import RecordInvalid
from services.api.arrow_body import parse_arrow_body
from services.http.bodies import few_rows, parse_json
from services.http.errors import ApiError

Float16Array = npt.NDArray[np.float16]
SHARED = "vectors"
STREAM = "decisions"
_TENSOR = re.compile(r"vectors(/\d{1,2})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """The hidden states of a batch, by tensor name."""

    tensors: Mapping[str, Float16Array]
    _finite_rows: dict[int, npt.NDArray[np.bool_]] = field(default_factory=dict)  # by the tensor's id

    def row(self, attempt: Attempt) -> Float16Array | None:
        """The attempt's hidden state [d]; None where it says that it has none, or where what was
        sent is not finite.

        A vector with NaN or infinity is a fault of the engine's, and costs the vector: the decision
        happened all the same. Raises RecordInvalid for a row that is not there: that one can still
        be sent.
        """
        if attempt.vector is None:
            return None
        field = f"attempts.{attempt.tier}.vector"
        tensor = self.tensors.get(f"{SHARED}/{attempt.tier}", self.tensors.get(SHARED))
        if tensor is None:
            raise RecordInvalid(
                field, attempt.vector, f"the batch has no tensor {SHARED}/{attempt.tier}; send it along"
            )
        if not 0 <= attempt.vector < len(tensor):
            raise RecordInvalid(field, attempt.vector, f"a row from 0 to {len(tensor) - 1} is expected")
        values: Float16Array = tensor[attempt.vector]
        return values if self._finite(tensor)[attempt.vector] else None

    def _finite(self, tensor: Float16Array) -> npt.NDArray[np.bool_]:
        """Which of a tensor's rows are finite [n]; looked at once."""
        if id(tensor) not in self._finite_rows:
            self._finite_rows[id(tensor)] = np.atleast_1d(np.isfinite(tensor).all(axis=1))
        return self._finite_rows[id(tensor)]

    def check(self, decision: Decision) -> None:
        """Raises RecordInvalid where an attempt's vector cannot be stored."""
        for attempt in decision.attempts:
            self.row(attempt)


NO_VECTORS = Vectors(tensors={})


def parse_vectors_body(body: bytes, most_bytes: int) -> tuple[list[Any], Vectors]:
    """The decisions' JSON rows and their vectors; `most_bytes` of an Arrow stream's texts. Raises
    400 for a body that is no such file.
    """
    try:
        tensors = load(body)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ApiError(400, field="body", value=str(error), cure="send a safetensors file") from None
    stream = tensors.pop(STREAM, None)
    rows = _json_rows(body) if stream is None else _arrow_rows(stream, most_bytes)
    for name, tensor in tensors.items():
        if not _TENSOR.fullmatch(name):
            raise ApiError(400, field=name, value="present", cure=f"name tensors {SHARED}/<tier> or {SHARED}")
        if tensor.dtype != np.float16 or tensor.ndim != 2 or 0 in tensor.shape:
            shape = f"{tensor.dtype} {list(tensor.shape)}"
            raise ApiError(400, field=name, value=shape, cure="float16 [n, d] is expected")
    return few_rows(rows, "decisions"), Vectors(tensors=tensors)


def _json_rows(body: bytes) -> list[Any]:
    # The parser has checked the header's length and its JSON.
    header = parse_json(body[8 : 8 + int.from_bytes(body[:8], "little")])
    text = header.get("__metadata__", {}).get("decisions")
    if text is None:
        raise ApiError(
            400, field="__metadata__.decisions", value="missing", cure="put the JSON list of decisions there"
        )
    rows = parse_json(text.encode("utf-8", "surrogatepass"))
    if not isinstance(rows, list):
        raise ApiError(400, field="__metadata__.decisions", value=rows, cure="a JSON list is expected")
    return rows


def _arrow_rows(stream: npt.NDArray[Any], most_bytes: int) -> list[Any]:
    if stream.dtype != np.uint8 or stream.ndim != 1:
        shape = f"{stream.dtype} {list(stream.shape)}"
        raise ApiError(400, field=STREAM, value=shape, cure="an Arrow stream's bytes are expected: uint8 [n]")
    return parse_arrow_body(stream.tobytes(), most_bytes)
