"""The rows of a probe run as Lightning batches: whole batches are indexed at once, shuffled by the run's own seed."""

import lightning
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

from training.probe_module import TrainBatch


class RowsAtOnce(Dataset[TrainBatch]):
    """Rows that are asked for by lists of indices, so that no row is touched alone."""

    def __init__(self, x: Tensor, y: Tensor, weight: Tensor) -> None:
        self._x, self._y, self._weight = x, y, weight

    def __len__(self) -> int:
        return len(self._y)

    def __getitem__(self, rows: list[int]) -> TrainBatch:
        return self._x[rows], self._y[rows], self._weight[rows]


class ProbeRowsModule(lightning.LightningDataModule):  # type: ignore[misc]
    """Fit rows in shuffled batches, validation rows as one."""

    def __init__(self, fit: RowsAtOnce, validation: RowsAtOnce, *, batch: int, seed: int) -> None:
        super().__init__()
        self._fit, self._validation, self._batch = fit, validation, batch
        self._draw = torch.Generator().manual_seed(seed)

    def train_dataloader(self) -> DataLoader[TrainBatch]:
        order = RandomSampler(self._fit, generator=self._draw)
        return DataLoader(self._fit, sampler=BatchSampler(order, self._batch, drop_last=False), batch_size=None)

    def val_dataloader(self) -> DataLoader[TrainBatch]:
        order = SequentialSampler(self._validation)
        whole = BatchSampler(order, len(self._validation), drop_last=False)
        return DataLoader(self._validation, sampler=whole, batch_size=None)
