"""Fit the P(IK) probes of one tier and choose layer and kind by validation.

Decisions:
- Features are standardised per layer by the fit rows alone.
- Validation AUROC chooses: what a gate needs of a probe is its order, calibration comes after. Differences below a
  hundredth are noise at the usual row counts: among those a linear probe wins over one with a hidden layer (arXiv
  2606.02628 finds the two that close), and then the lowest log-loss.
- The layer is never assumed: on small data the last one can win, on others a middle one.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from knowgate.features import Standardiser
from knowgate.probe import LinearProbe, MlpProbe, Probe, ProbeKind
from training.data_module import ProbeRowsModule, RowsAtOnce
from training.errors import TrainingRefused
from training.probe_module import FitSettings, ProbeProblems
from training.trainer import TrainerFactory, quiet_lightning, trainer

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
AUROC_NOISE = 0.01
SMALLEST_SCALE = 1e-6  # a feature that never varies is centred and left at that


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProbeRows:
    """Rows of one tier: features of one or more layers, correctness, weights."""

    x: Float32Array  # [n, layers, d], as knowgate.features gives them
    y: FloatArray  # [n] in [0, 1]
    weight: FloatArray = field(default_factory=lambda: np.empty(0))  # [n] above 0; empty = all 1

    def __post_init__(self) -> None:
        if self.x.ndim != 3 or len(self.y) != len(self.x) or len(self.y) == 0:
            raise TrainingRefused(
                f"x is {self.x.shape} for {len(self.y)} labels: give features [n, layers, d] with n > 0"
            )
        if not (np.isfinite(self.y).all() and ((self.y >= 0) & (self.y <= 1)).all()):
            raise TrainingRefused("a label is outside [0, 1] or unknown: fit on labelled rows")
        if self.weight.size == 0:
            object.__setattr__(self, "weight", np.ones(len(self.y)))
        if len(self.weight) != len(self.y) or not (np.isfinite(self.weight) & (self.weight > 0)).all():
            raise TrainingRefused("weight must be finite and above 0, one per row: leave rows of propensity 0 out")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemFigures:
    """How one probe did on the validation rows."""

    layer: int  # index into the rows' layers
    kind: ProbeKind
    penalty: float
    auroc: float | None  # None where the validation rows hold one class only
    log_loss: float  # nats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedProbe:
    """The chosen probe and how it was chosen."""

    layer: int  # index into the rows' layers
    standardiser: Standardiser
    probe: Probe
    chosen: ProblemFigures
    all_figures: tuple[ProblemFigures, ...]
    training_curve: FloatArray  # [epochs] of the chosen problem, nats
    validation_curve: FloatArray  # [epochs]
    epochs: int

    def logits(self, x: Float32Array) -> FloatArray:
        """The chosen probe's logits [n] of features [n, layers, d]."""
        return self.probe.logits(self.standardiser.apply(x[:, self.layer]))


def fit_probe(
    fit: ProbeRows,
    validation: ProbeRows,
    settings: FitSettings | None = None,
    *,
    warm_start: tuple[Standardiser, LinearProbe] | None = None,
    make_trainer: TrainerFactory = trainer,
) -> FittedProbe:
    """Fit all problems in one run and choose one.

    `warm_start` starts the linear probes from a former one of one-layer rows. Use it only where what that one has
    learned from is disjoint from the rows that will certify. `make_trainer` builds the Lightning Trainer: a cluster's
    worker gives its own. Raises TrainingRefused for rows that do not match.
    """
    settings = settings or FitSettings()
    if fit.x.shape[1:] != validation.x.shape[1:]:
        raise TrainingRefused(
            f"fit rows are {fit.x.shape[1:]}, validation rows {validation.x.shape[1:]}: use one tier's"
        )
    standardisers = [_standardiser(fit, layer) for layer in range(fit.x.shape[1])]
    problems = ProbeProblems(fit.x.shape[1], fit.x.shape[2], settings)
    _start(problems, fit, standardisers, warm_start)
    rows = ProbeRowsModule(
        _tensors(fit, standardisers), _tensors(validation, standardisers), batch=settings.batch, seed=settings.seed
    )
    with quiet_lightning():
        make_trainer(settings.trainer, max_epochs=settings.max_epochs).fit(problems, datamodule=rows)
    return _chosen(problems, validation, standardisers)


def auroc(scores: FloatArray, y: FloatArray, weight: FloatArray | None = None) -> float | None:
    """The chance that a right row scores above a wrong one, ties half; soft labels count as shares of both classes.

    None where a class is absent. Source: Mann and Whitney 1947, with weights.
    """
    weight = np.ones(len(y)) if weight is None else weight
    right, wrong = weight * y, weight * (1.0 - y)
    if right.sum() <= 0 or wrong.sum() <= 0:
        return None
    _, place = np.unique(scores, return_inverse=True)
    right_at, wrong_at = np.bincount(place, right), np.bincount(place, wrong)
    below = np.concatenate([[0.0], np.cumsum(wrong_at)[:-1]])
    return float((right_at * (below + 0.5 * wrong_at)).sum() / (right.sum() * wrong.sum()))


