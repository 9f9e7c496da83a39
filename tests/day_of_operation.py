"""A deployment for a day of operation on the real clock, with windows of seconds: the processes,
what is heard of them, and a person at a browser.
"""

import json
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests import servers

CHROMIUM = shutil.which("chromium")
ALERTMANAGER = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
PATIENCE_S = 300.0
AGAIN_S = 60.0  # after which a training is asked for again
CASCADE = """
name = "quiz"
exploration_rate = 0.5
observe = {{ rate = 1.0 }}
promotion = {{ {promotion} }}
[[tiers]]
name = "small"
model = "tiny"
parameters = 1e9
[[tiers]]
name = "large"
model = "huge"
parameters = 1e10
[targets]
value = 0.2
delta = 0.2
rule = "p_t"
[horizons]
gold = "2s"
[schedule]
train_every = "7d"
train_pause = "7d"
monitor_every = "15s"
[alarms]
alpha = 0.2
[[receivers]]
name = "team"
kind = "webhook"
url = "{hears}/team"
[[receivers]]
name = "prometheus"
kind = "alertmanager"
url = "{alertmanager}"
"""
AT_ONCE = 'approval = "manual"'
IN_STEPS = 'approval = "manual", steps = [0.5], dwell = "5s", least = 60, deadline = "1h"'
ALERTMANAGER_FILE = """
route: {{receiver: pager, group_by: [cascade], group_wait: 0s, group_interval: 1s}}
receivers: [{{name: pager, webhook_configs: [{{url: "{hears}/pager"}}]}}]
"""
Look = Callable[[], Any]


def until(look: Look, what: str, *, within_s: float = PATIENCE_S) -> Any:
    """What `look` finds, as soon as it finds something."""
    deadline = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not within {within_s} s"
        time.sleep(0.3)
    return found


@contextmanager
def hearing() -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """A server that keeps what it receives, with the last part of the address it came to."""
    heard: list[tuple[str, Any]] = []

    class Handler(servers.Answering, BaseHTTPRequestHandler):
        path: str

        def do_POST(self) -> None:
            heard.append((self.path.rpartition("/")[2], self.read_json()))
            self.answer(200, b"{}")

    with servers.answering(Handler) as root:
        yield root, heard


@dataclass(kw_only=True)
class Day:
    """The deployment as the person and their script have it."""

    url: str
    alertmanager: str
    hearer: str
    folder: Path
    environment: dict[str, str]
    token: str
    page: Any
    heard: list[tuple[str, Any]]
    heard_before: int = field(default=0)  # of `heard`, before the present step

    @property
    def broken(self) -> Path:
        return self.folder / "broken"

    def declare(self, promotion: str) -> None:
        """Puts a version of the declaration in force, as a deployment's script does."""
        file, log = self.folder / "cascade.toml", self.folder / "apply.log"
        text = CASCADE.format(hears=self.hearer, alertmanager=self.alertmanager, promotion=promotion)
        file.write_text(text, encoding="utf-8")
        apply = [sys.executable, "-m", "services", "cascade", "apply", str(file)]
        with servers.running(apply, environment=self.environment, log=log) as applied:
            assert applied.wait(120) == 0, log.read_text(encoding="utf-8")

    def ask(self, path: str, body: dict[str, object] | None = None) -> tuple[int, Any]:
        """The API's status and document."""
        head = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, content, head), timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def post(self, act: str, **body: object) -> tuple[int, Any]:
        return self.ask(f"/v1/cascades/quiz/{act}", {"reason": "a script asks"} | body)

    @property
    def state(self) -> dict[str, Any]:
        status, document = self.ask("/v1/cascades/quiz")
        assert status == 200, document
        state: dict[str, Any] = document["state"]
        return state

    def click(self, act: str, reason: str, **filled: str) -> None:
        """Fills a form in and sends it."""
        self.page.goto(f"{self.url}/cascades/quiz/{act}")
        self.page.get_by_label("Why", exact=True).fill(reason)
        for label, text in filled.items():
            self.page.get_by_label(label).fill(text)
        self.page.locator("input[name=confirm]").check()
        self.page.locator("main button").last.click()

    def sees(self, text: str, path: str = "/cascades/quiz") -> None:
        """Waits until the page says it."""

        def look() -> bool:
            self.page.goto(self.url + path)
            return bool(self.page.get_by_text(text).locator("visible=true").count())

        until(look, f"{text!r} on {path}", within_s=120)

    def hears(self, where: str, what: Callable[[Any], bool], named: str) -> Any:
        """Waits for a message of the present step."""
        fresh = self.heard_before

        def look() -> Any:
            return next((body for to, body in self.heard[fresh:] if to == where and what(body)), None)

        return until(look, f"a message to {where}: {named}", within_s=120)

    def hears_move(self, outcome: str) -> Any:
        return self.hears("team", lambda body: body.get("event") == outcome, outcome)

    def step(self) -> None:
        """What was heard up to now is of former steps."""
        self.heard_before = len(self.heard)

    def challenger(self) -> str:
        """Has trainings made until one ends in a challenger that awaits a person."""
        asked_at = -PATIENCE_S

        def look() -> str | None:
            nonlocal asked_at
            awaiting: str | None = self.state["awaiting"]
            if awaiting is None and time.monotonic() - asked_at > AGAIN_S:
                status, answer = self.post("train", insist=True)
                assert status == 202 or "a training of quiz is" in answer["error"]["message"], answer
                asked_at = time.monotonic()
            return awaiting

        return str(until(look, "a challenger", within_s=2 * PATIENCE_S))


def settings(folder: Path, database_url: str, mlflow_url: str) -> dict[str, str]:
    return {
        "KNOWGATE_DATA_DIR": str(folder / "data"),
        "KNOWGATE_DATABASE_URL": database_url,
        "KNOWGATE_MLFLOW_URL": mlflow_url,
        "KNOWGATE_PORT": str(servers.free_port()),
        "KNOWGATE_HASH_KEY": "the day's hash key",
        "OMP_NUM_THREADS": "1",
    }


@contextmanager
def alerting(folder: Path, hears: str) -> Iterator[str]:
    """A running Alertmanager's address."""
    (folder / "alertmanager.yml").write_text(ALERTMANAGER_FILE.format(hears=hears), encoding="utf-8")
    port = servers.free_port()
    command = [str(ALERTMANAGER), f"--config.file={folder / 'alertmanager.yml'}", f"--storage.path={folder / 'kept'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    with servers.running(command, environment={}, log=folder / "alertmanager.log") as process:
        servers.wait_until_answering(f"http://127.0.0.1:{port}/-/ready", process, within_s=30)
        yield f"http://127.0.0.1:{port}"


@contextmanager
def browsing(url: str, token: str) -> Iterator[Any]:
    """A browser that is signed in; what its pages complain of fails the test, but for refusals."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--headless", "--no-sandbox"])
        opened, errors = browser.new_page(), []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        opened.goto(f"{url}/sign-in")
        opened.get_by_label("Token").fill(token)
        opened.get_by_role("button", name="Sign in").click()
        yield opened
        browser.close()
    assert [error for error in errors if "status of 409" not in error] == []
