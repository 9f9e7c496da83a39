"""What a stranger can make the servers hold is bounded: heads, bodies, forms, connections. Hanging
up is no fault.

On real sockets, against the configuration that `knowgate serve` and `knowgate gateway` serve with.
"""

import asyncio
import json
import logging
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from knowgate import Cascade
from knowgate._shipping.client import Client
from knowgate._shipping.shipper import Shipper
from knowgate._shipping.spool import Spool
from services.declaration.cascade_file import parse_cascade
from services.gateway.app import Serving, create_gateway
from services.http.bodies import read_limited
from services.http.errors import ApiError
from services.settings import Auth, Settings
from services.web.app import create_app
from store.engine import open_engine
from tests.servers import served
from tests.services.conftest import CASCADE

POSTS = {"api": "/v1/decisions", "gateway": "/v1/chat/completions"}


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    """One database will do: no row is looked at."""
    opened = open_engine(sqlite_url)
    yield opened
    opened.dispose()


@pytest.fixture(params=["api", "gateway"])
def app(
    request: pytest.FixtureRequest, settings: Settings, engine: Engine, tmp_path: Path
) -> Iterator[tuple[FastAPI, str]]:
    """Each of the two servers, and where it reads bodies."""
    if request.param == "api":
        yield create_app(settings, engine), POSTS["api"]
        return
    with Spool(tmp_path / "spool") as spool:
        serving = Serving(
            cascade=Cascade("trivia", None, hash_key=b"0123456789abcdef"),
            spec=parse_cascade(CASCADE),
            backends=(),
            shipper=Shipper(spool, Client("http://127.0.0.1:9")),
            max_body_bytes=100_000,
            key=None,
        )
        yield create_gateway(serving), POSTS["gateway"]


@contextmanager
def connected(port: int, sent: bytes = b"") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(sent)
        yield connection


