"""Makes traces with the real MLflow: `python -m tests.services.history.mlflow_traces URI FOLDER`.

Two traces in which both tiers answered, the small one with log-probabilities, beside spans that are
no model calls; judged by a person, by a judge, and by code; one judgement is corrected. Written as
`Trace.to_json` and as `mlflow.search_traces` give them.
"""

import sys
from pathlib import Path

import mlflow
from mlflow.entities import AssessmentSource, SpanType

from tests.services.history.logs import QUESTION, completion

TIERS = (("tiny", -0.25), ("huge", None))


def main(uri: str, folder: Path) -> None:
    mlflow.set_tracking_uri(uri)
    experiment = mlflow.create_experiment(folder.name, artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_experiment(folder.name)
    for number in range(2):
        with mlflow.start_span("pipeline") as root:
            root.set_inputs({"question": number})
            spans = [asked(model, logprob) for model, logprob in TIERS]
        mlflow.flush_trace_async_logging()
        judge(root.trace_id, *spans)
    traces = mlflow.search_traces(locations=[experiment], return_type="list")
    (folder / "traces.jsonl").write_text("".join(trace.to_json() + "\n" for trace in traces))
    frame = mlflow.search_traces(locations=[experiment])
    frame.to_json(folder / "frame.jsonl", orient="records", lines=True)
    frame.to_csv(folder / "frame.csv", index=False)


def asked(model: str, logprob: float | None) -> str:
    """A call of a model; the id of its span."""
    with mlflow.start_span("ask", span_type=SpanType.CHAT_MODEL) as span:
        span.set_inputs({"model": model, "messages": [QUESTION]})
        span.set_attribute("mlflow.llm.model", model)
        span.set_attribute("mlflow.chat.tokenUsage", {"input_tokens": 9, "output_tokens": 1})
        span.set_outputs(completion("Lima", logprob, model=model))
    return str(span.span_id)


def judge(trace: str, small: str, large: str) -> None:
    """A person's word on the trace, corrected later; a judge's on the small tier's answer; a
    check's on the large one's.
    """
    person = AssessmentSource(source_type="HUMAN", source_id="jane")
    grader = AssessmentSource(source_type="LLM_JUDGE", source_id="openai:/gpt-4o-mini")
    check = AssessmentSource(source_type="CODE", source_id="exact_match")
    first = mlflow.log_feedback(trace_id=trace, name="correctness", value=False, source=person)
    mlflow.override_feedback(trace_id=trace, assessment_id=first.assessment_id, value=True, source=person)
    mlflow.log_feedback(trace_id=trace, name="correctness", value="no", source=grader, span_id=small)
    mlflow.log_feedback(trace_id=trace, name="correctness", value=0.5, source=check, span_id=large)
    mlflow.log_feedback(trace_id=trace, name="tone", value=0.25, source=grader)
    mlflow.log_expectation(trace_id=trace, name="expected_response", value="Lima", source=person)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
