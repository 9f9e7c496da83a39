"""Secrets are planted in every setting that holds one, and looked for in all that is shown, and in
what a backup holds.
"""

import base64
import json
import logging
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from sqlalchemy import Engine, make_url
from typer.testing import Result

from knowgate import Decision
from knowgate._wire.shown import MaskingFormatter
from services.clock import SimulatedClock
from services.declaration.cascade_file import parse_cascade
from services.http.auth import COOKIE
from services.jobs.deliver import DeliverSweep
from services.jobs.export import ExportSweep
from services.jobs.job import JobContext, run_due, run_sweep
from services.jobs.ping import PingSweep
from services.jobs.seal import SealJob
from services.settings import SETTINGS, Settings, read_settings
from services.web.app import create_app
from store.engine import transaction
from store.jobs.job_ticks import put_tick
from store.releases import cascades
from store.tokens import NewToken, TokenRole, add_token
from store.traffic.decisions import add_decisions
from store.watching.alerts import AlertRecord, open_alert
from store.watching.deliveries import add_delivery
from tests import postgresql
from tests.services.conftest import CASCADE, NOW

Run = Callable[..., Result]
MARK = "hunter2mark"
NOBODY = "http://127.0.0.1:9"  # the port of nobody
SIGNING = b"hunter2mark-the-signing-key-32-b".hex()
PLANTED = {
    "KNOWGATE_HASH_KEY": f"{MARK}-hash-key",
    "KNOWGATE_SIGNING_KEY": SIGNING,
    "KNOWGATE_WEBHOOK_SECRET": f"{MARK}-webhook-secret",
    "KNOWGATE_OTLP_LOGS_URL": f"http://u:{MARK}-otlp@127.0.0.1:9/v1/logs?key={MARK}-query",
    "KNOWGATE_PING_URL": f"{NOBODY}/{MARK}-ping",
    "KNOWGATE_JUDGE_API_KEY": f"{MARK}-judge",
    "KNOWGATE_TOKEN": f"{MARK}-token",
    "KNOWGATE_GATEWAY_KEY": f"{MARK}-gateway",
    "KNOWGATE_OIDC_CLIENT_SECRET": f"{MARK}-oidc",
    # Addresses, which may hold one.
    "KNOWGATE_MLFLOW_URL": f"http://u:{MARK}-mlflow@127.0.0.1:9",
    "KNOWGATE_HEADS_URL": f"{NOBODY}/heads/{MARK}-heads?key={MARK}-query",
    "TEAM_MAIL": f"mailto://u:{MARK}-smtp@127.0.0.1:9?to=a@b.example",
}
WEBHOOK = f"{NOBODY}/services/{MARK}-webhook-path"
RECEIVERS = f"""
webhooks = ["{WEBHOOK}"]
[[receivers]]
name = "team"
kind = "apprise"
url_variable = "TEAM_MAIL"
"""
FORMS = re.compile("|".join((MARK, SIGNING, base64.b64encode(SIGNING.encode()).decode()[:20])))


