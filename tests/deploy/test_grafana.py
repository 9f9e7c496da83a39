"""The dashboards in deploy/grafana: whole, provisioned, and of metrics that there are. Prometheus
scrapes a real API and a real gateway and answers every question that a panel or a rule asks.
"""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from services.settings import read_settings
from services.web.app import create_app
from store.engine import open_engine
from tests.deploy.test_prometheus_rules import RULES
from tests.servers import free_port, running, served, wait_until_answering
from tests.services.conftest import HASH_KEY
from tests.services.gateway.cast import KEY, asked, at_work
from tests.services.metric_tables import assert_known
from tests.services.populated import populate

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"
BOARDS: dict[str, Any] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((GRAFANA / "dashboards").glob("*.json"))
}
PANELS = [
    pytest.param(panel, id=f"{name}: {panel['title']}") for name, board in BOARDS.items() for panel in board["panels"]
]


def test_two_dashboards_are_provisioned_with_their_data_source() -> None:
    assert BOARDS.keys() == {"cascade", "service"}
    (source,) = _provisioned("datasources")["datasources"]
    (provider,) = _provisioned("dashboards")["providers"]
    compose = yaml.safe_load((GRAFANA.parent / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in compose["grafana"]["volumes"]
    assert source["url"] == "http://prometheus:9090" and "prometheus" in compose
    assert {panel["datasource"]["uid"] for board in BOARDS.values() for panel in board["panels"]} == {source["uid"]}


def _provisioned(kind: str) -> Any:
    return yaml.safe_load((GRAFANA / "provisioning" / kind / "knowgate.yaml").read_text(encoding="utf-8"))


def test_dashboards_have_names_of_their_own_and_panels_do_not_lie_on_each_other() -> None:
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS)
    for board in BOARDS.values():
        panels = board["panels"]
        assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
        taken = [cell for panel in panels for cell in _cells(panel["gridPos"])]
        assert len(taken) == len(set(taken)) and max(x for x, _ in taken) < 24


def _cells(at: Any) -> Iterator[tuple[int, int]]:
    return ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"]))


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_has_a_unit_and_asks_for_metrics_and_labels_that_there_are(panel: Any) -> None:
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
    for target in panel["targets"]:
        assert target["legendFormat"]
        assert_known(target["expr"])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed (Debian's package)")
def test_prometheus_answers_what_every_panel_and_every_rule_asks(tmp_path: Path, sqlite_url: str) -> None:
    said = {"KNOWGATE_DATA_DIR": str(tmp_path / "data"), "KNOWGATE_AUTH": "off", "KNOWGATE_HASH_KEY": HASH_KEY}
    settings = read_settings(said)
    emptied = tmp_path / "gateway.db"
    shutil.copy(sqlite_url.removeprefix("sqlite:///"), emptied)
    engine = open_engine(sqlite_url)
    populate(engine, datetime.now(UTC))
    with at_work(f"sqlite:///{emptied}", settings, {}) as world, served(create_app(settings, engine)) as port:
        api = f"127.0.0.1:{port}"
        httpx2.post(f"http://{api}/v1/decisions", json={"decisions": [{}]})
        assert asked(world).status_code == 200
        with prometheus(tmp_path, api, world.url.removeprefix("http://")) as at:
            _wait_for_scrapes(at)
            silent = {
                f"{board}: {panel['title']}: {target['expr']}"
                for board, content in BOARDS.items()
                for panel in content["panels"]
                for target in panel["targets"]
                if not answered(at, target["expr"].replace("$cascade", "trivia"))
            }
            assert silent == set()
            firing = {name for name, rule in RULES.items() if answered(at, rule["expr"])}
            assert "KnowgatePromiseBroken" in firing and not firing & {"KnowgateDown", "KnowgateDatabaseErrors"}
            known = httpx2.get(f"{at}/api/v1/rules").json()["data"]["groups"]
            loaded = {rule["name"]: rule["health"] for group in known for rule in group["rules"]}
            assert loaded.keys() == RULES.keys() and "err" not in loaded.values()
    engine.dispose()


@contextmanager
def prometheus(folder: Path, api: str, gateway: str) -> Iterator[str]:
    """Debian's Prometheus with the rules, scraping both every second; yields its address."""
    rules = GRAFANA.parent / "prometheus" / "rules.yml"
    jobs = [
        {"job_name": "knowgate", "static_configs": [{"targets": [api]}]},
        {
            "job_name": "knowgate-gateway",
            "static_configs": [{"targets": [gateway]}],
            "authorization": {"credentials": KEY},
        },
    ]
    times = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump({"global": times, "rule_files": [str(rules)], "scrape_configs": jobs}))
    port = free_port()
    command = [
        *("prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"),
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with running(command, environment={}, log=folder / "prometheus.log") as process:
        wait_until_answering(f"http://127.0.0.1:{port}/-/ready", process, within_s=120)
        yield f"http://127.0.0.1:{port}"


def answered(at: str, expression: str) -> list[Any]:
    """What Prometheus answers; fails where it calls the expression wrong."""
    answer = httpx2.get(f"{at}/api/v1/query", params={"query": expression}, timeout=60).json()
    assert answer["status"] == "success", (expression, answer)
    result: list[Any] = answer["data"]["result"]
    return result


def _wait_for_scrapes(at: str) -> None:
    """Until both were read three times and rules were evaluated, as rates ask for."""
    for _ in range(600):
        if len(answered(at, "sum_over_time(up[5m]) >= 3")) == 2:
            return
        time.sleep(0.2)
    raise AssertionError(f"both are not scraped: {answered(at, 'up')}")
