"""The form that switches a cascade on and has it observed: only who may, only what is meant, and
kept with who and why.
"""

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from services.clock import SimulatedClock
from services.settings import Auth, Settings, operator
from services.web.app import create_app
from store.engine import transaction
from store.releases.promotions import Outcome
from store.tokens import TokenRole, create_token
from tests.services.deployment_of_jobs import Deployment
from tests.services.pages.test_pages import page

FILLED = {"reason": "it saves enough", "confirm": "yes"}


@pytest.fixture
def deployment(engine: Engine, settings: Settings) -> Deployment:
    return Deployment(engine, settings)


@pytest.fixture
def browser(deployment: Deployment) -> TestClient:
    return opened(deployment, deployment.settings)


def opened(deployment: Deployment, settings: Settings) -> TestClient:
    clock = SimulatedClock(deployment.now)
    app = create_app(settings, deployment.engine, clock=clock)
    own = {"Origin": "http://127.0.0.1"}  # as a browser says of a page of ours
    return TestClient(app, base_url="http://127.0.0.1", follow_redirects=False, headers=own)


def test_the_page_of_an_observed_cascade_says_what_is_missing_and_what_would_be_so(
    deployment: Deployment, browser: TestClient
) -> None:
    shown = page(browser, "/cascades/quiz")
    assert "Nothing was attempted yet, so nothing would be kept." in shown
    assert "<dt>Observed</dt>" in shown
    deployment.certified("first")
    shown = page(browser, "/cascades/quiz")
    assert "save 30.0% of the last tier" in shown and "with confidence 80.0%, shown on 1000 decisions" in shown
    assert 'href="/cascades/quiz/resume"' in shown


def test_it_is_switched_on_from_the_page_and_put_back_with_who_and_why(
    deployment: Deployment, browser: TestClient
) -> None:
    champion = deployment.certified("first")
    assert "Switch on" in page(browser, "/cascades/quiz/resume")
    answer = browser.post("/cascades/quiz/resume", data=FILLED)
    assert (answer.status_code, answer.headers["location"]) == (303, "/cascades/quiz")
    assert (deployment.state, deployment.in_force.champion) == ("active", champion)
    assert 'href="/cascades/quiz/observe"' in page(browser, "/cascades/quiz")
    assert "Observe" in page(browser, "/cascades/quiz/observe")
    browser.post("/cascades/quiz/observe", data=FILLED | {"reason": "a new prompt"})
    assert (deployment.state, deployment.in_force.champion) == ("observing", champion)
    said, who = [(record.outcome, record.reason) for record in deployment.history], operator(deployment.settings)
    assert said == [(Outcome.PROMOTED, "it saves enough"), (Outcome.OBSERVED, "a new prompt")]
    assert {record.decided_by for record in deployment.history} == {who}
    assert "a new prompt" in page(browser, "/cascades/quiz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"reason": " "}, "reason: give it"), ({"confirm": "no"}, "confirm: tick the box")],
)
def test_a_form_that_is_not_filled_in_changes_nothing_and_keeps_what_was_typed(
    deployment: Deployment, browser: TestClient, changes: dict[str, str], message: str
) -> None:
    deployment.certified("first")
    answer = browser.post("/cascades/quiz/resume", data=FILLED | changes)
    assert answer.status_code == 400 and message in answer.text
    assert ('value="it saves enough"' in answer.text) is ("reason" not in changes)
    assert deployment.state == "observing"


def test_where_nothing_is_certified_the_form_says_so(deployment: Deployment, browser: TestClient) -> None:
    answer = browser.post("/cascades/quiz/resume", data=FILLED)
    assert answer.status_code == 409 and "no certified bundle yet" in answer.text
    assert deployment.history == ()


def test_a_form_of_another_site_is_refused(deployment: Deployment, browser: TestClient) -> None:
    deployment.certified("first")
    for origin in ("https://evil.example", "null"):
        answer = browser.post("/cascades/quiz/resume", data=FILLED, headers={"Origin": origin})
        assert answer.status_code == 403
    assert deployment.state == "observing"
    assert browser.post("/cascades/quiz/resume", data=FILLED).status_code == 303


def test_who_may_look_may_not_switch_on(deployment: Deployment) -> None:
    browser = opened(deployment, deployment.settings.model_copy(update={"auth": Auth.ON}))
    deployment.certified("first")
    assert browser.get("/cascades/quiz/resume").headers["location"] == "/sign-in"
    with transaction(deployment.engine) as session:
        reader = create_token(session, "reader", TokenRole.READ, deployment.now)
        admin = create_token(session, "ada", TokenRole.OPERATOR, deployment.now)
    browser.cookies.set("knowgate_token", reader)
    assert "may look, and not act" in page(browser, "/cascades/quiz/resume")
    assert browser.post("/cascades/quiz/resume", data=FILLED).status_code == 403
    assert deployment.state == "observing"
    browser.cookies.set("knowgate_token", admin)
    assert browser.post("/cascades/quiz/resume", data=FILLED).status_code == 303
    assert (deployment.state, deployment.history[-1].decided_by) == ("active", "ada")


def test_a_cascade_that_is_not_known_has_no_form(browser: TestClient) -> None:
    assert browser.get("/cascades/nobody/resume").status_code == 404
    assert browser.post("/cascades/nobody/resume", data=FILLED).status_code == 404
