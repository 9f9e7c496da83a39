"""Rows that a probe learns from, read block by block: arrays, mapped files and vector shards look
the same.

Decisions:
- A fit never asks for all rows at once, so a data set may be larger than memory; what is mapped is
  kept by the system's page cache as far as it goes, and costs this process nothing.
- A block is of one layer. A layer's rows are contiguous where they were stored layer by layer, and
  strided otherwise.
- Every source can be pickled: processes of a distributed fit open the files for themselves.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from knowgate._models.features import features
from knowgate._records.arrays import Float32Array, FloatArray, IntArray
from store.shards.shards import RowReader
from training.errors import TrainingRefused

Block = npt.NDArray[Any]  # [rows, d], float16 or float32
ROWS_AT_ONCE = 4096


class RowBlocks(Protocol):
    """Features of n rows at several layers, of which any range can be read."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """rows, layers, dimension"""

    def read(self, start: int, stop: int, layer: int) -> Block:
        """Rows `start` to `stop` of one layer, [stop - start, d], float16 or float32."""


class TakenBlocks(RowBlocks, Protocol):
    """Such rows, of which any can be chosen."""

    def take(self, rows: IntArray) -> "TakenBlocks":
        """The rows of these numbers, in this order."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArrayBlocks:
    """Rows in memory."""

    x: npt.NDArray[Any]  # [n, layers, d]

    @property
    def shape(self) -> tuple[int, int, int]:
        n, layers, d = self.x.shape
        return n, layers, d

    def take(self, rows: IntArray) -> "ArrayBlocks":
        return ArrayBlocks(x=self.x[row_numbers(rows, len(self.x))])

    def read(self, start: int, stop: int, layer: int) -> Block:
        return self.x[start:stop, layer]


@dataclass(frozen=True, kw_only=True)
class MappedBlocks:
    """Rows of a `.npy` file of float16 or float32 that is mapped, never loaded."""

    path: Path
    layer_first: bool  # [layers, n, d] in place of [n, layers, d]
    first: int = 0  # the first row that counts
    end: int | None = None  # the row behind the last that counts; None = all
    layers: tuple[int, ...] = ()  # of the file's, those that count; empty = all
    numbers: IntArray | None = None  # of the rows that are left, those that count, in their order; None = all
    _held: list[npt.NDArray[Any]] = field(default_factory=list, init=False, repr=False, compare=False)

    def __getstate__(self) -> Any:
        """Without the mapping, which no other process can use."""
        return {**vars(self), "_held": []}

    def _mapped(self) -> npt.NDArray[Any]:
        """The file [n, layers, d], mapped once: pages that were read stay where this process finds
        them.
        """
        if not self._held:
            self._held.append(self._map())
        return self._held[0]

    def _map(self) -> npt.NDArray[Any]:
        try:
            # Copy on write: torch takes writable arrays only, and nothing is ever written.
            array: npt.NDArray[Any] = np.load(self.path, mmap_mode="c", allow_pickle=False)
            if not isinstance(array, np.ndarray):
                raise ValueError("it is an archive of several arrays")
        except (OSError, ValueError, EOFError) as error:
            raise TrainingRefused(
                f"{self.path} cannot be mapped ({error}): give a whole .npy file, on a cluster one that all see"
            ) from error
        if array.ndim != 3 or array.dtype not in (np.dtype(np.float16), np.dtype(np.float32)):
            raise TrainingRefused(
                f"{self.path} holds {array.dtype} {array.shape}: give float16 or float32 of three axes"
            )
        rows = array.transpose(1, 0, 2) if self.layer_first else array
        wrong = [layer for layer in self.layers if not 0 <= layer < rows.shape[1]]
        if wrong:
            raise TrainingRefused(f"layers has {wrong[0]}: {self.path} holds layers 0 to {rows.shape[1] - 1}")
        return rows

    @property
    def shape(self) -> tuple[int, int, int]:
        n, layers, d = self._mapped()[self.first : self.end].shape
        return n if self.numbers is None else len(self.numbers), len(self.layers) or layers, d

    def take(self, rows: IntArray) -> "MappedBlocks":
        rows = row_numbers(rows, self.shape[0])
        return replace(self, numbers=rows if self.numbers is None else self.numbers[rows])

    def read(self, start: int, stop: int, layer: int) -> Block:
        rows = slice(start, stop) if self.numbers is None else self.numbers[start:stop]
        return self._mapped()[self.first : self.end][rows, self.layers[layer] if self.layers else layer]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShardBlocks:
    """Rows that lie in vector shards, one reader per layer; each row is compared with its hash
    where there is one.
    """

    readers: tuple[RowReader, ...]  # per layer, of the same rows
    numbers: IntArray | None = None  # of the readers' rows, those that count, in their order; None = all

    def __post_init__(self) -> None:
        if len({(len(reader), reader.dimension) for reader in self.readers}) != 1:
            shapes = [(len(reader), reader.dimension) for reader in self.readers]
            raise TrainingRefused(f"the layers are of (rows, dimension) {shapes}: give each layer the same rows")

    @property
    def shape(self) -> tuple[int, int, int]:
        first = self.readers[0]
        return len(first) if self.numbers is None else len(self.numbers), len(self.readers), first.dimension

    def take(self, rows: IntArray) -> "ShardBlocks":
        rows = row_numbers(rows, self.shape[0])
        return ShardBlocks(readers=self.readers, numbers=rows if self.numbers is None else self.numbers[rows])

    def read(self, start: int, stop: int, layer: int) -> Block:
        numbers = np.arange(start, stop) if self.numbers is None else self.numbers[start:stop]
        return self.readers[layer].read(numbers)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamedRows:
    """Rows of one tier that are read as they are needed; features as `knowgate._models.features`
    takes them.
    """

    x: RowBlocks  # n rows
    y: FloatArray  # [n] correctness in [0, 1]
    weight: FloatArray = field(default_factory=lambda: np.empty(0))  # [n] above 0; empty = all 1

    def __post_init__(self) -> None:
        n = self.x.shape[0]
        object.__setattr__(self, "y", checked_shape(self.y))
        if len(self.y) != n or n == 0:
            raise TrainingRefused(f"x has {n} rows for {len(self.y)} labels: give one label per row, at least one")
        object.__setattr__(self, "weight", checked_weight(self.y, self.weight))

    @property
    def shape(self) -> tuple[int, int, int]:
        """rows, layers, dimension"""
        return self.x.shape


