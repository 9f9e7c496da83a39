"""A server before a real llama.cpp that calls tools: the model at hand knows none.

A request with tools is asked for as JSON of the first tool's parameters, by llama.cpp's grammar,
and what comes is handed on as a call of that tool. Everything else goes through as it is.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.servers import Answering, answering

MOST, MOST_OF_JSON = 24, 200  # tokens of an answer: nobody reads what the small model goes on to say


@contextmanager
def calling_tools(url: str) -> Iterator[str]:
    """The root of such a server's API, before the one at `url`."""

    class Handler(Answering, BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.read_json()
            tools, messages = body.get("tools"), body.get("messages") or [{}]
            if tools and body.get("tool_choice") != "none" and messages[-1].get("role") != "tool":
                self.answer(*_called(url + self.path.removeprefix("/v1"), body))
            else:
                named = {name: value for name, value in body.items() if name not in ("tools", "tool_choice")}
                self.answer(*_asked(url + self.path.removeprefix("/v1"), named))

    with answering(Handler) as root:
        yield root


def _asked(url: str, body: dict[str, Any]) -> tuple[int, bytes, str]:
    limits: dict[str, Any] = {"max_tokens": min(body.get("max_tokens") or MOST, MOST)}
    if body.get("response_format"):  # sampled, the small model now and then goes on with spaces
        limits = {"max_tokens": MOST_OF_JSON, "temperature": 0}
    elif url.endswith("/responses"):
        limits = {"max_output_tokens": MOST}
    request = urllib.request.Request(url, json.dumps(body | limits).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.read(), answer.headers["Content-Type"]
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers["Content-Type"]


def _called(url: str, body: dict[str, Any]) -> tuple[int, bytes, str]:
    tool = body["tools"][0]["function"]
    schema = {"name": tool["name"], "schema": tool["parameters"]}
    plain = {"model": body["model"], "messages": body["messages"], "temperature": 0}
    status, content, kind = _asked(url, plain | {"response_format": {"type": "json_schema", "json_schema": schema}})
    if status != 200:
        return status, content, kind
    document = json.loads(content)
    arguments = document["choices"][0]["message"]["content"]
    call = {"id": "call_1", "type": "function", "function": {"name": tool["name"], "arguments": arguments}}
    choice = {"index": 0, "finish_reason": "tool_calls"}
    if not body.get("stream"):
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        return 200, json.dumps(document | {"choices": [choice | {"message": message}]}).encode(), kind
    head = {"id": document["id"], "object": "chat.completion.chunk", "created": 1, "model": document["model"]}
    delta = {"role": "assistant", "tool_calls": [{"index": 0} | call]}
    events = [
        head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        head | {"choices": [choice | {"delta": {}}]},
        head | {"choices": [], "usage": document["usage"]},
    ]
    lines = [f"data: {json.dumps(event)}\n\n" for event in events] + ["data: [DONE]\n\n"]
    return 200, "".join(lines).encode(), "text/event-stream"
