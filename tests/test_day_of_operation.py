"""A day of operation on the real clock, with windows of seconds: PostgreSQL, MLflow, the API, the
scheduler, a runtime and Debian's Alertmanager, each a process on loopback, and a person at a
browser.

The small model is broken twice. What is certified, approved, tried on a share, taken back, stopped,
refused, rolled back, resumed, silenced and resolved is seen on the page, and heard in a message.
"""

import json
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitoring.words import short
from services.audit.verify import verify_ledger
from store.engine import closing_engine, reading, transaction
from store.jobs import outbox
from store.tokens import TokenRole, create_token
from tests import servers
from tests.day_of_operation import (
    ALERTMANAGER,
    AT_ONCE,
    CHROMIUM,
    IN_STEPS,
    Day,
    alerting,
    browsing,
    hearing,
    settings,
    until,
)

ENOUGH = 300  # labelled decisions to begin with


@pytest.fixture
def day(postgresql_url: str, mlflow_url: str, tmp_path: Path) -> Iterator[Day]:
    environment = settings(tmp_path, postgresql_url, mlflow_url)
    url = f"http://127.0.0.1:{environment['KNOWGATE_PORT']}"
    program = [sys.executable, "-m", "services"]
    with closing_engine(postgresql_url) as engine, transaction(engine) as session:
        now = datetime.now(UTC)
        person = create_token(session, "ada", TokenRole.OPERATOR, now)
        serving = create_token(session, "gateway-1", TokenRole.ADMIN, now)
    with ExitStack() as stack:
        hears, heard = stack.enter_context(hearing())
        alertmanager = stack.enter_context(alerting(tmp_path, hears))
        api = stack.enter_context(
            servers.running([*program, "serve"], environment=environment, log=tmp_path / "api.log")
        )
        servers.wait_until_answering(f"{url}/healthz", api, within_s=120)
        stack.enter_context(
            servers.running([*program, "scheduler"], environment=environment, log=tmp_path / "scheduler.log")
        )
        page = stack.enter_context(browsing(url, person))
        started = Day(
            url=url,
            alertmanager=alertmanager,
            hearer=hears,
            folder=tmp_path,
            environment=environment,
            token=person,
            page=page,
            heard=heard,
        )
        started.declare(IN_STEPS)
        command = [sys.executable, "-m", "tests.quiz_runtime", url, "quiz", str(tmp_path)]
        own = environment | {"KNOWGATE_TOKEN": serving}
        stack.enter_context(servers.running(command, environment=own, log=tmp_path / "runtime.log"))
        yield started


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.skipif(CHROMIUM is None, reason="no browser here: install Debian's chromium")
@pytest.mark.skipif(ALERTMANAGER is None, reason="no Alertmanager here: install Debian's prometheus-alertmanager")
def test_a_day_of_operation(day: Day, postgresql_url: str) -> None:
    day.sees("Observing")
    until(lambda: (day.ask("/v1/cascades/quiz/labels")[1]["labelled"] or 0) > ENOUGH, "labels come")
    declined = take_a_canary_back(day)
    first = see_a_canary_through(day)
    day.declare(AT_ONCE)
    second = certify_and_approve_by_script(day)
    break_until_it_is_stopped(day, "opened")
    refuse_what_is_condemned_and_roll_back(day, condemned=second, former=first)
    break_until_it_is_stopped(day, "rang_again")
    status, answer = day.post("rollback", to=second)
    assert status == 409 and "condemned by the risk alarm" in answer["error"]["message"]
    day.broken.unlink()
    acknowledge_and_silence(day)
    resume_by_a_person(day, first)
    third = certify_and_approve_on_the_page(day)
    assert len({declined, first, second, third}) == 4
    resolve(day)
    check_the_record(postgresql_url)


def certify_and_approve_on_the_page(day: Day) -> str:
    day.step()
    bundle = day.challenger()
    day.sees("awaiting approval")
    day.click("approve", "it looks right")
    day.page.wait_for_url(f"{day.url}/cascades/quiz")
    assert (day.state["state"], day.state["champion"]) == ("active", bundle)
    assert day.hears_move("promoted")["move"]["decided_by"] == "ada"
    return bundle


def certify_and_approve_by_script(day: Day) -> str:
    day.step()
    bundle = day.challenger()
    status, state = day.post("approve", bundle=bundle)
    assert status == 200 and state["champion"] == bundle
    day.hears_move("promoted")
    day.sees("a script asks")
    return bundle


