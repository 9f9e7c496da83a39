"""Messages reach a real receiver on loopback, signed; what fails is tried again, and at last given
up in sight.
"""

import contextlib
import json
import socket
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from factories import make_assignment
from monitoring.alerts.alerts import settle
from monitoring.alerts.deliveries import Sending, deliver_due
from monitoring.names import Rule
from monitoring.rules.rules import Assessment, Standing
from store.engine import reading, transaction
from store.releases.assignments import swap_assignment
from store.releases.cascades import apply_cascade
from store.releases.rings import Spoken, rings
from store.watching.alerts import alerts
from store.watching.deliveries import deliveries

SECRET = b"a shared secret"


def raised(cause="savings fell"):
    return Assessment(rule=Rule.SAVINGS, standing=Standing.RAISED, cause=cause, details={"share": 0.41})


@pytest.fixture
def spec(cast, engine, receiver):
    spec = cast.spec_of(webhooks=(receiver.url,))
    with transaction(engine) as session:
        apply_cascade(session, spec, now=cast.DAY)
    return spec


def say(engine, spec, assessment, now):
    with transaction(engine) as session:
        return settle(session, spec, assessment, now=now)


def messages(engine):
    with reading(engine) as session:
        return [message for alert in alerts(session) for message in deliveries(session, alert.id)]


@pytest.mark.slow
def test_an_alert_is_a_row_before_it_is_a_message(engine, spec, receiver, cast):
    say(engine, spec, raised(), cast.DAY)
    assert receiver.received == []
    assert [m.event for m in messages(engine)] == ["opened"]
    assert deliver_due(engine, Sending(owner="w1", secret=SECRET), now=cast.DAY) == 1
    assert len(receiver.received) == 1
    assert deliver_due(engine, Sending(owner="w1", secret=SECRET), now=cast.DAY + timedelta(hours=1)) == 0


def test_a_receiver_checks_a_message_with_the_library_of_standard_webhooks(engine, spec, receiver, cast):
    say(engine, spec, raised("it fell, by 1 €"), cast.DAY)
    deliver_due(engine, Sending(owner="w1", secret=SECRET), now=datetime.now(UTC))
    headers, body = receiver.received[0]
    verified = Webhook(SECRET).verify(body, dict(headers))
    assert (verified["event"], verified["alert"]["rule"], verified["alert"]["cause"]) == (
        "opened",
        "savings",
        "it fell, by 1 €",
    )
    assert verified["alert"]["details"] == {"share": 0.41}
    assert (verified["alert"]["opened_at"], verified["alert"]["resolved_at"]) == (cast.DAY.isoformat(), None)
    for secret, changed, more in (
        (b"another secret", body, {}),
        (SECRET, body + b" ", {}),
        (SECRET, body, {"webhook-id": "another"}),
        (SECRET, body, {"webhook-timestamp": str(int(headers["webhook-timestamp"]) - 1)}),
    ):
        with pytest.raises(WebhookVerificationError, match="No matching signature"):
            Webhook(secret).verify(changed, {**headers, **more})


def test_an_old_message_that_is_sent_again_is_refused(engine, spec, receiver, cast):
    say(engine, spec, raised(), cast.DAY)
    deliver_due(engine, Sending(owner="w1", secret=SECRET), now=datetime.now(UTC) - timedelta(minutes=6))
    headers, body = receiver.received[0]
    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(SECRET).verify(body, dict(headers))


def test_a_message_is_tried_again_later_after_an_error(engine, spec, receiver, cast):
    receiver.answers = [500]
    say(engine, spec, raised(), cast.DAY)
    assert deliver_due(engine, Sending(owner="w1", secret=SECRET), now=cast.DAY) == 0
    message = messages(engine)[0]
    assert message.last_error == "the receiver answered 500"
    assert message.due_at > cast.DAY
    assert deliver_due(engine, Sending(owner="w1", secret=SECRET), now=message.due_at - timedelta(seconds=1)) == 0
    assert deliver_due(engine, Sending(owner="w1", secret=SECRET), now=message.due_at) == 1
    first, second = receiver.received
    assert first[0]["webhook-id"] == second[0]["webhook-id"]
    assert first[1] == second[1]


def test_a_poison_message_is_given_up_in_sight_and_delays_no_other(engine, cast, receiver):
    spec = cast.spec_of(webhooks=("http://127.0.0.1:9/nobody", receiver.url))
    with transaction(engine) as session:
        apply_cascade(session, spec, now=cast.DAY)
    say(engine, spec, raised(), cast.DAY)
    now = cast.DAY
    assert deliver_due(engine, Sending(owner="w1", secret=None), now=now) == 1
    for hours in (7, 36):
        now = cast.DAY + timedelta(hours=hours)
        deliver_due(engine, Sending(owner="w1", secret=None), now=now)
    poison = next(m for m in messages(engine) if "nobody" in m.receiver)
    assert (poison.due_at, poison.delivered_at, poison.attempts) == (None, None, 3)
    assert poison.failed_at == now
    assert "ConnectError" in poison.last_error


