"""The forms by which a person acts on a cascade: only who may, only what is meant, and kept with
who and why.
"""

from dataclasses import replace
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import Engine

from factories import make_comparison
from knowgate.spec import Approval, Promotion
from services.acts import Act
from services.pages.act_page import OF_A_BUNDLE
from services.settings import Auth, Settings, operator
from services.web.app import create_app
from store.engine import reading, transaction
from store.releases import cascades
from store.releases.cascade_acts import CascadeActKind, last_act
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
    app = create_app(settings, deployment.engine, clock=deployment.clock)
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
    assert "save 30.0 % of the last tier" in shown and "with confidence 80.0 %, shown on 1,000 decisions" in shown
    assert "lose at most" in shown and "points of accuracy" in shown
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
    assert browser.post("/cascades/quiz/stop", data=FILLED).status_code == 303
    assert "<h1>Resume</h1>" in page(browser, "/cascades/quiz/resume")


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
    browser.post("/sign-in", data={"token": reader})
    assert "may look, and not act" in page(browser, "/cascades/quiz/resume")
    assert browser.post("/cascades/quiz/resume", data=FILLED).status_code == 403
    assert deployment.state == "observing"
    browser.post("/sign-in", data={"token": admin})
    assert browser.post("/cascades/quiz/resume", data=FILLED).status_code == 303
    assert (deployment.state, deployment.history[-1].decided_by) == ("active", "ada")


def test_a_cascade_that_is_not_known_has_no_form(browser: TestClient) -> None:
    assert browser.get("/cascades/nobody/resume").status_code == 404
    assert browser.post("/cascades/nobody/resume", data=FILLED).status_code == 404


def shown(browser: TestClient, act: str) -> str:
    return page(browser, f"/cascades/quiz/{act}")


def filled(browser: TestClient, act: str, **more: str) -> Response:
    return browser.post(f"/cascades/quiz/{act}", data=FILLED | more)


def test_every_act_is_refused_to_who_may_look_and_to_another_site(deployment: Deployment) -> None:
    browser = opened(deployment, deployment.settings.model_copy(update={"auth": Auth.ON}))
    with transaction(deployment.engine) as session:
        tokens = {role: create_token(session, role, role, deployment.now) for role in TokenRole}
    for act in Act:
        for role, token in tokens.items():
            browser.cookies.clear()
            browser.post("/sign-in", data={"token": token})
            answer = browser.get(f"/cascades/quiz/{act}")
            looks, acts = role in ("read", "operator", "admin"), role in ("operator", "admin")
            assert answer.status_code == (200 if looks else 303)
            offered = acts and act not in OF_A_BUNDLE  # there is none to choose
            assert ('<form method="post" action="/cascades/' in answer.text) is offered
            if not acts:
                assert filled(browser, act).status_code in (303, 403)
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            assert browser.post(f"/cascades/quiz/{act}", data=FILLED, headers=headers).status_code == 403
    with reading(deployment.engine) as session:
        assert deployment.history == () and last_act(session, "quiz", tuple(CascadeActKind)) is None


def test_a_cascade_is_stopped_and_rolled_back_to_the_bundle_that_is_chosen(
    deployment: Deployment, browser: TestClient
) -> None:
    first, second = deployment.certified("first"), deployment.certified("second", threshold=0.4)
    for bundle in (first, second):
        offered = shown(browser, "promote")
        assert "with confidence 80.0 %" in offered and "checked" not in offered
        assert "required checked" in page(browser, f"/cascades/quiz/promote?bundle={bundle[:8]}")
        assert filled(browser, "promote", bundle=bundle).status_code == 303
    # 40 % are kept by the certificate, and half of those are explored.
    assert "would answer 100.0 % of the queries, 1.2 × its load today (80.0 % by the certificate)" in shown(
        browser, "stop"
    )
    assert filled(browser, "stop").status_code == 303
    assert deployment.state == "stopped" and 'href="/cascades/quiz/resume"' in page(browser, "/cascades/quiz")
    filled(browser, "resume")
    offered = shown(browser, "rollback")
    assert f'value="{first}" required checked' in offered and second not in offered
    assert filled(browser, "rollback", bundle=first).status_code == 303
    assert deployment.in_force.champion == first
    assert "There is no former champion" in shown(browser, "rollback")


