"""Messages reach real receivers on loopback: mail, chat, JSON; those that fail, hang and lie are
heard, end in their time and show no secrets.
"""

import contextlib
import importlib.util
import json
import socket
import time
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes
from email.policy import default
from http.server import BaseHTTPRequestHandler

import pytest
from aiosmtpd.controller import Controller

from knowgate._records.receivers import Hears, Receiver, ReceiverKind, Severity
from monitoring.alerts.alerts import announce_silence, settle
from monitoring.alerts.deliveries import Sending, deliver_due
from monitoring.alerts.moves import announce_move
from monitoring.names import Rule
from monitoring.rules.rules import Assessment, Standing
from store.engine import reading, transaction
from store.releases.cascades import apply_cascade
from store.releases.promotions import Outcome, PromotionRecord, add_promotion
from store.watching.alert_acts import Act, AlertAct
from store.watching.alerts import alerts
from store.watching.deliveries import Fate, newest_deliveries, tries_of
from tests.servers import Answering, answering, free_port


@pytest.fixture
def database_url(sqlite_url):
    """On SQLite alone: the store's own tests see to what differs."""
    return sqlite_url


@pytest.fixture
def sent_to(engine, cast):
    """An alert of a cascade with one receiver at the given address, which then hears of it."""

    def tell(kind, address, *, timeout_s=60.0, secret=None):
        receiver = Receiver(name="there", kind=kind, url_variable="THERE")
        with transaction(engine) as session:
            spec = cast.spec_of(receivers=(receiver,))
            apply_cascade(session, spec, now=cast.DAY)
            raised = Assessment(rule=Rule.RISK, standing=Standing.RAISED, cause="it loses 4 %, 2 % are allowed")
            settle(session, spec, raised, now=cast.DAY)
        sending = Sending(
            owner="w",
            secret=secret,
            variables={"THERE": address},
            public_url="https://knowgate.example",
            timeout_s=timeout_s,
        )
        deliver_due(engine, sending, now=cast.DAY)
        with reading(engine) as session:
            (message,) = newest_deliveries(session)
        return message

    return tell


class Inbox:
    """What a mail server took."""

    def __init__(self):
        self.mails = []

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        self.mails.append((envelope.rcpt_tos, message_from_bytes(envelope.content, policy=default)))
        return "250 taken"


class Chat(Answering, BaseHTTPRequestHandler):
    """A chat's incoming webhook."""

    got: list

    def do_POST(self):
        self.got.append((self.path, self.read_json()))
        self.answer(200, b"ok", "text/plain")


@pytest.fixture
def chat():
    made = type("ThisChat", (Chat,), {"got": []})
    with answering(made) as url:
        yield url.removeprefix("http://").removesuffix("/v1"), made.got


def test_a_mail_is_received_by_a_mail_server(sent_to):
    inbox = Inbox()
    port = free_port()
    server = Controller(inbox, hostname="127.0.0.1", port=port)
    server.start()
    try:
        address = f"mailto://127.0.0.1:{port}?from=knowgate@acme.eu&to=oncall@acme.eu"
        assert sent_to(ReceiverKind.APPRISE, address).fate is Fate.RECEIVED
    finally:
        server.stop()
    ((recipients, mail),) = inbox.mails
    assert recipients == ["oncall@acme.eu"]
    assert mail["Subject"] == "[critical] cities: Accuracy is worse than promised."
    body = mail.get_body(("plain", "html")).get_content()
    assert "It loses 4 %, 2 % are allowed" in body and "https://knowgate.example/alerts/" in body


def test_a_chat_of_slacks_kind_receives_the_text(sent_to, chat):
    address, got = chat
    assert sent_to(ReceiverKind.APPRISE, f"mmost://{address}/hunter2hunter2").fate is Fate.RECEIVED
    ((path, said),) = got
    assert path.endswith("hunter2hunter2")
    assert "[critical] cities: Accuracy is worse than promised." in json.dumps(said)
    assert "What to do: Find out what changed" in json.dumps(said)


def test_a_json_receiver_gets_title_text_and_how_bad_it_is(sent_to, chat):
    address, got = chat
    assert sent_to(ReceiverKind.APPRISE, f"json://{address}/hook").fate is Fate.RECEIVED
    ((_, said),) = got
    assert (said["title"], said["type"]) == ("[critical] cities: Accuracy is worse than promised.", "failure")


