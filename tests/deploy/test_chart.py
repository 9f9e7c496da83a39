"""The Helm chart, rendered by Helm's own engine and held against the schemas of Kubernetes; no
cluster is asked. Its rules are those of deploy/prometheus, and what it starts exists.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.settings import SETTINGS, unknown_settings
from tests.deploy.test_prometheus_rules import PROMETHEUS

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "knowgate"
KUBERNETES = ("1.27", "1.31", "1.34")  # the oldest that the chart takes, and later ones
OPERATOR = "monitoring.coreos.com/v1"  # Prometheus's
MODELS = "@kubernetes-models/prometheus-operator@6.0.0"  # of npm: checks made from the operator's own types
CHECK = """
import { readFileSync } from "node:fs";
for (const one of JSON.parse(readFileSync(0))) {
  const { [one.kind]: Model } = await import(`@kubernetes-models/prometheus-operator/${one.apiVersion}/${one.kind}`);
  new Model(one).validate();
}
"""
helm = pytest.importorskip("helm_python", reason="the wheel helm-python-sdk is not installed")

GATEWAY = {"cascade": "support_eu", "tokenKey": "support_token", "replicas": 3, "keyFiles": {"large": "large_key"}}
MONITORING = {"enabled": True, "labels": {"release": "prometheus"}}
KEYS = {"webhookSecret": "webhook_secret", "oidcClientSecret": "oidc_client_secret"}
ALL: dict[str, Any] = {"gateways": [GATEWAY], "monitoring": MONITORING, "secret": {"keys": KEYS}}


def rendered(values: dict[str, Any]) -> list[Any]:
    with helm.Chart.load(str(CHART)) as chart:
        texts = chart.render(values, name="kg", namespace="ml")
    return [
        document
        for name, text in texts.items()
        if name.endswith(".yaml")
        for document in yaml.safe_load_all(text)
        if document is not None
    ]


def of_kind(documents: list[Any], kind: str) -> dict[str, Any]:
    return {item["metadata"]["name"]: item for item in documents if item["kind"] == kind}


def pods(documents: list[Any]) -> dict[str, Any]:
    """The specification of every pod, by the name of what starts it."""
    return {
        item["metadata"]["name"]: item["spec"]["template"]["spec"]
        for item in documents
        if "template" in item.get("spec", {})
    }


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("values", [{}, ALL], ids=["as it is", "with all"])
def test_what_is_rendered_is_what_kubernetes_takes(values: dict[str, Any], version: str) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    documents = [item for item in rendered(values) if item["apiVersion"] != OPERATOR]
    assert len(documents) == (9 if values else 6)
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)
    documents[0]["spec"]["replicas"] = "two"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(documents[0], version, strict=True)


@pytest.mark.slow
def test_what_is_rendered_is_what_prometheus_operator_takes(tmp_path: Path) -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("no npm and node here: they fetch and run the checks")
    install = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", f"--prefix={tmp_path}", MODELS]
    fetched = subprocess.run(install, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    if fetched.returncode != 0:
        pytest.skip(f"npm does not reach {MODELS}: {fetched.stderr[-200:]}")
    (tmp_path / "check.mjs").write_text(CHECK, encoding="utf-8")

    def checked(documents: list[Any]) -> str:
        command = [node, str(tmp_path / "check.mjs")]
        said = json.dumps(documents)
        return subprocess.run(command, input=said, capture_output=True, text=True, check=False).stderr

    documents = [item for item in rendered(ALL) if item["apiVersion"] == OPERATOR]
    assert {item["kind"] for item in documents} == {"ServiceMonitor", "PrometheusRule"} and checked(documents) == ""
    for document in documents:
        spec = document["spec"]
        (spec.get("groups") or spec["endpoints"])[0]["interval"] = "often"
        assert "interval must match pattern" in checked([document])


def test_helms_linter_finds_no_fault() -> None:
    found = helm.lint(str(CHART))
    assert found["errors"] == [] and max(item["severity"] for item in found["messages"]) <= 1  # 1: it has no icon


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"gateway": []}, "gateway"),
        ({"api": {"replicas": 0}}, "replicas"),
        ({"settings": {"KNOWGATE_DATABASE_URL": "postgresql+psycopg://kg:password@db/kg"}}, "settings"),
        ({"settings": {"KNOWGATE_HASH_KEY_FILE": "/x"}}, "settings"),
        ({"gateways": [{"cascade": "support"}]}, "tokenKey"),
        ({"state": {"enabled": False}}, "object store"),
        ({"monitoring": {"enabled": True}, "secret": {"keys": {"prometheusToken": ""}}}, "asks for a token"),
    ],
)
def test_values_that_could_not_work_are_refused(values: dict[str, Any], fault: str) -> None:
    with pytest.raises(helm.HelmError, match=fault):
        rendered(values)


@pytest.mark.parametrize("name", [name for name, field in SETTINGS.items() if field.exclude])
def test_no_secret_stands_in_values(name: str) -> None:
    with helm.Chart.load(str(CHART)) as chart:
        chart.validate_schema({"settings": {"KNOWGATE_LOG_LEVEL": "info"}})
        for given in (name, f"{name}_FILE"):
            with pytest.raises(helm.HelmError, match="settings"):
                chart.validate_schema({"settings": {given: "x"}})
    reference = {"name": name, "valueFrom": {"secretKeyRef": {"name": "kg", "key": "x"}}}
    pod = pods(rendered({"api": {"environment": [reference]}}))["kg-api"]
    assert reference in pod["containers"][0]["env"]


def test_the_rules_are_those_of_prometheus() -> None:
    rules = yaml.safe_load((PROMETHEUS / "rules.yml").read_text(encoding="utf-8"))
    assert of_kind(rendered(ALL), "PrometheusRule")["kg"]["spec"] == rules
    monitoring = MONITORING | {"runbookUrl": "https://kg.example.org/"}
    groups = of_kind(rendered(ALL | {"monitoring": monitoring}), "PrometheusRule")["kg"]["spec"]["groups"]
    urls = [rule["annotations"]["runbook_url"] for group in groups for rule in group["rules"]]
    assert all(url.startswith("https://kg.example.org/docs/runbooks/") for url in urls)


def test_monitors_find_their_services_and_give_jobs_the_names_that_rules_ask_for() -> None:
    documents = rendered(ALL)
    services = of_kind(documents, "Service")
    asked = {}
    for monitor in of_kind(documents, "ServiceMonitor").values():
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        found = [name for name, service in services.items() if wanted <= service["metadata"]["labels"].items()]
        (endpoint,) = monitor["spec"]["endpoints"]
        (job,) = (item["replacement"] for item in endpoint["relabelings"] if item["targetLabel"] == "job")
        asked[job] = found
        assert all(endpoint["port"] in [port["name"] for port in services[name]["spec"]["ports"]] for name in found)
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert asked == {"knowgate": ["kg-api"], "knowgate-gateway": ["kg-gateway-support-eu"]}
    known = {item["job_name"] for item in yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]}
    assert asked.keys() == known


def test_services_and_budgets_select_the_pods_that_are_meant() -> None:
    documents = rendered(ALL)
    labels = {
        item["metadata"]["name"]: item["spec"]["template"]["metadata"]["labels"]
        for item in documents
        if "template" in item.get("spec", {})
    }
    for item in documents:
        if item["kind"] in ("Service", "PodDisruptionBudget"):
            selector = item["spec"]["selector"]
            wanted = selector.get("matchLabels", selector).items()
            assert [name for name, said in labels.items() if wanted <= said.items()] == [item["metadata"]["name"]]
    assert of_kind(documents, "PodDisruptionBudget").keys() == {"kg-api", "kg-gateway-support-eu"}


def test_every_pod_is_nobodys_root_and_its_volumes_are_there() -> None:
    dockerfile = (CHART.parents[1] / "Dockerfile").read_text(encoding="utf-8")
    (user,) = set(re.findall(r"^USER (\d+):\d+$", dockerfile, flags=re.MULTILINE))
    for name, pod in pods(rendered(ALL)).items():
        context = pod["securityContext"]
        assert context["runAsNonRoot"] and context["runAsUser"] == context["fsGroup"] == int(user), name
        (container,) = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] and container["resources"]["limits"]
        given = {volume["name"] for volume in pod["volumes"]} | ({"spool"} if "gateway" in name else set())
        assert {mount["name"] for mount in container["volumeMounts"]} == given


def test_probes_ask_what_is_there_and_a_migration_comes_before_all_else() -> None:
    documents = rendered(ALL)
    for name, pod in pods(documents).items():
        (container,) = pod["containers"]
        probes = {kind: probe for kind, probe in container.items() if kind.endswith("Probe")}
        if name in ("kg-api", "kg-gateway-support-eu"):
            assert probes.keys() == {"startupProbe", "livenessProbe", "readinessProbe"}
            ready = "/readyz" if name == "kg-api" else "/healthz"
            assert probes["readinessProbe"]["httpGet"] == {"path": ready, "port": "http"}
            assert probes["livenessProbe"]["httpGet"]["path"] == "/healthz"
    hooks = {
        item["metadata"]["name"] for item in documents if "helm.sh/hook" in item["metadata"].get("annotations", {})
    }
    assert hooks == {"kg-upgrade"}
    assert "persistentVolumeClaim" not in str(pods(documents)["kg-upgrade"])  # at the first install it is not there yet


@pytest.mark.slow
def test_commands_settings_and_secrets_are_known() -> None:
    for name, pod in pods(rendered(ALL)).items():
        (container,) = pod["containers"]
        given = {item["name"]: item["value"] for item in container["env"]}
        assert not unknown_settings(given), name
        files = {item["path"] for volume in pod["volumes"] for item in volume.get("secret", {}).get("items", ())}
        command = container["command"]
        named = [value for value in given.values() if value.startswith("/run/secrets/")]
        named += [part.partition("=")[2].partition("=")[2] for part in command if part.startswith("--key-file=")]
        assert {Path(value).name for value in named} == files, name
        assert ("oidc_client_secret" in files) == (name == "kg-api")
        options = [part.partition("=")[0] for part in command if part.startswith("--")]
        words = [part for part in command[1:] if not part.startswith("--")]
        environment = {**os.environ, "COLUMNS": "200"}
        shown = subprocess.run(
            [sys.executable, "-m", "services", *words, "--help"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert all(option in shown for option in options), name
