"""The arguments of `python -m training` that choose an engine; what is left out comes from the environment."""

import argparse
import os

from training.engines.choice import EngineKind, RaySettings
from training.settings import ENGINE, RAY_ADDRESS, RAY_CPUS, RAY_GPUS, RAY_WORKERS, read_engine


def add_engine(command: argparse.ArgumentParser) -> None:
    """Let a command be given an engine."""
    command.add_argument(
        "--engine", choices=[str(kind) for kind in EngineKind], help=f"who computes; else {ENGINE}, or local"
    )
    command.add_argument(
        "--ray-address", help=f"host:port of the head node, auto or local; else {RAY_ADDRESS}, or auto"
    )
    command.add_argument("--workers", type=int, help=f"processes on the cluster; else {RAY_WORKERS}, or 1")
    command.add_argument("--cpus-per-worker", type=float, help=f"also its threads; else {RAY_CPUS}, or 1")
    command.add_argument("--gpus-per-worker", type=float, help=f"above 0, it uses CUDA; else {RAY_GPUS}, or 0")


def chosen_cluster(options: argparse.Namespace) -> RaySettings | None:
    """The cluster that a command was given; None = this process computes. Raises TrainingRefused."""
    return read_engine(
        os.environ,
        engine=options.engine,
        address=options.ray_address,
        workers=options.workers,
        cpus=options.cpus_per_worker,
        gpus=options.gpus_per_worker,
    )
