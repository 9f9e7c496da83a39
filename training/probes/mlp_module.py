"""All probes with a hidden layer of a tier in one Lightning run: layers × regularisations, by
mini-batches and Adam.

Decisions:
- The problems are independent and small, so they are one batched problem: one einsum per step in
  place of a hundred runs. Adam's state is per weight and the losses are summed, so no problem sees
  another.
- Each problem stops by itself: after every epoch the best weights by validation log-loss are kept
  per problem; the run ends when every problem is out of patience.
- Labels may be soft: binary cross-entropy needs no class. Rows may be weighted (inverse
  propensities).
- Nothing touches the global random state; the same seed gives the same probes.
- What comes out is the module's extra state, tensors alone: it is what a strategy that spawns
  processes brings home.
"""

from typing import NamedTuple

import lightning
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.probes.probe_settings import FitSettings

NAMES = ("w1", "b1", "w2", "b2")


class RowBatch(NamedTuple):
    """One process's share of a batch."""

    x: Tensor  # [b, layers, d]
    y: Tensor  # [b]
    weight: Tensor  # [b]
    total: float  # of the weights of the whole batch, over all processes


class MlpProblems(lightning.LightningModule):  # type: ignore[misc]
    """Layers × penalties of probes with one hidden layer."""

    def __init__(self, mean: Tensor, scale: Tensor, rate: float, settings: FitSettings) -> None:
        """`mean` and `scale` [layers, d] standardise, `rate` is the fit rows' weighted share of
        right answers.
        """
        super().__init__()
        self.settings = settings
        layers, dimension = mean.shape
        draw = torch.Generator().manual_seed(settings.seed)
        problems, units = len(settings.mlp_penalties), settings.mlp_units
        self.mean, self.scale = mean, scale
        self.w1 = nn.Parameter(torch.randn(layers, problems, units, dimension, generator=draw) / dimension**0.5)
        self.b1 = nn.Parameter(torch.zeros(layers, problems, units))
        self.w2 = nn.Parameter(torch.randn(layers, problems, units, generator=draw) / units**0.5)
        base = torch.logit(torch.tensor(rate, dtype=torch.float64).clamp(0.01, 0.99))
        self.b2 = nn.Parameter(torch.full((layers, problems), float(base)))
        self.best = {name: getattr(self, name).detach().clone() for name in NAMES}
        self.best_loss = torch.full((layers, problems), torch.inf)
        self.since_best = torch.zeros(layers, problems, dtype=torch.long)
        self.curves = torch.zeros(2, 0, layers, problems)  # training (without the penalty) and validation loss by epoch
        self._sums = torch.zeros(2, layers * problems + 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [b, layers, problems] of features [b, layers, d]."""
        return _logits(self._standardised(x), {name: getattr(self, name) for name in NAMES})

    @torch.no_grad()
    def best_logits(self, x: Tensor) -> Tensor:
        """Logits [b, layers, problems] by each problem's best weights."""
        return _logits(self._standardised(x), self.best)

    def on_train_epoch_start(self) -> None:
        self._sums = torch.zeros(2, self.best_loss.numel() + 1, device=self.device)

    def training_step(self, batch: RowBatch, _: int) -> Tensor:
        losses = self._losses(batch)
        self._add(0, losses.detach(), batch)
        # Strategies average the gradients over processes: each share counts as often as there are
        # processes.
        total: Tensor = losses.sum() * (self.trainer.world_size / batch.total) + self._penalty()
        return total

    def validation_step(self, batch: RowBatch, _: int) -> None:
        self._add(1, self._losses(batch), batch)

    @torch.no_grad()
    def on_validation_epoch_end(self) -> None:
        """Validation comes last in an epoch, so this closes it."""
        sums = self.trainer.strategy.reduce(self._sums, reduce_op="sum").cpu()
        means = (sums[:, :-1] / sums[:, -1:]).view(2, *self.best_loss.shape)
        self.curves = torch.cat([self.curves, means[:, None]], dim=1)
        self._keep_better(means[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam([getattr(self, name) for name in NAMES], lr=self.settings.mlp_learning_rate)

    def get_extra_state(self) -> dict[str, Tensor]:
        return {"best_loss": self.best_loss, "curves": self.curves} | {
            f"best.{name}": self.best[name] for name in NAMES
        }

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        self.best_loss, self.curves = state["best_loss"], state["curves"]
        self.best = {name: state[f"best.{name}"] for name in NAMES}

    def _standardised(self, x: Tensor) -> Tensor:
        return (x.float() - self.mean.to(x.device)) / self.scale.to(x.device)

    def _losses(self, batch: RowBatch) -> Tensor:
        """[layers, problems] weighted sums of the binary cross-entropy, in nats."""
        logits = self(batch.x).float()
        targets = batch.y[:, None, None].expand_as(logits)
        losses = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return (batch.weight[:, None, None] * losses).sum(0)

    def _add(self, side: int, losses: Tensor, batch: RowBatch) -> None:
        self._sums[side, :-1] += losses.flatten()
        self._sums[side, -1] += batch.weight.sum()

    def _keep_better(self, losses: Tensor) -> None:
        better = losses < self.best_loss - 1e-5
        self.best_loss = torch.where(better, losses, self.best_loss)
        self.since_best = torch.where(better, 0, self.since_best + 1)
        for name in NAMES:
            value = getattr(self, name).detach().cpu()
            mask = better.view(*better.shape, *[1] * (value.ndim - 2))
            self.best[name] = torch.where(mask, value, self.best[name])
        if bool((self.since_best > self.settings.patience).all()):
            self.trainer.should_stop = True

    def _penalty(self) -> Tensor:
        penalties = torch.tensor(self.settings.mlp_penalties, device=self.device)
        squares = self.w1.square().sum((-1, -2)) + self.w2.square().sum(-1)
        return 0.5 * (squares * penalties).sum()


def _logits(x: Tensor, weights: dict[str, Tensor]) -> Tensor:
    units = torch.einsum("bld,lmhd->blmh", x, weights["w1"]) + weights["b1"]
    return torch.einsum("blmh,lmh->blm", functional.relu(units), weights["w2"]) + weights["b2"]
