"""An endpoint is asked at addresses that were looked at, by its name, and its answer sends nobody
elsewhere.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("httpx2")

import httpx2

from knowgate.backends.checked import FRESH_S, CheckedTransport
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
