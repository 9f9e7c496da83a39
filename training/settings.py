"""Where a trainer's things lie. The scheduler hands the addresses over in the environment: they may carry passwords,
and arguments show in process lists. `python -m training` arguments win over it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from training.errors import TrainingRefused

_VARIABLES = {
    "database_url": "KNOWGATE_DATABASE_URL",
    "mlflow_url": "KNOWGATE_MLFLOW_URL",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where the database and the model registry are."""

    database_url: str
    mlflow_url: str | None  # None = nothing is registered; messages wait in the outbox


def read_addresses(
    environment: Mapping[str, str], *, database_url: str | None = None, mlflow_url: str | None = None
) -> Addresses:
    """The addresses given, else those of the environment (also from `NAME_FILE`). Raises TrainingRefused."""
    database = database_url or _from(environment, _VARIABLES["database_url"])
    if database is None:
        raise TrainingRefused("no database is named: give --database-url or set KNOWGATE_DATABASE_URL")
    return Addresses(database_url=database, mlflow_url=mlflow_url or _from(environment, _VARIABLES["mlflow_url"]))


def _from(environment: Mapping[str, str], name: str) -> str | None:
    file = environment.get(f"{name}_FILE")
    if file:
        return Path(file).read_text(encoding="utf-8").strip() or None
    return environment.get(name) or None
