"""The columns of attempts: what an outcome table carries of each, declared once.

The join of the store, outcome tables in and out, and the rows of a training window are made of this
list: a signal that is added to the records (`knowgate._records.records`) is a column of all of them
by one line here. In an outcome table the order is that of the file.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cache
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt

from knowgate._records.records import LabelSource, PTKind, Role
from knowgate.spec import LabelCoin
from store.rejections import LEAST_CHANCE

Ids = npt.NDArray[np.bytes_]  # of 16 bytes: they sort as the UUIDs do
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Objects = npt.NDArray[np.object_]
Times = npt.NDArray[np.datetime64]
Booleans = npt.NDArray[np.bool_]

MOST_TOKENS = 2**53  # a larger whole number is none that a float holds
_EMPTY: dict[Any, tuple[Any, object]] = {
    Ids: ("S16", b""),
    Floats: (np.float64, np.nan),
    Integers: (np.int64, -1),
    Objects: (np.object_, None),
    Times: ("datetime64[us]", np.datetime64("NaT", "us")),
    Booleans: (np.bool_, False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What a column of an outcome table may hold; null = unknown."""

    name: str = ""
    kind: str = "numbers"  # of those of `store.files.Wanted`
    low: float = 0.0
    high: float = np.inf
    whole: bool = False
    words: type[StrEnum] | None = None
    per_query: bool = False  # one for all attempts of a query
    required: bool = False

    def cell(self, value: Any) -> Any:
        """A value of such an array, as a record has it."""
        if value is None or value != value:
            return None
        if self.kind == "texts":
            return str(value) if self.words is None else self.words(value)
        return int(value) if self.whole else float(value)


def absent() -> Any:
    """In place of an array: it is left out, so nothing of it is known."""
    return np.empty(0)


def limits(**limits: Any) -> dict[str, Any]:
    """What makes a field a column of outcome tables."""
    return {"column": limits}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttemptColumns:
    """Attempts as columns. Floats are NaN where unknown, texts None, times NaT (all in UTC).

    Entropy is in nats. `correct` and what goes with it are of the label in force; `forecast` is
    what a source says that is not trusted; `label_coin` says how labels of the decision are drawn.
    """

    model: Objects = field(default_factory=absent, metadata=limits(required=True))
    p_t: Floats = field(default_factory=absent, metadata=limits(high=1.0))
    p_ik: Floats = field(default_factory=absent, metadata=limits(high=1.0))
    entropy: Floats = field(default_factory=absent, metadata=limits())
    margin: Floats = field(default_factory=absent, metadata=limits(high=1.0))
    p_t_kind: Objects = field(default_factory=absent, metadata=limits(words=PTKind))
    correct: Floats = field(default_factory=absent, metadata=limits(kind="truths", high=1.0))
    slice: Objects = field(default_factory=absent, metadata=limits(per_query=True))
    prompt: Objects = field(default_factory=absent, metadata=limits(per_query=True))
    tokens_in: Floats = field(default_factory=absent, metadata=limits(high=MOST_TOKENS, whole=True))
    tokens_out: Floats = field(default_factory=absent, metadata=limits(high=MOST_TOKENS, whole=True))
    cost_usd: Floats = field(default_factory=absent, metadata=limits())
    latency_ms: Floats = field(default_factory=absent, metadata=limits())
    occurred_at: Times = field(default_factory=absent, metadata=limits(per_query=True))
    labelled_at: Times = field(default_factory=absent, metadata=limits())
    run_propensity: Floats = field(default_factory=absent, metadata=limits(low=LEAST_CHANCE, high=1.0))
    label_propensity: Floats = field(default_factory=absent, metadata=limits(low=LEAST_CHANCE, high=1.0))
    label_source: Objects = field(default_factory=absent, metadata=limits(words=LabelSource))
    role: Objects = field(default_factory=absent, metadata=limits(words=Role))
    forecast: Floats = field(default_factory=absent, metadata=limits(kind="truths", high=1.0))
    label_coin: Objects = field(default_factory=absent, metadata=limits(words=LabelCoin, per_query=True))

    def fill(self, shape: tuple[int, ...]) -> None:
        """Make what was left out unknown, for attempts of this shape; of queries, of its first
        axis.
        """
        for item in fields(self):
            if item.type in _EMPTY and getattr(self, item.name).size == 0:
                per_query = item.metadata.get("column", {}).get("per_query", False)
                object.__setattr__(self, item.name, unknown(item.type, shape[:1] if per_query else shape))

    def at(self, index: Integers) -> dict[str, Any]:
        """Every column's values at these places; unknown where the place is −1."""
        return {name: taken(values, index) for name, values in self.arrays().items()}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Every column by its name."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.type in _EMPTY}


def unknown(kind: Any, shape: tuple[int, ...] | int) -> Any:
    """An array of this kind in which nothing is known."""
    dtype, empty = _EMPTY[kind]
    return np.full(shape, empty, dtype=dtype)


def unknown_like(values: npt.NDArray[Any], shape: tuple[int, ...] | int) -> npt.NDArray[Any]:
    """An array of the kind of these values in which nothing is known."""
    empty = next(empty for dtype, empty in _EMPTY.values() if np.dtype(dtype).kind == values.dtype.kind)
    return np.full(shape, empty, dtype=values.dtype)


def objects(values: Sequence[Any]) -> Objects:
    """These values [n] as an array, each as it is."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def uuids(ids: Ids) -> list[UUID]:
    """These ids [n], as whoever asks about one names it."""
    raw = np.ascontiguousarray(ids).tobytes()
    return [UUID(bytes=raw[at : at + 16]) for at in range(0, len(raw), 16)]


def id_bytes(ids: Iterable[UUID]) -> Ids:
    """UUIDs as a column."""
    return np.frombuffer(b"".join(one.bytes for one in ids), dtype="S16")


def taken(values: npt.NDArray[Any], index: Integers) -> npt.NDArray[Any]:
    """The values at these places, in the places' shape; unknown where the place is −1."""
    column, known = unknown_like(values, index.shape), index >= 0
    column[known] = values[index[known]]
    return column


@cache
def columns_of(kind: type[AttemptColumns]) -> dict[str, Column]:
    """The columns of outcome tables among those of a class, in their order."""
    kinds: dict[Any, str] = {Floats: "numbers", Objects: "texts", Times: "times"}
    return {
        item.name: Column(name=item.name, **({"kind": kinds[item.type]} | item.metadata["column"]))
        for item in fields(kind)
        if "column" in item.metadata
    }
