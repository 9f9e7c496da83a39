"""What a fit reads, as Lightning data modules: blocks of layers for linear probes, shuffled batches
for the others.

Decisions:
- Each process reads a contiguous share of the rows; which pass it is, and of which layers, the
  module in training says.
- Batches of probes with a hidden layer are drawn from a window of rows that fits the block limit:
  windows in random order, rows in random order within. Where all rows fit, that is a plain shuffle.
- A batch is dealt to processes row by row and filled up with rows of weight 0, so that every
  process takes the same number of steps.
"""

from collections.abc import Iterator

import lightning
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.probes.linear_module import LinearProblems
from training.probes.mlp_module import RowBatch
from training.probes.probe_passes import PassKind, RowBlock
from training.probes.probe_settings import FitSettings
from training.rows.row_blocks import StreamedRows, cut, share_of

FIRST_ROWS = 64
PIECE = 256  # sampled rows that lie together


class LinearRowsModule(lightning.LightningDataModule):  # type: ignore[misc]
    """The blocks of the pass that a `LinearProblems` asks for."""

    def __init__(self, fit: StreamedRows, validation: StreamedRows, settings: FitSettings) -> None:
        super().__init__()
        self._fit, self._validation, self._settings = fit, validation, settings

    @property
    def validation_labels(self) -> tuple[Tensor, Tensor]:
        """Labels and weights [n] of the validation rows."""
        return _labels(self._validation)

    def first_rows(self, layer: int) -> Tensor:
        """Some fit rows [b, d] float32."""
        return _tensor(self._fit, 0, min(FIRST_ROWS, self._fit.shape[0]), layer).float()

    def train_dataloader(self) -> "Blocks":
        module: LinearProblems = self.trainer.lightning_module
        rows = self._validation if module.next.kind is PassKind.VALIDATION else self._fit
        start, stop = share_of(self.trainer.global_rank, self.trainer.world_size, rows.shape[0])
        if module.next.kind is PassKind.CURVATURE:
            ranges = _sampled(start, stop, max(1, self._settings.sample // self.trainer.world_size))
        else:
            ranges = list(cut(start, stop, self._settings.block_rows(rows.shape[2])))
        return Blocks(rows, ranges, module.next.layers)


class Blocks:
    """One pass: layer by layer, block by block."""

    def __init__(self, rows: StreamedRows, ranges: list[tuple[int, int]], layers: tuple[int, ...]) -> None:
        self._rows, self._ranges, self._layers = rows, ranges, layers

    def __len__(self) -> int:
        return len(self._ranges) * len(self._layers)

    def __iter__(self) -> Iterator[RowBlock]:
        y, weight = _labels(self._rows)
        for layer in self._layers:
            for start, stop in self._ranges:
                x = _tensor(self._rows, start, stop, layer)
                yield RowBlock(layer, start, x, y[start:stop], weight[start:stop])


class MlpRowsModule(lightning.LightningDataModule):  # type: ignore[misc]
    """Fit rows in shuffled batches of all layers, validation rows in order."""

    def __init__(self, fit: StreamedRows, validation: StreamedRows, settings: FitSettings) -> None:
        super().__init__()
        self._fit, self._validation, self._settings = fit, validation, settings

    def train_dataloader(self) -> "Batches":
        order = np.random.default_rng([self._settings.seed, self.trainer.current_epoch])
        return Batches(self._fit, self._settings, order, self.trainer.global_rank, self.trainer.world_size)

    def val_dataloader(self) -> "Batches":
        return Batches(self._validation, self._settings, None, self.trainer.global_rank, self.trainer.world_size)


class Batches:
    """One epoch; without `order` the rows come as they lie, in batches as large as a window."""

    def __init__(
        self, rows: StreamedRows, settings: FitSettings, order: np.random.Generator | None, rank: int, ranks: int
    ) -> None:
        n, layers, dimension = rows.shape
        self._rows, self._order, self._rank, self._ranks = rows, order, rank, ranks
        window = max(settings.batch, settings.block_rows(dimension * layers))
        self._batch = window if order is None else settings.batch
        # Every window but the last is whole batches, so that an epoch's number of steps does not
        # depend on the order.
        self._windows = list(cut(0, n, window // self._batch * self._batch))

    def __len__(self) -> int:
        return sum(-(-(stop - start) // self._batch) for start, stop in self._windows)

    def __iter__(self) -> Iterator[RowBatch]:
        windows = self._windows
        if self._order is not None:
            windows = [windows[at] for at in self._order.permutation(len(windows))]
        y, weight = _labels(self._rows)
        for start, stop in windows:
            x = torch.stack([_tensor(self._rows, start, stop, layer) for layer in range(self._rows.shape[1])], dim=1)
            order = np.arange(stop - start) if self._order is None else self._order.permutation(stop - start)
            for at in range(0, stop - start, self._batch):
                yield self._dealt(x, y[start:stop], weight[start:stop], order[at : at + self._batch])

    def _dealt(self, x: Tensor, y: Tensor, weight: Tensor, members: npt.NDArray[np.int64]) -> RowBatch:
        """This process's rows of a batch, filled up with rows of weight 0."""
        mine = members[self._rank :: self._ranks]
        missing = -(-len(members) // self._ranks) - len(mine)
        rows = torch.from_numpy(np.concatenate([mine, members[:missing]]))
        share = weight[rows]
        share[len(mine) :] = 0.0
        return RowBatch(x[rows], y[rows], share, float(weight[torch.from_numpy(members)].sum()))


def read_all(rows: StreamedRows, settings: FitSettings) -> Iterator[Tensor]:
    """All rows in order, [b, layers, d]."""
    for start, stop in cut(0, rows.shape[0], settings.block_rows(rows.shape[1] * rows.shape[2])):
        yield torch.stack([_tensor(rows, start, stop, layer) for layer in range(rows.shape[1])], dim=1)


def _tensor(rows: StreamedRows, start: int, stop: int, layer: int) -> Tensor:
    read = rows.x.read(start, stop, layer)
    return torch.from_numpy(read if read.flags.writeable else read.copy())


def _labels(rows: StreamedRows) -> tuple[Tensor, Tensor]:
    """Labels, and weights of mean 1, [n] float32 each."""
    weight = rows.weight / rows.weight.mean()
    return torch.from_numpy(rows.y.astype(np.float32)), torch.from_numpy(weight.astype(np.float32))


def _sampled(start: int, stop: int, wanted: int) -> list[tuple[int, int]]:
    """Evenly spread short runs of rows, about as many rows as wanted."""
    runs = list(cut(start, stop, PIECE))
    kept = max(1, -(-wanted // PIECE))
    if kept >= len(runs):
        return runs
    return [runs[at * len(runs) // kept] for at in range(kept)]
