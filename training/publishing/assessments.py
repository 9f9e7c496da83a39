"""Labels and verdicts as assessments of MLflow's traces, each once.

An assessment carries the id of what it says, and is looked for in its trace before it is made. What
is of no trace, or of one that this MLflow has not, is left out; what was taken from MLflow is there
already.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from knowgate._records.records import LabelSource
from store.traffic.evaluations import EXPORTED, Evaluation
from training.publishing.registry import prepare_environment, reaching

FROM_MLFLOW = "mlflow:"
SOURCES = {
    None: "CODE",
    LabelSource.GOLD: "CODE",
    LabelSource.HUMAN: "HUMAN",
    LabelSource.JUDGE: "LLM_JUDGE",
    LabelSource.FEEDBACK: "HUMAN",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessed:
    """What became of a batch."""

    logged: int
    known: int  # were there already
    without_trace: int


class Assessments:
    """The traces of an MLflow server or database at one URL."""

    def __init__(self, url: str) -> None:
        prepare_environment()
        from mlflow.tracing.client import TracingClient  # seconds of imports, paid by those who log

        self._url = url
        with reaching(url):
            self._client = TracingClient(tracking_uri=url)

    def log(self, evaluations: Iterable[Evaluation]) -> Assessed:
        """Log what is of a trace that is there. Raises RegistryUnreachable."""
        logged = known = without = 0
        wanted = [one for one in evaluations if not (one.origin or "").startswith(FROM_MLFLOW)]
        by_trace = sorted(wanted, key=lambda one: (one.trace_id or "", one.at))
        for trace_id, group in groupby(by_trace, key=lambda one: one.trace_id):
            of_trace = list(group)
            there = None if trace_id is None else self._ids_in(f"tr-{trace_id}")
            if there is None:
                without += len(of_trace)
                continue
            new = [one for one in of_trace if one.id not in there]
            known += len(of_trace) - len(new)
            for one in new:
                with reaching(self._url):
                    self._client.log_assessment(f"tr-{trace_id}", _feedback(one))
                logged += 1
        return Assessed(logged=logged, known=known, without_trace=without)

    def _ids_in(self, trace: str) -> set[str] | None:
        """The ids of what a trace is said of by knowgate; None where there is no such trace."""
        from mlflow.exceptions import MlflowException

        with reaching(self._url):
            try:
                info = self._client.get_trace_info(trace)
            except MlflowException as error:
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
                    return None
                raise
        said = (assessment.metadata or {} for assessment in info.assessments or ())
        return {str(metadata[EXPORTED]) for metadata in said if EXPORTED in metadata}


def _feedback(one: Evaluation) -> Any:
    from mlflow.entities import AssessmentSource, Feedback

    millis = int(one.at.timestamp() * 1000)
    said = {
        EXPORTED: one.id,
        "knowgate.decision": str(one.decision_id),
        "knowgate.cascade": one.cascade,
        "knowgate.tier": str(one.tier),
        "knowgate.source": None if one.source is None else one.source.value,
    }
    return Feedback(
        name=one.name.value,
        value=one.value,
        source=AssessmentSource(source_type=SOURCES[one.source], source_id=one.grader or f"knowgate.{one.cascade}"),
        rationale=one.explanation,
        metadata={name: text for name, text in said.items() if text is not None},
        span_id=one.span_id,
        create_time_ms=millis,
        last_update_time_ms=millis,
    )
