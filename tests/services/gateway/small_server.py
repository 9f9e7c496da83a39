"""A small server as a tier: it answers as a test says, fails, waits at a gate, streams, and notices
that whoever asked has gone.
"""

import json
import math
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file


def chunk(text: str | None, **changes: Any) -> str:
    """An event of a streamed completion; None = the one that says why it ends."""
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": None if text else "length"}
    return json.dumps({"id": "x", "object": "chat.completion.chunk", "model": "m", "choices": [choice]} | changes)


USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
EVENTS = [chunk("Qui"), chunk("to"), chunk(None), chunk(None, choices=[], usage=USAGE), "[DONE]"]


@dataclass
class Tier:
    """A server that answers `text`, sure of it by `p_t`, once its gate is open; or fails with
    `status`.
    """

    url: str
    text: str
    p_t: float
    status: int = 200
    asked: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)  # that it was sent, without those of other addresses
    traceparents: list[str | None] = field(default_factory=list)  # of the same
    paths: tuple[str, ...] = ("/v1/chat/completions",)  # that it has
    cuts: bool = False  # breaks a stream off
    events: list[str] | None = None  # what it answers a stream with; None = it has no streams
    event_gate: threading.Event = field(default_factory=threading.Event)  # what comes after the first event waits
    finish_reason: str = "stop"
    state: list[float] | None = None  # the prompt's, which a request of one token reads as SGLang and vLLM do it
    states_folder: Path | None = None  # where it writes that for every request, as vLLM does
    message: dict[str, Any] | None = None  # in place of one that holds `text`
    body: dict[str, Any] | bytes | None = None  # in place of a completion
    headers: dict[str, str] = field(default_factory=dict)
    gate: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)  # whoever asked broke the request off


@contextmanager
def tier_server(text: str, p_t: float) -> Iterator[Tier]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path not in tier.paths:
                self.send_error(404)
                return
            tier.asked += 1
            tier.bodies.append(json.loads(content))
            tier.traceparents.append(self.headers["traceparent"])
            while not tier.gate.wait(0.005):
                if select.select([self.connection], [], [], 0)[0] and not self.connection.recv(1, socket.MSG_PEEK):
                    tier.left.set()
                    self.close_connection = True
                    return
            if tier.events is not None and tier.bodies[-1].get("stream") and tier.status == 200:
                self.stream(tier.events)
                return
            token = {"token": tier.text, "logprob": math.log(tier.p_t), "bytes": None, "top_logprobs": []}
            choice: dict[str, Any] = {
                "index": 0,
                "message": {"role": "assistant"} | (tier.message or {"content": tier.text}),
                "logprobs": {"content": [token]},
                "finish_reason": tier.finish_reason,
            }
            if tier.state is not None and tier.bodies[-1]["max_tokens"] == 1:
                choice["finish_reason"] = "length"
                if tier.bodies[-1].get("return_hidden_states") == "last":
                    choice["hidden_states"] = tier.state
            usage = {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8}
            completion = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
            completion |= {"choices": [choice], "usage": usage} | self.states()
            body = completion if tier.body is None else tier.body
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(tier.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            for name, value in tier.headers.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(OSError):  # whoever asked may have gone
                self.wfile.write(content)

        def states(self) -> dict[str, Any]:
            """What vLLM says of the file that it has written."""
            if tier.states_folder is None:
                return {}
            path = tier.states_folder / f"chatcmpl-{tier.asked}.safetensors"
            states = np.array([[tier.state or [0.0]]] * 7, dtype=np.float32)  # a row for each of the prompt's tokens
            save_file({"hidden_states": states, "token_ids": np.arange(7)}, path)
            return {"kv_transfer_params": {"hidden_states_path": f"/in/the/container/{path.name}"}}

        def stream(self, events: list[str]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream; charset=utf-8")
            self.send_header("Content-Length" if tier.cuts else "Connection", "99999" if tier.cuts else "close")
            self.end_headers()
            self.close_connection = True
            for number, event in enumerate(events):
                while number and not tier.event_gate.wait(0.005):
                    if select.select([self.connection], [], [], 0)[0] and not self.connection.recv(1, socket.MSG_PEEK):
                        tier.left.set()
                        return
                with suppress(OSError):
                    self.wfile.write(f"data: {event}\n\n".encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    tier = Tier(f"http://127.0.0.1:{server.server_port}/v1", text, p_t)
    tier.gate.set()
    tier.event_gate.set()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield tier
    finally:
        tier.gate.set()
        tier.event_gate.set()
        server.shutdown()
        thread.join()
        server.server_close()
