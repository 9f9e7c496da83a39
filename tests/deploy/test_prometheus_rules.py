"""The rules in deploy/prometheus ring where they should, say how soon and what to do, and every one
has its page.
"""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.names import Rule, Severity
from tests.services.metric_tables import assert_known

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
PAGES = ROOT / "docs" / "runbooks" / "service"
PARTS = ["What was seen", "What the service does", "What to check", "What to do", "When it is over"]
RULES: dict[str, Any] = {
    rule["alert"]: rule
    for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian's package prometheus)")
def test_the_rules_ring_where_they_should_and_not_on_what_looks_like_it() -> None:
    command = ["promtool", "test", "rules", "rules_test.yaml"]
    tested = subprocess.run(command, cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_rule_is_tested_both_ways() -> None:
    tests = yaml.safe_load((PROMETHEUS / "rules_test.yaml").read_text(encoding="utf-8"))["tests"]
    looks = [look for test in tests for look in test["alert_rule_test"]]
    assert {look["alertname"] for look in looks if look["exp_alerts"]} == RULES.keys()
    assert {look["alertname"] for look in looks if not look["exp_alerts"]} == RULES.keys()


@pytest.mark.parametrize("name", RULES)
def test_a_rule_says_how_soon_what_happened_and_where_to_read_on(name: str) -> None:
    labels, said = RULES[name]["labels"], RULES[name]["annotations"]
    assert labels["severity"] in {*Severity, "{{ $labels.severity }}"}
    assert set(said) == {"summary", "runbook_url"} and said["summary"]
    if name == "KnowgateAlert":
        assert said["runbook_url"] == "docs/runbooks/{{ $labels.rule }}.md"
        assert all((ROOT / rule.runbook).is_file() for rule in Rule)
        return
    page = ROOT / said["runbook_url"]
    text = page.read_text(encoding="utf-8")
    assert re.findall("^## (.+)", text, flags=re.MULTILINE) == PARTS
    if page.parent == PAGES:
        assert re.match(rf"# .+\.\n\nPrometheus alert `{name}`, severity {labels['severity']}\.\n", text)


def test_every_page_is_of_a_rule() -> None:
    urls = [rule["annotations"]["runbook_url"] for rule in RULES.values()]
    assert set(PAGES.glob("*.md")) == {ROOT / url for url in urls if "/service/" in url}


def test_deployment_wide_figures_are_asked_for_once_however_many_are_scraped() -> None:
    for name, rule in RULES.items():
        assert re.search(r"\b(max|sum)( by \([a-z_, ]+\))? ?\(", rule["expr"]), name


@pytest.mark.parametrize("name", RULES)
def test_a_rule_asks_for_metrics_and_labels_that_there_are(name: str) -> None:
    assert_known(RULES[name]["expr"])
