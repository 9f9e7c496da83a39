"""Deliveries and the outbox: written first, claimed by one, tried again, and in the end
given up.
"""

from datetime import timedelta
from threading import Barrier, Thread
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from store import claims
from store.engine import transaction
from store.errors import ClaimLost
from store.jobs.outbox import add_message, claim_messages, finish_message, messages
from store.releases.promotions import Outcome, PromotionRecord, add_promotion
from store.watching.alerts import AlertRecord, alerts, open_alert, resolve_alert
from store.watching.deliveries import (
    GIVE_UP_AFTER,
    DeliveryRecord,
    Fate,
    Move,
    add_delivery,
    add_move_delivery,
    claim_due_deliveries,
    deliveries,
    delivery,
    finish_delivery,
    newest_deliveries,
    revive_delivery,
    tries_of,
)

LEASE = timedelta(minutes=1)


def alert_of(session: Session, cast: Any, minutes: float = 0, cause: str = "traffic shifted") -> UUID:
    record = AlertRecord(cascade="geo", rule="risk", cause=cause, details='{"b":1,"a":2}', opened_at=cast.at(minutes))
    return open_alert(session, record)


def test_one_alert_is_open_per_rule(session: Session, cast: Any) -> None:
    first = alert_of(session, cast)
    assert alert_of(session, cast, 5, cause="again") == first
    (stored,) = alerts(session, "geo", open_only=True)
    assert (stored.id, stored.cause, stored.details) == (first, "traffic shifted", '{"a":2,"b":1}')
    assert resolve_alert(session, "geo", "risk", resolution="retrained", now=cast.at(9)) == first
    assert resolve_alert(session, "geo", "risk", resolution="retrained", now=cast.at(9)) is None
    assert alert_of(session, cast, 10) != first
    assert [alert.resolved_at for alert in alerts(session)] == [cast.at(9), None]


