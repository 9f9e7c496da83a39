"""Many logistic regressions descended at once: limited-memory BFGS, each problem with its own step
and its own end.

Decisions:
- All problems (layers × penalties) are looked at by the same pass over the rows, so the rows are
  read once per step for all penalties. A problem that is done is left out of the next pass.
- A step has length 1 unless the loss does not fall enough (Armijo); then it is halved for that
  problem alone. One pass per step: a search with more looks costs more passes than it saves.
- A problem is done when the largest component of its gradient is at most the tolerance, as
  scikit-learn has it, or when no step lowers its loss any more, which is as far as the precision
  goes.
Source: Nocedal and Wright 2006, algorithms 7.4 and 3.1, with the curvature of the features in place
of a multiple of the identity.
"""

from collections.abc import Callable

import torch
from torch import Tensor

SUFFICIENT = 1e-4  # share of the promised decrease that a step must keep
MOST_HALVINGS = 12
NOISE = 2e-7  # of a loss, in nats: below it, float32 sums tell nothing
Steer = Callable[[Tensor], Tensor]  # a gradient [layers, problems, d + 1] → a direction uphill


class Descent:
    """The state of all problems; weights are [layers, problems, d + 1], the bias last and free of
    the penalty.
    """

    def __init__(self, start: Tensor, penalties: Tensor, steer: Steer, *, tolerance: float, memory: int) -> None:
        self.trial = start  # where the next pass looks
        self.active = torch.ones(start.shape[:2], dtype=torch.bool, device=start.device)
        self.converged = torch.zeros_like(self.active)
        self.at, self.loss = start, torch.full(start.shape[:2], torch.inf, dtype=torch.float64, device=start.device)
        self.data_loss = self.loss.clone()  # without the penalty
        self._penalties, self._steer, self._tolerance, self._memory = penalties, steer, tolerance, memory
        self._gradient = torch.zeros_like(start)
        self._uphill = torch.zeros_like(start)
        self._step = torch.ones(start.shape[:2], device=start.device)
        self._halvings = torch.zeros(start.shape[:2], dtype=torch.long, device=start.device)
        self._scale = torch.ones(start.shape[:2], device=start.device)
        self._pairs: list[tuple[Tensor, Tensor, Tensor]] = []  # steps, changes of the gradient, 1 / their product

    @property
    def largest_gradient(self) -> Tensor:
        """[layers, problems]"""
        return self._gradient.abs().amax(-1)

    def tell(self, data_loss: Tensor, gradient: Tensor) -> None:
        """What a pass found at `trial`: mean loss [layers, problems], its gradient [layers,
        problems, d + 1].

        Both without the penalty. Sets where the next pass looks, and who is done.
        """
        weights = self.trial[..., :-1]
        loss = data_loss + 0.5 * self._penalties * weights.double().square().sum(-1)
        gradient = gradient.clone()
        gradient[..., :-1] += self._penalties[None, :, None] * weights
        first = torch.isinf(self.loss)
        promised = SUFFICIENT * self._step * _dot(self._gradient, self._uphill)
        lower = first | (loss <= self.loss - promised + NOISE * (1.0 + self.loss.abs().nan_to_num(posinf=0.0)))
        took = lower & self.active
        self._remember(took & ~first, gradient)
        self.at = torch.where(took[..., None], self.trial, self.at)
        self._gradient = torch.where(took[..., None], gradient, self._gradient)
        self.loss = torch.where(took, loss, self.loss)
        self.data_loss = torch.where(took, data_loss, self.data_loss)
        self._halvings = torch.where(took, 0, self._halvings + 1)
        self._step = torch.where(took, 1.0, self._step / 2)
        self._end()
        self._uphill = torch.where(took[..., None], self._direction(), self._uphill)
        self.trial = torch.where(self.active[..., None], self.at - self._step[..., None] * self._uphill, self.at)

    def restart(self) -> None:
        """Look at the present weights again, forgetting what was measured of them: the passes have
        become finer.
        """
        self.trial = self.at
        self.loss = torch.full_like(self.loss, torch.inf)
        self.active = torch.ones_like(self.active)
        self.converged = torch.zeros_like(self.active)
        self._halvings.zero_()

    def _remember(self, took: Tensor, gradient: Tensor) -> None:
        """Keep the pair of the step just taken, where it shows a positive curvature."""
        step = torch.where(took[..., None], self.trial - self.at, 0.0)
        change = torch.where(took[..., None], gradient - self._gradient, 0.0)
        product = _dot(step, change)
        usable = took & (product > 1e-12)
        if not bool(usable.any()):
            return
        steered = _dot(change, self._steer(change)).clamp_min(1e-30)
        self._scale = torch.where(usable, product / steered, self._scale)
        inverse = torch.where(usable, 1.0 / product.clamp_min(1e-12), 0.0)
        self._pairs = [*self._pairs, (step, change, inverse)][-self._memory :]

    def _end(self) -> None:
        self.converged |= self.active & (self.largest_gradient <= self._tolerance)
        self.active &= ~self.converged & (self._halvings <= MOST_HALVINGS)

    def _direction(self) -> Tensor:
        """The two loops; where they do not point uphill, the steered gradient."""
        left, shares = self._gradient, []
        for step, change, inverse in reversed(self._pairs):
            share = inverse * _dot(step, left)
            left = left - share[..., None] * change
            shares.append(share)
        uphill = self._scale[..., None] * self._steer(left)
        for (step, change, inverse), share in zip(self._pairs, reversed(shares), strict=True):
            uphill = uphill + (share - inverse * _dot(change, uphill))[..., None] * step
        sound = _dot(self._gradient, uphill) > 0
        return torch.where(sound[..., None], uphill, self._steer(self._gradient))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)
