"""The options that choose an engine; what is left out comes from the settings."""

import argparse

from training.engines.choice import EngineKind, RaySettings


def add_engine(command: argparse.ArgumentParser) -> None:
    """Let a command be given an engine."""
    command.add_argument(
        "--engine", choices=[str(kind) for kind in EngineKind], help="who computes; else KNOWGATE_TRAINING_ENGINE"
    )
    command.add_argument("--ray-address", help="host:port of the head node, auto or local; else KNOWGATE_RAY_ADDRESS")
    command.add_argument("--workers", type=int, help="processes on the cluster; else KNOWGATE_RAY_WORKERS")
    command.add_argument("--cpus-per-worker", type=float, help="also its threads; else KNOWGATE_RAY_CPUS_PER_WORKER")
    command.add_argument(
        "--gpus-per-worker", type=float, help="above 0, it uses CUDA; else KNOWGATE_RAY_GPUS_PER_WORKER"
    )


def chosen_cluster(options: argparse.Namespace) -> RaySettings | None:
    """The cluster that a command was given; None = this process computes. Raises
    TrainingRefused.
    """
    if options.engine == EngineKind.LOCAL:
        return None
    return RaySettings(
        address=options.ray_address,
        workers=options.workers,
        cpus=options.cpus_per_worker,
        gpus=options.gpus_per_worker,
    )