def test_alerts_opened_in_parallel_are_one(geo: Engine, cast: Any) -> None:
    barrier = Barrier(4)
    opened: list[UUID] = []

    def alarm() -> None:
        barrier.wait()
        with transaction(geo) as session:
            opened.append(alert_of(session, cast))

    threads = [Thread(target=alarm) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 4
    assert len(set(opened)) == 1


def body(number: int) -> str:
    return f'{{"sequence":{number}}}'


def test_the_messages_of_an_alert_are_numbered_per_webhook(session: Session, cast: Any) -> None:
    alert = alert_of(session, cast)
    for url, event in (("https://a", "opened"), ("https://b", "opened"), ("https://a", "resolved")):
        add_delivery(session, alert, url, event, body, now=cast.at(0))
    messages = [(item.receiver, item.number, item.event, item.payload) for item in deliveries(session, alert)]
    assert sorted(messages) == [
        ("https://a", 1, "opened", '{"sequence":1}'),
        ("https://a", 2, "resolved", '{"sequence":2}'),
        ("https://b", 1, "opened", '{"sequence":1}'),
    ]


def test_a_message_waits_for_its_alerts_earlier_ones_to_the_same_webhook_alone(session: Session, cast: Any) -> None:
    alert = alert_of(session, cast)
    for url in ("https://a", "https://b"):
        for event in ("opened", "again", "resolved"):
            add_delivery(session, alert, url, event, body, now=cast.at(0))

    def claim(minutes: float) -> dict[str, DeliveryRecord]:
        claimed = claim_due_deliveries(session, owner="a", now=cast.at(minutes), lease=LEASE)
        return {f"{item.receiver[-1]} {item.event}": item for item in claimed}

    first = claim(0)
    assert sorted(first) == ["a opened", "b opened"]
    assert claim(0.5) == {}  # both are under way
    finish_delivery(session, first["a opened"], now=cast.at(0.5), error="refused")
    finish_delivery(session, first["b opened"], now=cast.at(0.5))
    second = claim(0.5)
    assert sorted(second) == ["b again"]
    finish_delivery(session, second["b again"], now=cast.at(0.5))
    assert sorted(claim(0.6)) == ["b resolved"]


def test_a_message_that_is_given_up_lets_the_later_ones_go(session: Session, cast: Any) -> None:
    alert = alert_of(session, cast)
    add_delivery(session, alert, "https://a", "opened", body, now=cast.at(0))
    add_delivery(session, alert, "https://a", "resolved", body, now=cast.at(0))
    for day in range(3):  # the third try is made at two days of age
        (claimed,) = claim_due_deliveries(session, owner="a", now=cast.at(day * 1440), lease=LEASE)
        assert claimed.event == "opened"
        finish_delivery(session, claimed, now=cast.at(day * 1440), error="refused")
    (claimed,) = claim_due_deliveries(session, owner="a", now=cast.at(day * 1440), lease=LEASE)
    assert claimed.event == "resolved"


def test_messages_written_in_parallel_have_a_number_each(geo: Engine, cast: Any) -> None:
    barrier = Barrier(4)
    with transaction(geo) as session:
        alert = alert_of(session, cast)

    def write() -> None:
        barrier.wait()
        with transaction(geo) as session:
            add_delivery(session, alert, "https://a", "opened", body, now=cast.at(0))

    threads = [Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with transaction(geo) as session:
        assert [item.number for item in deliveries(session, alert)] == [1, 2, 3, 4]


def test_a_delivery_is_claimed_by_one_and_done_once(session: Session, cast: Any) -> None:
    alert = alert_of(session, cast)
    add_delivery(session, alert, "https://a", "opened", body, now=cast.at(0))
    (claimed,) = claim_due_deliveries(session, owner="a", now=cast.at(0), lease=LEASE)
    assert claimed.attempts == 1
    assert claim_due_deliveries(session, owner="b", now=cast.at(0.5), lease=LEASE) == ()
    finish_delivery(session, claimed, now=cast.at(0.6))
    (stored,) = deliveries(session, alert)
    assert (stored.delivered_at, stored.due_at) == (cast.at(0.6), None)
    assert claim_due_deliveries(session, owner="b", now=cast.at(999), lease=LEASE) == ()


def test_what_fails_is_tried_ever_later_and_given_up(session: Session, cast: Any) -> None:
    alert = alert_of(session, cast)
    add_delivery(session, alert, "https://a", "opened", body, now=cast.at(0))
    now = cast.at(0)
    waits = []
    stored = None
    while stored is None or stored.due_at is not None:
        (claimed,) = claim_due_deliveries(session, owner="a", now=now, lease=LEASE)
        finish_delivery(session, claimed, now=now, error="503")
        (stored,) = deliveries(session, alert)
        if stored.due_at is not None:
            waits.append(stored.due_at - now)
            now = stored.due_at
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (claims.FIRST_RETRY, claims.LONGEST_RETRY)
    assert (stored.failed_at, stored.delivered_at, stored.last_error) == (now, None, "503")
    assert stored.failed_at - stored.created_at >= GIVE_UP_AFTER > now - waits[-1] - stored.created_at
    assert claim_due_deliveries(session, owner="a", now=cast.at(1e6), lease=LEASE) == ()
    tries = tries_of(session, [stored.id])
    assert [made.number for made in tries] == list(range(1, stored.attempts + 1))
    assert {made.error for made in tries} == {"503"}


def test_one_that_was_given_up_is_tried_once_more_on_request(session: Session, cast: Any) -> None:
    alert = alert_of(session, cast)
    key = add_delivery(session, alert, "https://a", "opened", body, now=cast.at(0))
    assert not revive_delivery(session, key, now=cast.at(1)), "it is not given up yet"
    for now in (cast.at(0), cast.at(3000)):
        (claimed,) = claim_due_deliveries(session, owner="a", now=now, lease=LEASE)
        finish_delivery(session, claimed, now=now, error="503")
    assert delivery(session, key).fate is Fate.GIVEN_UP
    assert revive_delivery(session, key, now=cast.at(3001))
    (claimed,) = claim_due_deliveries(session, owner="a", now=cast.at(3001), lease=LEASE)
    finish_delivery(session, claimed, now=cast.at(3001))
    stored = delivery(session, key)
    assert (stored.fate, stored.failed_at) == (Fate.RECEIVED, None)
    assert [made.error for made in tries_of(session, [key])] == ["503", "503", None]


def test_messages_about_moves_are_sent_in_the_order_of_generations_and_each_once(session: Session, cast: Any) -> None:
    keys = []
    for generation, outcome in ((2, Outcome.PROMOTED), (3, Outcome.STOPPED)):
        record = PromotionRecord(
            cascade="geo",
            bundle=None,
            previous=None,
            outcome=outcome,
            reason="because",
            check="{}",
            generation=generation,
            decided_at=cast.at(0),
        )
        keys.append(add_promotion(session, record))
    moves = [
        Move(cascade="geo", promotion_id=keys[1], generation=3, outcome="stopped"),
        Move(cascade="geo", promotion_id=keys[0], generation=2, outcome="promoted"),
    ]
    for move in (*moves, moves[0]):
        add_move_delivery(session, move, "chat", "{}", now=cast.at(0))
    for event in ("promoted", "stopped"):
        (claimed,) = claim_due_deliveries(session, owner="a", now=cast.at(1), lease=LEASE)
        assert (claimed.event, claimed.cascade, claimed.alert_id) == (event, "geo", None)
        finish_delivery(session, claimed, now=cast.at(1))
    assert [one.event for one in newest_deliveries(session, cascade="geo")] == ["stopped", "promoted"]
    assert newest_deliveries(session, cascade="other") == ()
    assert newest_deliveries(session, fates=[Fate.WAITING]) == ()


def test_a_worker_whose_lease_ran_out_cannot_finish(session: Session, cast: Any) -> None:
    add_message(session, "mlflow", "run-1", "{}", now=cast.at(0))
    (slow,) = claim_messages(session, "mlflow", owner="slow", now=cast.at(0), lease=LEASE)
    (quick,) = claim_messages(session, "mlflow", owner="quick", now=cast.at(1), lease=LEASE)
    with pytest.raises(ClaimLost, match="token 1"):
        finish_message(session, slow, now=cast.at(1))
    finish_message(session, quick, now=cast.at(1))
    with pytest.raises(ClaimLost):
        finish_message(session, quick, now=cast.at(1))
    assert messages(session, "mlflow")[0].done_at == cast.at(1)


def test_a_key_is_written_once_per_topic(session: Session, cast: Any) -> None:
    assert add_message(session, "mlflow", "run-1", "first", now=cast.at(0))
    assert not add_message(session, "mlflow", "run-1", "second", now=cast.at(1))
    assert add_message(session, "shards", "run-1", "third", now=cast.at(1))
    assert [item.payload for item in messages(session, "mlflow")] == ["first"]
    assert [item.topic for item in claim_messages(session, "shards", owner="a", now=cast.at(2), lease=LEASE)] == [
        "shards"
    ]


def test_workers_in_parallel_share_the_messages_and_never_one_message(geo: Engine, cast: Any) -> None:
    with transaction(geo) as session:
        alert = alert_of(session, cast)
        for index in range(30):
            add_delivery(session, alert, f"https://{index}", "opened", body, now=cast.at(0))
    barrier = Barrier(3)
    claimed: list[DeliveryRecord] = []

    def work(owner: str) -> None:
        barrier.wait()
        for _ in range(6):
            with transaction(geo) as session:
                claimed.extend(claim_due_deliveries(session, owner=owner, now=cast.at(0), lease=LEASE, limit=4))

    threads = [Thread(target=work, args=(f"worker-{index}",)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == 30
    assert len({item.id for item in claimed}) == 30


def test_messages_do_not_wait_for_a_clock_that_was_set_back(session: Session, cast: Any) -> None:
    alert = alert_of(session, cast, 600)
    for number in range(3):
        add_delivery(session, alert, f"https://{number}", "opened", body, now=cast.at(600))

    def claimed(minutes: float) -> dict[str, DeliveryRecord]:
        found = claim_due_deliveries(session, owner="a", now=cast.at(minutes), lease=LEASE)
        return {delivery.receiver: delivery for delivery in found}

    first = claimed(600)
    for tries in range(4):  # the first has failed four times, the second is under way, the third is sent
        finish_delivery(session, first["https://0"], now=cast.at(600 + tries), error="silence")
        if tries < 3:
            first |= claimed(600 + tries + 2 ** (tries - 1))
    finish_delivery(session, first["https://2"], now=cast.at(601))
    assert set(claimed(540)) == {"https://0"}, "what failed is due, what is under way keeps its lease"
    assert set(claimed(541)) == {"https://0", "https://1"}
    assert claimed(541.5) == {}


def test_a_message_written_before_the_clock_was_set_back_is_sent(session: Session, cast: Any) -> None:
    add_message(session, "mlflow", "key", "{}", now=cast.at(600))
    (message,) = claim_messages(session, "mlflow", owner="a", now=cast.at(540), lease=LEASE)
    finish_message(session, message, now=cast.at(540), error="down")
    assert claim_messages(session, "mlflow", owner="a", now=cast.at(540.4), lease=LEASE) == ()
    assert len(claim_messages(session, "mlflow", owner="a", now=cast.at(540.5), lease=LEASE)) == 1