class Faulty(Answering, BaseHTTPRequestHandler):
    """Answers as its path says, and lists what is no silence."""

    def do_GET(self):
        self.answer(200, b'[{"id": "7"}]')

    def do_POST(self):
        if self.path.startswith("/redirect"):
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.end_headers()
        elif self.path.startswith("/fail"):
            self.answer(500, b'{"error": "broken"}')
        elif self.path.startswith("/lie"):
            self.answer(200, b'<html>{"error": "sign in first"}</html>', "text/html")
        else:
            with contextlib.suppress(ConnectionError):
                self.send_response(200)
                self.end_headers()
                while self.path.startswith("/drip"):
                    self.wfile.write(b" ")
                    time.sleep(0.05)


@pytest.fixture
def faulty():
    with answering(Faulty) as url:
        yield url.removeprefix("http://").removesuffix("/v1")


@pytest.fixture
def silent():
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "scheme", "path", "says"),
    [
        (ReceiverKind.APPRISE, "json", "/redirect/hunter2", "302"),
        (ReceiverKind.APPRISE, "json", "/fail/hunter2", "500"),
        (ReceiverKind.APPRISE, "json", "/drip/hunter2", "had not answered after 1.5 s"),
        (ReceiverKind.ALERTMANAGER, "http", "/redirect/hunter2", "the receiver answered 302"),
        (ReceiverKind.ALERTMANAGER, "http", "/fail/hunter2", "the receiver answered 500"),
        (ReceiverKind.ALERTMANAGER, "http", "/lie/hunter2", "the answer is not Alertmanager's"),
        (ReceiverKind.ALERTMANAGER, "http", "/drip/hunter2", "had not answered after 1.5 s"),
        (ReceiverKind.WEBHOOK, "http", "/redirect/hunter2", "the receiver answered 302"),
        (ReceiverKind.WEBHOOK, "http", "/fail/hunter2?token=hunter2", "the receiver answered 500"),
    ],
)
def test_a_receiver_that_fails_or_lies_is_heard_and_its_address_is_not_shown(
    sent_to, faulty, caplog, kind, scheme, path, says
):
    message = sent_to(kind, f"{scheme}://{faulty}{path}", timeout_s=1.5 if "drip" in path else 60.0)
    assert message.fate is Fate.WAITING and message.due_at - message.created_at == timedelta(seconds=30)
    assert says in message.last_error
    assert "hunter2" not in message.last_error + caplog.text + message.receiver


@pytest.mark.parametrize("later", [ReceiverKind.ALERTMANAGER, ReceiverKind.APPRISE])
def test_a_silence_that_cannot_be_made_there_holds_up_no_other_message(engine, cast, faulty, chat, later):
    address, got = chat
    receivers = [Receiver(name=name, kind=ReceiverKind.WEBHOOK, url_variable=name.upper()) for name in ("am", "chat")]
    receivers[0] = replace(receivers[0], kind=ReceiverKind.ALERTMANAGER)
    variables = {"AM": f"http://{faulty}/odd", "CHAT": f"http://{address}/"}
    sending = Sending(owner="w", variables=variables)
    with transaction(engine) as session:
        spec = cast.spec_of(receivers=tuple(receivers))
        apply_cascade(session, spec, now=cast.DAY)
        settle(session, spec, Assessment(rule=Rule.RISK, standing=Standing.RAISED, cause="harm"), now=cast.DAY)
        (record,) = alerts(session, spec.name)
        until = cast.DAY + timedelta(days=1)
        act = AlertAct(alert_id=record.id, act=Act.SILENCED, by="ada", reason="seen", at=cast.DAY, until=until)
        announce_silence(session, spec, record, act)
    assert deliver_due(engine, sending, now=cast.DAY) == 2
    with transaction(engine) as session:
        spec = replace(spec, receivers=(replace(receivers[0], kind=later), receivers[1]))
        apply_cascade(session, spec, now=cast.DAY)
        settle(session, spec, Assessment(rule=Rule.DRIFT, standing=Standing.RAISED, cause="moved"), now=cast.DAY)
    deliver_due(engine, sending, now=cast.DAY)
    assert got[-1][1]["alert"]["rule"] == "drift"
    with reading(engine) as session:
        (silence,) = [one for one in newest_deliveries(session) if one.event == "silenced"]
    waits = later is ReceiverKind.ALERTMANAGER
    assert silence.fate is (Fate.WAITING if waits else Fate.RECEIVED)
    assert ("no" if not waits else "list of silences") in (silence.last_error or "no")


