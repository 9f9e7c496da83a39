"""Chat completions in and out: what a request may ask, and how an answer is written.

A cascade answers as it is declared and certified, so a request says what is asked and nothing about
how: `temperature` or `max_tokens` of a caller's own would be another model than the one whose
thresholds were certified, and are refused by name. What the protocol has no word for stands in
`knowgate`, beside the fields that every client knows.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from knowgate._serving.serving import Answer
from knowgate.backends.protocol import Finish
from services.http.errors import ApiError

SLICE, EXTERNAL_ID = "slice", "external_id"
METADATA = (SLICE, EXTERNAL_ID)
READ = ("model", "messages", "stream", "stream_options", "metadata")
UNHEEDED = {"n": (1, None), "user": None, "store": (False, None), "safety_identifier": None}  # None = any value
ROLES = ("system", "developer", "user", "assistant")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """One request that can be answered."""

    messages: tuple[dict[str, Any], ...]
    slice: str | None
    external_id: str | None
    stream: bool
    usage_in_stream: bool


def read_chat_request(document: Any, cascade: str) -> Chat:
    """The request in a parsed body. Raises ApiError 400, or 404 for another model than
    the cascade.
    """
    if not isinstance(document, dict):
        raise ApiError(400, field="body", value=document, cure="send a JSON object with model and messages")
    require_model(document.get("model"), cascade)
    for name, value in document.items():
        if name in READ or (name in UNHEEDED and (UNHEEDED[name] is None or value in (UNHEEDED[name] or ()))):
            continue
        cure = "a cascade answers as it is declared and certified: leave it out"
        raise ApiError(400, field=name, value=value, cure=cure)
    stream, options = document.get("stream"), document.get("stream_options")
    if stream is not None and not isinstance(stream, bool):
        raise ApiError(400, field="stream", value=stream, cure="send true or false")
    if options is not None and not isinstance(options, dict):
        raise ApiError(
            400, field="stream_options", value=options, cure='send an object, such as {"include_usage": true}'
        )
    return Chat(
        messages=_messages(document.get("messages")),
        **_metadata(document.get("metadata")),
        stream=stream is True,
        usage_in_stream=options is not None and options.get("include_usage") is True,
    )


def require_model(model: Any, cascade: str) -> None:
    """Raises ApiError 404 for another model than the cascade."""
    if model != cascade:
        cure = f"this gateway serves the cascade {cascade!r}: send its name as model"
        raise ApiError(404, field="model", value=model, cure=cure)


def completion(answer: Answer, *, cascade: str, tiers: tuple[str, ...], model: str) -> dict[str, Any]:
    """The answer as a chat completion; `model` is that of the tier that answered."""
    message = {"role": "assistant"} | _said(answer)
    document = _head(answer, "chat.completion", model)
    document["choices"] = [{"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(answer)}]
    usage = _usage(answer)
    return document | ({} if usage is None else {"usage": usage}) | {"knowgate": _account(answer, cascade, tiers)}


def completion_chunks(
    answer: Answer, *, cascade: str, tiers: tuple[str, ...], model: str, with_usage: bool
) -> Iterator[str]:
    """The same as server-sent events. The whole text is one chunk: a tier's answer is kept or not
    as a whole.
    """
    head = _head(answer, "chat.completion.chunk", model)
    delta = {"role": "assistant"} | _said(answer)
    if "tool_calls" in delta:
        delta["tool_calls"] = [{"index": at} | call for at, call in enumerate(delta["tool_calls"])]
    account = {"knowgate": _account(answer, cascade, tiers)}
    parts = [head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} | account]
    parts.append(head | {"choices": [{"index": 0, "delta": {}, "finish_reason": _finish_reason(answer)}]})
    if with_usage:
        parts.append(head | {"choices": [], "usage": _usage(answer)})
    for part in parts:
        yield f"data: {json.dumps(part)}\n\n"  # ASCII: a tier may answer with half a surrogate pair
    yield "data: [DONE]\n\n"


def headers_of(answer: Answer) -> dict[str, str]:
    """Which tier answered and why, for whoever reads headers alone."""
    return {
        "Knowgate-Decision": str(answer.decision_id),
        "Knowgate-Tier": str(answer.tier),
        "Knowgate-Reason": _reason(answer),
    }


def _reason(answer: Answer) -> str:
    """Why this tier answered: the reason of the escalation that led to it, or that the first tier's
    answer was kept.
    """
    before = [ruling.verdict.reason for ruling in answer.rulings[:-1]]
    return "retained" if not before or before[-1] is None else before[-1].value


def _said(answer: Answer) -> dict[str, Any]:
    """What the tier that answered said: a text, a refusal or calls of tools."""
    reply = answer.reply
    nothing = not answer.text and (reply.refusal is not None or bool(reply.tool_calls))
    message: dict[str, Any] = {"content": None if nothing else answer.text, "refusal": reply.refusal}
    return message | ({"tool_calls": [dict(call) for call in reply.tool_calls]} if reply.tool_calls else {})


def _finish_reason(answer: Answer) -> str:
    """Why the tier that answered stopped; where it did not tell, it had said all."""
    if answer.reply.finish is None and answer.reply.tool_calls:
        return "tool_calls"
    return str(answer.reply.finish or Finish.STOP)


def _head(answer: Answer, kind: str, model: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{answer.decision_id}", "object": kind, "created": int(time.time()), "model": model}


def _usage(answer: Answer) -> dict[str, int] | None:
    """Of the tier that answered; None where it did not count."""
    shown = answer.reply.shown
    tokens_in, tokens_out = shown.tokens_in, shown.tokens_out
    if tokens_in is None or tokens_out is None:
        return None
    return {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}


def _account(answer: Answer, cascade: str, tiers: tuple[str, ...]) -> dict[str, Any]:
    last = answer.rulings[-1]
    return {
        "cascade": cascade,
        "decision_id": str(answer.decision_id),
        "tier": answer.tier,
        "tier_name": tiers[answer.tier],
        "reason": _reason(answer),
        "generation": last.generation,
        "bundle": last.bundle,
        "explores": answer.explores,
        "attempts": [
            {
                "tier": tier,
                "action": ruling.verdict.action.value,
                "reason": None if ruling.verdict.reason is None else ruling.verdict.reason.value,
                "fallback": ruling.verdict.fallback,
                "note": ruling.note,
            }
            for tier, ruling in enumerate(answer.rulings)
        ],
    }


def _messages(given: Any) -> tuple[dict[str, Any], ...]:
    if not isinstance(given, list) or not given:
        raise ApiError(400, field="messages", value=given, cure="send a list of at least one message")
    for at, message in enumerate(given):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise ApiError(400, field=f"messages[{at}]", value=message, cure=f"give a role of {', '.join(ROLES)}")
        content = message.get("content")
        if not isinstance(content, str) and not (isinstance(content, list) and content):
            raise ApiError(400, field=f"messages[{at}].content", value=content, cure="give text, or a list of parts")
    return tuple(given)


def _metadata(given: Any) -> dict[str, str | None]:
    metadata = {} if given is None else given
    if not isinstance(metadata, dict):
        raise ApiError(400, field="metadata", value=given, cure="send an object of texts")
    for name in metadata:
        if name not in METADATA:
            cure = f"metadata holds {' and '.join(METADATA)} alone: leave it out, or mend its name"
            raise ApiError(400, field=f"metadata.{name}", value=metadata[name], cure=cure)
    for name in METADATA:
        value = metadata.get(name)
        if value is not None and not (isinstance(value, str) and 0 < len(value) <= 512):
            raise ApiError(400, field=f"metadata.{name}", value=value, cure="a text of 1 to 512 characters is expected")
    return {SLICE: metadata.get(SLICE), EXTERNAL_ID: metadata.get(EXTERNAL_ID)}
