"""What a person does about an alert: kept with who and why, heard by who heard of the alert, and
taken back by the next ring.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from knowgate import Window
from knowgate.spec import CascadeSpec
from monitoring.alerts.alerts import settle
from monitoring.names import Rule
from monitoring.rules.rules import Assessment, Standing
from services.alerts import AlertState, AlertStory, act_on, stories
from services.audit.verify import verify_ledger
from services.clock import SimulatedClock
from services.errors import InputInvalid, Refused
from services.settings import Auth, Settings
from store.engine import reading, transaction
from store.jobs.job_runs import claim, finish
from store.jobs.occasions import Occasion, TrainingReason
from store.releases.cascades import apply_cascade, cascade
from store.releases.rings import Spoken, answer_ring
from store.tokens import TokenRole, create_token
from store.watching.alert_acts import Act, AlertAct
from store.watching.alerts import alerts
from store.watching.deliveries import deliveries
from tests.services.conftest import NOW

HOUR = timedelta(hours=1)
WEBHOOK = "https://pager.example/alerts"


@pytest.fixture
def spec(engine: Engine, trivia: str) -> CascadeSpec:
    """A cascade whose alerts one webhook hears of."""
    with transaction(engine) as session:
        with_webhook = replace(cascade(session, trivia), webhooks=(WEBHOOK,))
        apply_cascade(session, with_webhook, now=NOW)
    return with_webhook


@pytest.fixture
def say(engine: Engine, spec: CascadeSpec) -> Callable[..., AlertStory]:
    """The risk alarm says something; the newest alert's story then."""

    def settled(standing: Standing, cause: str, at: datetime) -> AlertStory:
        ring = Spoken() if standing is Standing.RAISED else None
        with transaction(engine) as session:
            settle(session, spec, Assessment(rule=Rule.RISK, standing=standing, cause=cause, ring=ring), now=at)
            return stories(session, alerts(session))[-1]

    return settled


@pytest.fixture
def act(engine: Engine) -> Callable[..., AlertStory]:
    def acted(
        of: AlertStory, what: Act, at: datetime, *, until: datetime | None = None, reason: str = "seen"
    ) -> AlertStory:
        made = AlertAct(alert_id=key_of(of), act=what, by="ada", reason=reason, at=at, until=until)
        with transaction(engine) as session:
            return act_on(session, made)

    return acted


def key_of(story: AlertStory):
    assert story.alert.id is not None
    return story.alert.id


def heard(engine: Engine) -> list[tuple[str, str]]:
    """Event and cause of every message, in the order in which they were written."""
    with reading(engine) as session:
        bodies = [json.loads(one.payload) for alert in alerts(session) for one in deliveries(session, alert.id)]
    return [(body["event"], body["ring"]["cause"] if body["ring"] else body["alert"]["resolution"]) for body in bodies]


def test_an_acknowledgement_stands_until_the_next_ring(say, act) -> None:
    assert say(Standing.RAISED, "first", NOW).state is AlertState.OPEN
    story = act(say(Standing.UNKNOWN, "", NOW), Act.ACKNOWLEDGED, NOW + HOUR)
    assert (story.state, story.acts[0].by, story.acts[0].reason) == (AlertState.ACKNOWLEDGED, "ada", "seen")
    assert say(Standing.RAISED, "second", NOW + 2 * HOUR).state is AlertState.OPEN


def test_while_a_rule_is_silenced_nothing_is_sent_and_what_stands_on_is_said_after(engine, say, act) -> None:
    act(say(Standing.RAISED, "first", NOW), Act.SILENCED, NOW, until=NOW + 5 * HOUR)
    say(Standing.RAISED, "second", NOW + HOUR)
    assert heard(engine) == [("opened", "first")]
    say(Standing.CLEAR, "quiet", NOW + 2 * HOUR)  # who has heard of an alert hears of its end
    assert heard(engine) == [("opened", "first"), ("resolved", "quiet")]
    say(Standing.RAISED, "third", NOW + 3 * HOUR)  # another alert of the same rule
    say(Standing.UNKNOWN, "still raised", NOW + 4 * HOUR)
    assert len(heard(engine)) == 2
    for _ in range(2):  # said once
        say(Standing.UNKNOWN, "still raised", NOW + 5 * HOUR)
    assert heard(engine)[2:] == [("opened", "third")]


