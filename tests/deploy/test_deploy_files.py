"""The files in deploy/ parse, and name only settings, commands and metrics that exist."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from services.http.metrics import Metrics
from services.settings import Settings, read_settings, unknown_settings
from services.telemetry.deployment_metrics import DeploymentCollector
from store.engine import open_engine
from tests.deploy.composed import Composed
from tests.services.conftest import NOW
from tests.services.populated import populate

DEPLOY = Path(__file__).parents[2] / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())


def test_every_setting_named_exists() -> None:
    named = {name for path in FILES for name in re.findall(r"KNOWGATE_[A-Z_]+", path.read_text(encoding="utf-8"))}
    assert named and not unknown_settings(dict.fromkeys(named, "set"))


def test_compose_is_what_its_specification_says() -> None:
    compose_spec = pytest.importorskip("compose_spec", reason="the wheel compose-spec is not installed")
    document = json.dumps(yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8")))
    read = compose_spec.PyCompose.from_json(document)
    read.validate()
    assert len(read.service_names()) == 9
    with pytest.raises(ValueError, match="restrat"):
        compose_spec.PyCompose.from_json(document.replace('"restart"', '"restrat"'))


def test_every_service_is_watched_started_again_and_started_in_order() -> None:
    document = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    services = document["services"]
    stays = services.keys() - {"upgrade"}
    assert all(
        services[name]["restart"] == "unless-stopped" and services[name]["healthcheck"]["test"] for name in stays
    )
    for name in ("api", "scheduler"):
        assert services[name]["depends_on"]["upgrade"] == {"condition": "service_completed_successfully"}
    for name in ("gateway", "prometheus"):
        assert services[name]["depends_on"]["api"] == {"condition": "service_healthy"}
    stages = re.findall(r"^FROM \S+ AS (\S+)", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    for service in services.values():
        if "build" in service:
            assert service["build"]["target"] in stages
            assert service["image"] == f"knowgate-{service['build']['target']}"
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert (DEPLOY / source).is_dir() if source.startswith(".") else source in document["volumes"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_no_secret_is_in_an_environment() -> None:
    """Each comes in a file that the services which need it, and no others, are given."""
    document = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    secret = re.compile("PASSWORD|SECRET|TOKEN|_KEY|DATABASE_URL")
    for name, service in document["services"].items():
        said = {key: value for key, value in service.get("environment", {}).items() if secret.search(key)}
        named = {Path(value).name for value in said.values()}
        assert all(key.endswith("_FILE") and value.startswith("/run/secrets/") for key, value in said.items()), name
        assert named <= set(service.get("secrets", ())) <= document["secrets"].keys()
    ignored = (DEPLOY.parent / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "deploy/secrets/" in ignored
    assert all(secret["file"].startswith("./secrets/") for secret in document["secrets"].values())


def test_people_sign_in_by_the_identity_provider_that_is_set_beside_compose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def api() -> Composed:
        return Composed(DEPLOY / "compose.yaml", tmp_path)

    secret = tmp_path / "secrets" / "api" / "oidc_client_secret"
    secret.parent.mkdir(parents=True)
    secret.write_text("\n")  # as the page makes it where there is no provider

    def settings(named: Composed) -> Settings:
        given = named.environment("api").items()
        return read_settings({name: value for name, value in given if "_OIDC_" in name or "_PUBLIC_" in name})

    assert settings(api()).oidc_issuer is None and settings(api()).oidc_client_secret is None
    secret.write_text("what-the-provider-gave\n")
    for name, value in {
        "KNOWGATE_PUBLIC_URL": "https://kg.example.org",
        "KNOWGATE_OIDC_ISSUER": "https://login.example.org",
        "KNOWGATE_OIDC_CLIENT_ID": "knowgate",
        "KNOWGATE_OIDC_ROLES": "groups=*:read",
    }.items():
        monkeypatch.setenv(name, value)
    found = settings(api())
    assert found.oidc_issuer == "https://login.example.org" and found.oidc_client_secret == "what-the-provider-gave"
    scheduler = api().services["scheduler"]
    assert "oidc_client_secret" not in scheduler["secrets"]
    assert not any("_OIDC_" in name for name in scheduler["environment"])


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".service" or path.name == "Dockerfile"])
def test_every_command_started_exists(path: Path) -> None:
    started = re.findall(r'knowgate"?,? "?([a-z]+)', path.read_text(encoding="utf-8"))
    commands = [name for name in started if name in ("serve", "scheduler", "gateway")]
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
