"""Where the logs of other systems say what a model was asked and what it answered.

A format is a table: for each field the places where it may lie, looked at in order. What it has no
place for is named with `--map`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from services.outcome_tables.nested_rows import RowFormat

FIELDS = (
    "span_id",  # of the call, by which labels may name it
    "query_id",  # which calls are of one query; the decision's external id
    "model",
    "prompt",  # a text or messages
    "answer",  # a text, a message, the messages of an answer, a whole chat completion or response
    "logprobs",  # of the answer's tokens, as chat completions list them; where the answer does not hold them
    "p_t",  # a probability that was worked out before
    "tokens_in",
    "tokens_out",
    "cost_usd",
    "latency_ms",
    "occurred_at",
    "ended_at",  # for the latency
    "slice",
)


class LogKind(StrEnum):
    """Whose logs `knowgate import` reads."""

    LITELLM = "litellm"
    OPENAI = "openai"
    LANGFUSE = "langfuse"
    MLFLOW = "mlflow"
    PHOENIX = "phoenix"
    JSONL = "jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFormat(RowFormat):
    """What one system writes of a call."""

    base64_spans: bool = False  # spans' ids are 8 bytes in base64; else as they stand


LITELLM = LogFormat(  # the standard logging payload, and rows of LiteLLM_SpendLogs
    places={
        "query_id": ("trace_id", "session_id", "id", "request_id"),
        "span_id": ("id", "request_id"),
        "model": ("model", "model_group"),
        "prompt": ("messages", "proxy_server_request.messages"),
        "answer": ("response",),
        "tokens_in": ("prompt_tokens",),
        "tokens_out": ("completion_tokens",),
        "cost_usd": ("response_cost", "spend"),
        "occurred_at": ("startTime",),
        "ended_at": ("endTime",),
    },
    only={"call_type": ("completion", "acompletion", "responses", "aresponses"), "status": ("success",)},
    utc=True,
)
OPENAI = LogFormat(  # output files of batches, their input files for the prompts; completions and responses one by one
    places={
        "query_id": ("custom_id", "id"),
        "span_id": ("response.body.id", "id"),
        "model": ("response.body.model", "model"),
        "prompt": ("body.messages", "request.messages", "messages", "body.input", "request.input", "input"),
        "answer": ("response.body", "response", "choices", "output"),
        "tokens_in": ("usage.input_tokens", "usage.prompt_tokens"),
        "tokens_out": ("usage.output_tokens", "usage.completion_tokens"),
        "occurred_at": ("response.body.created", "created", "response.body.created_at", "created_at"),
    },
    only={
        "response.status_code": ("200",),
        "response.body.status": ("completed", "incomplete"),  # of a response, which says what it lacks
        "status": ("completed",),  # of one that is the row itself: its output is read alone
    },
)
LANGFUSE = LogFormat(  # observations of the API (camel case) and of exports (snake case); traces with theirs
    places={
        "query_id": ("traceId", "trace_id"),
        "span_id": ("id",),
        "model": ("model", "providedModelName", "provided_model_name"),
        "prompt": ("input.messages", "input"),
        "answer": ("output",),
        "tokens_in": ("usageDetails.input", "usage_details.input", "usage.input", "promptTokens"),
        "tokens_out": ("usageDetails.output", "usage_details.output", "usage.output", "completionTokens"),
        "cost_usd": ("totalCost", "total_cost", "calculatedTotalCost", "costDetails.total", "cost_details.total"),
        "occurred_at": ("startTime", "start_time"),
        "ended_at": ("endTime", "end_time"),
    },
    lists=("observations",),
    only={"type": ("GENERATION",), "level": ("DEBUG", "DEFAULT", "WARNING")},
    utc=True,
)
MLFLOW = LogFormat(  # `Trace.to_json`, and what `mlflow.search_traces` returns
    places={
        "query_id": ("attributes.mlflow.traceRequestId", "info.trace_id", "trace.info.trace_id"),
        "span_id": ("span_id",),
        "model": (
            "attributes.mlflow.llm.model",
            "attributes.mlflow.spanOutputs.model",
            "attributes.mlflow.spanInputs.model",
        ),
        "prompt": ("attributes.mlflow.spanInputs.messages", "attributes.mlflow.spanInputs"),
        "answer": ("attributes.mlflow.spanOutputs",),
        "tokens_in": ("attributes.mlflow.chat.tokenUsage.input_tokens",),
        "tokens_out": ("attributes.mlflow.chat.tokenUsage.output_tokens",),
        "cost_usd": ("attributes.mlflow.llm.cost.total_cost",),
        "occurred_at": ("start_time_unix_nano",),
        "ended_at": ("end_time_unix_nano",),
    },
    lists=("data.spans", "trace.data.spans", "spans"),
    only={
        "attributes.mlflow.spanType": ("CHAT_MODEL", "LLM"),
        "status.code": ("STATUS_CODE_OK", "STATUS_CODE_UNSET", "OK", "UNSET"),
    },
    json_texts="attributes.",
    base64_spans=True,
)
PHOENIX = LogFormat(  # spans of the API, and of `get_spans_dataframe`
    places={
        "query_id": ("context.trace_id", "trace_id"),
        "span_id": ("context.span_id", "span_id"),
        "model": ("attributes.llm.model_name",),
        "prompt": ("attributes.llm.input_messages", "attributes.input.value"),
        "answer": ("attributes.llm.output_messages", "attributes.output.value"),
        "logprobs": ("attributes.output.value.choices.0.logprobs",),
        "tokens_in": ("attributes.llm.token_count.prompt",),
        "tokens_out": ("attributes.llm.token_count.completion",),
        "cost_usd": ("attributes.llm.cost.total",),
        "occurred_at": ("start_time",),
        "ended_at": ("end_time",),
    },
    only={"span_kind": ("LLM",), "attributes.openinference.span.kind": ("LLM",), "status_code": ("OK", "UNSET")},
)
JSONL = LogFormat(  # anybody's own: a field lies in the place of its name, or where --map says
    places={name: (name,) for name in FIELDS}
    | {
        "query_id": ("query_id", "external_id", "id"),
        "prompt": ("prompt", "messages"),
        "answer": ("answer", "response"),
    }
)

FORMATS: Mapping[LogKind, LogFormat] = {
    LogKind.LITELLM: LITELLM,
    LogKind.OPENAI: OPENAI,
    LogKind.LANGFUSE: LANGFUSE,
    LogKind.MLFLOW: MLFLOW,
    LogKind.PHOENIX: PHOENIX,
    LogKind.JSONL: JSONL,
}
