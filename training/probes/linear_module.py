"""All linear probes of a tier in one Lightning run: layers × penalties, descended together over
streamed rows.

Decisions:
- A Lightning epoch is one pass over the rows. The passes of a group of layers: the features' means
  and scales, their curvature on a sample, then one pass per step of the descent until every problem
  is done, and a look at the validation rows every few steps and at the end. Groups are as large as
  the memory limit allows.
- A problem is descended to its optimum. How much a probe may follow its rows is said by the
  penalty, which validation chooses, and not by the moment at which a descent was stopped: a warm
  start changes how long it takes, not the probe.
- No standardised copy exists. A piece of a block is centred in a buffer that stays in the
  processor's cache, the scale is folded into the weights, and both products of a piece (logits,
  gradient) are taken while it is there.
- Under mixed precision the products of the descent are taken in bfloat16 until that is fine enough
  no longer, then in float32: the first steps need no more, and the end is the same probe. Sums are
  always float32.
- Several processes share the rows; the sums of a pass are added up, so each of them takes the same
  step.
- What comes out is the module's extra state, tensors alone: it is what a strategy that spawns
  processes brings home.
"""

from collections.abc import Callable, Mapping, Sequence

import lightning
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.errors import TrainingRefused
from training.probes.block_pieces import centred, pieces_of
from training.probes.curvature import Steer, curvature_of, drawn_directions
from training.probes.descent import Descent
from training.probes.probe_passes import FormerProbe, Pass, PassKind, RowBlock, not_finite
from training.probes.probe_settings import FitSettings
from training.probes.row_threads import RowThreads, Sums
from training.rows.row_blocks import cut

SMALLEST_SCALE = 1e-6  # a feature that never varies is centred and left at that
COARSE = 100.0  # tolerances; above it, half precision tells a gradient well enough


