"""Small engines on real sockets, which speak the protocols as their documentation gives them, or
break them.
"""

import fcntl
import json
import math
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from safetensors.numpy import save_file

Document = dict[str, Any]
DIMENSION = 24  # of the probe in the runtime's cast


def connections_to(url: str) -> int:
    """This process's open connections to a server, whose own ends do not count."""
    port = int(url.rsplit(":", 1)[1].split("/")[0])
    return sum(bool(one.raddr) and one.raddr.port == port for one in psutil.Process().net_connections("tcp"))


def completion(text: str = "B", *, p_t: float | None = 0.95, **changes: Any) -> Document:
    """A chat completion as the OpenAI API documents it."""
    tokens = text.split(" ")
    content = None
    if p_t is not None:
        content = [
            {
                "token": token,
                "logprob": math.log(p_t),
                "bytes": list(token.encode()),
                "top_logprobs": [
                    {"token": token, "logprob": math.log(p_t), "bytes": None},
                    {"token": "C", "logprob": math.log(max(1e-9, 1 - p_t)), "bytes": None},
                ],
            }
            for token in tokens
        ]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None},
        "logprobs": None if content is None else {"content": content, "refusal": None},
        "finish_reason": "stop",
    }
    fields = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "small",
        "choices": [choice | changes.pop("choice", {})],
        "usage": {"prompt_tokens": 20, "completion_tokens": len(tokens), "total_tokens": 20 + len(tokens)},
    }
    return fields | changes


Act = Callable[[BaseHTTPRequestHandler, Document], None]


def answer(document: Document | bytes, *, status: int = 200, **headers: str) -> Act:
    """Answers with a document, in one piece."""
    content = document if isinstance(document, bytes) else json.dumps(document).encode()

    def act(handler: BaseHTTPRequestHandler, _: Document) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return act


def failing(status: int, **headers: str) -> Act:
    return answer({"error": {"message": f"status {status}", "type": "error", "code": None}}, status=status, **headers)


def closing(handler: BaseHTTPRequestHandler, _: Document) -> None:
    """Closes the connection without a word."""
    handler.close_connection = True


def cutting(handler: BaseHTTPRequestHandler, _: Document) -> None:
    """Promises more bytes than it sends, then closes."""
    content = json.dumps(completion()).encode()
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])
    handler.close_connection = True


def dripping(handler: BaseHTTPRequestHandler, _: Document) -> None:
    """Sends a byte every few milliseconds: no wait on the socket is long, and the answer never
    comes.
    """
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    with suppress(OSError):
        for _ in range(1000):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.01)


def dripping_head(handler: BaseHTTPRequestHandler, _: Document) -> None:
    """`dripping`, from the first line of the head on."""
    with suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK")
        for count in range(1000):
            handler.wfile.write(b"X" if count % 40 else b"\r\nX-Padding: ")
            handler.wfile.flush()
            time.sleep(0.01)
    handler.close_connection = True


def chunked_and_cut(handler: BaseHTTPRequestHandler, _: Document) -> None:
    """A chunked body without its last chunk."""
    content = json.dumps(completion()).encode()
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"%x\r\n%b\r\n" % (len(content), content))
    handler.close_connection = True


def resetting(handler: BaseHTTPRequestHandler, _: Document) -> None:
    """Resets the connection in the middle of the body."""
    content = json.dumps(completion()).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[:20])
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


flooded: list[int] = []  # MB that each flood got rid of


