"""A real Alertmanager on loopback hears what is open, what is silenced, what is seen and what is
over. Skipped where it is not installed.
"""

import json
import shutil
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from knowgate._records.receivers import Receiver, ReceiverKind, Severity
from monitoring.alerts.alerts import announce_silence, settle
from monitoring.alerts.deliveries import Sending, deliver_due
from monitoring.alerts.renewal import renew
from monitoring.names import Rule
from monitoring.rules.rules import Assessment, Standing
from store.engine import transaction
from store.releases.cascades import apply_cascade
from store.watching.alert_acts import Act, AlertAct, add_act
from store.watching.alerts import alerts
from tests.servers import free_port, running, wait_until_answering

PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="Alertmanager is not installed (prometheus-alertmanager)")

CONFIG = """
route: {{receiver: hook, group_by: [cascade], group_wait: 0s, group_interval: 1s}}
receivers: [{{name: hook, webhook_configs: [{{url: "{hook}"}}]}}]
"""


class There:
    """One Alertmanager, which may begin anew without a memory."""

    def __init__(self, folder, hook):
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        (folder / "config.yml").write_text(CONFIG.format(hook=hook))

    @contextmanager
    def up(self):
        kept = self.folder / f"kept-{time.monotonic_ns()}"
        command = [PROGRAM, f"--config.file={self.folder / 'config.yml'}", f"--storage.path={kept}"]
        command += [f"--web.listen-address=127.0.0.1:{self.port}", "--cluster.listen-address="]
        with running(command, environment={}, log=self.folder / "log") as process:
            wait_until_answering(f"{self.url}/-/ready", process, within_s=30)
            yield self

    def alerts(self):
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts") as answer:
            return {one["labels"]["alertname"]: one for one in json.load(answer)}


def until(look, *, within_s=20):
    end = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


@pytest.fixture
def database_url(sqlite_url):
    return sqlite_url


@pytest.fixture
def now():
    """Alertmanager goes by the wall clock."""
    return datetime.now(UTC)


@pytest.fixture
def there(tmp_path, receiver):
    return There(tmp_path, receiver.url)


@pytest.fixture
def spec(engine, cast, now, there):
    everything = Receiver(name="prometheus", kind=ReceiverKind.ALERTMANAGER, url=there.url)
    pager = replace(everything, name="pager", severity=Severity.CRITICAL)
    spec = cast.spec_of(receivers=(everything, pager))
    with transaction(engine) as session:
        apply_cascade(session, spec, now=now)
    return spec


SENDING = Sending(owner="w", public_url="https://knowgate.example", timeout_s=10)


def say(engine, spec, rule, standing, cause, now):
    with transaction(engine) as session:
        settle(session, spec, Assessment(rule=rule, standing=standing, cause=cause), now=now)
    for _ in range(2):
        deliver_due(engine, SENDING, now=datetime.now(UTC))


@pytest.mark.slow
def test_it_is_told_what_is_open_silenced_seen_and_over(engine, spec, there, receiver, now):
    with there.up():
        say(engine, spec, Rule.DRIFT, Standing.RAISED, "lengths moved", now)
        say(engine, spec, Rule.RISK, Standing.RAISED, "it loses 4 %", now)
        message = there.alerts()
        assert {name: one["labels"]["severity"] for name, one in message.items()} == {
            "drift": "warning",
            "risk": "critical",
        }
        notes = message["risk"]["annotations"]
        assert notes["summary"] == "Accuracy is worse than promised." and "It loses 4 %" in notes["description"]
        assert notes["runbook_url"] == "https://knowgate.example/docs/runbooks/risk.md"
        assert notes["link"] == message["risk"]["generatorURL"]
        assert notes["link"].startswith("https://knowgate.example/alerts/")
        until(lambda: any(b"it loses" in body or b"It loses" in body for _, body in receiver.received))

        def act(kind, until_=None):
            with transaction(engine) as session:
                risk = next(one for one in alerts(session) if one.rule == "risk")
                made = AlertAct(
                    alert_id=risk.id, act=kind, by="ada", reason="deploy", at=datetime.now(UTC), until=until_
                )
                add_act(session, made)
                if kind is Act.SILENCED:
                    announce_silence(session, spec, risk, made)
            for _ in range(2):
                deliver_due(engine, SENDING, now=datetime.now(UTC))

        act(Act.SILENCED, datetime.now(UTC) + timedelta(hours=4))
        until(lambda: there.alerts()["risk"]["status"]["state"] == "suppressed")
        assert there.alerts()["drift"]["status"]["state"] == "active"
        act(Act.SILENCED, datetime.now(UTC) + timedelta(seconds=-1))
        until(lambda: there.alerts()["risk"]["status"]["state"] == "active")
        act(Act.ACKNOWLEDGED)
        assert renew(engine, SENDING, now=datetime.now(UTC)) == 3
        assert there.alerts()["risk"]["annotations"]["acknowledged"] == "ada: deploy"
        say(engine, spec, Rule.DRIFT, Standing.CLEAR, "lengths are back", datetime.now(UTC))
        assert set(there.alerts()) == {"risk"}
    assert renew(engine, SENDING, now=datetime.now(UTC)) == 0, "it is down, which harms nobody"
    with there.up():
        assert there.alerts() == {}, "it has no memory"
        assert renew(engine, SENDING, now=datetime.now(UTC)) == 2
        again = there.alerts()["risk"]
        assert again["startsAt"][:19] == now.isoformat()[:19]
        assert datetime.fromisoformat(again["endsAt"]) > datetime.now(UTC) + timedelta(minutes=4)
