"""One cause is reported once: what follows from it stands under it, in one message."""

import json
from datetime import timedelta

import pytest

from knowgate._records.receivers import Receiver, ReceiverKind, Severity
from monitoring.alerts.alerts import settle_all
from monitoring.alerts.messages import message_in, text_of
from monitoring.names import Rule
from monitoring.rules.rules import Assessment, Standing
from store.engine import reading, transaction
from store.releases.cascades import apply_cascade
from store.watching.alert_acts import Act, AlertAct, add_act
from store.watching.alerts import alerts
from store.watching.deliveries import newest_deliveries

HOUR = timedelta(hours=1)


class Deployment:
    """A cascade with one webhook, and what it heard."""

    def __init__(self, cast, engine):
        self.cast, self.engine, self.now = cast, engine, cast.DAY
        self.spec = cast.spec_of(webhooks=("http://127.0.0.1:9/hook",))
        self.apply()

    def apply(self):
        with transaction(self.engine) as session:
            apply_cascade(session, self.spec, now=self.now)

    def look(self, *, raised=(), clear=()):
        """One look an hour after the last one; the rules that changed something."""
        self.now += HOUR
        said = [Assessment(rule=rule, standing=Standing.RAISED, cause=f"why {rule}") for rule in raised]
        said += [Assessment(rule=rule, standing=Standing.CLEAR, cause=f"no more {rule}") for rule in clear]
        with transaction(self.engine) as session:
            return [change.rule for change in settle_all(session, self.spec, said, now=self.now)]

    def silence(self, rule, length):
        with transaction(self.engine) as session:
            (alert,) = [one for one in alerts(session, "cities") if one.rule == rule]
            act = {"act": Act.SILENCED, "by": "ada", "reason": "known", "at": self.now}
            add_act(session, AlertAct(alert_id=alert.id, until=self.now + length, **act))

    def messages_sent(self):
        """Of each message since the last time that this was asked: what it is about, the rule it
        follows from and those under it.
        """
        with reading(self.engine) as session:
            found = newest_deliveries(session)
        said = [(one.receiver, json.loads(one.payload)) for one in found if one.created_at == self.now]
        return {
            (body["event"], body["alert"]["rule"]): (
                body["root"] and body["root"]["rule"],
                [one["rule"] for one in body["consequences"]],
            )
            for _, body in said
        }


@pytest.fixture
def deployment(cast, engine):
    return Deployment(cast, engine)


def test_what_follows_from_one_cause_is_told_under_it_in_one_message(deployment):
    vanished = (Rule.SAVINGS, Rule.DRIFT, Rule.MISSING_SIGNAL)
    assert deployment.look(raised=vanished) == list(vanished)
    assert deployment.messages_sent() == {("opened", "missing_signal"): (None, ["savings", "drift"])}
    with reading(deployment.engine) as session:
        found = {one.rule: json.loads(one.details) for one in alerts(session, "cities", open_only=True)}
    assert found == {
        "savings": {"follows_from": "missing_signal"},
        "drift": {"follows_from": "missing_signal"},
        "missing_signal": {},
    }
    deployment.look(clear=vanished)
    assert deployment.messages_sent() == {("resolved", "missing_signal"): (None, ["savings", "drift"])}


def test_what_ends_later_than_its_cause_is_told_then(deployment):
    deployment.look(raised=(Rule.MISSING_SIGNAL, Rule.SAVINGS))
    deployment.look(clear=(Rule.MISSING_SIGNAL,))
    assert deployment.messages_sent() == {("resolved", "missing_signal"): (None, [])}
    deployment.look(clear=(Rule.SAVINGS,))
    assert list(deployment.messages_sent()) == [("resolved", "savings")]


def test_what_opens_later_than_its_cause_has_a_message_that_names_it(deployment):
    deployment.look(raised=(Rule.MISSING_SIGNAL,))
    deployment.look(raised=(Rule.MISSING_SIGNAL, Rule.SAVINGS))
    assert deployment.messages_sent() == {("opened", "savings"): ("missing_signal", [])}
    deployment.look(clear=(Rule.MISSING_SIGNAL,), raised=(Rule.DEARER_THAN_LAST,))
    assert deployment.messages_sent()["opened", "dearer_than_last"] == ("savings", [])  # what is over explains nothing


def test_what_is_critical_is_told_by_itself(deployment):
    deployment.look(raised=(Rule.DRIFT, Rule.RISK, Rule.OOD_CONSERVATIVENESS))
    assert deployment.messages_sent() == {
        ("opened", "drift"): (None, ["ood_conservativeness"]),
        ("opened", "risk"): ("drift", []),
    }


def test_under_what_is_silenced_nothing_is_told_and_what_is_silenced_is_told_under_nothing(deployment):
    deployment.look(raised=(Rule.DRIFT,))
    deployment.silence(Rule.DRIFT, 10 * HOUR)
    deployment.look(clear=(Rule.DRIFT,))
    deployment.look(raised=(Rule.DRIFT, Rule.OOD_CONSERVATIVENESS))
    assert deployment.messages_sent() == {("opened", "ood_conservativeness"): ("drift", [])}
    deployment.silence(Rule.OOD_CONSERVATIVENESS, 10 * HOUR)
    deployment.look(clear=(Rule.DRIFT, Rule.OOD_CONSERVATIVENESS))
    deployment.look(raised=(Rule.MISSING_SIGNAL, Rule.DRIFT))
    assert deployment.messages_sent() == {("opened", "missing_signal"): (None, [])}


def test_who_groups_by_itself_or_does_not_hear_of_the_cause_is_told_of_each(deployment, cast):
    there = {"url": "http://127.0.0.1:9"}
    manager = Receiver(name="am", kind=ReceiverKind.ALERTMANAGER, **there)
    pager = Receiver(name="pager", kind=ReceiverKind.WEBHOOK, severity=Severity.CRITICAL, **there)
    deployment.spec = cast.spec_of(receivers=(manager, pager))
    deployment.apply()
    deployment.look(raised=(Rule.CONSTANT_SIGNAL, Rule.DRIFT, Rule.RISK))
    with reading(deployment.engine) as session:
        messages_sent = sorted(
            (one.receiver, json.loads(one.payload)["alert"]["rule"]) for one in newest_deliveries(session)
        )
    assert messages_sent == [("am", "constant_signal"), ("am", "drift"), ("am", "risk"), ("pager", "constant_signal")]


def test_the_text_names_the_cause_first_and_what_follows_under_it(deployment):
    deployment.look(raised=(Rule.SAVINGS, Rule.MISSING_SIGNAL))
    with reading(deployment.engine) as session:
        (message,) = newest_deliveries(session)
    text = text_of([message_in(message.payload)])
    assert text.title == "[warning] cities: A signal that decides is missing. And 1 more."
    assert "With it: The cascade saves less than promised. Why savings" in text.body