def test_a_condemned_bundle_is_marked_and_comes_back_with_a_reason_for_that(
    deployment: Deployment, browser: TestClient
) -> None:
    champion = deployment.certified("champion")
    filled(browser, "resume")
    deployment.ring("half of it is wrong")
    deployment.tick()
    assert "Why a condemned bundle is wanted all the same" in shown(browser, "resume")
    assert "condemned</span> by the risk alarm" in shown(browser, "promote")
    refused = filled(browser, "resume")
    assert refused.status_code == 409 and "is condemned by the risk alarm" in refused.text
    assert filled(browser, "resume", despite_alarm="labels were wrong").status_code == 303
    assert (deployment.state, deployment.in_force.champion) == ("active", champion)


def test_a_challenger_that_waits_is_on_the_page_and_is_answered_there(
    deployment: Deployment, browser: TestClient
) -> None:
    with transaction(deployment.engine) as session:
        spec = replace(cascades.cascade(session, "quiz"), promotion=Promotion(approval=Approval.MANUAL))
        cascades.apply_cascade(session, spec, now=deployment.now)
    assert "No challenger awaits approval" in shown(browser, "approve") and "<button" not in shown(browser, "approve")
    assert "train one first" in shown(browser, "promote")
    for act in ("decline", "approve"):
        bundle = deployment.certified(act)
        deployment.tick()
        of_cascade = page(browser, "/cascades/quiz")
        assert "awaiting approval" in of_cascade and f'href="/cascades/quiz/{act}"' in of_cascade
        assert filled(browser, act, bundle=bundle).status_code == 303
    assert (deployment.state, deployment.in_force.champion) == ("active", bundle)


def test_a_challenger_that_is_being_tried_is_on_the_page_and_is_taken_back_there(
    deployment: Deployment, browser: TestClient
) -> None:
    champion = deployment.certified("champion")
    filled(browser, "resume")
    with transaction(deployment.engine) as session:
        spec = replace(cascades.cascade(session, "quiz"), promotion=Promotion(steps=(0.3,)))
        cascades.apply_cascade(session, spec, now=deployment.now)
    challenger = deployment.certified("bolder", threshold=0.1, comparison=make_comparison(champion))
    deployment.tick()
    assert deployment.in_force.challenger == challenger
    assert "being tried</span> Step 1 of" in page(browser, "/cascades/quiz")
    assert filled(browser, "decline", bundle=challenger).status_code == 303
    assert (deployment.in_force.champion, deployment.in_force.challenger) == (champion, None)


def test_a_freeze_and_a_training_are_asked_for_and_shown(deployment: Deployment, browser: TestClient) -> None:
    end = (deployment.now + timedelta(days=2)).strftime("%Y-%m-%d %H:%M UTC")
    assert f'value="2d">2 days, until {end}<' in shown(browser, "freeze")
    assert filled(browser, "freeze", duration="2d").status_code == 303
    assert "frozen</span> until" in page(browser, "/cascades/quiz") and "unfreeze" in page(browser, "/cascades/quiz")
    assert filled(browser, "freeze", duration="soon").status_code == 400
    deployment.later()
    filled(browser, "unfreeze")
    over = page(browser, "/cascades/quiz")
    assert "frozen</span> until" not in over and "Unfrozen: it saves enough" in over
    refused = filled(browser, "train")
    assert refused.status_code == 409 and "could show nothing" in refused.text
    assert filled(browser, "train", insist="yes").status_code == 303
    assert "training asked for" in page(browser, "/cascades/quiz")
