"""A service over an empty database, on a clock that stands still, and the records that tests send
to it.
"""

import base64
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from factories import make_assignment, make_decision, make_fingerprint
from knowgate import (
    Attempt,
    Bundle,
    BundleDocument,
    Decision,
    LinearProbe,
    Platt,
    Policy,
    PolicyKind,
    ProbeKind,
    Role,
    Signals,
    Standardiser,
    TierDocument,
    TierModels,
    Window,
    decide,
    write_bundle,
)
from knowgate._wire import codec
from services.clock import SimulatedClock
from services.declaration.cascade_file import parse_cascade
from services.settings import Settings, read_settings
from services.web.app import create_app
from services.windows import floor_time
from store.engine import transaction
from store.releases import assignments, bundles, cascades
from store.releases.bundles import BundleStatus


def due_windows(*, every: timedelta, done_until: datetime, now: datetime) -> Iterator[Window]:
    """The whole windows after `done_until` that have ended by `now`, earliest first."""
    start = floor_time(done_until, every)
    while start + every <= now:
        yield Window(start=start, end=start + every)
        start += every


NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
HASH_KEY = "a hash key for tests"

CASCADE = """
name = "trivia"
exploration_rate = 0.25
[[tiers]]
name = "small"
model = "tiny"
parameters = 1e9
prices = [{ since = 2026-01-01T00:00:00Z, usd_per_million_tokens_in = 1, usd_per_million_tokens_out = 2 }]
layers = [1]
[[tiers]]
name = "large"
model = "huge"
parameters = 10e9
prices = [{ since = 2026-01-01T00:00:00Z, usd_per_million_tokens_in = 10, usd_per_million_tokens_out = 20 }]
"""

FINGERPRINT = make_fingerprint(model="tiny", layer=1)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty, migrated database; on PostgreSQL in `make test-all`, since the store's own tests
    run on both always.
    """
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(NOW)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings under the test's own folder; nobody is asked for a token."""
    return read_settings(
        {
            "KNOWGATE_DATA_DIR": str(tmp_path / "data"),
            "KNOWGATE_AUTH": "off",
            "KNOWGATE_HASH_KEY": HASH_KEY,
            "KNOWGATE_MAX_BODY_BYTES": "200000",
        }
    )


@pytest.fixture
def serve(engine: Engine, clock: SimulatedClock) -> Iterator[Callable[[Settings], TestClient]]:
    """Starts the service with given settings."""
    opened: list[TestClient] = []

    def start(settings: Settings) -> TestClient:
        app = create_app(settings, engine, clock=clock)
        client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)
        opened.append(client)
        return client

    yield start
    for client in opened:
        client.close()


@pytest.fixture
def client(serve: Callable[[Settings], TestClient], settings: Settings) -> TestClient:
    return serve(settings)


@pytest.fixture
def trivia(engine: Engine) -> str:
    """The cascade `trivia`, applied; nothing is assigned."""
    with transaction(engine) as session:
        cascades.apply_cascade(session, parse_cascade(CASCADE), now=NOW)
    return "trivia"


@pytest.fixture
def decision() -> Callable[..., Decision]:
    """Makes a decision whose small tier was escalated over; `changes` are fields of the
    decision.
    """

    def make(index: int = 0, *, vector: int | None = None, **changes: Any) -> Decision:
        when = NOW - timedelta(hours=1) + timedelta(seconds=index)
        policy = Policy.of(PolicyKind.P_T, ({"p_t": 0.9},))
        signals = Signals(p_t=0.5)
        made = make_decision(
            when,
            cascade="trivia",
            external_id=f"q{index}",
            slice="geography",
            attempts=(
                Attempt(
                    tier=0,
                    role=Role.SUPERSEDED,
                    model="tiny",
                    signals=signals,
                    verdict=decide(policy, signals),
                    fingerprint=FINGERPRINT,
                    run_propensity=1.0,
                    tokens_in=100,
                    tokens_out=1,
                    vector=vector,
                ),
                Attempt(tier=1, role=Role.SERVED, model="huge", run_propensity=1.0, tokens_in=100, tokens_out=1),
            ),
            exploration_rate=0.25,
        )
        return replace(made, **changes)

    return make


@pytest.fixture
def reported(engine: Engine, trivia: str, decision: Callable[..., Decision]) -> Window:
    """The day of twenty decisions of `trivia`, with Evidently's report on it in the store."""
    from monitoring.reports.daily_report import ReportParts, daily_report
    from monitoring.watching.reader import Reader
    from store.traffic.decisions import add_decisions
    from store.watching.drift_reports import DAILY, DriftReport, put_report

    window = Window(start=floor_time(NOW, timedelta(days=1)), end=floor_time(NOW, timedelta(days=1)) + timedelta(1))
    with transaction(engine) as session:
        add_decisions(session, [decision(index) for index in range(20)], received_at=NOW)
    day = Reader(engine, trivia, now=NOW).cohort(window)
    made = daily_report(ReportParts(day=day, week=None, champion=None, sides={}))
    assert made is not None
    with transaction(engine) as session:
        put_report(
            session,
            DriftReport(cascade=trivia, window=window, tier=None, name=DAILY, document=made.document, computed_at=NOW),
        )
    return window


@pytest.fixture
def bundle() -> Bundle:
    """A bundle that keeps what its probe and the answer's probability are sure of."""
    mean, scale = np.zeros(4, dtype=np.float32), np.ones(4, dtype=np.float32)
    document = TierDocument(
        fingerprint=FINGERPRINT,
        probe=ProbeKind.LINEAR,
        dimension=4,
        ik_calibrator=Platt(slope=1.0, intercept=0.0),
        ood=False,
    )
    models = TierModels(
        document=document,
        standardiser=Standardiser(mean=mean, scale=scale),
        probe=LinearProbe(weight=np.array([1, 0, 0, 0], dtype=np.float32), bias=0.0),
        ood=None,
    )
    return write_bundle(
        BundleDocument(
            cascade="trivia",
            tiers=(document,),
            models=("tiny", "huge"),
            policy=Policy.of(
                PolicyKind.GATES,
                ({"p_ik": 0.6, "p_t": 0.8},),
                Policy.of(PolicyKind.P_T, ({"p_t": 0.95},)),
            ),
            certificate=None,
            training_window=None,
            rows={},
            mlflow_run=None,
            code_version="test",
            parent=None,
            created_at=NOW,
        ),
        (models,),
    )


@pytest.fixture
def promoted(engine: Engine, trivia: str, bundle: Bundle) -> Bundle:
    """The bundle, in force as generation 1."""
    with transaction(engine) as session:
        bundles.add_bundle(
            session,
            bundle.id,
            trivia,
            codec.canonical(bundle.document),
            bundle.content,
            BundleStatus.PROMOTED,
            NOW,
        )
        new = make_assignment(
            cascade=trivia,
            champion=bundle.id,
            exploration_rate=0.25,
            issued_at=NOW - timedelta(days=1),
            valid_until=NOW,
        )
        assignments.swap_assignment(session, new, expected_generation=None, now=NOW)
    return bundle


@pytest.fixture
def hidden_base64() -> Callable[[float], str]:
    """A hidden state whose probe's logit is `first`, as a gateway sends it."""
    return lambda first: base64.b64encode(np.array([first, 0, 0, 0], dtype="<f2").tobytes()).decode()