def _standardiser(rows: ProbeRows, layer: int) -> Standardiser:
    x, weight = rows.x[:, layer].astype(np.float64), rows.weight / rows.weight.sum()
    mean = weight @ x
    scale = np.sqrt(weight @ (x - mean) ** 2)
    return Standardiser(
        mean=mean.astype(np.float32), scale=np.where(scale > SMALLEST_SCALE, scale, 1.0).astype(np.float32)
    )


def _tensors(rows: ProbeRows, standardisers: list[Standardiser]) -> RowsAtOnce:
    x = np.stack([one.apply(rows.x[:, layer]) for layer, one in enumerate(standardisers)], axis=1)
    weight = rows.weight / rows.weight.mean()
    return RowsAtOnce(
        torch.from_numpy(x),
        torch.from_numpy(rows.y.astype(np.float32)),
        torch.from_numpy(weight.astype(np.float32)),
    )


@torch.no_grad()
def _start(
    problems: ProbeProblems,
    fit: ProbeRows,
    standardisers: list[Standardiser],
    warm_start: tuple[Standardiser, LinearProbe] | None,
) -> None:
    """Start from the base rate, or from a former probe carried over to the new standardisation."""
    rate = float(np.clip(np.average(fit.y, weights=fit.weight), 0.01, 0.99))
    problems.bias.fill_(float(np.log(rate / (1 - rate))))
    problems.b2.fill_(float(np.log(rate / (1 - rate))))
    if warm_start is not None:
        before, probe = warm_start
        if len(standardisers) != 1 or before.dimension != standardisers[0].dimension:
            raise TrainingRefused(f"the former probe is of dimension {before.dimension}: warm-start the same one layer")
        now = standardisers[0]
        raw = probe.weight / before.scale
        problems.weight.copy_(torch.from_numpy(raw * now.scale).expand_as(problems.weight))
        problems.bias.fill_(probe.bias + float(raw @ (now.mean - before.mean)))


def _chosen(problems: ProbeProblems, validation: ProbeRows, standardisers: list[Standardiser]) -> FittedProbe:
    settings = problems.settings
    x = np.stack([one.apply(validation.x[:, layer]) for layer, one in enumerate(standardisers)], axis=1)
    logits = problems.best_logits(torch.from_numpy(x)).numpy().astype(np.float64)
    kinds = [(ProbeKind.LINEAR, settings.penalties), (ProbeKind.MLP, settings.mlp_penalties)]
    labels = [
        (layer, kind, penalty) for kind, penalties in kinds for layer in range(problems.layers) for penalty in penalties
    ]
    figures = tuple(
        ProblemFigures(
            layer=layer,
            kind=kind,
            penalty=penalty,
            auroc=auroc(logits[:, at], validation.y, validation.weight),
            log_loss=float(problems.best_loss[at]),
        )
        for at, (layer, kind, penalty) in enumerate(labels)
    )
    at = choose(figures)
    curves = problems.curves
    return FittedProbe(
        layer=figures[at].layer,
        standardiser=standardisers[figures[at].layer],
        probe=_probe_of(problems, at),
        chosen=figures[at],
        all_figures=figures,
        training_curve=curves.training[:, at].double().numpy(),
        validation_curve=curves.validation[:, at].double().numpy(),
        epochs=len(curves.validation),
    )


def choose(figures: tuple[ProblemFigures, ...]) -> int:
    """The place of the problem to keep: see the module's decisions."""
    best = max((one.auroc for one in figures if one.auroc is not None), default=None)
    near = [at for at, one in enumerate(figures) if best is None or (one.auroc or 0.0) > best - AUROC_NOISE]
    linear = [at for at in near if figures[at].kind is ProbeKind.LINEAR]
    return min(linear or near, key=lambda at: figures[at].log_loss)


def _probe_of(problems: ProbeProblems, at: int) -> Probe:
    best: dict[str, Tensor] = problems.best
    linear = best["bias"].numel()
    if at < linear:
        layer, row = divmod(at, best["bias"].shape[1])
        return LinearProbe(weight=best["weight"][layer, row].numpy(), bias=float(best["bias"][layer, row]))
    layer, row = divmod(at - linear, best["b2"].shape[1])
    return MlpProbe(
        w1=best["w1"][layer, row].numpy(),
        b1=best["b1"][layer, row].numpy(),
        w2=best["w2"][layer, row].numpy(),
        b2=float(best["b2"][layer, row]),
    )
