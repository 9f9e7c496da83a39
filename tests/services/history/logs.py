"""Rows as other systems log them, written from their documentation; `tests/training` and the tests
of MLflow here use the real thing.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from openai.types.responses import Response

Json = Any
SYSTEM = {"role": "system", "content": "Answer in a word."}
QUESTION = {"role": "user", "content": "The capital of Peru?"}


def completion(text: str, logprob: float | None = None, *, model: str = "tiny") -> Json:
    """A chat completion, as OpenAI documents it; its one token has `logprob`."""
    token = {"token": text, "bytes": list(text.encode()), "logprob": logprob}
    other = {"token": "no", "bytes": None, "logprob": -3.0}
    listed = None if logprob is None else {"content": [{**token, "top_logprobs": [token, other]}]}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1769904000,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "logprobs": listed,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
    }


def litellm(trace: str, model: str, text: str, logprob: float | None = None, **fields: Json) -> Json:
    """LiteLLM's StandardLoggingPayload."""
    return {
        "id": f"{trace}-{model}",
        "trace_id": trace,
        "call_type": "acompletion",
        "status": "success",
        "response_cost": 0.25,
        "prompt_tokens": 9,
        "completion_tokens": 1,
        "startTime": 1769904000.5,
        "endTime": 1769904000.75,
        "model": model,
        "model_group": "chat",
        "messages": [SYSTEM, QUESTION],
        "response": completion(text, logprob, model=model),
    } | fields


def langfuse(trace: str, model: str, text: str, **fields: Json) -> Json:
    """An observation of Langfuse's blob storage export."""
    return {
        "id": f"{trace}-{model}",
        "trace_id": trace,
        "type": "GENERATION",
        "level": "DEFAULT",
        "start_time": "2026-02-01 00:00:00.500000",
        "end_time": "2026-02-01 00:00:00.750000",
        "provided_model_name": model,
        "input": json.dumps([SYSTEM, QUESTION]),
        "output": json.dumps({"role": "assistant", "content": text}),
        "usage_details": {"input": 9, "output": 1, "total": 10},
        "cost_details": {"input": 0.15, "output": 0.1, "total": 0.25},
        "total_cost": 0.25,
    } | fields


def phoenix(trace: str, model: str, text: str, logprob: float | None = None, **fields: Json) -> Json:
    """A span of Phoenix's API: its attributes are flattened, as OpenInference names them."""
    return {
        "name": "ChatCompletion",
        "context": {"trace_id": trace, "span_id": "5b8ef798a381ae21"},
        "span_kind": "LLM",
        "status_code": "OK",
        "start_time": "2026-02-01T00:00:00.500000+00:00",
        "end_time": "2026-02-01T00:00:00.750000+00:00",
        "attributes": {
            "openinference.span.kind": "LLM",
            "llm.model_name": model,
            "llm.input_messages.0.message.role": "system",
            "llm.input_messages.0.message.content": SYSTEM["content"],
            "llm.input_messages.1.message.role": "user",
            "llm.input_messages.1.message.content": QUESTION["content"],
            "llm.output_messages.0.message.role": "assistant",
            "llm.output_messages.0.message.content": text,
            "llm.token_count.prompt": 9,
            "llm.token_count.completion": 1,
            "llm.cost.total": 0.25,
            "output.value": json.dumps(completion(text, logprob, model=model)),
            "output.mime_type": "application/json",
        },
    } | fields


def batch_output(query: str, model: str, text: str, logprob: float | None = None, *, status: int = 200) -> Json:
    """A line of the output file of an OpenAI batch."""
    body = completion(text, logprob, model=model) if status == 200 else {"error": {"message": "no"}, "model": model}
    return {
        "id": f"batch_req_{query}",
        "custom_id": query,
        "response": {"status_code": status, "request_id": "r", "body": body},
        "error": None,
    }


def batch_input(query: str, text: str) -> Json:
    """A line of the file that asked for it."""
    messages = [SYSTEM, {"role": "user", "content": text}]
    body = {"model": "tiny", "messages": messages}
    return {"custom_id": query, "method": "POST", "url": "/v1/chat/completions", "body": body}


def response(text: str, logprob: float | None = None, *, cut_off: bool = False, model: str = "tiny") -> Json:
    """A response of the Responses API, as OpenAI's own client writes it down; it reasoned first."""
    token = {"token": text, "bytes": list(text.encode()), "logprob": logprob}
    other = {"token": "no", "bytes": [110, 111], "logprob": -3.0}
    listed = None if logprob is None else [{**token, "top_logprobs": [token, other]}]
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": listed}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
    said = {
        "id": f"resp_{text}",
        "object": "response",
        "created_at": 1769904000,
        "status": "incomplete" if cut_off else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut_off else None,
        "model": model,
        "output": [{"type": "reasoning", "id": "rs_1", "summary": []}, message],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 9,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 1,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 10,
        },
    }
    return Response.model_validate(said).model_dump(mode="json")


def lines(path: Path, rows: Iterable[Json]) -> Path:
    """The rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def score(identity: str, trace: str, worth: Json, **fields: Json) -> Json:
    """A score of Langfuse's blob storage export."""
    return {
        "id": identity,
        "trace_id": trace,
        "observation_id": None,
        "name": "correctness",
        "value": worth,
        "string_value": None,
        "data_type": "NUMERIC",
        "source": "ANNOTATION",
        "author_user_id": "jane",
        "timestamp": "2026-02-02 00:00:00.000000",
        "updated_at": "2026-02-02 00:00:00.000000",
    } | fields


def annotation(span: str, **fields: Json) -> Json:
    """An annotation of Phoenix's API."""
    return {
        "id": "U3Bhbg==",
        "span_id": span,
        "name": "correctness",
        "annotator_kind": "HUMAN",
        "result": {"label": "correct", "score": 1.0, "explanation": None},
        "identifier": "jane",
        "created_at": "2026-02-02T00:00:00+00:00",
        "updated_at": "2026-02-03T00:00:00+00:00",
    } | fields