def test_what_opens_and_ends_in_a_silence_is_never_sent(engine, say, act) -> None:
    act(say(Standing.RAISED, "first", NOW), Act.RESOLVED, NOW)
    act(say(Standing.RAISED, "second", NOW + HOUR), Act.SILENCED, NOW + HOUR, until=NOW + 9 * HOUR)
    say(Standing.CLEAR, "quiet", NOW + 2 * HOUR)
    say(Standing.RAISED, "third", NOW + 3 * HOUR)
    say(Standing.CLEAR, "quiet again", NOW + 4 * HOUR)
    assert heard(engine)[3:] == [("resolved", "quiet")]


def test_a_silence_can_be_ended_before_its_time(engine, say, act) -> None:
    story = act(say(Standing.RAISED, "first", NOW), Act.SILENCED, NOW, until=NOW + 5 * HOUR)
    act(story, Act.SILENCED, NOW + HOUR, until=NOW + HOUR, reason="done")
    say(Standing.RAISED, "second", NOW + 2 * HOUR)
    assert heard(engine)[1:] == [("rang_again", "second")]


def test_a_person_resolves_an_alert_once_and_the_rule_may_open_another(engine, say, act) -> None:
    story = act(say(Standing.RAISED, "first", NOW), Act.RESOLVED, NOW + HOUR, reason="a load test")
    assert (story.state, story.alert.resolution) == (AlertState.RESOLVED, "ada: a load test")
    assert heard(engine)[1:] == [("resolved", "ada: a load test")]
    for what in (Act.RESOLVED, Act.ACKNOWLEDGED):
        with pytest.raises(Refused, match="resolved on 2026-03-10 at 13:00 UTC"):
            act(story, what, NOW + 2 * HOUR)
    assert key_of(say(Standing.RAISED, "second", NOW + 2 * HOUR)) != key_of(story)


@pytest.mark.parametrize(
    ("what", "changes", "refused"),
    [
        (Act.ACKNOWLEDGED, {"reason": "  "}, "reason is '  ': say it in words"),
        (Act.SILENCED, {}, "until is None: give a time"),
        (Act.ACKNOWLEDGED, {"until": NOW + HOUR}, "duration goes with silenced: leave it out to say acknowledged"),
        (Act.SILENCED, {"until": NOW - HOUR}, "give a time from 2026-03-10 12:00 UTC on"),
    ],
)
def test_what_says_nothing_is_refused_and_kept_nowhere(say, act, what, changes, refused) -> None:
    with pytest.raises(InputInvalid, match=refused):
        act(say(Standing.RAISED, "first", NOW), what, NOW, **changes)
    assert say(Standing.UNKNOWN, "", NOW).acts == ()


def test_what_people_did_is_sealed(engine, say, act) -> None:
    act(say(Standing.RAISED, "first", NOW), Act.ACKNOWLEDGED, NOW)
    with transaction(engine) as session:
        session.connection().exec_driver_sql("UPDATE alert_act SET by = 'eve'")
    with reading(engine) as session:
        assert any("alert_act" in str(problem) for problem in verify_ledger(session).problems)


