"""The one place that builds a Lightning Trainer: which device, how many, how they talk, in which
precision.

Decisions:
- What can be written down is a setting (`TrainerSettings`); what only lives in a process (a
  strategy object, a cluster environment) is an argument of `trainer`. A cluster's own
  worker passes those and changes nothing else.
- `TrainerFactory` is what a fit asks for: `trainer` itself, or a function that wraps it.
- No checkpoints, no progress bars, no loggers: a fit takes seconds to minutes, and its figures are
  its result.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import lightning

from training.errors import TrainingRefused

PRECISIONS = ("32-true", "bf16-mixed")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerSettings:
    """Where a fit runs."""

    accelerator: str = "cpu"  # cpu, gpu, auto: as Lightning names them
    devices: int | str = 1  # "auto" = all that are there
    strategy: str = "auto"  # auto, ddp, ddp_spawn …: as Lightning names them
    precision: str = "32-true"  # or bf16-mixed, where the device pays for it

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise TrainingRefused(f"precision is {self.precision!r}: give one of {', '.join(PRECISIONS)}")
        if self.devices != "auto" and not (isinstance(self.devices, int) and self.devices >= 1):
            raise TrainingRefused(f"devices is {self.devices!r}: give a number of at least 1, or auto")


def trainer(
    settings: TrainerSettings,
    *,
    max_epochs: int,
    strategy: Any = None,
    plugins: Sequence[Any] = (),
) -> lightning.Trainer:
    """A Trainer for probes; `strategy` (an object) wins over the settings' name.

    Raises TrainingRefused where the machine has no such devices or strategy.
    """
    try:
        return lightning.Trainer(
            accelerator=settings.accelerator,
            devices=settings.devices,
            strategy=settings.strategy if strategy is None else strategy,
            precision=settings.precision,
            plugins=list(plugins) or None,
            max_epochs=max_epochs,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # rows are dealt to ranks by the data module
            reload_dataloaders_every_n_epochs=1,
        )
    except (ValueError, RuntimeError, lightning.fabric.utilities.exceptions.MisconfigurationException) as error:
        raise TrainingRefused(f"no trainer for {settings}: {error}") from error


TrainerFactory = Callable[..., lightning.Trainer]  # called as trainer(settings, max_epochs=…)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Lightning without its greetings and its advice about workers."""
    names = ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda", "lightning.pytorch")
    before = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module=r"lightning\..*")
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", category=FutureWarning)
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
