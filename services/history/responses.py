"""What the Responses API of OpenAI returns and is asked, as chat completions say it."""

from collections.abc import Mapping
from typing import Any

from services.outcome_tables.places import Json

_TEXTS = ("input_text", "output_text")  # kinds of parts
_CUT_OFF = {"max_output_tokens": "length", "content_filter": "content_filter"}  # why it is incomplete


def response_of(answer: Json) -> Mapping[str, Json] | None:
    """The response that a logged answer is, or whose `output` it is; None where it is something
    else.
    """
    if isinstance(answer, Mapping):
        return answer if isinstance(answer.get("output"), list) else None
    if isinstance(answer, list) and any(isinstance(one, Mapping) and one.get("type") == "message" for one in answer):
        return {"output": answer}
    return None


def completion_of(response: Mapping[str, Json]) -> dict[str, Json]:
    """The response as a chat completion: the parts of its messages, which `read_chat` knows, its
    calls of tools, log-probabilities where every text has them.
    """
    items = [item for item in response["output"] if isinstance(item, Mapping)]
    parts = [part for item in items if item.get("type") == "message" for part in _listed(item.get("content"))]
    texts = [part for part in parts if part.get("type") == "output_text"]
    message: dict[str, Any] = {"role": "assistant", "content": parts}
    calls = [item for item in items if str(item.get("type")).endswith("_call")]
    if calls:
        message["tool_calls"] = calls
    usage = response.get("usage")
    usage = usage if isinstance(usage, Mapping) else {}
    choice = {"message": message, "logprobs": _logprobs(texts), "finish_reason": _ended(response, bool(calls))}
    return {
        "choices": [choice],
        "usage": {"prompt_tokens": usage.get("input_tokens"), "completion_tokens": usage.get("output_tokens")},
    }


def message_of(message: Mapping[str, Json]) -> dict[str, Json]:
    """A message of its input as one of a chat: its texts in one, where it has nothing but texts."""
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    if parts and all(isinstance(part, Mapping) and part.get("type") in _TEXTS for part in parts):
        return {**message, "content": "".join(str(part.get("text")) for part in parts)}
    return dict(message)


def _logprobs(texts: list[Mapping[str, Json]]) -> Json:
    listed = [tokens for part in texts if isinstance(tokens := part.get("logprobs"), list) and tokens]
    if not listed or len(listed) < len(texts):
        return None
    return {"content": [token for one in listed for token in one]}


def _ended(response: Mapping[str, Json], called: bool) -> Json:
    if response.get("status") == "incomplete":
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, Mapping) else None
        return _CUT_OFF.get(str(reason), "length")
    return "tool_calls" if called else "stop"


def _listed(content: Json) -> list[Mapping[str, Json]]:
    return [part for part in content if isinstance(part, Mapping)] if isinstance(content, list) else []
