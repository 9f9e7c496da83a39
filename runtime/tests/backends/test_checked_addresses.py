"""An endpoint is asked at addresses that were looked at, by its name, and its answer sends nobody
elsewhere.
"""

import ast
import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx2")

import httpx2

from knowgate.backends.checked import FRESH_S, CheckedTransport, checked_async_client, checked_client
from knowgate.backends.endpoint import Endpoint
from knowgate.errors import BackendFailed, Failure

BODY = {"model": "m", "messages": [{"role": "user", "content": "x"}]}


class Moved(BaseHTTPRequestHandler):
    """Sends everybody elsewhere, and keeps by which names it was asked."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        asked.append((self.headers["Host"], self.path))
        answered_at.append(self.server.server_address[0])
        self.send_response(307)
        self.send_header("Location", f"http://127.0.0.1:{self.server.server_address[1]}/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


asked: list[tuple[str, str]] = []
answered_at: list[object] = []


@contextmanager
def serving(address: str, port: int = 0) -> Iterator[int]:
    server = ThreadingHTTPServer((address, port), Moved)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def port() -> Iterator[int]:
    asked.clear()
    with serving("127.0.0.1") as port:
        yield port


def post(url: str) -> BackendFailed:
    endpoint = Endpoint(url, None)
    try:
        with pytest.raises(BackendFailed) as caught:
            endpoint.post(BODY, deadline=time.monotonic() + 20)
    finally:
        endpoint.close()
    return caught.value


@pytest.mark.parametrize("host", ["169.254.1.1", "0xa9fe0101", "[::ffff:169.254.1.1]", "[fe80::1]", "0.0.0.0"])
def test_no_endpoint_is_asked_at_an_address_that_is_refused(host: str) -> None:
    failed = post(f"http://{host}:9/v1")
    assert failed.failure is Failure.UNREACHABLE


def test_a_redirect_is_an_error_and_the_name_that_was_declared_is_the_one_that_is_called(port: int) -> None:
    for host in ("127.0.0.1", "localhost"):
        assert "307" in str(post(f"http://{host}:{port}/v1"))
    assert asked == [(f"{host}:{port}", "/v1/chat/completions") for host in ("127.0.0.1", "localhost")]


def test_a_name_is_looked_up_once_for_the_requests_of_a_while_and_anew_where_nobody_is_there(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, now, look_up = [], [0.0], socket.getaddrinfo

    def noting(host: str, *rest: object, **named: object) -> object:
        names.append(host)
        return look_up(host, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", noting)

    async def ask(to: int, *times: float) -> None:
        for now[0] in times:
            async with asyncio.timeout(20):
                await client.post(f"http://localhost:{to}/v1", json=BODY)

    async def all_of_it() -> None:
        nonlocal client
        async with httpx2.AsyncClient(transport=CheckedTransport(clock=lambda: now[0])) as client:
            await ask(port, 0.0, FRESH_S - 1.0)
            assert names == ["localhost"]
            await ask(port, FRESH_S)
            assert names == ["localhost"] * 2
            for at in range(2):
                with pytest.raises(httpx2.ConnectError):
                    await ask(1, FRESH_S)
                assert names == ["localhost"] * (3 + at)

    client: httpx2.AsyncClient
    asyncio.run(all_of_it())


def test_the_address_that_took_a_connection_is_asked_first_from_then_on(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered_at.clear()
    kinds = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
    names = [(*kinds, (address, port)) for address in ("127.0.0.2", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: names)

    async def ask() -> None:
        async with asyncio.timeout(20), httpx2.AsyncClient(transport=CheckedTransport()) as client:
            await client.post(f"http://models.internal:{port}/v1", json=BODY)
            with serving("127.0.0.2", port):  # too late
                await client.post(f"http://models.internal:{port}/v1", json=BODY)

    asyncio.run(ask())
    assert answered_at == ["127.0.0.1", "127.0.0.1"]


def test_a_client_without_a_loop_looks_too_and_follows_no_redirect(port: int) -> None:
    with checked_client(timeout=20) as client:
        assert client.post(f"http://localhost:{port}/v1", json=BODY).status_code == 307
        for host in ("169.254.1.1", "[fe80::1]", "0.0.0.0"):
            with pytest.raises(httpx2.ConnectError, match="refused"):
                client.get(f"http://{host}:{port}/")
    assert asked == [(f"localhost:{port}", "/v1")]


def test_a_name_that_comes_to_stand_for_another_address_is_not_asked_there(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rebinding: the name stands for a good address where it is looked at, and for a private one
    when anybody looks again.
    """
    names, kind, look_up = iter(["127.0.0.2", "127.0.0.1", "127.0.0.1"]), (socket.AF_INET, 1, 6, ""), socket.getaddrinfo

    def rebound(host: Any, *rest: Any, **named: Any) -> Any:
        known = host != "rebound.example"
        return look_up(host, *rest, **named) if known else [(*kind, (next(names), port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    with checked_client(["127.0.0.2/32"], timeout=20, trust_env=False) as client:
        with pytest.raises(httpx2.ConnectError) as caught:  # nobody listens there
            client.post(f"http://rebound.example:{port}/v1", json=BODY)
        assert "private" not in str(caught.value)
        with pytest.raises(httpx2.ConnectError, match="private"):
            client.post(f"http://rebound.example:{port}/v1", json=BODY)

    async def ask() -> None:
        async with checked_async_client([], timeout=20, trust_env=False) as client:
            with pytest.raises(httpx2.ConnectError, match="private"):
                await client.post(f"http://rebound.example:{port}/v1", json=BODY)

    asyncio.run(ask())
    assert asked == []


@pytest.mark.slow
def test_nobody_makes_a_client_of_http_but_the_checked_ones() -> None:
    root, made = Path(__file__).parents[3], []
    for folder in ("services", "monitoring", "training", "store", "runtime/knowgate"):
        for path in (root / folder).rglob("*.py"):
            made += [
                f"{path.relative_to(root)}:{call.lineno}"
                for call in ast.walk(ast.parse(path.read_text()))
                if isinstance(call, ast.Call)
                and isinstance(call.func, ast.Attribute)
                and isinstance(call.func.value, ast.Name)
                and call.func.value.id == "httpx2"
                and call.func.attr in {"Client", "AsyncClient", "get", "post", "put", "request", "stream", "delete"}
            ]
    # Through a proxy that the environment names, which looks names up itself (docs/security.md).
    through_a_proxy = [one for one in made if one.startswith("runtime/knowgate/backends/endpoint.py")]
    own = [one for one in made if one.startswith("runtime/knowgate/backends/checked.py")]
    assert len(own) == 2 and len(through_a_proxy) == 1 and len(made) == 3, made
