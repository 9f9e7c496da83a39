"""Probes fitted on a Ray cluster: Ray Train starts workers that call
`training.probes.fit.fit_probe`, as one process would.

Decisions:
- A worker differs from a process of its own in the Trainer alone: Ray's DDP strategy and
  environment tell it who else is there. How rows are shared out and sums are added up is the fit's
  own business, and the same under any strategy.
- The first worker's result comes back as arrays through Ray's object store. Nothing is
  checkpointed: a fit takes seconds to minutes, so a group that lost a worker starts over, from the
  same seed, and ends at the same probe.
- A worker that refuses must raise, or the others would wait for its sums for ever. Ray then tries
  once more before it gives up, which costs some seconds and never changes a refusal.
"""

import tempfile
from dataclasses import replace
from types import ModuleType
from typing import Any

import lightning

from training.engines.choice import RaySettings
from training.engines.cluster import connected
from training.errors import EngineUnavailable, TrainingError
from training.probes.fit import FittedProbe, Former, fit_probe
from training.probes.probe_settings import FitSettings
from training.probes.trainer import TrainerSettings, trainer
from training.rows.row_blocks import StreamedRows

LOST_GROUPS = 1  # how often a fit starts over; machines that were taken away by their cloud do not count


class RayFit:
    """`fit_probe` on the workers of a cluster."""

    def __init__(self, settings: RaySettings) -> None:
        self._settings = settings

    def __call__(
        self,
        fit: StreamedRows,
        validation: StreamedRows,
        settings: FitSettings,
        *,
        warm_start: Former | None = None,
    ) -> FittedProbe:
        """Fit all problems and choose one; each worker opens streamed rows for itself.

        Raises what `fit_probe` raises, and EngineUnavailable.
        """
        on = TrainerSettings(
            accelerator="gpu" if self._settings.gpus else "cpu",
            devices="auto",  # Ray shows a worker its own, and tells how many workers there are
            precision=settings.trainer.precision,
        )
        with connected(self._settings, "the fit") as ray, tempfile.TemporaryDirectory(prefix="knowgate-ray-") as folder:
            given = {
                "fit": ray.put(fit),
                "validation": ray.put(validation),
                "settings": replace(settings, trainer=on),
                "warm_start": warm_start,
            }
            fitted: FittedProbe = self._run(ray, given, folder)
        return fitted

    def _run(self, ray: ModuleType, given: dict[str, Any], folder: str) -> Any:
        from ray.train.torch import TorchTrainer

        cluster, train = self._settings, ray.train
        resources = {"CPU": cluster.cpus} | ({"GPU": cluster.gpus} if cluster.gpus else {})
        group = TorchTrainer(
            _fit_on_worker,
            train_loop_config=given,
            scaling_config=train.ScalingConfig(
                num_workers=cluster.workers, use_gpu=cluster.gpus > 0, resources_per_worker=resources
            ),
            run_config=train.RunConfig(
                storage_path=folder,
                failure_config=train.FailureConfig(max_failures=LOST_GROUPS),
                logging_config=train.LoggingConfig(log_level="ERROR"),
            ),
        )
        try:
            return group.fit().return_value
        except train.TrainingFailedError as error:
            raise _refusal(error) from error


def _fit_on_worker(given: dict[str, Any]) -> FittedProbe | None:
    import ray
    from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment, prepare_trainer

    def make_trainer(settings: TrainerSettings, *, max_epochs: int) -> lightning.Trainer:
        made = trainer(settings, max_epochs=max_epochs, strategy=RayDDPStrategy(), plugins=[RayLightningEnvironment()])
        prepared: lightning.Trainer = prepare_trainer(made)
        return prepared

    fit, validation = ray.get([given["fit"], given["validation"]])
    fitted = fit_probe(fit, validation, given["settings"], warm_start=given["warm_start"], make_trainer=make_trainer)
    return fitted if ray.train.get_context().get_world_rank() == 0 else None


def _refusal(error: Any) -> TrainingError:
    """The refusal of a worker where there is one, else what became of the group."""
    failures = [getattr(one, "_base_exc", one) for one in getattr(error, "worker_failures", {}).values()]
    for failure in failures:
        if isinstance(failure, TrainingError):
            return failure
    causes = "; ".join(f"{type(one).__name__}: {str(one).strip().splitlines()[-1:]}" for one in failures) or str(error)
    return EngineUnavailable(
        f"the Ray cluster did not finish the fit, also not at the second try ({causes}): look at its logs and "
        "its nodes, or use --engine local"
    )
