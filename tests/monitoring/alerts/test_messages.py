"""What messages say: one text for all receivers, in plain words."""

import json
from datetime import timedelta
from uuid import UUID

import pytest

from knowgate._records.receivers import Hears, Receiver, ReceiverKind, Severity
from knowgate.errors import RecordInvalid
from monitoring.alerts.addressees import addressee, hearing
from monitoring.alerts.messages import Around, Event, alert_document, message_in, message_of, move_document, text_of
from monitoring.names import Rule
from store.releases.promotions import Outcome, PromotionRecord
from store.releases.rings import RingRecord, Spoken
from store.watching.alerts import AlertRecord

KEY = UUID(int=7)


@pytest.fixture
def alert(cast):
    return AlertRecord(id=KEY, cascade="geo", rule="risk", cause="it lost 1 %", details="{}", opened_at=cast.DAY)


@pytest.fixture
def ring(cast):
    said = {"cascade": "geo", "rule": "risk", "details": "{}", "spoken": Spoken()}
    return RingRecord(alert_id=KEY, number=2, cause="it loses 4 %, 2 % are allowed", rang_at=cast.DAY, **said)


def test_an_alert_says_what_was_seen_what_was_done_what_to_do_and_where_to_look(alert, ring, cast):
    done = "bundle 3be5f088 is stopped, every query goes to the last tier"
    message = message_in(alert_document(alert, Event.RANG_AGAIN, 2, Around(ring=ring)), done)
    text = text_of([message], "https://knowgate.example/")
    assert text.title == "[critical, again] geo: Accuracy is worse than promised."
    assert text.body.splitlines() == [
        "It loses 4 %, 2 % are allowed",
        f"What was done: {done}",
        f"What to do: {Rule.RISK.advice}",
        f"Since {cast.DAY:%Y-%m-%d %H:%M} UTC",
        f"Page: https://knowgate.example/alerts/{KEY}",
        "Runbook: https://knowgate.example/docs/runbooks/risk.md",
    ]
    plain = text_of([message]).body
    assert "Page" not in plain and "Runbook: docs/runbooks/risk.md" in plain


def test_an_end_says_why_it_is_over_and_asks_nobody_to_do_anything(alert, cast):
    over = AlertRecord(
        id=KEY,
        cascade="geo",
        rule="risk",
        cause="it lost 1 %",
        details="{}",
        opened_at=cast.DAY,
        resolved_at=cast.DAY + timedelta(hours=3),
        resolution="ada: rolled back",
    )
    text = text_of([message_in(alert_document(over, Event.RESOLVED, 3))])
    assert text.title.startswith("[resolved] geo:") and text.body.startswith("Ada: rolled back\nSince")
    assert "until" in text.body and "What to do" not in text.body


def test_alerts_of_a_group_are_one_text(alert, ring):
    drift = AlertRecord(
        id=KEY, cascade="geo", rule="drift", cause="lengths moved", details="{}", opened_at=alert.opened_at
    )
    text = text_of([message_of(alert, ring), message_of(drift, None)])
    assert text.title == "[critical] geo: Accuracy is worse than promised. And 1 more."
    first, second = text.body.split("\n\n")
    assert first.startswith("[critical] Accuracy is worse") and second.startswith("[warning] Traffic is not")


@pytest.mark.parametrize("outcome", [one for one in Outcome if one not in (Outcome.REFUSED, Outcome.HELD_BACK)])
def test_a_move_says_what_decides_now_why_and_by_whom(outcome, cast):
    record = PromotionRecord(
        cascade="geo",
        bundle="3f02149c11aa77",
        previous="a7788f065416bb",
        outcome=outcome,
        reason="the check passed",
        check='{"big": 1}',
        generation=12,
        decided_at=cast.DAY,
        decided_by="ada",
    )
    document = move_document(record)
    assert json.loads(document)["sequence"] == 12 and "check" not in json.loads(document)["move"]
    message = message_in(document)
    assert (message.severity is Severity.CRITICAL) == (outcome in (Outcome.STOPPED, Outcome.FELL_BACK))
    text = text_of([message], "https://k")
    assert text.title.startswith(f"[{outcome.value.replace('_', ' ')}] geo: ")
    assert text.body.startswith("The check passed\nWhat was done: generation 12, by ada; ")
    tried = outcome in (Outcome.SHADOWED, Outcome.SHARED, Outcome.ABORTED)
    assert ("the challenger is bundle 3f02149c; the champion is a7788f06" in text.body) == tried
    assert ("what decides is bundle 3f02149c; before it a7788f06" in text.body) != tried
    assert "It was moved" not in text.title, "each has a sentence of its own"
    assert "https://k/cascades/geo" in text.body


def test_a_receiver_hears_what_it_declares_and_the_plain_webhooks_hear_alerts(cast):
    def receiver(name, kind=ReceiverKind.APPRISE, **more):
        return Receiver(name=name, kind=kind, url="json://h", **more)

    spec = cast.spec_of(
        webhooks=("http://h/hook",),
        receivers=(
            receiver("all"),
            receiver("pager", severity=Severity.CRITICAL),
            receiver("news", hears=(Hears.MOVES,)),
            receiver("prometheus", ReceiverKind.ALERTMANAGER),
        ),
    )
    heard = {
        (about, severity): [one.key for one in hearing(spec, about, severity)]
        for about in Hears
        for severity in Severity
    }
    assert heard == {
        (Hears.ALERTS, Severity.CRITICAL): ["http://h/hook", "all", "pager", "prometheus"],
        (Hears.ALERTS, Severity.WARNING): ["http://h/hook", "all", "prometheus"],
        (Hears.MOVES, Severity.CRITICAL): ["all", "pager", "news"],
        (Hears.MOVES, Severity.WARNING): ["all", "news"],
    }
    assert addressee(spec, "gone") is None and addressee(spec, "all").url == "json://h"


def test_an_address_comes_from_the_environment_or_a_file_that_it_names(cast, tmp_path):
    spec = cast.spec_of(receivers=(Receiver(name="chat", kind=ReceiverKind.APPRISE, url_variable="CHAT"),))
    chat = addressee(spec, "chat")
    (tmp_path / "chat").write_text("slack://a/b/c\n")
    assert chat.address({"CHAT": "slack://x"}) == "slack://x"
    assert chat.address({"CHAT_FILE": str(tmp_path / "chat")}) == "slack://a/b/c"
    with pytest.raises(RecordInvalid, match="set CHAT, or CHAT_FILE, in the environment"):
        chat.address({})
