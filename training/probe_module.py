"""All probes of a tier in one Lightning run: layers × regularisations, linear and with one hidden layer.

Decisions:
- The problems are independent and small, so they are one batched problem: one einsum per step in place of a hundred
  runs. Adam's state is per weight and the losses are summed, so no problem sees another.
- Each problem stops by itself: after every epoch the best weights by validation log-loss are kept per problem; the run
  ends when every problem is out of patience.
- Labels may be soft: binary cross-entropy needs no class. Rows may be weighted (inverse propensities).
- Nothing touches the global random state; the same seed gives the same probes.
"""

from dataclasses import dataclass, field

import lightning
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.trainer import TrainerSettings

TrainBatch = tuple[Tensor, Tensor, Tensor]  # x [batch, layers, d], y [batch], weight [batch]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """How probes are fitted."""

    penalties: tuple[float, ...] = (0.03, 0.3, 3.0)  # λ of λ/2 · ‖w‖² beside the mean loss, linear probes
    mlp_penalties: tuple[float, ...] = (0.003, 0.03)  # of the probes with a hidden layer; empty = none of these
    mlp_units: int = 16
    learning_rate: float = 0.003
    mlp_learning_rate: float = 0.005
    batch: int = 512
    max_epochs: int = 120
    patience: int = 8  # epochs without a better validation log-loss
    seed: int = 0
    trainer: TrainerSettings = field(default_factory=TrainerSettings)  # where it runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Losses after each epoch, in nats; problems in the module's order."""

    training: Tensor  # [epochs, problems], with the penalty left out
    validation: Tensor  # [epochs, problems]


class ProbeProblems(lightning.LightningModule):  # type: ignore[misc]
    """First layers × penalties of linear probes, then layers × penalties of probes with a hidden layer."""

    def __init__(self, layers: int, dimension: int, settings: FitSettings) -> None:
        super().__init__()
        self.settings = settings
        self.layers = layers
        draw = torch.Generator().manual_seed(settings.seed)
        linear, mlp, units = len(settings.penalties), len(settings.mlp_penalties), settings.mlp_units
        self.weight = nn.Parameter(torch.zeros(layers, linear, dimension))
        self.bias = nn.Parameter(torch.zeros(layers, linear))
        self.w1 = nn.Parameter(torch.randn(layers, mlp, units, dimension, generator=draw) / dimension**0.5)
        self.b1 = nn.Parameter(torch.zeros(layers, mlp, units))
        self.w2 = nn.Parameter(torch.randn(layers, mlp, units, generator=draw) / units**0.5)
        self.b2 = nn.Parameter(torch.zeros(layers, mlp))
        self.best = {name: value.detach().clone() for name, value in self.named_parameters()}
        self.best_loss = torch.full((self.problems,), torch.inf)
        self.since_best = torch.zeros(self.problems, dtype=torch.long)
        self._training: list[Tensor] = []
        self._validation: list[Tensor] = []
        self._epoch_losses: list[Tensor] = []

    @property
    def problems(self) -> int:
        return self.layers * (len(self.settings.penalties) + len(self.settings.mlp_penalties))

    @property
    def curves(self) -> Curves:
        return Curves(training=torch.stack(self._training), validation=torch.stack(self._validation))

    def forward(self, x: Tensor) -> Tensor:
        """Logits [batch, problems] of standardised features [batch, layers, d]."""
        return _logits(x, dict(self.named_parameters()))

    def best_logits(self, x: Tensor) -> Tensor:
        """Logits [batch, problems] by each problem's best weights."""
        return _logits(x, self.best)

    def training_step(self, batch: TrainBatch, _: int) -> Tensor:
        x, y, weight = batch
        losses = weighted_log_loss(self(x), y, weight)
        self._epoch_losses.append(losses.detach())
        total: Tensor = losses.sum() + self._penalty()
        return total

    def validation_step(self, batch: TrainBatch, _: int) -> None:
        """The validation rows come as one batch, so this closes the epoch."""
        x, y, weight = batch
        losses = weighted_log_loss(self(x), y, weight)
        self._validation.append(losses)
        self._training.append(torch.stack(self._epoch_losses).mean(0) if self._epoch_losses else losses)
        self._epoch_losses = []
        self._keep_better(losses)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        settings = self.settings
        groups = [
            {"params": [self.weight, self.bias], "lr": settings.learning_rate},
            {"params": [self.w1, self.b1, self.w2, self.b2], "lr": settings.mlp_learning_rate},
        ]
        return torch.optim.Adam(groups)

    def _keep_better(self, losses: Tensor) -> None:
        better = losses < self.best_loss - 1e-5
        self.best_loss = torch.where(better, losses, self.best_loss)
        self.since_best = torch.where(better, 0, self.since_best + 1)
        linear = better[: self.bias.numel()].view(self.bias.shape)
        mlp = better[self.bias.numel() :].view(self.b2.shape)
        for name, value in self.named_parameters():
            improved = linear if name in ("weight", "bias") else mlp
            mask = improved.view(*improved.shape, *[1] * (value.ndim - 2))
            self.best[name] = torch.where(mask, value.detach(), self.best[name])
        if bool((self.since_best > self.settings.patience).all()):
            self.trainer.should_stop = True

    def _penalty(self) -> Tensor:
        linear = torch.tensor(self.settings.penalties, device=self.device)
        mlp = torch.tensor(self.settings.mlp_penalties, device=self.device)
        squares = self.w1.square().sum((-1, -2)) + self.w2.square().sum(-1)
        return 0.5 * ((self.weight.square().sum(-1) * linear).sum() + (squares * mlp).sum())


def weighted_log_loss(logits: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """[problems] weighted mean binary cross-entropy in nats of logits [batch, problems]."""
    targets = y[:, None].expand_as(logits)
    losses = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (weight[:, None] * losses).sum(0) / weight.sum()


def _logits(x: Tensor, weights: dict[str, Tensor]) -> Tensor:
    linear = torch.einsum("bld,lrd->blr", x, weights["weight"]) + weights["bias"]
    units = torch.einsum("bld,lmhd->blmh", x, weights["w1"]) + weights["b1"]
    mlp = torch.einsum("blmh,lmh->blm", functional.relu(units), weights["w2"]) + weights["b2"]
    return torch.cat([linear.flatten(1), mlp.flatten(1)], dim=1)
