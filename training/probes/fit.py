"""Fit the P(IK) probes of one tier and choose layer and kind by validation.

Decisions:
- Features are standardised per layer by the fit rows alone.
- Validation AUROC chooses: what a gate needs of a probe is its order, calibration comes after.
  Differences below a hundredth are noise at the usual row counts: among those a linear probe wins
  over one with a hidden layer (arXiv 2606.02628 finds the two that close), and then the lowest
  log-loss.
- The layer is never assumed: on small data the last one can win, on others a middle one.
- Rows may be in memory or streamed: the fit is the same. Rows from which nothing can be learned are
  refused by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.multiprocessing.spawn import ProcessRaisedException

from knowgate._models.features import Standardiser
from knowgate._models.probe import LinearProbe, MlpProbe, Probe, ProbeKind
from knowgate._records.arrays import Float32Array, FloatArray
from training.errors import TrainingRefused
from training.probes.data_module import LinearRowsModule, MlpRowsModule, read_all
from training.probes.linear_module import LinearProblems
from training.probes.mlp_module import MlpProblems
from training.probes.probe_passes import FormerProbe
from training.probes.probe_settings import FitSettings
from training.probes.trainer import TrainerFactory, quiet_lightning, trainer
from training.rows.row_blocks import RowBlocks, StreamedRows, layer_features

Former = Mapping[int, tuple[Standardiser, LinearProbe]]  # by layer of the rows
AUROC_NOISE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemFigures:
    """How one probe did on the validation rows."""

    layer: int  # index into the rows' layers
    kind: ProbeKind
    penalty: float
    auroc: float | None  # None where the validation rows hold one class only
    log_loss: float  # nats
    converged: bool = True  # False: a linear probe that ran out of passes; its figures are of where it stood


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedProbe:
    """The chosen probe and how it was chosen."""

    layer: int  # index into the rows' layers
    standardiser: Standardiser
    probe: Probe
    chosen: ProblemFigures
    all_figures: tuple[ProblemFigures, ...]
    training_curve: FloatArray  # [looks] of the chosen problem, nats, the penalty left out
    validation_curve: FloatArray  # [looks]
    epochs: int  # passes over the fit rows that the chosen problem's layer took

    def logits(self, rows: RowBlocks) -> FloatArray:
        """The chosen probe's logits [n]."""
        blocks = layer_features(rows, self.layer)
        return np.concatenate([self.probe.logits(self.standardiser.apply(x)) for x in blocks])

    def standardised(self, rows: RowBlocks) -> Float32Array:
        """The chosen layer's features [n, d] as the probe sees them, all in memory."""
        empty = np.empty((0, rows.shape[2]), dtype=np.float32)
        return np.concatenate([empty, *(self.standardiser.apply(x) for x in layer_features(rows, self.layer))])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedLinear:
    """All linear probes of a fit: what `fit_probe` chooses from."""

    weight: Float32Array  # [layers, penalties, d], of standardised features
    bias: Float32Array  # [layers, penalties]
    mean: Float32Array  # [layers, d]
    scale: Float32Array  # [layers, d]
    logits: Float32Array  # [layers, penalties, n] of the validation rows
    figures: tuple[ProblemFigures, ...]  # layer by layer, penalties in their order
    passes: npt.NDArray[np.int64]  # [layers]
    curves: Float32Array  # [2, looks, layers, penalties] training and validation loss; NaN after a group's last look


class FitProbe(Protocol):
    """`fit_probe`, or what does the same elsewhere."""

    def __call__(
        self, fit: StreamedRows, validation: StreamedRows, settings: FitSettings, *, warm_start: Former | None = None
    ) -> FittedProbe: ...


def fit_probe(
    fit: StreamedRows,
    validation: StreamedRows,
    settings: FitSettings | None = None,
    *,
    warm_start: Former | None = None,
    make_trainer: TrainerFactory = trainer,
) -> FittedProbe:
    """Fit all problems and choose one.

    `warm_start` starts the linear probes of some layers from former ones. The optimum they reach is
    the same within the tolerance; use it only where even that much may depend on what the former
    probe has learned from. `make_trainer` builds the Lightning Trainer: a cluster's worker gives
    its own. Every process of a distributed fit calls this with the same rows, and gets the same
    probe. Raises TrainingRefused for rows that do not match or cannot teach.
    """
    settings = settings or FitSettings()
    linear = fit_linear(fit, validation, settings, warm_start=warm_start, make_trainer=make_trainer)
    if not settings.mlp_penalties:
        return _fitted(linear, None, linear.figures)
    problems = MlpProblems(torch.from_numpy(linear.mean), torch.from_numpy(linear.scale), _rate(fit), settings)
    with quiet_lightning():
        running = make_trainer(settings.trainer, max_epochs=settings.max_epochs)
        running.fit(problems, datamodule=MlpRowsModule(fit, validation, settings))
    return _fitted(linear, problems, (*linear.figures, *_mlp_figures(problems, validation, settings)))