def test_a_redirect_is_an_error(engine, spec, receiver, cast):
    receiver.answers = [302]
    say(engine, spec, raised(), cast.DAY)
    assert deliver_due(engine, Sending(owner="w1", secret=SECRET), now=cast.DAY) == 0
    assert messages(engine)[0].last_error == "the receiver answered 302"


def test_without_a_secret_the_message_is_unsigned(engine, spec, receiver, cast):
    say(engine, spec, raised(), cast.DAY)
    deliver_due(engine, Sending(owner="w1", secret=None), now=cast.DAY)
    assert "webhook-signature" not in receiver.received[0][0]


def test_a_rule_that_stays_raised_sends_one_message_and_its_end_another(engine, spec, receiver, cast):
    assert say(engine, spec, raised("first cause"), cast.DAY).event == "opened"
    assert say(engine, spec, raised("second cause"), cast.DAY + timedelta(hours=1)) is None
    unknown = Assessment(rule=Rule.SAVINGS, standing=Standing.UNKNOWN)
    assert say(engine, spec, unknown, cast.DAY + timedelta(hours=2)) is None
    clear = Assessment(rule=Rule.SAVINGS, standing=Standing.CLEAR, cause="savings are back")
    assert say(engine, spec, clear, cast.DAY + timedelta(hours=3)).event == "resolved"
    for _ in range(2):
        assert deliver_due(engine, Sending(owner="w1", secret=SECRET), now=cast.DAY + timedelta(hours=3)) == 1
    sent = [json.loads(body)["alert"] for _, body in receiver.received]
    assert {alert["cause"] for alert in sent} == {"first cause"}
    assert [m.event for m in messages(engine)] == ["opened", "resolved"]
    assert "savings are back" in {alert["resolution"] for alert in sent}


def test_a_receiver_that_was_down_hears_of_an_alert_in_the_order_of_events(engine, spec, receiver, cast):
    receiver.answers = [500, 200, 200]
    say(engine, spec, raised(), cast.DAY)
    deliver_due(engine, Sending(owner="w1", secret=SECRET), now=cast.DAY)
    say(engine, spec, Assessment(rule=Rule.SAVINGS, standing=Standing.CLEAR, cause="back"), cast.DAY)
    assert deliver_due(engine, Sending(owner="w1", secret=SECRET), now=cast.DAY) == 0  # it waits for what came before
    later = cast.DAY + timedelta(seconds=30)
    assert [deliver_due(engine, Sending(owner="w1", secret=SECRET), now=later) for _ in range(3)] == [1, 1, 0]
    bodies = [json.loads(body) for _, body in receiver.received]
    assert [(body["event"], body["sequence"]) for body in bodies] == [("opened", 1), ("opened", 1), ("resolved", 2)]


def test_a_receiver_that_is_down_holds_up_its_own_messages_of_that_alert_alone(engine, cast, receiver):
    spec = cast.spec_of(webhooks=("http://127.0.0.1:9/nobody", receiver.url))
    with transaction(engine) as session:
        apply_cascade(session, spec, now=cast.DAY)
    for rule in (Rule.SAVINGS, Rule.DRIFT):
        for standing in (Standing.RAISED, Standing.CLEAR):
            say(engine, spec, Assessment(rule=rule, standing=standing, cause="because"), cast.DAY)
    received = sum(deliver_due(engine, Sending(owner="w1", secret=None), now=cast.DAY) for _ in range(3))
    assert received == 4
    bodies = [json.loads(body) for _, body in receiver.received]
    for rule in ("savings", "drift"):
        assert [body["event"] for body in bodies if body["alert"]["rule"] == rule] == ["opened", "resolved"]


def test_a_failed_message_shows_no_more_of_its_webhook_than_the_host(engine, cast, receiver, caplog):
    receiver.answers[:] = [500]
    secret = receiver.url + "/hunter2?token=hunter2"
    spec = cast.spec_of(webhooks=(secret, "http://127.0.0.1:9/hunter2"))
    with transaction(engine) as session:
        apply_cascade(session, spec, now=cast.DAY)
    say(engine, spec, raised(), cast.DAY)
    deliver_due(engine, Sending(owner="w1", secret=SECRET), now=cast.DAY)
    shown = caplog.text + "".join(str(message.last_error) for message in messages(engine))
    assert "http://127.0.0.1" in shown and "hunter2" not in shown


