"""How probes are fitted: penalties, the descent of linear ones, the steps of those with a hidden
layer, the device.
"""

from dataclasses import dataclass, field

from training.errors import TrainingRefused
from training.probes.trainer import TrainerSettings

_LEAST_1 = ("batch", "max_epochs", "memory", "rank", "sample", "look_every", "memory_mb", "block_mb", "mlp_units")
_WHOLE = dict.fromkeys(_LEAST_1, 1) | {"patience": 0, "seed": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """How probes are fitted."""

    penalties: tuple[float, ...] = (0.03, 0.3, 3.0)  # λ of λ/2 · ‖w‖² beside the mean loss, linear probes
    mlp_penalties: tuple[float, ...] = (0.003, 0.03)  # of the probes with a hidden layer; empty = none of these
    mlp_units: int = 16
    mlp_learning_rate: float = 0.005
    batch: int = 512  # rows per step of the probes with a hidden layer
    max_epochs: int = 120  # passes over the fit rows at most
    patience: int = 8  # epochs without a better validation log-loss, probes with a hidden layer
    seed: int = 0
    tolerance: float = 1e-4  # largest component of a linear probe's gradient, features standardised
    memory: int = 20  # steps that a descent remembers
    rank: int = 512  # directions in which a descent knows the curvature
    sample: int = 4096  # rows that these are found on
    look_every: int = 5  # steps of a descent between two looks at the validation rows
    memory_mb: int = 2048  # of the state of linear probes; more layers than fit are fitted in turn
    block_mb: int = 64  # of rows read at once
    trainer: TrainerSettings = field(default_factory=TrainerSettings)  # where it runs

    def __post_init__(self) -> None:
        for name in ("penalties", "mlp_penalties"):
            if not all(0.0 < penalty < float("inf") for penalty in getattr(self, name)):
                raise TrainingRefused(f"{name} are {getattr(self, name)}: give finite numbers above 0")
        for name, least in _WHOLE.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise TrainingRefused(f"{name} is {value}: give a whole number of at least {least}")
        for name in ("tolerance", "mlp_learning_rate"):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise TrainingRefused(f"{name} is {getattr(self, name)}: give a finite number above 0")

    def layers_at_once(self, dimension: int) -> int:
        """How many layers' linear probes the memory limit holds at once; at least one."""
        per_problem = 2 * self.memory + 12  # vectors of d: pairs of the descent, and what it computes with
        per_layer = 4 * dimension * (3 * (self.rank + 10) + per_problem * max(1, len(self.penalties)))
        return max(1, self.memory_mb * 1_000_000 // per_layer)

    def block_rows(self, dimension: int) -> int:
        """Rows of a block of one layer, stored as float16."""
        return max(64, self.block_mb * 1_000_000 // (2 * dimension))
