"""`knowgate alert`: what is wrong is listed and explained, and acts are kept with who and why."""

import json
from collections.abc import Callable

from sqlalchemy import Engine
from typer.testing import Result

from store.engine import transaction
from store.watching.alerts import AlertRecord, open_alert
from tests.services.conftest import NOW


def test_alerts_are_listed_told_and_acted_on(run: Callable[..., Result], engine: Engine, trivia: str) -> None:
    record = AlertRecord(cascade=trivia, rule="risk", cause="answers lose 4 %", details="{}", opened_at=NOW)
    with transaction(engine) as session:
        end = str(open_alert(session, record))[-8:]
    listed = run("alert", "list").stdout
    assert end in listed and "critical" in listed
    printed = run("alert", "acknowledge", end, "--reason", "looking").stdout
    assert "ada acknowledged: looking" in printed and "docs/runbooks/risk.md" in printed
    assert "silenced until" in run("alert", "silence", end, "--duration", "4h", "--reason", "deploy").stdout
    run("alert", "silence", end, "--duration", "4 hours", "--reason", "deploy", code=2)
    assert "resolved: ada: over" in run("alert", "resolve", end, "--reason", "over").stdout
    run("alert", "resolve", end, "--reason", "over", code=3)
    run("alert", "show", "ffffffff", code=2)
    assert run("alert", "list").stdout.count("risk") == 0
    shown = json.loads(run("alert", "list", "--all", "--json").stdout)["alerts"]
    assert [(one["state"], len(one["acts"])) for one in shown] == [("resolved", 3)]