def fit_linear(
    fit: StreamedRows,
    validation: StreamedRows,
    settings: FitSettings,
    *,
    warm_start: Former | None = None,
    make_trainer: TrainerFactory = trainer,
) -> FittedLinear:
    """All linear probes, and the features' means and scales. Raises TrainingRefused as `fit_probe`
    does.
    """
    _refuse_what_cannot_teach(fit, validation)
    problems = LinearProblems(fit.shape, validation.shape[0], _rate(fit), settings, _former(warm_start, fit.shape))
    with quiet_lightning():
        try:
            running = make_trainer(settings.trainer, max_epochs=-1)
            running.fit(problems, datamodule=LinearRowsModule(fit, validation, settings))
        except ProcessRaisedException as error:
            raise TrainingRefused(f"a process of the fit failed: {str(error).strip().splitlines()[-1]}") from error
    logits = problems.logits.numpy()
    figures = []
    for layer in range(problems.layers):
        for at, penalty in enumerate(settings.penalties):
            scores = logits[layer, at].astype(np.float64)
            figures.append(
                ProblemFigures(
                    layer=layer,
                    kind=ProbeKind.LINEAR,
                    penalty=penalty,
                    auroc=auroc(scores, validation.y, validation.weight),
                    log_loss=log_loss(scores, validation.y, validation.weight),
                    converged=bool(problems.converged[layer, at]),
                )
            )
    return FittedLinear(
        weight=problems.weight.detach().cpu().numpy(),
        bias=problems.bias.numpy(),
        mean=problems.mean.numpy(),
        scale=problems.scale.numpy(),
        logits=logits,
        figures=tuple(figures),
        passes=problems.passes.numpy(),
        curves=problems.curves.numpy(),
    )


def auroc(scores: FloatArray, y: FloatArray, weight: FloatArray | None = None) -> float | None:
    """The chance that a right row scores above a wrong one, ties half; soft labels count as shares
    of both classes.

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


def log_loss(logits: FloatArray, y: FloatArray, weight: FloatArray) -> float:
    """The weighted mean binary cross-entropy in nats."""
    return float(np.average(np.logaddexp(0.0, logits) - y * logits, weights=weight))


def choose(figures: tuple[ProblemFigures, ...]) -> int:
    """The place of the problem to keep: see the module's decisions."""
    best = max((one.auroc for one in figures if one.auroc is not None), default=None)
    near = [at for at, one in enumerate(figures) if best is None or (one.auroc or 0.0) > best - AUROC_NOISE]
    linear = [at for at in near if figures[at].kind is ProbeKind.LINEAR]
    return min(linear or near, key=lambda at: figures[at].log_loss)


def _rate(rows: StreamedRows) -> float:
    return float(np.average(rows.y, weights=rows.weight))


def _refuse_what_cannot_teach(fit: StreamedRows, validation: StreamedRows) -> None:
    if fit.shape[1:] != validation.shape[1:]:
        raise TrainingRefused(f"fit rows are {fit.shape[1:]}, validation rows {validation.shape[1:]}: use one tier's")
    if not 0.0 < _rate(fit) < 1.0:
        raise TrainingRefused(
            f"the fit rows are all {'right' if _rate(fit) > 0 else 'wrong'}: a probe needs both kinds"
        )


def _former(warm_start: Former | None, shape: tuple[int, int, int]) -> dict[int, FormerProbe]:
    _, layers, dimension = shape
    former = {}
    for layer, (standardiser, probe) in (warm_start or {}).items():
        if not 0 <= layer < layers or probe.dimension != dimension or standardiser.dimension != dimension:
            raise TrainingRefused(
                f"the former probe of layer {layer} is of dimension {standardiser.dimension}, the rows have "
                f"{layers} layers of {dimension}: start from one of the same layer"
            )
        raw = probe.weight.astype(np.float64) / standardiser.scale
        former[layer] = FormerProbe(
            weight=torch.from_numpy(raw), bias=probe.bias - float(raw @ standardiser.mean.astype(np.float64))
        )
    return former


def _mlp_figures(problems: MlpProblems, validation: StreamedRows, settings: FitSettings) -> tuple[ProblemFigures, ...]:
    logits = torch.cat([problems.best_logits(x) for x in read_all(validation, settings)]).double().numpy()
    return tuple(
        ProblemFigures(
            layer=layer,
            kind=ProbeKind.MLP,
            penalty=penalty,
            auroc=auroc(logits[:, layer, at], validation.y, validation.weight),
            log_loss=float(problems.best_loss[layer, at]),
        )
        for layer in range(logits.shape[1])
        for at, penalty in enumerate(settings.mlp_penalties)
    )


def _fitted(linear: FittedLinear, mlp: MlpProblems | None, figures: tuple[ProblemFigures, ...]) -> FittedProbe:
    place = choose(figures)
    chosen = figures[place]
    if chosen.kind is ProbeKind.LINEAR:
        layer, at = divmod(place, linear.bias.shape[1])
        probe: Probe = LinearProbe(weight=linear.weight[layer, at], bias=float(linear.bias[layer, at]))
        curves, epochs = linear.curves[:, :, layer, at], int(linear.passes[layer])
    else:
        assert mlp is not None
        layer, at = divmod(place - len(linear.figures), mlp.best_loss.shape[1])
        best = {name: value[layer, at].numpy() for name, value in mlp.best.items()}
        probe = MlpProbe(w1=best["w1"], b1=best["b1"], w2=best["w2"], b2=float(best["b2"]))
        curves, epochs = mlp.curves[:, :, layer, at].cpu().numpy(), mlp.curves.shape[1]
    seen = np.isfinite(curves).all(0)
    return FittedProbe(
        layer=layer,
        standardiser=Standardiser(mean=linear.mean[layer], scale=linear.scale[layer]),
        probe=probe,
        chosen=chosen,
        all_figures=figures,
        training_curve=curves[0, seen].astype(np.float64),
        validation_curve=curves[1, seen].astype(np.float64),
        epochs=epochs,
    )
