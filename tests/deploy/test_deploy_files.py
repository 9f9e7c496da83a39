"""The files in deploy/ parse, and name only settings, commands and metrics that exist."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from services.http.metrics import Metrics
from services.settings import SETTINGS
from services.telemetry.deployment_metrics import DeploymentCollector
from store.engine import open_engine
from tests.services.conftest import NOW
from tests.services.populated import populate

DEPLOY = Path(__file__).parents[2] / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())


def test_every_setting_named_exists() -> None:
    known = set(SETTINGS)
    named = {name for path in FILES for name in re.findall(r"KNOWGATE_[A-Z_]+", path.read_text(encoding="utf-8"))}
    assert named and named <= known


def test_compose_starts_the_services_after_the_schema_is_up_to_date() -> None:
    document = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    services = document["services"]
    plain = {name for name, service in services.items() if "profiles" not in service}
    assert plain == {"database", "mlflow", "upgrade", "api", "scheduler"}
    for name in ("api", "scheduler"):
        assert services[name]["depends_on"] == {"upgrade": {"condition": "service_completed_successfully"}}
    stages = re.findall(r"^FROM \S+ AS (\S+)", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert {service["build"]["target"] for service in services.values() if "build" in service} <= set(stages)


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".service" or path.name == "Dockerfile"])
def test_every_command_started_exists(path: Path) -> None:
    started = re.findall(r'knowgate"?,? "?(serve|scheduler|[a-z]+)', path.read_text(encoding="utf-8"))
    commands = [name for name in started if name in ("serve", "scheduler")]
    assert commands
    for command in commands:
        subprocess.run([sys.executable, "-m", "services", command, "--help"], check=True, capture_output=True)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian's package prometheus)")
def test_prometheus_takes_the_rules_and_finds_no_fault_with_the_metrics(sqlite_url: str) -> None:
    rules = DEPLOY / "prometheus" / "rules.yml"
    checked = subprocess.run(["promtool", "check", "rules", str(rules)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    populate(open_engine(sqlite_url), NOW)
    metrics = Metrics(DeploymentCollector(open_engine(sqlite_url), lambda: NOW))
    metrics.count_request("GET", "/healthz", 200, 0.1)
    metrics.count_batch("decisions", 1, 1, 1)
    metrics.count_verdict("trivia", "escalate", "p_t")
    metrics.count_undeclared("trivia", 0, 1)
    content, _ = metrics.exposition()
    checked = subprocess.run(["promtool", "check", "metrics"], input=content, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


@pytest.mark.skipif(shutil.which("amtool") is None, reason="amtool is not installed (package prometheus-alertmanager)")
def test_alertmanager_takes_its_configuration() -> None:
    config = DEPLOY / "alertmanager" / "alertmanager.yml"
    checked = subprocess.run(["amtool", "check-config", str(config)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    routes = ["amtool", "config", "routes", "test", f"--config.file={config}", "alertname=risk", "cascade=support"]
    for severity, receivers in (("critical", "pager,team"), ("warning", "team")):
        found = subprocess.run([*routes, f"severity={severity}"], capture_output=True, text=True, check=True)
        assert found.stdout.strip() == receivers


def test_an_image_that_backs_up_postgresql_has_the_tools_of_the_servers_version() -> None:
    server = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]["database"]["image"]
    base = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").partition("FROM base AS")[0]
    assert f"ARG POSTGRESQL={server.removeprefix('postgres:')}\n" in base
    assert '"postgresql-client-$POSTGRESQL"' in base