def rang(cause, at):
    return replace(raised(cause), ring=Spoken(since=at, until=at + timedelta(hours=6), accused=("b1",)))


def test_an_alarm_that_rings_again_has_a_row_and_a_message_of_its_own_each_time(engine, spec, receiver, cast):
    for number, cause in enumerate(("first", "second", "third")):
        now = cast.DAY + timedelta(days=number)
        change = say(engine, spec, rang(cause, now), now)
        assert (change.event, change.cause) == ("opened" if number == 0 else "rang_again", cause)
    with reading(engine) as session:
        (alert,) = alerts(session, "cities")
        rung = rings(session, "cities", "savings")
    assert alert.cause == "first" and alert.resolved_at is None
    assert [(ring.number, ring.cause) for ring in rung] == [(1, "first"), (2, "second"), (3, "third")]
    assert [ring.spoken.since for ring in rung] == [cast.DAY + timedelta(days=number) for number in range(3)]
    for _ in range(3):
        deliver_due(engine, Sending(owner="w", secret=SECRET), now=cast.DAY + timedelta(days=3))
    bodies = [json.loads(body) for _, body in receiver.received]
    assert [(body["event"], body["sequence"], body["ring"]["number"]) for body in bodies] == [
        ("opened", 1, 1),
        ("rang_again", 2, 2),
        ("rang_again", 3, 3),
    ]
    assert [(body["alert"]["cause"], body["ring"]["cause"]) for body in bodies][2] == ("first", "third")


def test_a_rule_that_only_stands_raised_says_it_once(engine, spec, receiver, cast):
    standing = replace(raised(), rule=Rule.DRIFT)
    assert say(engine, spec, standing, cast.DAY) is not None
    assert say(engine, spec, standing, cast.DAY + timedelta(days=1)) is None
    with reading(engine) as session:
        assert len(rings(session, "cities", "drift")) == 1


def test_a_ring_says_what_decided_when_it_rang(engine, spec, cast):
    with transaction(engine) as session:
        in_force = make_assignment(
            cascade="cities", generation=7, champion="b1", exploration_rate=0.5, issued_at=cast.DAY
        )
        swap_assignment(session, in_force, expected_generation=None, now=cast.DAY)
    say(engine, spec, rang("harm", cast.DAY), cast.DAY)
    with reading(engine) as session:
        (ring,) = rings(session, "cities", "savings")
    assert (ring.spoken.generation, ring.spoken.champion, ring.answered_at) == (7, "b1", None)


@pytest.mark.parametrize("host", ["169.254.1.1", "0xa9fe0101", "2851995905", "[::ffff:169.254.1.1]", "0.0.0.0"])
def test_a_message_goes_to_no_address_that_is_refused_whoever_declared_it(engine, cast, host):
    spec = cast.spec_of(webhooks=(f"http://{host}:9/hook",))
    with transaction(engine) as session:
        apply_cascade(session, spec, now=cast.DAY)
    say(engine, spec, raised(), cast.DAY)
    assert deliver_due(engine, Sending(owner="w1", secret=SECRET), now=cast.DAY) == 0
    (message,) = messages(engine)
    assert "refused" in message.last_error and "not asked" in message.last_error


def test_a_receiver_is_called_by_its_name_at_the_address_that_was_looked_at(engine, cast, receiver):
    named = receiver.url.replace("127.0.0.1", "localhost")
    spec = cast.spec_of(webhooks=(named,))
    with transaction(engine) as session:
        apply_cascade(session, spec, now=cast.DAY)
    say(engine, spec, raised(), cast.DAY)
    assert deliver_due(engine, Sending(owner="w1", secret=SECRET), now=cast.DAY) == 1
    headers, _ = receiver.received[0]
    assert headers["Host"] == named.split("/")[2]


def test_an_answer_without_an_end_is_a_receipt_and_holds_up_nobody(engine, cast, receiver):
    with socket.create_server(("127.0.0.1", 0)) as endless:
        endless.settimeout(30)
        thread = threading.Thread(target=answer_without_end, args=(endless,))
        thread.start()
        spec = cast.spec_of(webhooks=(f"http://127.0.0.1:{endless.getsockname()[1]}/hook", receiver.url))
        with transaction(engine) as session:
            apply_cascade(session, spec, now=cast.DAY)
        say(engine, spec, raised(), cast.DAY)
        assert deliver_due(engine, Sending(owner="w1", secret=None), now=cast.DAY) == 2
        thread.join()
    assert len(receiver.received) == 1


def answer_without_end(server):
    """Takes one request, says 200, and goes on until the other side hangs up."""
    taken, _ = server.accept()
    with taken, contextlib.suppress(ConnectionError):
        taken.recv(65536)
        taken.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            taken.sendall(b"x" * 65536)