def break_until_it_is_stopped(day: Day, event: str) -> None:
    day.step()
    day.broken.touch()
    until(lambda: day.state["state"] == "stopped", "the risk alarm stops it")
    day.sees("Stopped")
    day.sees("promise broken")
    alert = day.hears("team", lambda body: body.get("event") == event, event)["alert"]
    assert (alert["rule"], alert["severity"]) == ("risk", "critical")
    day.hears_move("stopped")
    if event == "opened":  # Alertmanager does not say again what it has said
        paged = day.hears("pager", lambda body: body.get("status") == "firing", "it fires")
        assert {one["labels"]["cascade"] for one in paged["alerts"]} == {"quiz"}


def refuse_what_is_condemned_and_roll_back(day: Day, *, condemned: str, former: str) -> None:
    day.step()
    day.click("resume", "quick")
    assert day.page.get_by_text(f"bundle {short(condemned)} is condemned by the risk alarm").first.is_visible()
    assert day.state["state"] == "stopped"
    day.click("rollback", "back to what held")
    day.page.wait_for_url(f"{day.url}/cascades/quiz")
    assert (day.state["state"], day.state["champion"]) == ("active", former)
    day.hears_move("rolled_back")
    day.sees("back to what held")


def of_risk(day: Day) -> str:
    """The path of the open risk alert's page."""
    _, listed = day.ask("/v1/alerts?cascade=quiz")
    return next(f"/alerts/{one['alert']['id']}" for one in listed["alerts"] if one["alert"]["rule"] == "risk")


def on_the_alert(day: Day, what: str, reason: str) -> None:
    day.page.goto(day.url + of_risk(day))
    day.page.locator("summary", has_text=what).click()
    day.page.get_by_label("Why").locator("visible=true").fill(reason)
    day.page.get_by_role("button", name=what).click()


def acknowledge_and_silence(day: Day) -> None:
    for what, said in (("Acknowledge", "acknowledged: looking"), ("Silence", ": looking")):
        on_the_alert(day, what, "looking")
        day.sees(said, of_risk(day))

    def silenced() -> bool:
        with urllib.request.urlopen(f"{day.alertmanager}/api/v2/alerts") as answer:
            states = {one["labels"]["alertname"]: one["status"]["state"] for one in json.load(answer)}
        return states.get("risk") == "suppressed"

    until(silenced, "Alertmanager keeps silent too", within_s=60)


def resume_by_a_person(day: Day, champion: str) -> None:
    day.step()
    day.click("resume", "mended", **{"Why a condemned bundle is wanted all the same": "the model was at fault"})
    day.page.wait_for_url(f"{day.url}/cascades/quiz")
    assert (day.state["state"], day.state["champion"]) == ("active", champion)
    assert day.hears_move("resumed")["move"]["reason"] == "mended; despite alarm: the model was at fault"
    day.sees("mended; despite alarm")


def resolve(day: Day) -> None:
    day.step()
    path = of_risk(day)
    on_the_alert(day, "Resolve", "it holds again")
    day.sees("resolved: it holds again", path)
    day.hears("team", lambda body: body.get("event") == "resolved" and body["alert"]["rule"] == "risk", "its end")


def begin_a_canary(day: Day) -> str:
    """Nothing is kept yet: the challenger decides half of the queries, the last tier the others."""
    day.step()
    bundle = day.challenger()
    day.sees("awaiting approval")
    day.click("approve", "a share first")
    assert day.hears_move("shared")["move"]["bundle"] == bundle
    assert (day.state["champion"], day.state["challenger"]) == (None, bundle)
    day.sees(f"bundle {short(bundle)} decides 50.0 % of the queries")
    return bundle


def take_a_canary_back(day: Day) -> str:
    bundle = begin_a_canary(day)
    status, state = day.post("decline", bundle=bundle)
    assert status == 200 and (state["champion"], state["challenger"]) == (None, None)
    day.hears_move("aborted")
    day.sees("Taken back")
    return bundle


def see_a_canary_through(day: Day) -> str:
    bundle = begin_a_canary(day)
    day.hears_move("promoted")
    assert (day.state["state"], day.state["champion"]) == ("active", bundle)
    day.sees("it decides all")
    return bundle


def check_the_record(database_url: str) -> None:
    """The ledger says of every row what it is, and MLflow has heard of every bundle."""
    with closing_engine(database_url) as engine:

        def registered() -> bool:
            with reading(engine) as session:
                sent = outbox.messages(session, "mlflow")
            return bool(sent) and all(one.done_at is not None for one in sent)

        until(registered, "MLflow has heard")
        with reading(engine) as session:
            assert verify_ledger(session).problems == ()
