"""The P(IK) probe: from one standardised hidden state to a logit that the answer will be right.

Two kinds, both small enough to be read: a linear probe, and one hidden layer of rectified units. A
logit is not a probability; the tier's calibrator makes it one. `logit` reads one state, `logits`
many; the two differ by float32 rounding only.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

import numpy as np

from knowgate._records.arrays import Float32Array, FloatArray, own_float, own_float32


class ProbeKind(StrEnum):
    LINEAR = "linear"
    MLP = "mlp"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearProbe:
    """logit = weight · x + bias.

    >>> LinearProbe(weight=np.float32([1.0, -2.0]), bias=0.5).logit(np.float32([3.0, 1.0]))
    1.5
    """

    weight: Float32Array  # [d]
    bias: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", own_float32("probe.weight", self.weight, (None,)))
        object.__setattr__(self, "bias", own_float("probe.bias", self.bias))

    @property
    def kind(self) -> ProbeKind:
        return ProbeKind.LINEAR

    @property
    def dimension(self) -> int:
        return len(self.weight)

    @property
    def first_layer(self) -> Float32Array:
        """The rows that meet the state, [1, d]."""
        return self.weight[np.newaxis, :]

    def shifted(self, centre: FloatArray) -> Self:
        """The same probe for states x - centre."""
        return replace(self, bias=self.bias + float(self.weight.astype(np.float64) @ centre))

    def finish(self, products: Float32Array) -> float:
        """The logit, from the first layer's products with one state, [1] (more may lie behind
        them).
        """
        return products.item(0) + self.bias

    def finish_rows(self, products: Float32Array) -> FloatArray:
        """`finish` of n states: products [n, 1], logits [n]."""
        return products[:, 0].astype(np.float64) + self.bias

    def logit(self, x: Float32Array) -> float:
        """The logit of one standardised state [d]."""
        return self.finish(self.first_layer @ x)

    def logits(self, x: Float32Array) -> FloatArray:
        """The logits [n] of standardised states [n, d]."""
        return (x @ self.weight).astype(np.float64) + self.bias


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MlpProbe:
    """logit = w2 · relu(w1 x + b1) + b2.

    >>> probe = MlpProbe(w1=np.float32([[1, 0], [0, -1]]), b1=np.float32([0, 0]),
    ...                  w2=np.float32([1, 1]), b2=0.25)
    >>> probe.logit(np.float32([2.0, 5.0]))
    2.25
    """

    w1: Float32Array  # [h, d]
    b1: Float32Array  # [h]
    w2: Float32Array  # [h]
    b2: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "w1", own_float32("probe.w1", self.w1, (None, None)))
        object.__setattr__(self, "b1", own_float32("probe.b1", self.b1, self.w1.shape[:1]))
        object.__setattr__(self, "w2", own_float32("probe.w2", self.w2, self.w1.shape[:1]))
        object.__setattr__(self, "b2", own_float("probe.b2", self.b2))

    @property
    def kind(self) -> ProbeKind:
        return ProbeKind.MLP

    @property
    def dimension(self) -> int:
        return len(self.w1[0])

    @property
    def first_layer(self) -> Float32Array:
        """The rows that meet the state, [h, d]."""
        return self.w1

    def shifted(self, centre: FloatArray) -> Self:
        """The same probe for states x - centre."""
        shift = self.w1.astype(np.float64) @ centre
        return replace(self, b1=(self.b1 + shift).astype(np.float32))

    def finish(self, products: Float32Array) -> float:
        """The logit, from the first layer's products with one state, [h] (more may lie behind
        them).
        """
        units = products[: len(self.b1)] + self.b1
        np.maximum(units, 0, out=units)
        return float(self.w2.dot(units)) + self.b2

    def finish_rows(self, products: Float32Array) -> FloatArray:
        """`finish` of n states: products [n, h], logits [n]."""
        units = products[:, : len(self.b1)] + self.b1
        np.maximum(units, 0, out=units)
        logits: FloatArray = (units @ self.w2).astype(np.float64) + self.b2
        return logits

    def logit(self, x: Float32Array) -> float:
        """The logit of one standardised state [d]."""
        return self.finish(self.w1 @ x)

    def logits(self, x: Float32Array) -> FloatArray:
        """The logits [n] of standardised states [n, d]."""
        return self.finish_rows(x @ self.w1.T)


Probe = LinearProbe | MlpProbe
