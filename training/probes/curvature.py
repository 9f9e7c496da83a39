"""How curved the loss of linear probes is: the few directions in which hidden states vary most, and
the rest.

Decisions:
- Hidden states are strongly correlated: on recorded ones a handful of directions hold most of the
  variance, and that is what makes a plain descent slow. So a descent gets the leading
  directions, found on a sample of rows by one randomised pass (Nyström: Halko, Martinsson and Tropp
  2011; Frangella, Tropp and Udell 2023 for its use here).
- It only steers. A poor sample costs passes and never changes what a probe converges to.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

EXTRA_DIRECTIONS = 10  # drawn beyond the rank, which makes the kept ones accurate
SHIFT = 1e-6  # of the trace, added to every variance while they are found
RESOLVED = 1e-9  # of the largest variance


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curvature:
    """Covariance of standardised features per layer: leading directions with their variances, and
    one for the rest.
    """

    directions: Tensor  # [layers, d, rank], orthonormal
    variances: Tensor  # [layers, rank]
    rest: Tensor  # [layers]

    def solve(self, gradient: Tensor, penalties: Tensor, slope: float) -> Tensor:
        """(slope · covariance + penalty)⁻¹ gradient: [layers, problems, d] of the same, penalties
        [problems].

        `slope` stands for the mean of p(1 − p).
        """
        along = torch.bmm(gradient, self.directions)
        curved = slope * self.variances[:, None, :] + penalties[None, :, None]
        flat = (slope * self.rest[:, None] + penalties[None, :])[:, :, None]
        return gradient / flat + torch.bmm(along / curved - along / flat, self.directions.mT)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Steer:
    """A gradient [layers, problems, d + 1], the bias last, turned into a direction uphill."""

    curvature: Curvature
    penalties: Tensor  # [problems]
    slope: float  # the mean of p(1 − p) where a descent starts

    def __call__(self, gradient: Tensor) -> Tensor:
        weights = self.curvature.solve(gradient[..., :-1], self.penalties, self.slope)
        return torch.cat([weights, gradient[..., -1:] / self.slope], dim=-1)


def drawn_directions(dimension: int, rank: int, seed: int) -> Tensor:
    """Random orthonormal directions [d, min(d, rank + 10)]; all of space where that is no more."""
    wanted = rank + EXTRA_DIRECTIONS
    if dimension <= wanted:
        return torch.eye(dimension)
    drawn = torch.randn(dimension, wanted, generator=torch.Generator().manual_seed(seed))
    orthonormal: Tensor = torch.linalg.qr(drawn).Q
    return orthonormal


def curvature_of(images: Tensor, directions: Tensor, traces: Tensor, rank: int) -> Curvature:
    """From the images [layers, d, drawn] = covariance · directions [d, drawn], and the traces
    [layers].
    """
    _, dimension, drawn = images.shape
    kept = min(rank, drawn)
    shift = SHIFT * traces.double().clamp_min(1e-12)
    shifted = images.double() + shift[:, None, None] * directions.double()
    core = directions.double().mT @ shifted
    sizes, axes = torch.linalg.eigh((core + core.mT) / 2)
    # Directions in which the sample shows nothing are left out rather than divided by rounding.
    shown = sizes > RESOLVED * sizes[:, -1:]
    inverse = torch.where(shown, sizes.clamp_min(1e-300).rsqrt(), 0.0)
    half = (shifted @ axes * inverse[:, None, :]).mT  # [layers, drawn, d]
    values, vectors = torch.linalg.eigh(half @ half.mT)
    values, vectors = values.flip(-1)[:, :kept].clamp_min(1e-12), vectors.flip(-1)[:, :, :kept]
    leading = half.mT @ vectors / values.sqrt()[:, None, :]
    variances = (values - shift[:, None]).clamp_min(0.0)
    left = (traces.double() - variances.sum(-1)).clamp_min(0.0) / max(dimension - kept, 1)
    rest = (left + variances[:, -1]) / 2
    return Curvature(directions=leading.float().contiguous(), variances=variances.float(), rest=rest.float())
