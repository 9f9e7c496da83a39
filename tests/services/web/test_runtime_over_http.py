"""A running cascade against the running service: what it serves is stored, what is assigned reaches
it.
"""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from sqlalchemy import Engine

from factories import make_assignment
from knowgate import Cascade, Client, Mode, Reason, Role, Shipper, Spool
from knowgate._bundles import signing
from knowgate._records.observation import Observation
from services.settings import Settings
from services.web.app import create_app
from store.engine import reading, transaction
from store.releases import assignments, cascades
from store.traffic.decisions import decision as stored_decision

KEY = b"a hash key for tests"


@pytest.fixture
def service(engine: Engine, settings: Settings) -> Iterator[tuple[str, str]]:
    """The service's url, and the public key it signs with."""
    keys = signing.new_key_pair()
    app = create_app(settings.model_copy(update={"signing_key": keys.private_key}), engine)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}", keys.public_key
    server.should_exit = True
    thread.join()


@pytest.mark.usefixtures("trivia")
def test_what_a_cascade_serves_is_stored_and_what_is_assigned_reaches_it(
    tmp_path: Path, engine: Engine, service: tuple[str, str]
) -> None:
    url, public_key = service
    spool = Spool(tmp_path / "spool")
    shipper = Shipper(spool, Client(url), linger_s=0)
    cascade = Cascade.watch(
        url, cascade="trivia", cache=tmp_path / "cache", public_key=public_key, hash_key=KEY, spool=spool
    )
    with spool, shipper, cascade:
        made = []
        for number in range(5):
            with cascade.open(external_id=f"q{number}", prompt="who?", slice="people") as query:
                ruling = query.attempt(
                    Observation(answer="a", p_t=0.9, hidden=np.ones(16, np.float32), tokens_in=9, tokens_out=1)
                )
                assert ruling.verdict.reason is Reason.NO_BUNDLE
                query.attempt(Observation(answer="b", p_t=0.95, tokens_in=9, tokens_out=1))
            made.append(query.close())
        assert shipper.drain(30)
        assert (shipper.shipped, shipper.rejected, spool.refused) == (5, 0, 0)
        with reading(engine) as session:
            stored = [stored_decision(session, item.id) for item in made]
        assert [item.external_id for item in stored] == [f"q{number}" for number in range(5)]
        assert [attempt.role for attempt in stored[0].attempts] == [Role.SUPERSEDED, Role.SERVED]
        with reading(engine) as session:
            declared = [tier.model for tier in cascades.cascade(session, "trivia").tiers]
        assert [attempt.model for attempt in stored[0].attempts] == declared  # though the runtime knew of no models
        assert shipper.undeclared == 0

        now = datetime.now(UTC)
        given = make_assignment(cascade="trivia", mode=Mode.ESCALATE_ALL, exploration_rate=0.1, issued_at=now)
        with transaction(engine) as session:
            assignments.swap_assignment(session, given, expected_generation=None)
        assert cascade.follower is not None
        cascade.follower.poll()
        assert cascade.follower.last_error is None
        assert cascade.pair is not None and cascade.pair.assignment.mode is Mode.ESCALATE_ALL
        with reading(engine) as session:
            (acknowledgement,) = assignments.acknowledgements(session, "trivia")
        assert (acknowledgement.generation, acknowledgement.accepted, acknowledgement.runtime) == (
            1,
            True,
            cascade.follower.runtime,
        )


@pytest.mark.usefixtures("trivia")
def test_a_runtime_of_other_models_than_are_declared_says_so(
    tmp_path: Path, service: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    url, _ = service
    with Spool(tmp_path / "spool") as spool, Shipper(spool, Client(url), linger_s=0) as shipper:
        watched = Cascade.watch(url, cascade="trivia", hash_key=KEY, spool=spool, models=("mine", "yours"))
        with watched as cascade, cascade.open(external_id="q") as query:
            query.attempt(Observation(answer="a", p_t=0.9))
            query.attempt(Observation(answer="b", p_t=0.9))
        assert shipper.drain(30)
    assert shipper.undeclared == 2
    assert "tier 0: attempts are of the model 'mine'" in caplog.text