class LinearProblems(lightning.LightningModule):  # type: ignore[misc]
    """Layers × penalties of linear probes."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        validation_rows: int,
        rate: float,
        settings: FitSettings,
        former: Mapping[int, FormerProbe] | None = None,
    ) -> None:
        """`shape` is that of the fit rows [n, layers, d], `rate` their weighted share of right
        answers.
        """
        super().__init__()
        self.automatic_optimization = False
        self.settings = settings
        self.rows, self.layers, self.dimension = shape
        self._validation_rows, self._former = validation_rows, dict(former or {})
        self._base = float(torch.logit(torch.tensor(rate, dtype=torch.float64).clamp(0.001, 0.999)))
        self._slope = max(rate * (1.0 - rate), 0.01)
        problems = len(settings.penalties)
        # Lightning's distributed strategies want a parameter; this one is also the result.
        self.weight = nn.Parameter(torch.zeros(self.layers, problems, self.dimension))
        self.bias = torch.zeros(self.layers, problems)
        self.mean = torch.zeros(self.layers, self.dimension)
        self.scale = torch.ones(self.layers, self.dimension)
        self.converged = torch.zeros(self.layers, problems, dtype=torch.bool)
        self.logits = torch.zeros(self.layers, problems, validation_rows)
        self.curves = torch.full((2, 0, self.layers, problems), torch.nan)  # training and validation loss, by look
        self.passes = torch.zeros(self.layers, dtype=torch.long)
        together = settings.layers_at_once(self.dimension)
        self._groups = [tuple(range(start, stop)) for start, stop in cut(0, self.layers, together)]
        self._group = 0
        self.next = Pass(kind=PassKind.STATISTICS, layers=self._groups[0])
        self._coarse = False
        self._since_look = 0
        self._looks: list[tuple[Tensor, Tensor]] = []

    def configure_optimizers(self) -> None:
        return None

    def on_fit_start(self) -> None:
        self._threads = RowThreads(torch.get_num_threads() if self.device.type == "cpu" else 1)

    def on_fit_end(self) -> None:
        self._threads.close()

    @torch.no_grad()
    def on_train_epoch_start(self) -> None:
        """Empty sums for the pass that comes."""
        here, layers, problems = self.device, len(self.next.layers), len(self.settings.penalties)
        self._place = {layer: at for at, layer in enumerate(self.next.layers)}
        match self.next.kind:
            case PassKind.STATISTICS:
                self._sums = torch.zeros(layers, 2, self.dimension, dtype=torch.float64, device=here)
                self._shift: dict[int, Tensor] = {}
            case PassKind.CURVATURE:
                self._directions = drawn_directions(self.dimension, self.settings.rank, self.settings.seed).to(here)
                drawn = self._directions.shape[1]
                self._sums = torch.zeros(layers, self.dimension, drawn, device=here)
                self._traces = torch.zeros(layers, 2, device=here)
            case PassKind.DESCENT:
                self._sums = torch.zeros(layers, problems, self.dimension + 1, device=here)
                self._losses = torch.zeros(layers, problems, dtype=torch.float64, device=here)
            case PassKind.VALIDATION:
                self._sums = torch.zeros(layers, problems, self._validation_rows, device=here)

    @torch.no_grad()
    def training_step(self, block: RowBlock, _: int) -> None:
        """Add one block to the sums of the pass."""
        with torch.autocast(self.device.type, enabled=False):
            getattr(self, f"_add_{self.next.kind}")(pieces_of(block), block.layer, self._place[block.layer])

    @torch.no_grad()
    def on_train_epoch_end(self) -> None:
        """Add up over the processes, take the step, and say what the next pass is."""
        getattr(self, f"_end_{self.next.kind}")()

    # What comes home from processes that were spawned

    _RESULTS = ("bias", "mean", "scale", "converged", "logits", "curves", "passes")

    def get_extra_state(self) -> dict[str, Tensor]:
        return {name: getattr(self, name).cpu() for name in self._RESULTS}

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        for name in self._RESULTS:
            setattr(self, name, state[name])

    def _add_statistics(self, pieces: Sequence[RowBlock], layer: int, at: int) -> None:
        if layer not in self._shift:
            # Any point near the rows does: sums of squares around it keep their digits.
            self._shift[layer] = self.trainer.datamodule.first_rows(layer).to(self.device).mean(0)

        def sums(pieces: Sequence[RowBlock]) -> Sums:
            total = torch.zeros_like(self._sums[at])
            for piece, x in centred(pieces, self._shift[layer]):
                moments = torch.stack([piece.weight @ x, piece.weight @ x.square_()])
                if not bool(torch.isfinite(moments).all()):
                    raise TrainingRefused(not_finite(piece, "fit"))
                total += moments
            return (total,)

        self._sums[at] += self._threads.sums(pieces, sums)[0]

    def _end_statistics(self) -> None:
        sums = self._total(self._sums) / self.rows
        for layer, at in self._place.items():
            mean, square = sums[at]
            scale = (square - mean.square()).clamp_min(0.0).sqrt()
            self.mean[layer] = (mean + self._shift[layer]).float().cpu()
            self.scale[layer] = torch.where(scale > SMALLEST_SCALE, scale, 1.0).float().cpu()
        self._here_mean = self.mean[list(self.next.layers)].to(self.device)
        self._here_scale = self.scale[list(self.next.layers)].to(self.device)
        if self.settings.penalties:
            self.next = Pass(kind=PassKind.CURVATURE, layers=self.next.layers)
        else:
            self._next_group()

    def _add_curvature(self, pieces: Sequence[RowBlock], _: int, at: int) -> None:
        # These products are large: one after the other, with all cores on each, and no second copy
        # of the sums.
        for piece, x in centred(pieces, self._here_mean[at]):
            x.div_(self._here_scale[at]).mul_(piece.weight.sqrt()[:, None])
            self._sums[at].addmm_(x.T, torch.mm(x, self._directions))
            self._traces[at, 0] += x.square().sum()
            self._traces[at, 1] += piece.weight.sum()

    def _end_curvature(self) -> None:
        traces = self._total(self._traces)
        images = self._total(self._sums) / traces[:, 1, None, None]
        penalties = torch.tensor(self.settings.penalties, device=self.device)
        curvature = curvature_of(images, self._directions, traces[:, 0] / traces[:, 1], self.settings.rank)
        del self._sums
        self._descent = Descent(
            self._start(),
            penalties,
            Steer(curvature=curvature, penalties=penalties, slope=self._slope),
            tolerance=self.settings.tolerance,
            memory=self.settings.memory,
        )
        self._coarse = "mixed" in str(self.trainer.precision)
        self._since_look, self._looks = 0, []
        self.next = Pass(kind=PassKind.DESCENT, layers=self.next.layers)

    def _add_descent(self, pieces: Sequence[RowBlock], layer: int, at: int) -> None:
        here = self._groups[self._group].index(layer)
        problems = self._descent.active[here].nonzero()[:, 0]
        trial = self._descent.trial[here, problems]
        weights, bias = trial[:, :-1] / self._here_scale[here], trial[:, -1:]

        def sums(pieces: Sequence[RowBlock]) -> Sums:
            gradient, slope = torch.zeros_like(weights), torch.zeros_like(bias)
            losses = torch.zeros(len(weights), dtype=torch.float64, device=self.device)
            for piece, x in centred(pieces, self._here_mean[here]):
                z = torch.mm(x, weights.T).T.float() + bias  # a few columns are quicker than a few rows
                losses += ((functional.softplus(z) - piece.y * z) @ piece.weight).double()
                residual = piece.weight * (torch.sigmoid(z) - piece.y)
                gradient += torch.mm(residual, x)
                slope += residual.sum(1, keepdim=True)
            return gradient, slope, losses

        gradient, slope, losses = self._threads.sums(pieces, self._with_products(sums))
        self._sums[at, problems] += torch.cat([gradient, slope], dim=1)
        self._losses[at, problems] += losses

    def _end_descent(self) -> None:
        layers = self._groups[self._group]
        places = [layers.index(layer) for layer in self.next.layers]
        sums, losses = self._total(self._sums) / self.rows, self._total(self._losses) / self.rows
        gradient = torch.zeros_like(self._descent.trial)
        gradient[places] = sums
        gradient[..., :-1] /= self._here_scale[:, None, :]
        loss = torch.full_like(self._descent.loss, torch.inf)
        loss[places] = losses
        if not bool(torch.isfinite(losses[self._descent.active[places]]).all()):
            raise TrainingRefused("the loss is not finite: the weights are too skewed or the features too large")
        self._descent.tell(loss, gradient)
        self.passes[list(self.next.layers)] += 1
        self._refine()
        self._since_look += 1
        active = self._descent.active.any(1)
        done = not bool(active.any()) or int(self.passes[list(layers)].max()) >= self.settings.max_epochs
        if done or self._since_look >= self.settings.look_every:
            self.next = Pass(kind=PassKind.VALIDATION, layers=layers)
        else:
            self._descend(active)

    def _descend(self, active: Tensor) -> None:
        layers = self._groups[self._group]
        self.next = Pass(
            kind=PassKind.DESCENT, layers=tuple(layer for at, layer in enumerate(layers) if bool(active[at]))
        )

    def _refine(self) -> None:
        """From bfloat16 to float32 products, once the former can tell no more."""
        descent = self._descent
        near = bool((descent.largest_gradient <= COARSE * self.settings.tolerance).all())
        if self._coarse and (near or not bool(descent.active.all())):
            self._coarse = False
            descent.restart()

    def _add_validation(self, pieces: Sequence[RowBlock], _: int, at: int) -> None:
        weights, bias = self._descent.at[at, :, :-1] / self._here_scale[at], self._descent.at[at, :, -1:]
        for piece, x in centred(pieces, self._here_mean[at]):
            z = torch.mm(x, weights.T).T + bias
            if not bool(torch.isfinite(z).all()):
                raise TrainingRefused(not_finite(piece, "validation"))
            self._sums[at, :, piece.start : piece.start + len(piece.y)] = z

    def _end_validation(self) -> None:
        layers, logits = self._groups[self._group], self._total(self._sums)
        y, weight = (values.to(self.device) for values in self.trainer.datamodule.validation_labels)
        losses = (weight * (functional.softplus(logits) - y * logits)).double().sum(-1) / weight.double().sum()
        self._looks.append((self._descent.data_loss.cpu(), losses.cpu()))
        self._since_look = 0
        active = self._descent.active.any(1)
        if bool(active.any()) and int(self.passes[list(layers)].max()) < self.settings.max_epochs:
            self._descend(active)
            return
        places = list(layers)
        self.weight[places] = self._descent.at[..., :-1]
        self.bias[places] = self._descent.at[..., -1].cpu()
        self.converged[places] = self._descent.converged.cpu()
        self.logits[places] = logits.cpu()
        self._keep_curves(places)
        self._next_group()

    def _next_group(self) -> None:
        self._group += 1
        if self._group == len(self._groups):
            self.trainer.should_stop = True
            return
        self.next = Pass(kind=PassKind.STATISTICS, layers=self._groups[self._group])

    def _keep_curves(self, places: list[int]) -> None:
        looks = max(self.curves.shape[1], len(self._looks))
        longer = torch.full((2, looks, *self.curves.shape[2:]), torch.nan)
        longer[:, : self.curves.shape[1]] = self.curves
        for at, both in enumerate(self._looks):
            for side, values in enumerate(both):
                longer[side, at, places] = values.float()
        self.curves = longer

    def _start(self) -> Tensor:
        """The base rate, or a former probe carried over to this standardisation."""
        layers, problems = self.next.layers, len(self.settings.penalties)
        start = torch.zeros(len(layers), problems, self.dimension + 1)
        start[..., -1] = self._base
        for at, layer in enumerate(layers):
            if layer in self._former:
                former = self._former[layer]
                start[at, :, :-1] = (former.weight * self.scale[layer].double()).float()
                start[at, :, -1] = former.bias + float(former.weight @ self.mean[layer].double())
        return start.to(self.device)

    def _with_products(self, sums: Callable[[Sequence[RowBlock]], Sums]) -> Callable[[Sequence[RowBlock]], Sums]:
        """In the precision of this pass; a thread knows nothing of what its caller has
        set in torch.
        """

        def in_this_precision(pieces: Sequence[RowBlock]) -> Sums:
            with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=self._coarse):
                return sums(pieces)

        return in_this_precision

    def _total(self, sums: Tensor) -> Tensor:
        """The sum over all processes."""
        total: Tensor = self.trainer.strategy.reduce(sums, reduce_op="sum")
        return total
