"""The cast of the gateway's tests: a running control plane, a gateway, and small servers as tiers,
all on real sockets.
"""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import openai
import uvicorn
from sqlalchemy import Engine

from factories import make_assignment
from knowgate import Bundle, BundleDocument, Fingerprint, Policy, PolicyKind, TierModels, write_bundle
from knowgate._wire import codec
from knowgate.spec import CascadeSpec
from services.declaration.cascade_file import parse_cascade
from services.gateway.app import create_gateway
from services.gateway.control import declared_cascade
from services.gateway.run import live
from services.gateway.tiers import tier_backends
from services.settings import Settings
from services.web.app import create_app
from store.engine import open_engine, reading, transaction
from store.releases import assignments, bundles, cascades
from store.releases.bundles import BundleStatus
from store.traffic import decisions
from tests.services.gateway.small_server import Tier, tier_server

KEY = "a-key-of-the-gateway"
ASKED = [{"role": "user", "content": "Which city?"}]


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
def running_gateway(
    settings: Settings,
    engine: Engine,
    *,
    fingerprint: Fingerprint | None = None,
    states_folder: Path | None = None,
    **options: Any,
) -> Iterator[tuple[str, str]]:
    """A gateway of the declared cascade, and its control plane: their addresses. `fingerprint` is
    of the small tier's states.
    """
    fingerprints = {} if fingerprint is None else {"small": fingerprint}
    with served(create_app(settings, engine)) as control:
        spec = declared_cascade(control, "trivia", None)
        backends = tier_backends(spec, keys={}, fingerprints=fingerprints, states_folder=states_folder)
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


def declare(
    engine: Engine,
    small: str,
    large: str,
    *,
    beside: str = "",
    privacy: str = "hash",
    tier: str = 'backend = "openai"',
    models: TierModels | None = None,
    policy: Policy | None = None,
    exploration_rate: float = 1e-9,
) -> None:
    """Declares the cascade, `beside` = what else stands in its file, and `tier` in that of its
    small tier, and puts a bundle in force: of `models` and `policy`, else of a threshold of P(T).
    """
    now = datetime.now(UTC)
    spec = spec_of(small, large, beside=beside, privacy=privacy, tier=tier, exploration_rate=exploration_rate)
    bundle: Bundle = write_bundle(
        BundleDocument(
            cascade="trivia",
            tiers=(None if models is None else models.document,),
            models=tuple(tier.named_model for tier in spec.tiers),
            p_t_kinds=tuple(tier.p_t_kind for tier in spec.tiers[:-1]),
            policy=policy or Policy.of(PolicyKind.P_T, ({"p_t": 0.8},)),
            certificate=None,
            training_window=None,
            rows={},
            mlflow_run=None,
            code_version="test",
            parent=None,
            created_at=now,
        ),
        (models,),
    )
    with transaction(engine) as session:
        cascades.apply_cascade(session, spec, now=now)
        document = codec.canonical(bundle.document)
        bundles.add_bundle(session, bundle.id, "trivia", document, bundle.content, BundleStatus.PROMOTED, now)
        first = make_assignment(cascade="trivia", champion=bundle.id, exploration_rate=exploration_rate, issued_at=now)
        assignments.swap_assignment(session, first, expected_generation=None, now=now)


def spec_of(
    small: str,
    large: str,
    *,
    beside: str = "",
    privacy: str = "hash",
    tier: str = 'backend = "openai"',
    exploration_rate: float = 1e-9,
) -> CascadeSpec:
    """The cascade, with `beside` in its file, and `tier` in that of its small tier."""
    return parse_cascade(
        f"""
        name = "trivia"
        exploration_rate = {exploration_rate}
        privacy = "{privacy}"
        [[tiers]]
        name = "small"
        model = "tiny"
        parameters = 1e9
        {tier}
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


@contextmanager
def at_work(url: str, settings: Settings, declared: Mapping[str, Any], **options: Any) -> Iterator[World]:
    """A gateway over an empty database, of the cascade that `declared` says, with these options."""
    settings = settings.model_copy(update={"gateway_key": KEY})
    with ExitStack() as stack:
        engine = open_engine(url)
        stack.callback(engine.dispose)
        small, large = (stack.enter_context(tier_server(text, p_t)) for text, p_t in (("Lima", 0.9), ("Quito", 0.7)))
        declare(engine, small.url, large.url, **declared)
        gateway, control = stack.enter_context(running_gateway(settings, engine, **options))
        client = stack.enter_context(openai.OpenAI(base_url=f"{gateway}/v1", api_key=KEY, max_retries=0))
        yield World(client, engine, small, large, gateway, control, settings)


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
