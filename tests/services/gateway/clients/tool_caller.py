"""A server before a real llama.cpp that calls tools: the model at hand knows none.

A request with tools is asked for as JSON of the first tool's parameters, by llama.cpp's grammar,
and what comes is handed on as a call of that tool. Everything else goes through as it is.
"""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MOST, MOST_OF_JSON = 24, 200  # tokens of an answer: nobody reads what the small model goes on to say


@contextmanager
def calling_tools(url: str) -> Iterator[str]:
    """The root of such a server's API, before the one at `url`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            tools, messages = body.get("tools"), body.get("messages") or [{}]
            if tools and body.get("tool_choice") != "none" and messages[-1].get("role") != "tool":
                self.answer(*_called(url + self.path.removeprefix("/v1"), body))
            else:
                named = {name: value for name, value in body.items() if name not in ("tools", "tool_choice")}
                self.answer(*_asked(url + self.path.removeprefix("/v1"), named))

        def answer(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _asked(url: str, body: dict[str, Any]) -> tuple[int, str, bytes]:
    limits: dict[str, Any] = {"max_tokens": min(body.get("max_tokens") or MOST, MOST)}
    if body.get("response_format"):  # sampled, the small model now and then goes on with spaces
        limits = {"max_tokens": MOST_OF_JSON, "temperature": 0}
    elif url.endswith("/responses"):
        limits = {"max_output_tokens": MOST}
    request = urllib.request.Request(url, json.dumps(body | limits).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read()


def _called(url: str, body: dict[str, Any]) -> tuple[int, str, bytes]:
    tool = body["tools"][0]["function"]
    schema = {"name": tool["name"], "schema": tool["parameters"]}
    plain = {"model": body["model"], "messages": body["messages"], "temperature": 0}
    status, kind, content = _asked(url, plain | {"response_format": {"type": "json_schema", "json_schema": schema}})
    if status != 200:
        return status, kind, content
    document = json.loads(content)
    arguments = document["choices"][0]["message"]["content"]
    call = {"id": "call_1", "type": "function", "function": {"name": tool["name"], "arguments": arguments}}
    choice = {"index": 0, "finish_reason": "tool_calls"}
    if not body.get("stream"):
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        return 200, kind, json.dumps(document | {"choices": [choice | {"message": message}]}).encode()
    head = {"id": document["id"], "object": "chat.completion.chunk", "created": 1, "model": document["model"]}
    delta = {"role": "assistant", "tool_calls": [{"index": 0} | call]}
    events = [
        head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        head | {"choices": [choice | {"delta": {}}]},
        head | {"choices": [], "usage": document["usage"]},
    ]
    lines = [f"data: {json.dumps(event)}\n\n" for event in events] + ["data: [DONE]\n\n"]
    return 200, "text/event-stream", "".join(lines).encode()
