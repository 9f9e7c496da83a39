"""Where other systems say that an answer was right: MLflow's assessments, Langfuse's scores,
Phoenix's annotations.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from knowgate._records.records import LabelSource
from services.outcome_tables.nested_rows import RowFormat
from store.traffic.evaluations import EXPORTED

FIELDS = ("id", "trace_id", "span_id", "name", "correct", "source", "grader", "labelled_at")


class LabelKind(StrEnum):
    """Whose labels `knowgate labels import` reads."""

    LANGFUSE = "langfuse"
    MLFLOW = "mlflow"
    PHOENIX = "phoenix"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFormat(RowFormat):
    """What one system writes of a label."""

    sources: Mapping[str, LabelSource]  # its words for who made it
    own: tuple[str, ...] = ()  # places where something lies in what knowgate itself gave away


LANGFUSE = LabelFormat(  # scores: of the API (camel case) and of exports (snake case)
    places={
        "id": ("id",),
        "trace_id": ("traceId", "trace_id"),
        "span_id": ("observationId", "observation_id"),
        "name": ("name",),
        "correct": ("stringValue", "string_value", "value"),
        "source": ("source",),
        "grader": ("authorUserId", "author_user_id"),
        "labelled_at": ("updatedAt", "updated_at", "timestamp"),
    },
    lists=("scores",),
    sources={"ANNOTATION": LabelSource.HUMAN, "EVAL": LabelSource.JUDGE, "API": LabelSource.FEEDBACK},
    utc=True,
)
MLFLOW = LabelFormat(  # assessments within `Trace.to_json`, and within what `mlflow.search_traces` returns
    places={
        "id": ("assessment_id",),
        "trace_id": ("trace_id", "info.trace_id"),
        "span_id": ("span_id",),
        "name": ("assessment_name",),
        "correct": ("feedback.value",),
        "source": ("source.source_type",),
        "grader": ("source.source_id",),
        "labelled_at": ("last_update_time", "create_time"),
    },
    lists=("info.assessments", "trace.info.assessments", "assessments"),
    only={"valid": ("True",)},  # one that was overridden is none any more
    sources={
        "HUMAN": LabelSource.HUMAN,
        "LLM_JUDGE": LabelSource.JUDGE,
        "AI_JUDGE": LabelSource.JUDGE,
        "CODE": LabelSource.JUDGE,
    },
    own=(f"metadata.{EXPORTED}",),
)
PHOENIX = LabelFormat(  # annotations: of the API, and of `get_span_annotations_dataframe`
    places={
        "id": ("id",),
        "trace_id": ("trace_id",),
        "span_id": ("span_id", "context.span_id"),
        "name": ("name", "annotation_name"),
        "correct": ("result.score", "score", "result.label", "label"),
        "source": ("annotator_kind",),
        "grader": ("identifier", "user_id"),
        "labelled_at": ("updated_at", "created_at"),
    },
    sources={"HUMAN": LabelSource.HUMAN, "LLM": LabelSource.JUDGE, "CODE": LabelSource.JUDGE},
)
FORMATS: Mapping[LabelKind, LabelFormat] = {
    LabelKind.LANGFUSE: LANGFUSE,
    LabelKind.MLFLOW: MLFLOW,
    LabelKind.PHOENIX: PHOENIX,
}