def rest(connection: socket.socket) -> bytes:
    """What comes until the server closes; fails where it does not within 20 s."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


def is_alive(port: int) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=20) as answer:
        return bool(answer.status == 200)


@pytest.mark.parametrize("head", [b"", b"GET / HTTP/1.1\r\nX-Slow: ", b"GE"])
def test_a_connection_that_sends_no_whole_head_is_closed(app: tuple[FastAPI, str], head: bytes) -> None:
    with served(app[0], head_s=0.1) as port, connected(port, head) as connection:
        assert rest(connection) == b""
        assert is_alive(port)


def test_a_second_head_on_a_connection_has_no_more_time_than_the_first(app: tuple[FastAPI, str]) -> None:
    with served(app[0], head_s=0.1) as port, connected(port) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127")
        assert b"HTTP/1.1 200" not in rest(connection)


def test_a_head_without_end_is_not_read_on(app: tuple[FastAPI, str]) -> None:
    sent = 0
    with served(app[0]) as port, connected(port, b"GET / HTTP/1.1\r\n") as connection:
        try:
            for index in range(512):
                sent += connection.send(b"X-%d: %s\r\n" % (index, b"x" * 65_000))
        except ConnectionError:
            pass
        assert b"HTTP/1.1 200" not in rest(connection)
        assert is_alive(port)
    assert sent < 2**24  # what lay in the sockets' own buffers; 32 MiB were offered


@pytest.mark.parametrize("filler", [b"X: " + b"a" * 66_000 + b"\r\n", b"X: aaaaaaaaaa\r\n" * 5000])
def test_a_head_that_is_too_long_is_refused_though_it_comes_at_once(app: tuple[FastAPI, str], filler: bytes) -> None:
    with served(app[0]) as port:
        with connected(port, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n" + filler + b"\r\n") as connection:
            assert b"HTTP/1.1 200" not in rest(connection)
        long = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 60_000 + b"\r\n"
        with connected(port, long + b"Connection: close\r\n\r\n") as connection:
            assert rest(connection).startswith(b"HTTP/1.1 200")


def test_a_crowd_of_half_open_connections_keeps_nobody_out(app: tuple[FastAPI, str]) -> None:
    with served(app[0], most_connections=5) as port, ExitStack() as crowd:
        waiting = [crowd.enter_context(connected(port, b"GET / HTTP/1.1\r\n")) for _ in range(40)]
        assert is_alive(port)
        assert all(rest(one) == b"" for one in waiting[:30])


def test_one_address_has_no_more_connections_than_its_own_and_its_newest_ones(app: tuple[FastAPI, str]) -> None:
    with served(app[0], most_of_address=5) as port, ExitStack() as crowd:
        waiting = [crowd.enter_context(connected(port, b"GET / HTTP/1.1\r\n")) for _ in range(20)]
        assert is_alive(port)
        assert all(rest(one) == b"" for one in waiting[:10])


def test_a_body_that_nobody_reads_does_not_keep_its_connection(app: tuple[FastAPI, str]) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000000\r\n\r\n"
    with served(app[0], head_s=0.1) as port, connected(port, head) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        with pytest.raises(ConnectionError):
            while True:
                connection.sendall(b"x" * 4096)


def test_a_client_that_is_refused_while_it_sends_reads_why(settings: Settings, engine: Engine) -> None:
    api = create_app(settings.model_copy(update={"auth": Auth.ON, "max_body_bytes": 10**8}), engine)
    content = b"token=" + b"x" * 2**24
    with served(api) as port:
        for path, status in (("/sign-in", 413), ("/v1/decisions", 401)):
            asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=content)
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(asked, timeout=20)
            assert caught.value.code == status and "cure" in caught.value.read().decode()


def test_a_client_that_goes_on_sending_after_its_answer_is_cut_off(settings: Settings, engine: Engine) -> None:
    head = b"POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 1000000000\r\n\r\n"
    with served(create_app(settings, engine), head_s=0.1) as port, connected(port, head) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")
        with pytest.raises(ConnectionError):
            while True:
                connection.sendall(b"x" * 4096)


def test_a_client_that_hangs_up_while_it_sends_is_no_error(
    app: tuple[FastAPI, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    head = f"POST {app[1]} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n"
    with served(app[0]) as port:
        with connected(port, head.encode() + b"\r\n" + b"{" * 100):
            pass
        while "hung up" not in caplog.text:
            assert is_alive(port)
    assert not [record for record in caplog.records if record.levelno > logging.INFO or record.exc_info]


def test_a_client_that_hung_up_is_counted_apart_from_failures(settings: Settings, engine: Engine) -> None:
    api = create_app(settings, engine)
    head = (
        b"POST /v1/labels HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    )
    with served(api) as port:
        with connected(port, head + b"{"):
            pass
        text = ""
        while 'route="/v1/labels"' not in text:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
                text = answer.read().decode()
    assert 'status="499"' in text and 'status="500"' not in text


def test_a_body_that_does_not_go_on_is_given_up() -> None:
    chunks = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive() -> Any:
        if chunks:
            return chunks.pop()
        return await asyncio.sleep(60)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    with pytest.raises(ApiError, match="1 bytes so far") as caught:
        asyncio.run(read_limited(Request(scope, receive), 1000, first_word_s=0.01))
    assert caught.value.status == 408


def test_without_a_token_no_address_reads_more_than_a_form(settings: Settings, engine: Engine) -> None:
    api = create_app(settings.model_copy(update={"auth": Auth.ON, "max_body_bytes": 10**9}), engine)
    paths = [(method, path) for path, found in api.openapi()["paths"].items() for method in found]
    pages = [("post", "/sign-in"), ("post", "/sign-out"), ("get", "/sign-in"), ("get", "/"), ("get", "/docs")]
    for method, path in [*paths, *pages]:
        taken, statuses = asyncio.run(offered(api, method.upper(), path))
        assert taken <= 8192, f"{method} {path} read {taken} bytes"
        assert statuses and statuses[0] != 500, (path, statuses)


async def offered(api: FastAPI, method: str, path: str) -> tuple[int, list[int]]:
    """How much of an endless body an address takes, and what it answers."""
    taken, statuses = 0, []

    async def receive() -> Any:
        nonlocal taken
        taken += 4096
        if taken > 100_000:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": b"a=" + b"x" * 4094, "more_body": True}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/x-www-form-urlencoded")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await api(scope, receive, send)
    return taken, statuses


@pytest.mark.parametrize(
    ("form", "status"), [("token=" + "x" * 5000, 413), ("&".join(f"a{n}=1" for n in range(50)), 400), ("token=x", 401)]
)
def test_the_sign_in_form_is_small(client: TestClient, form: str, status: int) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = client.post("/sign-in", content=form, headers=headers)
    assert answer.status_code == status
    if status != 401:
        assert "a form has at most" in answer.json()["error"]["cure"]


def test_json_that_would_take_time_or_memory_is_refused_at_every_door(client: TestClient) -> None:
    twice = ",".join(f'"k{n}": 1' for n in [*range(3000), 0])
    for path in ("/v1/decisions", "/v1/labels", "/v1/decide", "/v1/cascades/trivia/acknowledgements"):
        for body in ("{" + twice + "}", "[" * 500 + "]" * 500, json.dumps({"x" * 2000: 1})):
            answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code in (400, 413, 422), (path, body[:20], answer.text)
