"""The one place that reaches a Ray cluster: imports Ray, connects, and turns its errors into ours.

Decisions:
- This process's own code is sent along: a node needs an image with the libraries, and none with
  this project.
- A process that is connected already (a notebook, a test) keeps its connection; one that is not
  leaves the cluster as it found it.
- What Ray says goes to its own logs and to stderr: stdout is for the outcome.
- A worker's refusal is carried back as a value, so that it is the same message as without a
  cluster; whatever else goes wrong is one EngineUnavailable with the cause's last line.
"""

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType

import knowgate
import training
from training import errors
from training.engines.choice import RaySettings
from training.errors import EngineUnavailable, ExtractionRefused, TrainingError

_LOGGERS = ("ray", "ray.data", "ray.train")
_CONNECT_S = 10.0
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1"}


@contextmanager
def connected(settings: RaySettings, doing: str) -> Iterator[ModuleType]:
    """The module `ray`, connected while the block runs. Raises EngineUnavailable, also for what Ray
    raises in it.
    """
    ray = _imported()
    ours = not ray.is_initialized()
    with _quiet(), redirect_stdout(sys.stderr):
        try:
            if ours:
                _connect(ray, settings)
            yield ray
        except (ray.exceptions.RayError, ConnectionError, TimeoutError) as error:
            raise EngineUnavailable(
                f"the Ray cluster did not finish {doing} ({type(error).__name__}: {_last_line(error)}): what is done "
                "is kept; look at its logs and its nodes, and start the same command again"
            ) from error
        finally:
            if ours:
                ray.shutdown()


def refusal_of(error: TrainingError) -> dict[str, str | int | None]:
    """A worker's refusal as a value that travels."""
    return {"refusal": str(error), "kind": type(error).__name__, "row": getattr(error, "row", None)}


def refused(refusal: str, kind: str, row: int | None) -> TrainingError:
    """The error behind a `refusal_of`."""
    if row is not None:
        return ExtractionRefused(refusal, row=row)
    error_type = getattr(errors, kind, TrainingError)
    made: TrainingError = error_type(refusal)
    return made


def _imported() -> ModuleType:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
        import ray.train
    except ImportError as error:
        raise EngineUnavailable(
            f"the engine is ray and Ray cannot be imported ({error}): install the extra, pip install "
            "'knowgate-control[ray]', or use the engine local"
        ) from error
    imported: ModuleType = ray
    return imported


def _connect(ray: ModuleType, settings: RaySettings) -> None:
    host, _, port = settings.address.rpartition(":")
    code = [str(Path(str(module.__file__)).parent) for module in (knowgate, training)]
    try:
        if port.isdigit():  # Ray itself would try for a minute
            socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
        ray.init(
            address=settings.address,
            include_dashboard=False if settings.address == "local" else None,
            runtime_env={"py_modules": code, "excludes": ["__pycache__"]},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise EngineUnavailable(
            f"no Ray cluster is reached at {settings.address!r} ({_last_line(error)}): give the head node's host:port "
            '(see `ray start --head`), or "local" for a cluster on this machine alone'
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    before = {name: logging.getLogger(name).level for name in _LOGGERS}
    try:
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.ERROR)
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
