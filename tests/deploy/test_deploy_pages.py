"""docs/deploy.md, docs/backup.md and docs/upgrade.md run word for word: the commands of
deploy/compose.yaml as processes (`composed`), on a real PostgreSQL, with a real MLflow, Prometheus
and Alertmanager. Two small servers are the models.
"""

import csv
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import httpx2
import pytest
from sqlalchemy import URL

from tests.day_of_operation import until
from tests.deploy.composed import PROGRAMS, Composed
from tests.deploy.test_grafana import answered
from tests.postgresql import tools
from tests.services.gateway.small_server import tier_server

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MISSING = [program for program in PROGRAMS.values() if shutil.which(program) is None]
ELSEWHERE = "## On an empty machine"


def script(page: str, *, after: str = "", before: str | None = None) -> str:
    """All that is to be typed in this part of a page."""
    said = (ROOT / "docs" / page).read_text(encoding="utf-8").partition(after)[2] if after else ""
    said = said or (ROOT / "docs" / page).read_text(encoding="utf-8")
    return "\n".join(("set -euo pipefail", *BLOCK.findall(said.partition(before)[0] if before else said)))


class Host:
    """A machine with a checkout, on which blocks are typed."""

    def __init__(self, folder: Path, postgresql: URL) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=shutil.ignore_patterns("secrets"))
        (folder / "bin").mkdir()
        docker = folder / "bin" / "docker"
        docker.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tests.deploy.composed "$@"\n')
        docker.chmod(0o755)
        own = {name: value for name, value in os.environ.items() if not name.startswith("KNOWGATE_")}
        self.environment = own | {
            "PATH": f"{folder / 'bin'}:{Path(sys.executable).parent}:{tools()}:{os.environ['PATH']}",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'runtime'}",
            "NO_PROXY": "127.0.0.1",
            "COMPOSE_FILE": str(folder / "deploy" / "compose.yaml"),
            "COMPOSED": str(folder / "composed" / re.sub(r"\W", "", folder.name)),
            "COMPOSED_POSTGRESQL": postgresql.render_as_string(hide_password=False),
        }
        self.composed = Composed(folder / "deploy" / "compose.yaml", Path(self.environment["COMPOSED"]))

    def type(self, said: str) -> str:
        """What is printed; addresses of this machine's loopback are those of the services here."""
        for place, port in self.composed.ports.items():
            said = said.replace(f"127.0.0.1:{place.partition(':')[2]}", f"127.0.0.1:{port}")
        log = self.folder / "log"
        with log.open("wb") as output:
            bash = subprocess.Popen(
                ["bash", "-c", said], cwd=self.folder, env=self.environment, stdout=output, stderr=output
            )
            try:
                ended = bash.wait(timeout=1200)
            finally:
                bash.kill()
        printed = log.read_text(encoding="utf-8", errors="replace")
        assert ended == 0, printed[-6000:]
        return printed


@contextmanager
def host(folder: Path, postgresql: URL) -> Iterator[Host]:
    folder.mkdir()
    made = Host(folder, postgresql)
    try:
        yield made
    finally:
        made.composed.stop([])


def declared(small: str, large: str) -> str:
    return f"""
        name = "support"
        exploration_rate = 0.01
        [[tiers]]
        name = "small"
        model = "tiny"
        parameters = 1e9
        backend = "openai"
        endpoint = "{small}"
        [[tiers]]
        name = "large"
        model = "huge"
        parameters = 1e10
        backend = "openai"
        endpoint = "{large}"
        [targets]
        value = 0.05
        rule = "p_t"
        [horizons]
        gold = "1h"
        human = "1h"
        [observe]
        rate = 1.0
        """


def write_recorded(path: Path, *, now: datetime, queries: int = 900) -> None:
    """Queries of three days: where the small model is sure, it is nearly always right."""
    draw = Random(7)
    fields = ["query_id", "prompt", "tier", "model", "p_t", "correct", "tokens_in", "tokens_out"]
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.DictWriter(file, [*fields, "occurred_at", "labelled_at"])
        rows.writeheader()
        for number in range(queries):
            at = now - timedelta(days=3) * (1 - number / queries) - timedelta(hours=3)
            sure = draw.random() < 0.6
            said = {"query_id": f"r-{number}", "tokens_in": 100, "tokens_out": 10, "prompt": f"question {number}"}
            said |= {"occurred_at": at.isoformat(), "labelled_at": (at + timedelta(minutes=30)).isoformat()}
            right = draw.random() < (0.995 if sure else 0.4)
            p_t = draw.uniform(0.9, 1.0) if sure else draw.uniform(0.3, 0.7)
            rows.writerow(said | {"tier": 0, "model": "tiny", "p_t": round(p_t, 4), "correct": int(right)})
            rows.writerow(said | {"tier": 1, "model": "huge", "p_t": 0.9, "correct": int(draw.random() < 0.97)})


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.skipif(bool(MISSING), reason=f"not installed (Debian's packages): {MISSING}")
def test_what_the_pages_say_brings_a_deployment_up_backs_it_up_and_upgrades_it(
    tmp_path: Path, postgresql_server: URL
) -> None:
    with ExitStack() as stack:
        small, large = (stack.enter_context(tier_server(said, p_t)) for said, p_t in (("Lima", 0.95), ("Quito", 0.9)))
        here = stack.enter_context(host(tmp_path / "here", postgresql_server))
        (here.folder / "cascade.toml").write_text(declared(small.url, large.url))
        write_recorded(here.folder / "outcomes.csv", now=datetime.now(UTC))

        printed = here.type(script("deploy.md"))
        assert re.search(r"certified, bundle \w+: retains [\d.]+ %", printed), printed
        assert re.search(r'"tier_name": "small", "reason": "retained"', printed), printed
        # The drill waits for it. Not `ALERTS`: Prometheus writes none before its third evaluation.
        assert "KnowgateKeepsNothing" in printed.splitlines(), printed
        assert small.asked
        scraped = 'last_over_time(up{job=~"knowgate|knowgate-gateway"}[1h]) == 1'  # with the secrets of the file
        until(lambda: len(answered(here.composed.url("prometheus"), scraped)) == 2, "both are read", within_s=300)

        before = here.type(script("backup.md", before=ELSEWHERE))
        here.type(script("upgrade.md"))
        there = stack.enter_context(host(tmp_path / "there", postgresql_server))
        shutil.copytree(here.folder / "deploy" / "secrets", there.folder / "deploy" / "secrets")
        shutil.copytree(here.folder / "backups", there.folder / "backups")
        after = there.type(script("backup.md", after=ELSEWHERE))
        assert "is back" in after
        for printed in (before, after):
            assert "sealed leaves" in printed and "FAILED" not in printed
        admin = (here.folder / "admin.token").read_text().strip()
        answer = httpx2.get(
            f"{there.composed.url('api')}/v1/cascades/support", headers={"Authorization": f"Bearer {admin}"}
        )
        assert answer.json()["state"]["champion"] is not None
        here.composed.stop([])  # in order, within their time
        there.composed.stop([])
