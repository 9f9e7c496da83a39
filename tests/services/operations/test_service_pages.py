"""The pages about the installation: runtimes, jobs, messages and the ledger."""

from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from factories import make_assignment
from knowgate import Bundle, Window
from services.audit.heads import parse_head
from services.operations.runtimes_page import Standing, standing_of
from services.settings import Auth, Settings
from store.engine import transaction
from store.jobs import job_runs
from store.jobs.job_ticks import put_tick
from store.jobs.outbox import add_message
from store.ledger.ledger import seal
from store.releases import cascade_acts
from store.releases.assignments import RuntimeState, add_acknowledgement
from store.releases.cascade_acts import CascadeAct, CascadeActKind
from store.tokens import TokenRole, create_token
from store.watching import alert_acts
from store.watching.alert_acts import Act, AlertAct
from store.watching.alerts import AlertRecord, open_alert
from store.watching.deliveries import add_delivery, claim_due_deliveries, finish_delivery
from tests.services.conftest import NOW
from tests.services.pages.test_pages import page

PAGES = ("/runtimes", "/jobs", "/messages", "/audit")
SAME = {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"}


def runtime(**changes: Any) -> RuntimeState:
    said = {"cascade": "trivia", "runtime": "r-1", "generation": 1, "bundle": None, "accepted": True, "detail": None}
    return RuntimeState(**(said | {"at": NOW, "heard_at": NOW, "again_s": 90.0} | changes))


@pytest.mark.parametrize(
    ("changes", "standing"),
    [
        ({}, Standing.SERVES),
        ({"generation": 0}, Standing.BEHIND),
        ({"accepted": False}, Standing.REFUSED),
        ({"heard_at": NOW - timedelta(minutes=6)}, Standing.SILENT),
        ({"heard_at": NOW - timedelta(minutes=6), "again_s": None}, Standing.SERVES),  # it speaks of changes alone
        ({"heard_at": NOW - timedelta(days=8)}, Standing.GONE),
    ],
)
def test_a_runtime_stands_as_it_was_last_heard_of(changes: dict[str, Any], standing: Standing) -> None:
    current = make_assignment(cascade="trivia", generation=1)
    assert standing_of(runtime(**changes), current, now=NOW) is standing


def test_silent_runtimes_stand_first_and_in_amber(client: TestClient, engine: Engine, promoted: Bundle) -> None:
    silent = runtime(runtime="<b>", bundle=promoted.id, heard_at=NOW - timedelta(hours=2), version="9.9")
    with transaction(engine) as session:
        add_acknowledgement(session, runtime(unshipped_bytes=5_300_000, refused_rows=1204))
        add_acknowledgement(session, silent)
    text = page(client, "/runtimes")
    assert text.index("&lt;b&gt;") < text.index("r-1")
    for expected in ('<span class="badge risk">silent</span>', "5.3 MB", "1,204", "2 h ago", "9.9"):
        assert expected in text


def test_jobs_say_when_they_were_looked_after_and_what_comes_next(
    client: TestClient, engine: Engine, trivia: str
) -> None:
    assert "No scheduler has looked for work yet: start <code>knowgate scheduler</code>.<" in page(client, "/jobs")
    day = timedelta(days=1)
    hour = Window(start=NOW - timedelta(hours=1), end=NOW)
    with transaction(engine) as session:
        put_tick(session, "monitor", owner="a", now=NOW, error=None)
        put_tick(session, "deliver", owner="a", now=NOW, error="no <luck>")
        run = job_runs.claim(session, "monitor", trivia, hour, owner="a", lease=day, now=NOW)
        assert run is not None
        job_runs.finish(session, run, "watched", now=NOW + timedelta(seconds=12))
        failed = job_runs.claim(session, "train", trivia, hour, owner="a", lease=day, now=NOW)
        assert failed is not None
        job_runs.release(session, failed, error="no memory", retry_at=NOW + timedelta(minutes=5), now=NOW)
        add_message(session, "mlflow", "b" * 64, "{}", now=NOW - timedelta(hours=3))
    text = page(client, "/jobs")
    for expected in ("no &lt;luck&gt;", "nobody looks", "watched", "12 s", "in 1 h", "no memory", "in 5 min"):
        assert expected in text
    assert "3 h ago" in text  # what waits for MLflow
    assert "No scheduler" not in text


def test_a_scheduler_that_stands_still_is_said(client: TestClient, engine: Engine) -> None:
    with transaction(engine) as session:
        put_tick(session, "monitor", owner="a", now=NOW - timedelta(hours=1), error=None)
    assert "No scheduler has looked for work since 2026-03-10 11:00 UTC" in page(client, "/jobs")


@pytest.fixture
def given_up(engine: Engine, trivia: str) -> None:
    """A message that was given up after one try."""
    record = AlertRecord(cascade=trivia, rule="risk", cause="answers lose 4 %", details="{}", opened_at=NOW)
    with transaction(engine) as session:
        alert = open_alert(session, record)
        add_delivery(session, alert, "https://hooks.example.com/secret", "opened", lambda _: "{}", now=NOW)
        (claimed,) = claim_due_deliveries(session, owner="a", now=NOW, lease=timedelta(minutes=1))
        finish_delivery(session, claimed, now=NOW, error="it answered 500", give_up_after=timedelta())


@pytest.mark.usefixtures("given_up")
def test_messages_say_their_fate_and_are_tried_again(client: TestClient) -> None:
    text = page(client, "/messages?fate=given_up")
    assert "it answered 500" in text and "hooks.example.com" in text and "secret" not in text
    assert "None." in page(client, "/messages?fate=received")
    assert "None." not in page(client, "/messages?cascade=trivia&fate=")  # as the form asks for all
    assert "give one of waiting" in page(client, "/messages?fate=lost", status=400)
    action = text.split('action="')[1].split('"')[0]
    assert client.post(action, headers=SAME, follow_redirects=False).status_code == 303
    assert "waits" in page(client, "/messages") and "Try again" not in page(client, "/messages")
    assert "Not done" in client.post(action, headers=SAME).text  # it waits, and was not given up
    assert client.post(action, headers={"Origin": "https://elsewhere.example"}).status_code == 403


def test_what_was_sealed_is_verified_a_piece_at_a_time(client: TestClient, engine: Engine, promoted: Bundle) -> None:
    assert "None yet." in page(client, "/audit") and client.get("/audit/head").status_code == 404
    with transaction(engine) as session:
        assert seal(session, now=NOW) is not None
    assert client.post("/audit", headers=SAME, follow_redirects=False).status_code == 303
    text = page(client, "/audit")
    assert "as it was written" in text and "up to batch 1" in text
    head = client.get("/audit/head")
    assert parse_head(head.text).batches == 1 and ".head" in head.headers["content-disposition"]
    with transaction(engine) as session:
        assert seal(session, now=NOW) is not None  # the verification's own leaf
    client.post("/audit", headers=SAME)
    assert "up to batch 2" in page(client, "/audit")
    assert client.post("/audit", headers={"Origin": "https://elsewhere.example"}).status_code == 403


def test_what_moved_is_told_with_who_and_why(client: TestClient, engine: Engine, trivia: str) -> None:
    record = AlertRecord(cascade=trivia, rule="risk", cause="c", details="{}", opened_at=NOW)
    frozen = CascadeAct(cascade=trivia, act=CascadeActKind.FROZEN, by="ada", reason="a <sale>", at=NOW)
    with transaction(engine) as session:
        key = open_alert(session, record)
        seen = AlertAct(alert_id=key, act=Act.ACKNOWLEDGED, by="bob", reason="on it", at=NOW + timedelta(minutes=1))
        alert_acts.add_act(session, seen)
        cascade_acts.add_act(session, frozen)
    text = page(client, "/audit")
    assert text.index("bob") < text.index("ada")
    for expected in (f'href="/alerts/{key}">alert risk acknowledged', "on it", "frozen", "a &lt;sale&gt;"):
        assert expected in text


def test_a_row_that_somebody_altered_is_found_on_the_page(client: TestClient, engine: Engine, promoted: Bundle) -> None:
    with transaction(engine) as session:
        seal(session, now=NOW)
        session.connection().exec_driver_sql("UPDATE bundle SET status = 'certified'")
    client.post("/audit", headers=SAME)
    text = page(client, "/audit")
    assert "problem" in text and f"bundle {promoted.id}" in text and "Verified here</dt><dd>not yet" in text


@pytest.mark.parametrize("address", PAGES)
def test_who_may_not_look_is_sent_to_sign_in_and_who_may_look_may_not_act(
    serve: Any, settings: Settings, engine: Engine, address: str
) -> None:
    client = serve(settings.model_copy(update={"auth": Auth.ON}))
    response = client.get(address, follow_redirects=False)
    assert (response.status_code, response.headers["location"]) == (303, "/sign-in")
    with transaction(engine) as session:
        reader = create_token(session, "reader", TokenRole.READ, NOW)
    client.post("/sign-in", data={"token": reader}, follow_redirects=False)
    page(client, address)
    assert client.post("/audit", headers=SAME).status_code == 403


def test_the_pages_say_what_will_stand_there(client: TestClient) -> None:
    for address, said in (("/runtimes", "start a gateway"), ("/messages", "None."), ("/audit", "None yet.")):
        assert said in page(client, address)