def row_numbers(rows: npt.ArrayLike, n: int) -> IntArray:
    """The numbers of some of `n` rows, as they were given. Raises TrainingRefused for what is no
    such list.
    """
    numbers = np.asarray(rows)
    if numbers.ndim != 1 or (numbers.size and not np.issubdtype(numbers.dtype, np.integer)):
        raise TrainingRefused(
            f"rows are {numbers.dtype} {numbers.shape}: give whole numbers; of a mask, np.flatnonzero"
        )
    if numbers.size and not (numbers.min() >= 0 and numbers.max() < n):
        raise TrainingRefused(f"rows go from {numbers.min()} to {numbers.max()}: give numbers from 0 to {n - 1}")
    return numbers.astype(np.int64)


def layer_features(rows: RowBlocks, layer: int, *, size: int = ROWS_AT_ONCE) -> Iterator[Float32Array]:
    """The features [at most `size`, d] of one layer, from the first row to the last."""
    for start, stop in cut(0, rows.shape[0], size):
        read = rows.read(start, stop, layer)
        # Rows of float32 have been through this; what was stored has not.
        yield features(read) if read.dtype == np.float16 else read


def checked_shape(y: npt.ArrayLike) -> FloatArray:
    """The labels as numbers [n]. Raises TrainingRefused for another shape."""
    labels = np.asarray(y, dtype=np.float64)
    if labels.ndim != 1:
        raise TrainingRefused(f"y has the shape {labels.shape}: give one label per row, [n]")
    return labels


def checked_weight(y: FloatArray, weight: FloatArray) -> FloatArray:
    """The weights [n], 1 where none are given. Raises TrainingRefused for labels or weights that
    cannot be.
    """
    if not (np.isfinite(y).all() and ((y >= 0) & (y <= 1)).all()):
        raise TrainingRefused("a label is outside [0, 1] or unknown: fit on labelled rows")
    if weight.size == 0:
        return np.ones(len(y))
    if len(weight) != len(y) or not (np.isfinite(weight) & (weight > 0)).all():
        raise TrainingRefused("weight must be finite and above 0, one per row: leave rows of propensity 0 out")
    return weight


def share_of(rank: int, ranks: int, rows: int) -> tuple[int, int]:
    """The rows, from and to, that one of several processes reads: contiguous, and equal but for one
    row.
    """
    return rows * rank // ranks, rows * (rank + 1) // ranks


def cut(start: int, stop: int, length: int) -> Sequence[tuple[int, int]]:
    """`start` to `stop` in pieces of at most `length`.

    >>> cut(0, 5, 2)
    [(0, 2), (2, 4), (4, 5)]
    """
    return [(at, min(at + length, stop)) for at in range(start, stop, length)]
