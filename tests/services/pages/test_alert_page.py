"""An alert page: what was seen as a curve with its moments, what was done, and where to look."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from knowgate import Bundle, Window
from monitoring.names import Rule
from services.alerts import story
from services.pages.alert_evidence import evidence_of
from services.promotion.rollout import stop
from services.promotion.rollout_state import Why
from services.settings import Settings
from store.engine import reading, transaction
from store.releases.assignments import assignment
from store.releases.cascades import cascade
from store.releases.rings import Spoken, add_ring, answer_ring
from store.watching.alerts import AlertRecord, open_alert, resolve_alert
from store.watching.deliveries import add_delivery, claim_due_deliveries, finish_delivery
from store.watching.figures import put_figures
from tests.services.conftest import NOW
from tests.services.pages.test_pages import figure, page

RANG, HOUR = NOW - timedelta(days=5), timedelta(hours=1)


@pytest.fixture
def rung(engine: Engine, promoted: Bundle) -> UUID:
    """A risk alert that stopped the cascade, beside two weeks of figures, and a message that was
    tried twice.
    """
    rows = [figure("drop", day, 0.01 if day < 13 else 0.04) for day in range(4, 18)]
    rows += [figure("retained_share", day, 0.5) for day in range(4, 14)]
    record = AlertRecord(
        cascade="trivia", rule="risk", cause="answers lose <4> %", details='{"loss": 0.0412345678}', opened_at=RANG
    )
    with transaction(engine) as session:
        put_figures(session, rows)
        alert = open_alert(session, record)
        ring = add_ring(session, alert, cause="it went on", details='{"loss": 0.05}', spoken=Spoken(), now=NOW)
        answer_ring(session, replace(ring, number=1), "stopped: nothing is kept", now=RANG, stopped=promoted.id)
        add_delivery(session, alert, "pager", "opened", lambda _: "{}", now=RANG)
        for hour, error in ((0, "it answered <500>"), (1, None)):
            at = RANG + timedelta(hours=hour)
            (claimed,) = claim_due_deliveries(session, owner="a", now=at, lease=timedelta(minutes=1))
            finish_delivery(session, claimed, now=at, error=error)
    return alert


def test_an_alert_shows_its_evidence_what_was_done_and_where_to_look(client: TestClient, rung: UUID) -> None:
    text = page(client, f"/alerts/{rung}")
    for expected in (
        "knowgate stopped the cascade by itself at 2026-03-05 12:00 UTC",
        "A point is a day",
        "promised: at most",
        "rang 5 Mar 12:00 UTC",
        "stopped 5 Mar 12:00 UTC",
        "it answered &lt;500&gt;",
        "/cascades/trivia/decisions?verdict=kept&amp;right=wrong&amp;order=surest",
        "/cascades/trivia/bundles",
        "0.05",
    ):
        assert expected in text, expected
    assert "0.0412345678" not in text


def test_a_stop_that_lasts_says_where_queries_go_and_how_to_end_it(
    client: TestClient, engine: Engine, rung: UUID, settings: Settings
) -> None:
    over = page(client, f"/alerts/{rung}")
    assert "That is over: bundle" in over and "Resume …" not in over
    with transaction(engine) as session:
        current = assignment(session, "trivia")
        assert current is not None
        stop(session, current, settings, Why(reason="the risk alarm rang"), now=RANG)
    text = page(client, f"/alerts/{rung}")
    assert "nothing is kept: every query goes to the last tier, which gets about 2.0 × the queries it had." in text
    assert '<a class="button" href="/cascades/trivia/resume">Resume …</a>' in text and "That is over" not in text


def test_the_curve_is_of_days_and_of_windows_where_there_are_few_days(engine: Engine, trivia: str) -> None:
    hours = [
        replace(figure("drop", 13, 0.03), window=Window(start=RANG - (6 - at) * HOUR, end=RANG - (5 - at) * HOUR))
        for at in range(5)
    ]
    record = AlertRecord(cascade=trivia, rule="risk", cause="c", details="{}", opened_at=RANG)
    with transaction(engine) as session:
        put_figures(session, hours)
        alert = open_alert(session, record)
        few = evidence_of(session, story(session, alert), cascade(session, trivia))
        put_figures(session, [replace(one, window=later(one.window, -day)) for one in hours for day in (1, 2, 3, 4)])
        many = evidence_of(session, story(session, alert), cascade(session, trivia))
    assert (few.daily, many.daily) == (False, True)
    assert [len(one.charts[0].rows) for one in (few, many)] == [5, 5]
    assert [row.cells[0][:5] for row in many.charts[0].rows] == ["1 Mar", "2 Mar", "3 Mar", "4 Mar", "5 Mar"]


def later(window: Window, days: int) -> Window:
    return Window(start=window.start + timedelta(days=days), end=window.end + timedelta(days=days))


def test_an_alert_that_is_over_has_its_end_on_the_curve(client: TestClient, engine: Engine, rung: UUID) -> None:
    with transaction(engine) as session:
        resolve_alert(session, "trivia", "risk", resolution="it is quiet", now=NOW - timedelta(days=3))
    assert "over 7 Mar 12:00 UTC" in page(client, f"/alerts/{rung}")
    assert str(rung) not in page(client, "/alerts") and str(rung) in page(client, "/alerts?all=yes")


@pytest.mark.parametrize("rule", list(Rule))
def test_every_rule_has_three_places_to_look_at(engine: Engine, trivia: str, client: TestClient, rule: Rule) -> None:
    record = AlertRecord(cascade=trivia, rule=rule.value, cause="c", details="{}", opened_at=NOW)
    with transaction(engine) as session:
        alert = open_alert(session, record)
    with reading(engine) as session:
        evidence = evidence_of(session, story(session, alert), cascade(session, trivia))
    assert len({check.href for check in evidence.checks}) == 3 and evidence.charts == ()
    for check in evidence.checks:
        assert client.get(check.href).status_code == 200, check
