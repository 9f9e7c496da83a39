"""A network that flips bits between a runtime and the API costs time, never a decision, a vector or
a good row.
"""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from factories import make_label
from knowgate import Decision, ServiceUnreachable
from knowgate._shipping.client import Client
from knowgate._shipping.shipper import Shipper
from knowgate._shipping.spool import Spool
from knowgate._wire.digests import content_digest
from services.clock import SimulatedClock
from services.settings import Settings
from services.web.app import create_app
from store.engine import open_engine, reading
from store.shards import shards
from store.traffic import decisions, vectors
from tests.servers import served

VECTORS = "application/vnd.knowgate.safetensors"


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    opened = open_engine(sqlite_url)
    yield opened
    opened.dispose()


@dataclass
class Network:
    """Carries one request a connection, and flips a bit of some: `flips` maps a connection's number
    and a direction to a place within the body, from 0 to 1.
    """

    port: int = 0
    flips: dict[tuple[int, str], float] = field(default_factory=dict)
    carried: int = 0

    def changed(self, direction: str, message: bytes) -> bytes:
        place = self.flips.get((self.carried, direction))
        if place is None:
            return message
        start = message.index(b"\r\n\r\n") + 4
        at = start + round(place * (len(message) - 1 - start))
        return message[:at] + bytes([message[at] ^ 0x01]) + message[at + 1 :]


@contextmanager
def network(upstream: int) -> Iterator[Network]:
    between = Network()
    listening = socket.create_server(("127.0.0.1", 0))
    between.port = listening.getsockname()[1]

    def carry() -> None:
        while True:
            try:
                near, _ = listening.accept()
            except OSError:
                return
            with near, socket.create_connection(("127.0.0.1", upstream)) as far:
                far.sendall(between.changed("there", request(near)))
                near.sendall(between.changed("back", b"".join(iter(lambda: far.recv(65536), b""))))
                between.carried += 1

    thread = threading.Thread(target=carry, daemon=True)
    thread.start()
    yield between
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()


def request(near: socket.socket) -> bytes:
    content = b""
    while b"\r\n\r\n" not in content:
        content += near.recv(65536)
    length = re.search(rb"content-length: *(\d+)", content, re.I)
    whole = content.index(b"\r\n\r\n") + 4 + int(length[1] if length else 0)
    while len(content) < whole:
        content += near.recv(65536)
    return content


@pytest.fixture
def between(settings: Settings, engine: Engine, clock: SimulatedClock, trivia: str) -> Iterator[Network]:
    with served(create_app(settings, engine, clock=clock)) as port, network(port) as carried:
        yield carried


@pytest.mark.parametrize("with_vectors", [False, True])
def test_bits_that_flip_on_the_way_lose_and_change_nothing(
    between: Network, engine: Engine, decision: Callable[..., Decision], tmp_path: Path, with_vectors: bool
) -> None:
    rows = [decision(index, vector=0 if with_vectors else None) for index in range(4)]
    places = [0.0, 0.07, 0.21, 0.35, 0.5, 0.66, 0.8, 0.93, 1.0]
    between.flips = {(2 * n, "there"): place for n, place in enumerate(places)}
    between.flips |= {(2 * n + 1, "back"): place for n, place in enumerate(places)}
    with Spool(tmp_path / "spool") as spool:
        shipper = Shipper(spool, Client(f"http://127.0.0.1:{between.port}"))
        for index, row in enumerate(rows):
            spool.append(row, [np.full(4, index, np.float16)] if with_vectors else [])
        failed = 0
        while spool.unshipped_bytes and failed < 100:
            try:
                shipper.ship_batch()
            except ServiceUnreachable:
                failed += 1
        assert failed == 2 * len(places)
        assert (spool.unshipped_bytes, shipper.rejected) == (0, 0)
    assert not (tmp_path / "spool" / "rejected.jsonl").exists()
    with reading(engine) as session:
        for index, row in enumerate(rows):
            kept = decisions.decision(session, row.id)
            assert (kept.external_id, kept.occurred_at) == (row.external_id, row.occurred_at)
            if with_vectors:
                place = vectors.vector_rows(session, "trivia", 0, [row.id])[row.id]
                np.testing.assert_array_equal(shards.read_rows(place.url, [place.row]), [[index] * 4])


def test_a_row_that_is_bad_is_still_refused_for_good(
    between: Network, decision: Callable[..., Decision], tmp_path: Path
) -> None:
    between.flips = {(0, "there"): 0.5, (1, "back"): 0.5}
    with Spool(tmp_path / "spool") as spool:
        shipper = Shipper(spool, Client(f"http://127.0.0.1:{between.port}"))
        spool.append(decision(0, cascade="unheard-of"))
        spool.append(decision(1))
        for _ in range(2):
            with pytest.raises(ServiceUnreachable, match="on its way"):
                shipper.ship_batch()
        assert shipper.ship_batch()
        assert (shipper.shipped, shipper.rejected) == (1, 1)


def test_labels_and_what_is_fetched_are_checked_too(between: Network, clock: SimulatedClock) -> None:
    client = Client(f"http://127.0.0.1:{between.port}")
    label = make_label(cascade="trivia", labelled_at=clock.now(), external_id="not-here-yet")
    between.flips = {(0, "there"): 0.9, (1, "back"): 0.5, (2, "back"): 0.5}
    with pytest.raises(ServiceUnreachable, match="content-digest") as caught:
        client.send_labels([label])
    assert caught.value.status == 409
    for ask in (lambda: client.send_labels([label]), lambda: client.cascade_spec("trivia")):
        with pytest.raises(ServiceUnreachable, match="changed on its way") as caught:
            ask()
        assert caught.value.status is None
    assert client.cascade_spec("trivia").name == "trivia"


@pytest.mark.usefixtures("trivia")
@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/decisions", "application/json"),
        ("/v1/decisions", VECTORS),
        ("/v1/labels", "application/json"),
        ("/v1/decide", "application/json"),
        ("/v1/cascades/trivia/acknowledgements", "application/json"),
    ],
)
def test_a_body_that_is_not_what_its_digest_says_is_told_apart_from_a_bad_one(
    client: TestClient, path: str, kind: str
) -> None:
    def sent(digest: str | None) -> Any:
        headers = {"Content-Type": kind} | ({} if digest is None else {"Content-Digest": digest})
        return client.post(path, content=b"[]", headers=headers)

    for wrong in (content_digest(b"[ ]"), "sha-256=:AAAA:", "sha-256=:not base64:", "md5=:AAAA:, sha-512=:AAAA:"):
        answer = sent(wrong)
        assert (answer.status_code, answer.json()["error"]["field"]) == (409, "content-digest")
        assert answer.headers["content-digest"] == content_digest(answer.content)
    for right in (None, content_digest(b"[]"), "md5=:AAAA:"):
        assert sent(right).status_code in (400, 422)


@pytest.mark.parametrize("unsure", [False, True])
def test_blame_that_may_not_be_the_services_own_must_come_three_times(
    decision: Callable[..., Decision], tmp_path: Path, unsure: bool
) -> None:
    class Proxy:
        asked = 0

        def send_decisions(self, *_: object) -> Any:
            self.asked += 1
            raise ServiceUnreachable("413", status=413, unsure=unsure)

    proxy = Proxy()
    with Spool(tmp_path) as spool:
        spool.append(decision())
        shipper = Shipper(spool, proxy)
        for _ in range(2 if unsure else 0):
            with pytest.raises(ServiceUnreachable):
                shipper.ship_batch()
        assert shipper.ship_batch()
        assert (proxy.asked, shipper.rejected) == (3 if unsure else 1, 1)
