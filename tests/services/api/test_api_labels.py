"""Labels over HTTP: by either id, for the served answer unless said otherwise, early or late."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from knowgate import Decision, new_id
from knowgate._wire import codec
from services.clock import SimulatedClock
from store.engine import reading
from store.traffic import labels
from store.traffic.labels import StoredLabel

Make = Callable[..., Decision]


def label(**fields: Any) -> dict[str, Any]:
    return {"cascade": "trivia", "source": "gold", "correct": 1, "labelled_at": "2026-03-10T11:30:00Z"} | fields


def post(client: TestClient, *rows: Any) -> Any:
    return client.post("/v1/labels", json={"labels": list(rows)})


def send(client: TestClient, decision: Decision) -> None:
    assert client.post("/v1/decisions", json={"decisions": [codec.encode(decision)]}).json()["stored"] == 1


def said(engine: Engine, decision: Decision) -> tuple[StoredLabel, ...]:
    with reading(engine) as session:
        return labels.labels_of(session, decision.id)


@pytest.mark.usefixtures("trivia")
def test_a_label_speaks_of_the_served_answer_unless_it_names_a_tier(
    client: TestClient, engine: Engine, decision: Make
) -> None:
    sent = decision()
    send(client, sent)
    answer = post(client, label(decision_id=str(sent.id)), label(external_id="q0", tier=0, correct=0)).json()
    assert answer == {"stored": 2, "waiting": 0, "duplicates": 0, "rejected": [], "ambiguous": []}
    assert {(row.tier, row.correct) for row in said(engine, sent)} == {(1, 1.0), (0, 0.0)}


@pytest.mark.usefixtures("trivia")
def test_a_label_that_comes_first_waits_for_its_decision(client: TestClient, engine: Engine, decision: Make) -> None:
    sent = decision()
    assert post(client, label(external_id="q0")).json()["waiting"] == 1
    response = client.post("/v1/decisions", json={"decisions": [codec.encode(sent)]})
    assert response.json()["adopted"] == 1
    assert [row.correct for row in said(engine, sent)] == [1.0]


@pytest.mark.usefixtures("trivia")
def test_an_external_id_of_several_decisions_is_told_with_the_one_that_was_taken(
    client: TestClient, engine: Engine, decision: Make, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, third = (decision(external_id="shared") for _ in range(3))
    for sent in (first, second, third):
        send(client, sent)
    other = decision(external_id="its own")
    send(client, other)
    rows = [label(external_id="shared"), label(external_id="its own"), label(decision_id=str(first.id), tier=0)]
    receipt = post(client, *rows).json()
    (ambiguous,) = receipt["ambiguous"]
    assert (ambiguous["external_id"], ambiguous["decisions"], receipt["stored"]) == ("shared", 3, 3)
    (taken,) = [sent for sent in (first, second, third) if str(sent.id) == ambiguous["decision_id"]]
    assert 1 in {row.tier for row in said(engine, taken)}
    assert "'shared' is that of 3 decisions" in caplog.text


@pytest.mark.usefixtures("trivia")
def test_a_waiting_label_whose_id_several_decisions_bring_is_told_too(
    client: TestClient, engine: Engine, decision: Make, caplog: pytest.LogCaptureFixture
) -> None:
    post(client, label(external_id="shared"))
    both = [decision(external_id="shared") for _ in range(2)]
    receipt = client.post("/v1/decisions", json={"decisions": [codec.encode(sent) for sent in both]}).json()
    assert (receipt["stored"], receipt["adopted"]) == (2, 1)
    assert "'shared' is that of 2 decisions" in caplog.text


@pytest.mark.usefixtures("trivia")
def test_labels_are_received_when_they_arrive(
    client: TestClient, engine: Engine, decision: Make, clock: SimulatedClock
) -> None:
    sent = decision()
    send(client, sent)
    clock.set(clock.now() + timedelta(days=3))
    post(client, label(external_id="q0"))
    assert said(engine, sent)[0].received_at == clock.now()


BAD_LABELS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"external_id": "q0", "correct": 1.2}, "correct"),
    ({"external_id": "q0", "source": "mum"}, "source"),
    ({"external_id": "q0", "labelled_at": "2026-03-10T11:30:00"}, "labelled_at"),
    ({"external_id": "q0", "labelled_at": "2027-03-10T11:30:00Z"}, "labelled_at"),
    ({"external_id": "q0", "label_propensity": 0}, "label_propensity"),
    ({}, "decision_id"),
    ({"external_id": "q0", "cascade": "unheard-of"}, "cascade"),
)


@pytest.mark.usefixtures("trivia")
def test_bad_labels_are_named_and_the_good_ones_are_stored(client: TestClient, decision: Make) -> None:
    send(client, decision())
    answer = post(client, *(label(**fields) for fields, _ in BAD_LABELS), label(external_id="q0")).json()
    assert answer["stored"] == 1
    assert [(row["index"], row["field"]) for row in answer["rejected"]] == [
        (index, field) for index, (_, field) in enumerate(BAD_LABELS)
    ]


@pytest.mark.usefixtures("trivia")
def test_a_label_sent_again_changes_nothing(client: TestClient, engine: Engine, decision: Make) -> None:
    sent = decision()
    send(client, sent)
    post(client, label(external_id="q0"))
    assert post(client, label(external_id="q0")).json()["duplicates"] == 1
    assert len(said(engine, sent)) == 1


def test_a_form_of_another_site_cannot_post_labels(client: TestClient) -> None:
    response = client.post("/v1/labels", content=b'{"labels": []}', headers={"Content-Type": "text/plain"})
    assert response.status_code == 415


@pytest.mark.usefixtures("trivia")
@pytest.mark.parametrize(("ahead", "taken"), [(30, True), (90, False), (2 * 3600, False), (23 * 3600, False)])
def test_decisions_and_labels_may_be_as_far_ahead_of_the_clock_as_each_other(
    client: TestClient, clock: SimulatedClock, decision: Make, ahead: int, taken: bool
) -> None:
    at = clock.now() + timedelta(seconds=ahead)
    sent = decision(id=new_id(at), occurred_at=at)
    receipt = client.post("/v1/decisions", json={"decisions": [codec.encode(sent)]}).json()
    assert receipt["stored"] == int(taken)
    assert [row["field"] for row in receipt["rejected"]] == ([] if taken else ["occurred_at"])
    made = post(client, label(decision_id=str(sent.id), labelled_at=at.isoformat())).json()
    assert (made["stored"], len(made["rejected"])) == ((1, 0) if taken else (0, 1))
    if taken:  # who labels at once, by a clock that is right, is not taken for a prophet
        now = post(client, label(decision_id=str(sent.id), labelled_at=clock.now().isoformat(), correct=0)).json()
        assert (now["stored"], now["rejected"]) == (1, [])


@pytest.mark.usefixtures("trivia")
def test_labels_that_contradict_each_other_are_named_by_their_place_in_the_batch(
    client: TestClient, engine: Engine, decision: Make
) -> None:
    sent = decision()
    send(client, sent)
    rows = [label(), label(external_id="q0"), label(decision_id=str(sent.id), correct=0, grader="anna")]
    made = post(client, *rows).json()
    assert [(row["index"], row["field"]) for row in made["rejected"]] == [
        (0, "decision_id"),
        (1, "correct"),
        (2, "correct"),
    ]
    assert said(engine, sent) == ()
