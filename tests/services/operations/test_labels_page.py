"""A cascade's labels on their page."""

from collections.abc import Callable
from datetime import date, timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from factories import make_label
from knowgate import Decision
from services.clock import SimulatedClock
from services.operations.day_bars import day_bars
from store.engine import transaction
from store.traffic.decisions import add_decisions
from store.traffic.labels import add_labels
from tests.services.conftest import NOW
from tests.services.pages.test_pages import page


@pytest.fixture
def labelled(engine: Engine, trivia: str, decision: Callable[..., Decision]) -> list[Decision]:
    """Twenty decisions of which four are labelled, and a label whose decision is not there."""
    made = [decision(index, cascade=trivia) for index in range(20)]
    said = [make_label(cascade=trivia, correct=1.0, decision_id=one.id, labelled_at=NOW) for one in made[:4]]
    said.append(make_label(cascade=trivia, correct=1.0, external_id="Q5 ", labelled_at=NOW))
    with transaction(engine) as session:
        add_decisions(session, made, received_at=NOW)
        add_labels(session, said, received_at=NOW)
    return made


def test_the_page_says_how_far_labels_are_and_what_waits(client: TestClient, labelled: list[Decision]) -> None:
    text = page(client, "/cascades/trivia/labels")
    assert "4 of gold" in text or "4 of human" in text
    assert "their decision has not arrived yet" in text and "Look for stored ids" in text
    assert "it tells of the promise" in text or "a quarter as often" in text
    assert any(f"/decisions/{one.id}" in text for one in labelled[4:])
    assert "no decision is as old" in text


def test_ids_that_look_alike_are_named_where_somebody_looks(client: TestClient, labelled: list[Decision]) -> None:
    text = page(client, "/cascades/trivia/labels?look=near")
    assert "<code>Q5 </code>" in text and "spaces and case" in text and len(labelled) == 20


@pytest.mark.usefixtures("labelled")
def test_delays_are_those_of_decisions_that_have_had_their_time(client: TestClient, clock: SimulatedClock) -> None:
    clock.set(NOW + timedelta(days=30))
    text = page(client, "/cascades/trivia/labels")
    (row,) = [row for row in text.split("<tr>") if "59 min" in row]
    assert row.count("<td") == 6 and ">4</td>" in row


@pytest.mark.usefixtures("trivia")
def test_without_labels_the_page_says_how_they_come(client: TestClient) -> None:
    text = page(client, "/cascades/trivia/labels")
    assert "Labels come by" in text and "No decision is stored yet" in text and "every label has found" in text
    page(client, "/cascades/unheard-of/labels", status=404)


def test_bars_are_stacked_and_days_without_one_are_empty() -> None:
    first = date(2026, 3, 1)
    counts = {(first, "gold"): 2, (first, "human"): 3, (first + timedelta(days=2), "gold"): 1}
    drawn = day_bars(counts, first=first, last=first + timedelta(days=3))
    assert drawn is not None and [name for name, _ in drawn.names] == ["gold", "human"]
    below, above, later = drawn.bars
    assert above.y + above.height == pytest.approx(below.y) and above.x == below.x
    assert above.height == pytest.approx(1.5 * below.height, abs=0.05) and later.tone == below.tone
    assert day_bars({}, first=first, last=first) is None
