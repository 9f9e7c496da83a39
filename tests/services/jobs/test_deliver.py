"""The scheduler's own sweeps tell receivers whose addresses the environment holds."""

from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from sqlalchemy import Engine

from knowgate._records.receivers import Receiver, ReceiverKind
from monitoring.alerts.alerts import settle
from monitoring.alerts.moves import announce_move
from monitoring.names import Rule
from monitoring.rules.rules import Assessment, Standing
from monitoring.watching.reader import Reader
from services.clock import SimulatedClock
from services.declaration.cascade_file import parse_cascade
from services.deliveries import try_receivers
from services.jobs.deliver import DeliverSweep, RenewSweep
from services.jobs.job import JobContext
from services.settings import Settings
from store.backlogs import delivery_backlog
from store.engine import reading, transaction
from store.releases.cascades import apply_cascade
from store.releases.promotions import Outcome, PromotionRecord, add_promotion
from store.watching.deliveries import Fate, newest_deliveries
from tests.servers import Answering, answering, free_port
from tests.services.conftest import CASCADE, NOW

STOPPED = PromotionRecord(
    cascade="trivia",
    bundle=None,
    previous=None,
    outcome=Outcome.STOPPED,
    reason="because",
    check="{}",
    generation=2,
    decided_at=NOW,
)


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


def test_a_test_message_goes_to_every_receiver_once_and_holds_up_no_other(
    engine: Engine, settings: Settings, clock: SimulatedClock
) -> None:
    made = type("ThisOne", (There,), {"got": []})
    with answering(made) as url:
        root = url.removesuffix("/v1")
        receivers = (
            Receiver(name="hook", kind=ReceiverKind.WEBHOOK, url=f"{root}/hook"),
            Receiver(name="prometheus", kind=ReceiverKind.ALERTMANAGER, url=root),
            Receiver(name="gone", kind=ReceiverKind.WEBHOOK, url=f"http://127.0.0.1:{free_port()}/"),
        )
        spec = replace(parse_cascade(CASCADE), receivers=receivers)
        context = JobContext(engine=engine, settings=settings, clock=clock, owner="test")
        with transaction(engine) as session:
            apply_cascade(session, spec, now=NOW)
            try_receivers(session, spec.name, by="ada", now=NOW)
            announce_move(session, spec, STOPPED, add_promotion(session, STOPPED), now=NOW)
        assert DeliverSweep().run(context) == 3, "two trials and the move, in one round"
    (said,) = (said for path, said in made.got if path == "/hook" and said["schema"] == "knowgate.test.v1")
    assert said["test"]["asked_by"] == "ada"
    ((alert,),) = (said for path, said in made.got if path == "/api/v2/alerts")
    assert alert["labels"]["alertname"] == "knowgate_test" and alert["endsAt"] > alert["startsAt"]
    assert alert["annotations"]["summary"] == "This is a test: nothing is wrong."
    with reading(engine) as session:
        fates = {(one.receiver, one.event): one.fate for one in newest_deliveries(session)}
        assert (fates["gone", "test"], fates["gone", "stopped"]) == (Fate.GIVEN_UP, Fate.WAITING)
        assert delivery_backlog(session).given_up == 0, "nobody is woken for a test"
    assert Reader(engine, spec.name, now=NOW).messages()[0] == ()