def flooding(handler: BaseHTTPRequestHandler, _: Document) -> None:
    """Answers with 100 MB, and notes how many of them were taken."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(100 * 2**20))
    handler.end_headers()
    taken = 0
    with suppress(OSError):
        for _ in range(100):
            handler.wfile.write(b" " * 2**20)
            taken += 1
    flooded.append(taken)
    handler.close_connection = True


def silent(handler: BaseHTTPRequestHandler, _: Document) -> None:
    """Takes the request and says nothing for a while."""
    time.sleep(1.0)
    handler.close_connection = True


@dataclass
class Engine:
    """A server that acts as `script` says, request by request; the last entry goes on for ever."""

    url: str
    script: list[Act]
    asked: list[Document] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def act(self, handler: BaseHTTPRequestHandler, body: Document) -> None:
        with self.lock:
            self.asked.append(body)
            self.headers.append({name.lower(): value for name, value in handler.headers.items()})
            act = self.script[min(len(self.asked), len(self.script)) - 1]
        act(handler, body)


@pytest.fixture
def start() -> Iterator[Callable[..., Engine]]:
    """Starts an engine that acts as given."""
    running: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def started(*script: Act) -> Engine:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.path == "/v1/chat/completions"
                engine.act(self, body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        engine = Engine(f"http://127.0.0.1:{server.server_port}/v1", list(script))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        running.append((server, thread))
        return engine

    yield started
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


def state_of(seed: int, dimension: int = DIMENSION) -> list[float]:
    values: list[float] = np.random.default_rng(seed).normal(size=dimension).astype(np.float16).tolist()
    return values


def sglang(**changes: Any) -> Act:
    """SGLang: the state it returns is that of the last token it ran; only after one token is that
    the prompt's.
    """

    def act(handler: BaseHTTPRequestHandler, body: Document) -> None:
        one = body["max_tokens"] == 1
        choice: Document = {"finish_reason": "length" if one else "stop"}
        if body.get("return_hidden_states") == "last":
            choice["hidden_states"] = state_of(0 if one else 1)
        p_t = changes.get("p_t", 0.95) if body.get("logprobs") else None
        text = "B" if one else "B because of Lima"
        answer(completion(text, p_t=p_t, choice=choice | changes.get("choice", {})))(handler, body)

    return act


def state_at(layer: int, row: int) -> list[float]:
    """What the fake vLLM writes for a token at a layer."""
    return state_of(1000 * layer + row)


def vllm(
    folder: Path,
    *,
    layers: tuple[int, ...] = (12, 7),
    after_s: float = 0.0,
    locks: bool = True,
    rows: int = 20,
    tokens: int | None = None,
    answers: Any = None,
    **tensors: Any,
) -> Act:
    """vLLM with the example connector: answers with the file's path, and writes the file under its
    lock meanwhile.

    As vLLM does, it writes `layers` in ascending order, whatever order it was given them in.
    """
    count = iter(range(1000))

    def act(handler: BaseHTTPRequestHandler, body: Document) -> None:
        path = folder / f"chatcmpl-{next(count)}.safetensors"
        states = np.stack(
            [np.stack([np.float32(state_at(layer, row)) for layer in sorted(layers)]) for row in range(rows)]
        )
        contents = {"hidden_states": states, "token_ids": np.arange(rows if tokens is None else tokens)} | tensors
        lock = None
        if locks:
            lock = os.open(f"{path}.lock", os.O_CREAT | os.O_WRONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
        named = f"/somewhere/in/the/container/{path.name}"
        said = completion("B", kv_transfer_params={"hidden_states_path": named})
        try:
            answer(said | (answers or {}))(handler, body)
        finally:  # it writes, whatever became of whoever asked
            time.sleep(after_s)
            save_file({name: tensor for name, tensor in contents.items() if tensor is not None}, path)
            if lock is not None:
                os.close(lock)

    return act


@pytest.fixture
def acts() -> Any:
    """What an engine may do."""
    from types import SimpleNamespace

    return SimpleNamespace(
        answer=answer,
        completion=completion,
        failing=failing,
        closing=closing,
        cutting=cutting,
        chunked_and_cut=chunked_and_cut,
        dripping=dripping,
        dripping_head=dripping_head,
        flooding=flooding,
        flooded=flooded,
        resetting=resetting,
        silent=silent,
        sglang=sglang,
        vllm=vllm,
        state_of=state_of,
        state_at=state_at,
        connections_to=connections_to,
    )