def test_the_api_lists_alerts_and_takes_acts_in_the_tokens_name(
    serve: Callable[[Settings], TestClient], settings: Settings, engine: Engine, clock: SimulatedClock, say
) -> None:
    client, key = serve(settings.model_copy(update={"auth": Auth.ON})), key_of(say(Standing.RAISED, "first", NOW))
    with transaction(engine) as session:
        client.headers["Authorization"] = f"Bearer {create_token(session, 'ada-laptop', TokenRole.OPERATOR, NOW)}"
    assert [one["state"] for one in client.get("/v1/alerts").json()["alerts"]] == ["open"]
    path = f"/v1/alerts/{key}/acts"
    done = client.post(path, json={"act": "silenced", "reason": "deploy", "duration": "4h"})
    assert (done.status_code, done.json()["acts"][0]["by"]) == (200, "ada-laptop")
    assert client.post(path, json={"act": "silenced", "reason": "deploy", "duration": "soon"}).status_code == 422
    assert client.post(path, json={"act": "resolved", "reason": ""}).status_code == 422
    assert client.post(path, json={"act": "shouted", "reason": "x"}).json()["error"]["field"] == "act"
    assert client.post(path, json={"act": "resolved", "reason": "over"}).status_code == 200
    assert client.post(path, json={"act": "resolved", "reason": "over"}).status_code == 409
    assert client.get("/v1/alerts", params={"cascade": "trivia"}).json()["alerts"] == []
    assert len(client.get("/v1/alerts", params={"resolved": True}).json()["alerts"]) == 1
    unknown = f"/v1/alerts/{UUID(int=0)}/acts"
    assert client.post(unknown, json={"act": "resolved", "reason": "x"}).status_code == 404


def test_a_page_acts_for_who_may_act_and_from_our_own_pages_alone(
    serve: Callable[[Settings], TestClient], settings: Settings, engine: Engine, say
) -> None:
    client = serve(settings.model_copy(update={"auth": Auth.ON}))
    path = f"/alerts/{key_of(say(Standing.RAISED, 'first <b>', NOW))}"
    here, form = {"Origin": "http://127.0.0.1"}, {"act": "acknowledged", "reason": "looking"}
    assert client.get(path, follow_redirects=False).headers["location"] == "/sign-in"
    for role in (TokenRole.READ, TokenRole.OPERATOR):
        with transaction(engine) as session:
            token = create_token(session, role.value, role, NOW)
        client.post("/sign-in", data={"token": token})
        shown, may = client.get(path).text, role is TokenRole.OPERATOR
        assert ('method="post" action="/alerts/' in shown) == may and "first &lt;b&gt;" in shown
        for headers in ({}, {"Origin": "https://evil.example"}, here | {"Sec-Fetch-Site": "cross-site"}):
            assert client.post(path, data=form, headers=headers).status_code == 403
        assert client.post(path, data=form, headers=here, follow_redirects=False).status_code == (303 if may else 403)
    assert "operator" in client.get(path).text and "acknowledged: looking" in client.get(path).text
    assert client.post(path, data={"act": "resolved", "reason": " "}, headers=here).status_code == 409
    assert "Accuracy is worse than promised." in client.get("/alerts").text
    client.post(path, data={"act": "resolved", "reason": "over"}, headers=here)
    assert "Nothing is open" in client.get("/alerts").text


def test_what_the_service_did_is_told_with_the_alert(engine: Engine, say: Callable[..., AlertStory]) -> None:
    opened = say(Standing.RAISED, "it loses 4 %", NOW)
    assert opened.deeds == () and "The champion is stopped" in opened.response
    window = Window(start=NOW - 24 * HOUR, end=NOW)
    made_for = Occasion(reason=TrainingReason.RISK, why="it rang", key=opened.rings[0].key)
    with transaction(engine) as session:
        answer_ring(session, opened.rings[0], "stopped by generation 7", now=NOW + HOUR)
        begun = claim(session, "train", "trivia", window, owner="a", lease=HOUR, now=NOW + 2 * HOUR, occasion=made_for)
        (begun_story,) = stories(session, alerts(session))
        assert begun is not None
        finish(session, begun, "certified", now=NOW + 2 * HOUR)
        (story,) = stories(session, alerts(session))
    assert [deed.what for deed in begun_story.deeds] == ["stopped by generation 7", "a training was begun for it"]
    assert [deed.what for deed in story.deeds][1] == "a training was made for it: certified"
    assert [deed.at for deed in story.deeds] == [NOW + HOUR, NOW + 2 * HOUR]
