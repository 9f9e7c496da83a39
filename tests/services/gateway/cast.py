"""The cast of the gateway's tests: a running control plane, a gateway, and small servers as tiers,
all on real sockets.
"""

import json
import math
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import openai
import uvicorn
from sqlalchemy import Engine

from factories import make_assignment
from knowgate import Bundle, BundleDocument, Policy, PolicyKind, write_bundle
from knowgate._wire import codec
from services.declaration.cascade_file import parse_cascade
from services.gateway.app import create_gateway
from services.gateway.control import declared_cascade
from services.gateway.run import live
from services.gateway.tiers import tier_backends
from services.settings import Settings
from services.web.app import create_app
from store.engine import reading, transaction
from store.releases import assignments, bundles, cascades
from store.releases.bundles import BundleStatus
from store.traffic import decisions

KEY = "a-key-of-the-gateway"
ASKED = [{"role": "user", "content": "Which city?"}]


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
    paths: tuple[str, ...] = ("/v1/chat/completions",)  # that it has
    cuts: bool = False  # breaks a stream off
    events: list[str] | None = None  # what it answers a stream with; None = it has no streams
    event_gate: threading.Event = field(default_factory=threading.Event)  # what comes after the first event waits
    finish_reason: str = "stop"
    message: dict[str, Any] | None = None  # in place of one that holds `text`
    body: dict[str, Any] | None = None  # in place of a completion
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
            while not tier.gate.wait(0.005):
                if select.select([self.connection], [], [], 0)[0] and not self.connection.recv(1, socket.MSG_PEEK):
                    tier.left.set()
                    self.close_connection = True
                    return
            if tier.events is not None and tier.bodies[-1].get("stream") and tier.status == 200:
                self.stream(tier.events)
                return
            token = {"token": tier.text, "logprob": math.log(tier.p_t), "bytes": None, "top_logprobs": []}
            choice = {
                "index": 0,
                "message": {"role": "assistant"} | (tier.message or {"content": tier.text}),
                "logprobs": {"content": [token]},
                "finish_reason": tier.finish_reason,
            }
            usage = {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8}
            completion = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
            completion |= {"choices": [choice], "usage": usage}
            content = json.dumps(completion if tier.body is None else tier.body).encode()
            self.send_response(tier.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            for name, value in tier.headers.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(OSError):  # whoever asked may have gone
                self.wfile.write(content)

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
    yield tier
    tier.gate.set()
    tier.event_gate.set()
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def served(app: Any) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@contextmanager
def running_gateway(settings: Settings, engine: Engine, **options: Any) -> Iterator[tuple[str, str]]:
    """A gateway of the declared cascade, and its control plane: their addresses."""
    with served(create_app(settings, engine)) as control:
        spec = declared_cascade(control, "trivia", None)
        backends = tier_backends(spec, keys={}, fingerprints={}, states_folder=None)
        with live(settings, control, spec, backends, **options) as serving, served(create_gateway(serving)) as url:
            yield url, control


@dataclass
class World:
    """What a test needs of a running gateway."""

    client: openai.OpenAI
    engine: Engine
    small: Tier
    large: Tier
    url: str
    control: str
    settings: Settings


def declare(engine: Engine, small: str, large: str, *, beside: str = "", privacy: str = "hash") -> None:
    """Declares the cascade, `beside` = what else stands in its file, and puts a bundle in force."""
    now = datetime.now(UTC)
    spec = parse_cascade(
        f"""
        name = "trivia"
        exploration_rate = 0.001
        privacy = "{privacy}"
        [[tiers]]
        name = "small"
        model = "tiny"
        parameters = 1e9
        backend = "openai"
        endpoint = "{small}"
        prices = [
            {{ since = 2020-01-01T00:00:00Z, usd_per_million_tokens_in = 1.0, usd_per_million_tokens_out = 2.0 }}
        ]
        [[tiers]]
        name = "large"
        model = "huge"
        parameters = 1e10
        backend = "openai"
        endpoint = "{large}"
        {beside}
        """
    )
    bundle: Bundle = write_bundle(
        BundleDocument(
            cascade="trivia",
            tiers=(None,),
            models=("tiny", "huge"),
            policy=Policy.of(PolicyKind.P_T, ({"p_t": 0.8},)),
            certificate=None,
            training_window=None,
            rows={},
            mlflow_run=None,
            code_version="test",
            parent=None,
            created_at=now,
        ),
        (None,),
    )
    with transaction(engine) as session:
        cascades.apply_cascade(session, spec, now=now)
        document = codec.canonical(bundle.document)
        bundles.add_bundle(session, bundle.id, "trivia", document, bundle.content, BundleStatus.PROMOTED, now)
        first = make_assignment(cascade="trivia", champion=bundle.id, exploration_rate=0.001, issued_at=now)
        assignments.swap_assignment(session, first, expected_generation=None, now=now)


def stored(world: World, external_id: str) -> Any:
    """The decision, once it is shipped."""
    for _ in range(500):
        with reading(world.engine) as session:
            found = decisions.find_decision(session, "trivia", external_id)
        if found is not None:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{external_id} was not shipped")


def sent(world: World, content: str | bytes, headers: dict[str, str] | None = None) -> httpx2.Response:
    """The answer to a body as it is."""
    allowed = {"Authorization": f"Bearer {KEY}"} | (headers or {})
    return httpx2.post(f"{world.url}/v1/chat/completions", content=content, headers=allowed, timeout=60)


def asked(world: World, headers: dict[str, str] | None = None, **changes: Any) -> httpx2.Response:
    """The answer to a conversation, with these fields in its body."""
    return sent(world, json.dumps({"model": "trivia", "messages": ASKED} | changes), headers)


def abandoned(world: World, queries: int) -> Any:
    """What is counted of queries whose callers left, once there are so many."""
    for _ in range(500):
        spent = httpx2.get(f"{world.url}/healthz").json()["abandoned"]
        if spent["queries"] >= queries:
            break
        time.sleep(0.02)
    assert spent["queries"] == queries
    return spent


def metrics(world: World) -> dict[str, float]:
    """The gateway's figures, by name and labels."""
    answer = httpx2.get(f"{world.url}/metrics", headers={"Authorization": f"Bearer {KEY}"})
    assert answer.status_code == 200
    lines = [line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


@contextmanager
def asking(world: World, changes: dict[str, Any]) -> Iterator[None]:
    """A request under way, whose caller leaves at the end of the block."""
    content = json.dumps({"model": "trivia", "messages": ASKED} | changes).encode()
    host, port = world.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEY}\r\n"
        connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        yield


def left_by_its_caller(world: World, at: Tier, changes: dict[str, Any]) -> None:
    """Asks, and closes the connection once `at` is asked, whose gate is closed."""
    before = at.asked
    with asking(world, changes):
        wait_until(lambda: at.asked > before)


def wait_until(true: Callable[[], bool]) -> None:
    """Waits for what has to come; fails where it does not."""
    for _ in range(2000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come")
