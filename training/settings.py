"""Where a trainer's things lie, and which engine computes.

The scheduler hands addresses over in the environment: they may carry passwords, and arguments show in process lists.
`python -m training` arguments win over it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from training.engines.choice import EngineKind, RaySettings
from training.errors import TrainingRefused

Number = TypeVar("Number", int, float)
ENGINE = "KNOWGATE_TRAINING_ENGINE"
RAY_ADDRESS, RAY_WORKERS = "KNOWGATE_RAY_ADDRESS", "KNOWGATE_RAY_WORKERS"
RAY_CPUS, RAY_GPUS = "KNOWGATE_RAY_CPUS_PER_WORKER", "KNOWGATE_RAY_GPUS_PER_WORKER"
_VARIABLES = {
    "database_url": "KNOWGATE_DATABASE_URL",
    "mlflow_url": "KNOWGATE_MLFLOW_URL",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where the database and the model registry are."""

    database_url: str = field(repr=False)
    mlflow_url: str | None = field(repr=False)  # None = nothing is registered; messages wait in the outbox


def read_addresses(
    environment: Mapping[str, str], *, database_url: str | None = None, mlflow_url: str | None = None
) -> Addresses:
    """The addresses given, else those of the environment (also from `NAME_FILE`). Raises TrainingRefused."""
    database = database_url or _from(environment, _VARIABLES["database_url"])
    if database is None:
        raise TrainingRefused("no database is named: give --database-url or set KNOWGATE_DATABASE_URL")
    return Addresses(database_url=database, mlflow_url=mlflow_url or _from(environment, _VARIABLES["mlflow_url"]))


def read_engine(
    environment: Mapping[str, str],
    *,
    engine: str | None = None,
    address: str | None = None,
    workers: int | None = None,
    cpus: float | None = None,
    gpus: float | None = None,
) -> RaySettings | None:
    """The cluster that computes, as given, else as the environment has it; None = this process does.

    Raises TrainingRefused for a value that cannot be, or a file that cannot be read.
    """
    kind = engine or _from(environment, ENGINE) or EngineKind.LOCAL
    if kind not in list(EngineKind):
        raise TrainingRefused(f"{ENGINE} is {kind!r}: give one of {', '.join(EngineKind)}")
    if kind == EngineKind.LOCAL:
        return None
    standard = RaySettings()
    return RaySettings(
        address=address or _from(environment, RAY_ADDRESS) or standard.address,
        workers=_number(environment, RAY_WORKERS, standard.workers, int) if workers is None else workers,
        cpus=_number(environment, RAY_CPUS, standard.cpus, float) if cpus is None else cpus,
        gpus=_number(environment, RAY_GPUS, standard.gpus, float) if gpus is None else gpus,
    )


def _number(environment: Mapping[str, str], name: str, otherwise: Number, kind: type[Number]) -> Number:
    text = _from(environment, name)
    try:
        return otherwise if text is None else kind(text)
    except ValueError:
        raise TrainingRefused(f"{name} is {text!r}: give a number{' without a fraction' * (kind is int)}") from None


def _from(environment: Mapping[str, str], name: str) -> str | None:
    file = environment.get(f"{name}_FILE")
    if not file:
        return environment.get(name) or None
    try:
        return Path(file).read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError) as error:
        raise TrainingRefused(
            f"{name}_FILE is {file!r}: it cannot be read ({error}); name a text file, or set {name}"
        ) from error
