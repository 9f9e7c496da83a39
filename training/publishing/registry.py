"""The MLflow side: one run and one model version per bundle, found by the bundle's id before
anything is made; and one run per cascade for its daily reports.

Decisions:
- Every step looks first for what it would make: a run and a version carry the bundle's id as a tag
  from the moment they exist. A registration that was killed half-way is repeated and makes nothing
  twice.
- Metrics carry the bundle's own time, so that logging them again is logging the same ones.
- What is logged is the bundle (safetensors), JSON and PNG. No Python object is ever pickled.
- Aliases have no history in MLflow. They are set to what our promotions say, and never read.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from knowgate._wire import codec
from training.errors import RegistryUnreachable
from training.publishing.plots import reliability_plot, risk_coverage_plot
from training.publishing.records import DayReport, Figure, RunReport

BUNDLE_TAG = "knowgate.bundle"
REPORTS_TAG = "knowgate.reports"
CHAMPION, CHALLENGER = "champion", "challenger"
# MLflow reads these from the environment only. A registry that is down must be distinguished from
# one that is slow.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


class Registry:
    """An MLflow tracking server and model registry at one URL (`sqlite:///…`,
    `postgresql+psycopg://…`, `http://…`).
    """

    def __init__(self, url: str) -> None:
        prepare_environment()
        from mlflow.tracking import MlflowClient  # seconds of imports, paid by those who register

        self._url = url
        with reaching(url):
            self._client = MlflowClient(tracking_uri=url, registry_uri=url)

    def register(self, report: RunReport, content: bytes) -> str:
        """Record one bundle as run, artifacts and model version; the run's id. Raises
        RegistryUnreachable.
        """
        with reaching(self._url):
            run_id = self._find_or_make_run(report)
            if self._client.get_run(run_id).info.status != "FINISHED":
                self._log(run_id, report, content)
                self._client.set_terminated(run_id, status="FINISHED", end_time=_millis(report.created_at))
            self._find_or_make_version(report, run_id)
            return run_id

    def log_day(self, report: DayReport) -> str:
        """Log a day's report: its figures as metrics over the days, Evidently's snapshot as an
        artifact; the id of the run, one for all reports of a cascade. Raises RegistryUnreachable.
        """
        from mlflow.entities import Metric

        with reaching(self._url):
            run_id = self._find_or_make_reports(report)
            at, step = _millis(report.ended_at), report.day.toordinal()
            metrics = [Metric(name, value, at, step) for name, value in _ends(report.figures)]
            for start in range(0, len(metrics), 1000):
                self._client.log_batch(run_id, metrics=metrics[start : start + 1000])
            self._client.log_text(run_id, report.snapshot, f"reports/{report.day.isoformat()}.json")
            return run_id

    def set_aliases(self, cascade: str, wanted: dict[str, str | None]) -> None:
        """Point each alias at the version of its bundle, or remove it (None). Bundles that have no
        version yet wait.
        """
        with reaching(self._url):
            if not self._has_model(model_name(cascade)):
                return
            aliases: dict[str, Any] = dict(self._client.get_registered_model(model_name(cascade)).aliases)
            for alias, bundle in wanted.items():
                version = None if bundle is None else self._version(cascade, bundle)
                if version is not None and str(aliases.get(alias)) != version:
                    self._client.set_registered_model_alias(model_name(cascade), alias, version)
                elif bundle is None and alias in aliases:
                    self._client.delete_registered_model_alias(model_name(cascade), alias)

    def _find_or_make_run(self, report: RunReport) -> str:
        experiment = self._find_or_make_experiment(model_name(report.cascade))
        runs = self._client.search_runs([experiment], f"tags.`{BUNDLE_TAG}` = '{report.bundle}'", max_results=1)
        if runs:
            return str(runs[0].info.run_id)
        said = {"knowgate.reason": report.reason, "knowgate.why": report.why}
        tags = {BUNDLE_TAG: report.bundle, "knowgate.status": report.status}
        tags |= {name: text for name, text in said.items() if text is not None}
        run = self._client.create_run(
            experiment,
            start_time=_millis(report.created_at),
            tags=tags,
            run_name=f"{report.cascade} {report.bundle[:12]}",
        )
        return str(run.info.run_id)

    def _find_or_make_reports(self, report: DayReport) -> str:
        experiment = self._find_or_make_experiment(model_name(report.cascade))
        runs = self._client.search_runs([experiment], f"tags.`{REPORTS_TAG}` = '{report.cascade}'", max_results=1)
        if runs:
            return str(runs[0].info.run_id)
        at, name = _millis(report.ended_at), f"{report.cascade} daily reports"
        run = self._client.create_run(experiment, start_time=at, tags={REPORTS_TAG: report.cascade}, run_name=name)
        self._client.set_terminated(run.info.run_id, status="FINISHED", end_time=at)
        return str(run.info.run_id)

    def _find_or_make_experiment(self, name: str) -> str:
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            return str(experiment.experiment_id)
        return str(self._client.create_experiment(name, artifact_location=artifact_location(self._url, name)))

    def _log(self, run_id: str, report: RunReport, content: bytes) -> None:
        from mlflow.entities import Metric, Param

        at = _millis(report.created_at)
        metrics = [Metric(name, value, at, step) for name, value, step in _points(report)]
        parameters = [Param(name, value) for name, value in report.parameters.items()]
        for start in range(0, len(metrics), 1000):
            self._client.log_batch(run_id, metrics=metrics[start : start + 1000])
        for start in range(0, len(parameters), 100):
            self._client.log_batch(run_id, params=parameters[start : start + 100])
        with tempfile.TemporaryDirectory(prefix="knowgate-mlflow-") as folder:
            for name, data in _files(report, content).items():
                file = Path(folder) / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
            self._client.log_artifacts(run_id, folder)

    def _find_or_make_version(self, report: RunReport, run_id: str) -> None:
        name = model_name(report.cascade)
        if not self._has_model(name):
            self._client.create_registered_model(name)
        if self._version(report.cascade, report.bundle) is None:
            source = f"{self._client.get_run(run_id).info.artifact_uri}/bundle"
            tags = {BUNDLE_TAG: report.bundle, "knowgate.status": report.status}
            self._client.create_model_version(name, source=source, run_id=run_id, tags=tags)

    def _version(self, cascade: str, bundle: str) -> str | None:
        where = f"name = '{model_name(cascade)}' and tags.`{BUNDLE_TAG}` = '{bundle}'"
        versions = self._client.search_model_versions(where, max_results=1)
        return str(versions[0].version) if versions else None

    def _has_model(self, name: str) -> bool:
        return bool(self._client.search_registered_models(f"name = '{name}'", max_results=1))


def model_name(cascade: str) -> str:
    """The registered model (and the experiment) of a cascade."""
    return f"knowgate.{cascade}"


def artifact_location(url: str, experiment: str) -> str | None:
    """Where artifacts go when MLflow is a file: beside it. None = the server decides.

    MLflow's own default for a database is a folder under the working directory of whoever comes
    first.
    """
    if not url.startswith("sqlite:///"):
        return None
    database = Path(url.removeprefix("sqlite:///")).resolve()
    return (database.parent / "mlartifacts" / experiment).as_uri()


def _points(report: RunReport) -> Iterator[tuple[str, float, int]]:
    for name, value in _ends(report.figures):
        yield name, value, 0
    for curve in report.curves:
        for step, value in enumerate(curve.values):
            yield curve.name, value, step


def _ends(figures: Iterable[Figure]) -> Iterator[tuple[str, float]]:
    for figure in figures:
        yield figure.name, figure.value
        if figure.low is not None:
            yield f"{figure.name}.low", figure.low
        if figure.high is not None:
            yield f"{figure.name}.high", figure.high


def _files(report: RunReport, content: bytes) -> dict[str, bytes]:
    files = {f"bundle/{report.bundle}.safetensors": content, "report.json": codec.canonical(report)}
    if report.signals:
        files["plots/reliability.png"] = reliability_plot(report.signals)
        files["plots/risk_coverage.png"] = risk_coverage_plot(report.signals)
    return files


def _millis(time: datetime) -> int:
    return int(time.timestamp() * 1000)


def prepare_environment() -> None:
    """What MLflow is to find in the environment, before it is imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """MLflow's, the network's and its database's errors as one of ours."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError, OSError) as error:
        shown = url.split("@")[-1]
        raise RegistryUnreachable(
            f"MLflow at {shown} did not take it ({error}): it is tried again; check that the server runs"
        ) from error
