"""Servers that say what engines say of themselves, and answer chats with log-probabilities."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.servers import Answering, answering


@dataclass
class Engine:
    """`documents` by path; `refuses` says what is wrong with a chat, if anything."""

    documents: Mapping[str, Any]
    refuses: Callable[[dict[str, Any]], str | None] = lambda body: None
    texts: tuple[str, ...] = ("Paris",)  # of its answers, one after the other and over again
    listed: tuple[str, ...] = ("Paris", "London")  # the tokens that may stand first
    extra: Mapping[str, Any] = field(default_factory=dict)  # of a completion
    of_choice: Mapping[str, Any] = field(default_factory=dict)
    key: str | None = None
    bodies: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        text = self.texts[(len(self.bodies) - 1) % len(self.texts)]
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop",
        }
        if body.get("logprobs"):
            tokens = [{"token": token, "logprob": math.log(0.6 / 2**at)} for at, token in enumerate(self.listed)]
            choice["logprobs"] = {"content": [tokens[0] | {"token": text, "top_logprobs": tokens}]}
        usage = {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8}
        return {"id": "x", "choices": [choice | dict(self.of_choice)], "usage": usage} | dict(self.extra)


def models(*names: str, **fields: Any) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": name, "object": "model"} | fields for name in names]}


LLAMA = {
    "/v1/models": models("tiny.gguf", owned_by="llamacpp", meta={"n_params": 134515008, "n_ctx_train": 2048}),
    "/props": {
        "build_info": "b6000-abc",
        "chat_template": "{{ messages }}",
        "default_generation_settings": {"n_ctx": 512},
    },
}
VLLM = {
    "/v1/models": models("Qwen/Qwen3-8B", owned_by="vllm", max_model_len=32768),
    "/version": {"version": "0.24.0"},
}
SGLANG = {
    "/v1/models": models("Qwen/Qwen3-8B", owned_by="sglang", max_model_len=32768),
    "/get_server_info": {"version": "0.5.17", "revision": "9" * 40, "dtype": "bfloat16", "context_length": None},
}


@contextmanager
def serving(engine: Engine) -> Iterator[str]:
    """The root of its API."""

    class Handler(Answering, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            document = engine.documents.get(self.path)
            self.say(404 if document is None else 200, document)

        def do_POST(self) -> None:
            body = self.read_json()
            engine.bodies.append(body)
            fault = engine.refuses(body)
            self.say(*((200, engine.completion(body)) if fault is None else (400, {"error": {"message": fault}})))

        def say(self, status: int, document: Any) -> None:
            if engine.key is not None and self.headers["Authorization"] != f"Bearer {engine.key}":
                status, document = 401, {"error": {"message": "no good key"}}
            self.answer(status, json.dumps(document).encode())

    with answering(Handler) as engine.url:
        yield engine.url
