"""Which engine does the work, and what it may use: read from options or the environment, checked
once.
"""

from dataclasses import dataclass
from enum import StrEnum

from training.errors import TrainingRefused


class EngineKind(StrEnum):
    LOCAL = "local"  # this process, on this machine's devices
    RAY = "ray"  # workers of a Ray cluster; needs the extra `ray`


@dataclass(frozen=True, slots=True, kw_only=True)
class RaySettings:
    """A cluster, and the workers that it is asked for."""

    address: str = "auto"  # host:port of the head node, "auto" = the one this machine is of, "local" = here alone
    workers: int = 1  # processes, each with a model, or a share of the rows, of its own
    cpus: float = 1.0  # per worker; also its threads
    gpus: float = 0.0  # per worker; above 0, it computes on CUDA

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise TrainingRefused(f"the number of workers is {self.workers}: give 1 or more")
        if not (self.cpus >= 0 and self.gpus >= 0 and self.cpus + self.gpus > 0):
            raise TrainingRefused(f"a worker is given {self.cpus} CPUs and {self.gpus} GPUs: give it some of either")
        if not self.address or "://" in self.address:
            raise TrainingRefused(
                f"the Ray address is {self.address!r}: give the head node's host:port, auto or local, on a machine "
                "that belongs to the cluster (Ray's client protocol carries neither Ray Data nor Ray Train)"
            )