@pytest.fixture
def planted(database_url: str, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings in which every secret is marked."""
    url = make_url(database_url)
    if url.get_backend_name() == "postgresql":
        url = url.set(password=f"{MARK}-database")
    secret = {name for name, field in SETTINGS.items() if field.exclude}
    assert secret <= PLANTED.keys() | {"KNOWGATE_DATABASE_URL"}, "plant the new ones too"
    monkeypatch.setenv("PATH", f"{postgresql.tools()}{os.pathsep}{os.environ['PATH']}")  # pg_dump
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KNOWGATE_DATABASE_URL", url.render_as_string(hide_password=False))
    return read_settings()


@pytest.fixture
def shown(caplog: pytest.LogCaptureFixture) -> Iterator[dict[str, str]]:
    """All that was shown, by where; the log as our processes write it."""
    caplog.set_level(logging.DEBUG, "knowgate")
    found: dict[str, str] = {}
    yield found
    written = MaskingFormatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    found["log"] = "\n".join(written.format(record) for record in caplog.get_records("call"))
    leaks = {where: FORMS.findall(text) for where, text in found.items() if FORMS.search(text)}
    assert not leaks, leaks
    assert len(found["log"]) > 500 and len(found) > 60


def populate(engine: Engine, settings: Settings, decision: Callable[..., Decision]) -> dict[str, str]:
    """A cascade whose receivers' addresses are secrets, and a message to each."""
    spec = parse_cascade(RECEIVERS.partition("[[")[0] + CASCADE + "[[" + RECEIVERS.partition("[[")[2])
    sent = decision()
    with transaction(engine) as session:
        cascades.apply_cascade(session, spec, now=NOW)
        add_decisions(session, [sent], received_at=NOW)
        record = AlertRecord(cascade="trivia", rule="risk", cause="it lost", details="{}", opened_at=NOW)
        alert = open_alert(session, record)
        for to in (WEBHOOK, "team"):
            add_delivery(session, alert, to, "opened", lambda number: json.dumps({"number": number}), now=NOW)
        put_tick(session, "monitor", owner="a", now=NOW, error=None)
    return {"name": "trivia", "alert_id": str(alert), "decision_id": str(sent.id)}


@pytest.mark.slow
def test_no_secret_is_shown_by_a_page_an_answer_a_log_a_report_or_a_command(
    planted: Settings,
    engine: Engine,
    shown: dict[str, str],
    run: Run,
    decision: Callable[..., Decision],
    tmp_path: Path,
) -> None:
    clock = SimulatedClock(NOW)
    params = populate(engine, planted, decision)
    context = JobContext(engine=engine, settings=planted, clock=clock, owner="a")
    for sweep in (DeliverSweep(), PingSweep(), ExportSweep()):
        run_sweep(context, sweep)
    shown["jobs"] = str(run_due(context, SealJob()))
    shown["export"] = str(run_sweep(context, ExportSweep()))
    with transaction(engine) as session:
        tokens = {role: add_token(session, NewToken(name=role, role=role), now=NOW) for role in TokenRole}
    client = TestClient(create_app(planted, engine, clock=clock), base_url="http://127.0.0.1")
    answers = list(asked(client, tokens, params))
    shown.update(answers)
    for text in shown.values():  # what is shown once is shown once: at its making
        assert not any(token in text for token in tokens.values())
    reported(run, shown, tmp_path)


def asked(client: TestClient, tokens: dict[TokenRole, str], params: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Every address that is read, as an operator; and what faults answer."""
    signed = client.post("/sign-in", data={"token": tokens[TokenRole.OPERATOR]}, follow_redirects=False)
    secret = signed.cookies[COOKIE]
    headers = {"Authorization": f"Bearer {tokens[TokenRole.OPERATOR]}"}
    app: Any = client.app
    for route in iter_route_contexts(app.routes):
        if "GET" not in (route.methods or ()):
            continue
        path = re.sub(r"\{(\w+)(:path)?\}", lambda found: params.get(found[1], "0"), str(route.path))
        answer = client.get(path, headers=headers, follow_redirects=False)
        assert answer.status_code < 500, path
        assert secret not in answer.text
        yield f"GET {path}", f"{answer.text} {answer.headers}"
    bad = {"cascade": "nobody", "p_t": "x"}
    for path, body in (("/v1/decide", bad), ("/v1/labels", {"labels": [bad]}), ("/v1/decisions", {"decisions": [bad]})):
        for token in (tokens[TokenRole.INGEST], "kg_wrong", tokens[TokenRole.READ]):
            answer = client.post(path, json=body, headers={"Authorization": f"Bearer {token}"})
            yield f"POST {path} {answer.status_code}", answer.text


def reported(run: Run, shown: dict[str, str], tmp_path: Path) -> None:
    """What commands print."""
    for arguments in (
        ("doctor", "--json"),
        ("deliveries", "list", "--all", "--json"),
        ("cascade", "show", "trivia"),
        ("alert", "list", "--json"),
        ("token", "list", "--json"),
        ("jobs", "list"),
        ("audit", "verify"),
        ("labels", "grade", "--cascade", "trivia", "--endpoint", NOBODY, "--model", "m"),
    ):
        shown[" ".join(arguments)] = printed(run, *arguments)
    into = tmp_path / "backup"
    shown["backup"] = printed(run, "backup", str(into))
    for manifest in into.rglob("*.json"):
        shown[str(manifest)] = manifest.read_text()
    held = kept(into)
    assert WEBHOOK in held, "a cascade's own address is of its declaration"
    assert [name for name, value in PLANTED.items() if value in held] == []


def kept(backup: Path) -> str:
    """All that a backup holds of the database, as text."""
    dump = backup / "database.dump"
    if dump.exists():
        command = ["pg_restore", "--file=-", str(dump)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return (backup / "database.sqlite").read_bytes().decode("utf-8", "replace")


def printed(run: Run, *arguments: str) -> str:
    """What a command says, however it ends."""
    from typer.testing import CliRunner

    from services.command_line import app

    result = CliRunner().invoke(app, arguments)
    return f"{result.output} {result.stderr} {result.exception or ''}"
