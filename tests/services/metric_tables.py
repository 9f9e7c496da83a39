"""What docs/metrics.md says of metrics, and what a server tells of the same."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families


def documented(section: str) -> dict[str, tuple[str, set[str]]]:
    """By name: kind and labels of a table of docs/metrics.md."""
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    table = re.search(rf"^## {section}.*?$(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    assert table is not None
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([\w, –]*?) \|", table[1], re.MULTILINE)
    return {name: (kind, set(re.findall(r"\w+", labels))) for name, kind, labels in rows}


def exposed(text: str) -> dict[str, tuple[str, set[str]]]:
    """The same of what a server exposes; every one has a sample."""
    found = {}
    for family in text_string_to_metric_families(text):
        labels = {name for sample in family.samples for name in sample.labels} - {"le"}
        assert family.samples, f"{family.name} has no sample"
        assert family.documentation.endswith("."), f"{family.name} has no words"
        name = f"{family.name}_total" if family.type == "counter" else family.name
        if not name.endswith("_created"):
            found[name] = (family.type, labels)
    return found


OF_PROMETHEUS = {"job", "instance", "le"}  # labels that it gives itself, and a histogram's
_ALL = documented("The API's") | documented("The gateway's") | {"up": ("gauge", set())}


def assert_known(expression: str) -> None:
    """Fails where a PromQL expression names a metric, or a label of one, that docs/metrics.md does
    not tell; the servers' tests hold that page to what is really exposed.
    """
    asked = re.findall(r"\b(knowgate_\w+|up)\b(?:\{(.*?)\})?", expression)
    assert asked, expression
    grouped = {name.strip() for names in re.findall(r"\bby \(([^)]*)\)", expression) for name in names.split(",")}
    labels = set[str]()
    for name, selectors in asked:
        metric = name if name in _ALL else re.sub("_(bucket|count|sum)$", "", name)
        assert metric in _ALL, f"{name} is not exposed"
        labels |= _ALL[metric][1]
        named = set(re.findall(r"(\w+)\s*[=!]~?\s*\"", selectors))
        assert named <= _ALL[metric][1] | OF_PROMETHEUS, f"{name} has no label {named - _ALL[metric][1]}"
    assert grouped <= labels | OF_PROMETHEUS, f"nothing in {expression} has a label {grouped - labels}"
