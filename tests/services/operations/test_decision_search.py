"""The search for decisions: an address is a question, its answer a page or a file, and a question
that cannot be answered says why.
"""

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from factories import make_label
from knowgate import Decision, Policy, PolicyKind, Role, Signals, decide
from services.clock import SimulatedClock
from services.operations.decision_search import ROWS, csv_rows
from store.engine import transaction
from store.traffic.decisions import add_decisions
from store.traffic.labels import add_labels
from store.traffic.search import Wanted
from tests.services.conftest import NOW
from tests.services.pages.test_pages import page

KEPT = Policy.of(PolicyKind.P_T, ({"p_t": 0.5},))


@pytest.fixture
def stored(engine: Engine, trivia: str, decision: Callable[..., Decision]) -> list[Decision]:
    """Three decisions: q0 and q1 escalated, q2 kept; right at q1, wrong at q2."""
    made = [decision(index, cascade=trivia) for index in range(3)]
    small, large = made[2].attempts
    signals = Signals(p_t=0.97, score=0.91, ood=0.995)
    kept = replace(small, role=Role.SERVED, signals=signals, verdict=decide(KEPT, signals))
    made[2] = replace(made[2], attempts=(kept, replace(large, role=Role.EXPLORATION)), external_id="=q2", slice="<law>")
    fields: dict[str, Any] = {"cascade": trivia, "labelled_at": NOW, "tier": 0}
    labels = [make_label(correct=correct, decision_id=made[at].id, **fields) for at, correct in ((1, 1.0), (2, 0.0))]
    with transaction(engine) as session:
        add_decisions(session, made, received_at=NOW)
        add_labels(session, labels, received_at=NOW)
    return made


def rows_of(text: str) -> list[str]:
    """The ids of the decisions that a page lists, in its order."""
    return [part.split('"')[0] for part in text.split('href="/decisions/')[1:]]


def test_an_address_is_a_question(client: TestClient, stored: list[Decision]) -> None:
    ids = [str(one.id) for one in stored]
    for query, expected in (
        ("", ids[::-1]),
        ("?verdict=kept&right=wrong&order=surest", [ids[2]]),
        ("?verdict=escalated&right=right", [ids[1]]),
        ("?ood_from=0.99&order=strangest", [ids[2]]),
        ("?slice=geography", [ids[1], ids[0]]),
        ("?id=q0", [ids[0]]),
        ("?reason=p_t&sure_to=0.6", [ids[1], ids[0]]),
        ("?since=2026-03-10T11:00:01&until=2026-03-10T11:00:02", [ids[1]]),
    ):
        assert rows_of(page(client, f"/cascades/trivia/decisions{query}")) == expected, query


@pytest.mark.usefixtures("stored")
def test_a_page_shows_what_came_of_a_decision_in_plain_words(client: TestClient) -> None:
    text = page(client, "/cascades/trivia/decisions?verdict=kept")
    for expected in ("&lt;law&gt;", "0.91", "0.995", "wrong", "59 min ago", "small was"):
        assert expected in text
    assert "Kept and wrong, surest first" in text
    for order, name in (("newest", "When"), ("surest", "How sure"), ("strangest", "Unlike")):
        assert f'order={order}">{name}' in text
    chosen = '<a href="?range=7d&amp;verdict=kept&amp;right=wrong&amp;order=surest" aria-current="true">'
    assert chosen in page(client, "/cascades/trivia/decisions?verdict=kept&right=wrong&order=surest")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("range=1y", "range is &#39;1y&#39;: give one of 24h, 7d, 30d, all"),
        ("since=yesterday", "give a time in UTC"),
        ("since=9999-12-31T23:59:59-01:00", "give a time in UTC"),
        ("sure_from=2", "give a number from 0 to 1"),
        ("sure_from=nan", "give a number from 0 to 1"),
        ("tier=7", "trivia has the tiers 0 to 1"),
        ("verdict=perhaps", "give one of kept, escalated"),
        ("reason=mood", "give one of p_ik"),
        ("after=here", "follow the link of a page"),
    ],
)
@pytest.mark.usefixtures("trivia")
def test_a_question_that_cannot_be_answered_says_why(client: TestClient, query: str, said: str) -> None:
    assert said in page(client, f"/cascades/trivia/decisions?{query}", status=400)


def test_pages_follow_each_other(
    client: TestClient, engine: Engine, trivia: str, decision: Callable[..., Decision]
) -> None:
    made = [decision(index, cascade=trivia) for index in range(ROWS + 1)]
    with transaction(engine) as session:
        add_decisions(session, made, received_at=NOW)
    first = page(client, "/cascades/trivia/decisions?range=all")
    following = first.split('rel="next" href="?')[1].split('"')[0].replace("&amp;", "&")
    assert "after" in parse_qs(following)
    second = page(client, f"/cascades/trivia/decisions?{following}")
    assert rows_of(first) + rows_of(second) == [str(one.id) for one in made[::-1]]
    assert 'rel="next"' not in second and "First page" in second


def test_a_file_holds_all_that_fits(client: TestClient, engine: Engine, stored: list[Decision]) -> None:
    response = client.get("/cascades/trivia/decisions.csv")
    assert response.headers["content-type"].startswith("text/csv") and "trivia-decisions" in str(response.headers)
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert [row["id"] for row in rows] == [str(one.id) for one in stored[::-1]]
    assert (rows[0]["verdict"], rows[0]["correct"], rows[0]["external_id"]) == ("kept", "0.0", "'=q2")
    assert "".join(csv_rows(engine, Wanted(cascade="trivia"), chunk=2)) == response.text
    kept = client.get("/cascades/trivia/decisions.csv?verdict=kept").text
    assert len(kept.splitlines()) == 2
    assert client.get("/cascades/trivia/decisions.csv?tier=x").status_code == 400
    assert client.get("/cascades/unheard-of/decisions.csv").status_code == 404


@pytest.mark.usefixtures("trivia")
def test_what_will_stand_there_is_said_where_nothing_does(client: TestClient) -> None:
    assert "look at a longer one" in page(client, "/cascades/trivia/decisions")
    assert "as soon as a runtime has shipped it" in page(client, "/cascades/trivia/decisions?range=all")
    page(client, "/cascades/unheard-of/decisions", status=404)


@pytest.mark.usefixtures("stored")
def test_a_search_without_a_time_looks_at_a_week(client: TestClient, clock: SimulatedClock) -> None:
    clock.set(NOW + timedelta(days=8))
    assert rows_of(page(client, "/cascades/trivia/decisions")) == []
    assert len(rows_of(page(client, "/cascades/trivia/decisions?id=q0"))) == 1  # an id is looked for at any time
