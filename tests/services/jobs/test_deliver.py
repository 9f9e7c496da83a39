"""The scheduler's own sweeps tell receivers whose addresses the environment holds."""

from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from sqlalchemy import Engine

from knowgate._records.receivers import Receiver, ReceiverKind
from monitoring.alerts.alerts import settle
from monitoring.names import Rule
from monitoring.rules.rules import Assessment, Standing
from services.clock import SimulatedClock
from services.declaration.cascade_file import parse_cascade
from services.jobs.deliver import DeliverSweep, RenewSweep
from services.jobs.job import JobContext
from services.settings import Settings
from store.engine import reading, transaction
from store.releases.cascades import apply_cascade
from store.watching.deliveries import Fate, newest_deliveries
from tests.servers import Answering, answering
from tests.services.conftest import CASCADE, NOW


class There(Answering, BaseHTTPRequestHandler):
    """Takes what it is sent, without a word, as Alertmanager does."""

    got: list[tuple[str, Any]]

    def do_POST(self) -> None:
        self.got.append((self.path, self.read_json()))
        self.answer(200, b"")


def test_what_is_due_is_sent_and_what_is_open_is_renewed(
    engine: Engine, settings: Settings, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    receivers = (
        Receiver(name="hook", kind=ReceiverKind.WEBHOOK, url_variable="HOOK_URL"),
        Receiver(name="prometheus", kind=ReceiverKind.ALERTMANAGER, url_variable="ALERTMANAGER_URL"),
    )
    spec = replace(parse_cascade(CASCADE), receivers=receivers)
    with_url = settings.model_copy(update={"public_url": "https://knowgate.example"})
    context = JobContext(engine=engine, settings=with_url, clock=clock, owner="test")
    with transaction(engine) as session:
        apply_cascade(session, spec, now=NOW)
        settle(session, spec, Assessment(rule=Rule.RISK, standing=Standing.RAISED, cause="harm"), now=NOW)
    made = type("ThisOne", (There,), {"got": []})
    with answering(made) as url:
        root = url.removesuffix("/v1")
        monkeypatch.setenv("HOOK_URL", f"{root}/hook")
        monkeypatch.setenv("ALERTMANAGER_URL", root)
        assert RenewSweep().run(context) == 0, "its first message waits"
        assert DeliverSweep().run(context) == 2
        assert RenewSweep().run(context) == 1
    assert sorted(path for path, _ in made.got) == ["/api/v2/alerts", "/api/v2/alerts", "/hook"]
    ((renewed,),) = (said for path, said in made.got[-1:])
    assert renewed["generatorURL"].startswith("https://knowgate.example/alerts/")
    with reading(engine) as session:
        assert {one.fate for one in newest_deliveries(session)} == {Fate.RECEIVED}