@pytest.mark.parametrize(
    ("kind", "scheme"),
    [(ReceiverKind.APPRISE, "json"), (ReceiverKind.APPRISE, "mailto"), (ReceiverKind.WEBHOOK, "http")],
)
def test_a_receiver_that_is_silent_is_left_when_its_time_is_over(sent_to, silent, kind, scheme):
    message = sent_to(kind, f"{scheme}://{silent}/?from=a@b.eu&to=hunter2@b.eu", timeout_s=0.5)
    assert message.fate is Fate.WAITING
    assert message.last_error and "hunter2" not in message.last_error


@pytest.mark.parametrize("address", ["json://169.254.169.254/hunter2", "nonsense://hunter2hunter2"])
def test_an_address_that_is_refused_or_unknown_is_said_without_it(sent_to, address):
    message = sent_to(ReceiverKind.APPRISE, address)
    assert message.fate is Fate.WAITING and "hunter2" not in message.last_error


def test_without_the_library_the_error_names_the_cure(sent_to, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "install knowgate-control with its extra `notify`" in sent_to(ReceiverKind.APPRISE, "json://h").last_error


def test_an_address_that_the_environment_lacks_is_named_by_its_variable(sent_to):
    assert "set THERE, or THERE_FILE" in sent_to(ReceiverKind.APPRISE, "").last_error


def test_moves_are_told_in_their_order_and_a_refusal_is_none(engine, cast, receiver):
    hook = Receiver(name="hook", kind=ReceiverKind.WEBHOOK, url=receiver.url, hears=(Hears.MOVES,))
    pager = Receiver(name="pager", kind=ReceiverKind.WEBHOOK, url=receiver.url, severity=Severity.CRITICAL)
    spec = cast.spec_of(webhooks=("http://127.0.0.1:9/alerts-alone",), receivers=(hook, pager))
    with transaction(engine) as session:
        apply_cascade(session, spec, now=cast.DAY)
        moves = ((Outcome.PROMOTED, 2), (Outcome.REFUSED, None), (Outcome.STOPPED, 3), (Outcome.SHADOWED, 4))
        for outcome, generation in (*moves, (Outcome.RESUMED, 5), (Outcome.OBSERVED, 6)):
            record = PromotionRecord(
                cascade=spec.name,
                bundle=None,
                previous=None,
                outcome=outcome,
                reason="because",
                check="{}",
                generation=generation,
                decided_at=cast.DAY,
            )
            announce_move(session, spec, record, add_promotion(session, record), now=cast.DAY)
    for _ in range(5):
        deliver_due(engine, Sending(owner="w"), now=cast.DAY)
    with reading(engine) as session:
        sent = newest_deliveries(session)
        assert len(tries_of(session, [one.id for one in sent])) == 7
    assert sorted((one.receiver, one.event) for one in sent) == [
        ("hook", "observed"),
        ("hook", "promoted"),
        ("hook", "resumed"),
        ("hook", "shadowed"),
        ("hook", "stopped"),
        ("pager", "resumed"),
        ("pager", "stopped"),
    ], "who heard of the stop hears of its end"
    bodies = [json.loads(body) for _, body in receiver.received]
    to = {str(one.id): one.receiver for one in sent}
    for name, numbers in (("hook", [2, 3, 4, 5, 6]), ("pager", [3, 5])):
        own = [json.loads(body) for headers, body in receiver.received if to[headers["webhook-id"]] == name]
        assert [body["sequence"] for body in own] == numbers
    assert {body["schema"] for body in bodies} == {"knowgate.move.v1"}


def test_a_receiver_that_is_not_declared_any_more_is_said_to_be(engine, cast, sent_to):
    sent_to(ReceiverKind.WEBHOOK, "http://127.0.0.1:9/")
    with transaction(engine) as session:
        apply_cascade(session, cast.spec_of(), now=cast.DAY)
    deliver_due(engine, Sending(owner="w"), now=cast.DAY + timedelta(hours=1))
    with reading(engine) as session:
        (message,) = newest_deliveries(session)
    assert "receiver there is not declared any more" in message.last_error
