"""The log-probabilities of the tokens of a longer answer, gathered while they are written.

Kept is one number per prompt and token: the logits of all steps would be gigabytes. They are the
model's own, as it gives them, before anything that the generation's settings do to them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteriaList


class _Gatherer:
    """A stopping criterion that stops nothing: it is what `generate` calls after each token."""

    def __init__(self, steps: list[Tensor]) -> None:
        self._steps = steps
        self._logits = torch.empty(0)

    def see(self, _: Any, __: Any, output: Any) -> None:
        self._logits = output.logits[:, -1]

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        log_p = self._logits.float().log_softmax(-1)
        self._steps.append(log_p.gather(1, input_ids[:, -1:].to(log_p.device))[:, 0].cpu())
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


@contextmanager
def gathered(network: Any, steps: list[Tensor]) -> Iterator[dict[str, Any]]:
    """What `generate` is to be given so that `steps` gets a [batch] of log-probabilities per token.

    Of a row that has ended, what follows its end means nothing.
    """
    gatherer = _Gatherer(steps)
    handle = network.register_forward_hook(gatherer.see)
    try:
        yield {"stopping_criteria": StoppingCriteriaList([gatherer])}
    finally:
        handle.remove()
