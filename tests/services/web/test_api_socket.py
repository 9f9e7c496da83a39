"""The service over a real socket, spoken to by the runtime's own client."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx2
import numpy as np
import pytest
import uvicorn
from sqlalchemy import Engine

from factories import make_label
from knowgate import Bundle, Decision, ServiceUnreachable, new_id, read_assignment
from knowgate._shipping.client import Acknowledgement, Client
from services.declaration.cascade_file import parse_cascade
from services.settings import Auth, Settings
from services.web.app import create_app
from store.engine import open_engine, reading, transaction
from store.releases import cascades
from store.tokens import TokenRole, create_token
from store.traffic import vectors
from tests.services.conftest import CASCADE, NOW


@pytest.fixture
def address(settings: Settings, engine: Engine) -> Iterator[str]:
    """A running server that asks for tokens."""
    with served(settings.model_copy(update={"auth": Auth.ON}), engine) as address:
        yield address


@contextmanager
def served(settings: Settings, engine: Engine) -> Iterator[str]:
    app = create_app(settings, engine)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def token(engine: Engine) -> Callable[[TokenRole], str]:
    def make(role: TokenRole) -> str:
        with transaction(engine) as session:
            return create_token(session, f"test-{role}", role, datetime.now(UTC))

    return make


def test_a_runtimes_whole_conversation(
    address: str,
    token: Callable[[TokenRole], str],
    engine: Engine,
    promoted: Bundle,
    decision: Callable[..., Decision],
) -> None:
    runtime, ingest = Client(address, token(TokenRole.RUNTIME)), Client(address, token(TokenRole.INGEST))
    fetched = runtime.assignment("trivia")
    assert fetched is not None
    assignment = read_assignment(json.loads(fetched.content))
    assert runtime.assignment("trivia", fetched.etag) is None
    assert runtime.bundle(promoted.id).content == promoted.content
    runtime.acknowledge(
        "trivia",
        Acknowledgement(
            runtime="r1",
            generation=assignment.generation,
            bundle=promoted.id,
            accepted=True,
            reason=None,
            acknowledged_at=datetime.now(UTC),
        ),
    )
    when = datetime.now(UTC) - timedelta(minutes=1)
    rows = [replace(decision(index, vector=index), id=new_id(when), occurred_at=when) for index in range(3)]
    receipt = runtime.send_decisions(rows, {0: np.ones((3, 4), np.float16)})
    assert (receipt.stored, receipt.rejected) == (3, ())
    with reading(engine) as session:
        assert len(vectors.vector_rows(session, "trivia", 0, [row.id for row in rows])) == 3
    said = [make_label(cascade="trivia", labelled_at=when, external_id=name) for name in ("q0", "not-here-yet")]
    labelled = ingest.send_labels(said)
    assert (labelled.stored, labelled.waiting) == (1, 1)


def test_a_refusal_reaches_the_runtime_in_words(address: str, token: Callable[[TokenRole], str]) -> None:
    reader = Client(address, token(TokenRole.READ))
    with pytest.raises(ServiceUnreachable, match="use a token with role ingest or admin") as caught:
        reader.send_labels([])
    assert caught.value.status == 403
    with pytest.raises(ServiceUnreachable, match="no such cascade"):
        reader.assignment("unheard-of")


@pytest.mark.slow
def test_a_locked_database_keeps_nobody_from_hearing_that_the_process_lives(
    settings: Settings, sqlite_url: str, decision: Callable[..., Decision]
) -> None:
    engine = open_engine(sqlite_url)
    with transaction(engine) as session:
        cascades.apply_cascade(session, parse_cascade(CASCADE), now=NOW)
    with served(settings, engine) as address, ThreadPoolExecutor(60) as pool:
        with transaction(engine) as session:
            session.connection()  # the one writer that SQLite lets in at a time
            sent = [pool.submit(Client(address).send_decisions, [decision(index)], {}) for index in range(60)]
            while engine.pool.checkedout() < 15:  # type: ignore[attr-defined]
                time.sleep(0.02)  # until requests wait in every connection there is, and in every thread
            assert httpx2.get(f"{address}/healthz", timeout=20).json() == {"status": "alive"}
            ready = httpx2.get(f"{address}/readyz", timeout=20)
            assert ready.status_code == 503 and ready.json()["error"]["field"] == "database"
            assert not any(one.done() for one in sent), "they were still waiting"
        assert all(one.result().stored == 1 for one in sent)
    engine.dispose()


@pytest.mark.slow
def test_a_database_that_never_answers_is_told_to_who_asks_whether_the_service_is_ready(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        engine = open_engine(f"postgresql+psycopg://u@127.0.0.1:{silent.getsockname()[1]}/x?connect_timeout=60")
        with served(settings, engine) as address:
            ready = httpx2.get(f"{address}/readyz", timeout=20)
            assert httpx2.get(f"{address}/healthz", timeout=20).json() == {"status": "alive"}
    refusal = ready.json()["error"]
    assert ready.status_code == 503 and refusal["field"] == "database" and "the process lives" in refusal["cure"]
    engine.dispose()
