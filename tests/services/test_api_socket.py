"""The service over a real socket, spoken to by the runtime's own client."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import uvicorn
from sqlalchemy import Engine

from knowgate import Bundle, Decision, Label, LabelSource, ServiceUnreachable, new_decision_id, read_assignment
from knowgate.client import Acknowledgement, Client
from services.api.app import create_app
from services.settings import Auth, Settings
from store import vectors
from store.engine import reading, transaction
from store.tokens import TokenRole, create_token


@pytest.fixture
def address(settings: Settings, engine: Engine) -> Iterator[str]:
    """A running server that asks for tokens."""
    app = create_app(replace(settings, auth=Auth.ON), engine)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
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
    rows = [replace(decision(index, vector=index), id=new_decision_id(when), occurred_at=when) for index in range(3)]
    receipt = runtime.send_decisions(rows, {0: np.ones((3, 4), np.float16)})
    assert (receipt.stored, receipt.rejected) == (3, ())
    with reading(engine) as session:
        assert len(vectors.vector_rows(session, "trivia", 0, [row.id for row in rows])) == 3
    said = [
        Label(cascade="trivia", source=LabelSource.GOLD, correct=1.0, labelled_at=when, external_id=name)
        for name in ("q0", "not-here-yet")
    ]
    labelled = ingest.send_labels(said)
    assert (labelled.stored, labelled.waiting) == (1, 1)


def test_a_refusal_reaches_the_runtime_in_words(address: str, token: Callable[[TokenRole], str]) -> None:
    reader = Client(address, token(TokenRole.READ))
    with pytest.raises(ServiceUnreachable, match="use a token with role ingest or admin") as caught:
        reader.send_labels([])
    assert caught.value.status == 403
    with pytest.raises(ServiceUnreachable, match="no such cascade"):
        reader.assignment("unheard-of")
