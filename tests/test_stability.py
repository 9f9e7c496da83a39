"""What docs/stability.md promises: what earlier versions left on disk is read, the names and
addresses that are promised are there, and what is on the page is what is promised.
"""

import gzip
import json
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

import knowgate
from knowgate import Spool, decide, read_bundle
from knowgate._wire import codec
from services.audit.verify import verify_ledger
from services.settings import read_settings
from services.web.app import create_app
from store import schema
from store.engine import closing_engine, reading
from store.releases import assignments
from store.traffic import decisions, labels

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "golden"
VERSIONS = sorted(folder.name for folder in GOLDEN.iterdir() if (folder / f"expected-{folder.name}.json").exists())
PAGE = (ROOT / "docs" / "stability.md").read_text(encoding="utf-8")


def expected(version: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((GOLDEN / version / f"expected-{version}.json").read_text(encoding="utf-8"))
    return said


def test_there_is_a_golden_version() -> None:
    assert "0.1.0" in VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_a_bundle_of_an_earlier_version_is_read_and_decides_as_it_did(version: str) -> None:
    bundles = {name: said for name, said in expected(version).items() if name.endswith(".safetensors")}
    assert len(bundles) == 2
    for name, said in bundles.items():
        bundle = read_bundle((GOLDEN / version / name).read_bytes(), expected_id=said["id"])
        (models,) = bundle.tiers
        assert models is not None
        for row, signals, verdict in zip(said["hidden"], said["signals"], said["verdicts"], strict=True):
            shown = models.signals(hidden=np.float16(row), **said["asked"])
            again = codec.encode(shown)
            assert {name: again[name] for name in signals} == pytest.approx(signals, abs=knowgate.REPLAY_TOLERANCE)
            assert decide(bundle.document.policy, shown).action == verdict["action"]


@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_spool_of_an_earlier_version_holds_is_read(version: str, tmp_path: Path) -> None:
    said = expected(version)["spool"]
    shutil.copy(GOLDEN / version / f"spool-{version}.segment", tmp_path / said["name"])
    with Spool(tmp_path) as spool:
        batch = spool.batch(max_entries=10, max_bytes=1 << 20)
        assert batch is not None
        for entry, record in zip(batch.entries, said["records"], strict=True):
            again = codec.encode(entry.record())
            assert {name: again[name] for name in record} == record  # a later version may say more
        assert (spool.torn_bytes, spool.damaged_bytes) == (0, 0)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_database_of_an_earlier_version_is_brought_up_to_date_and_served(version: str, tmp_path: Path) -> None:
    said = expected(version)["database"]
    packed = (GOLDEN / version / f"database-{version}.sqlite.gz").read_bytes()
    (tmp_path / "knowgate.db").write_bytes(gzip.decompress(packed))
    settings = read_settings({"KNOWGATE_DATA_DIR": str(tmp_path), "KNOWGATE_HASH_KEY": "a hash key for tests"})
    with closing_engine(settings.database_url) as engine:
        assert schema.current(engine) == said["schema"]
        schema.upgrade(engine)
        assert schema.check(engine) == () and schema.current(engine) == schema.head()
        with reading(engine) as session:
            assert verify_ledger(session).problems == ()
            stored = decisions.find_decision(session, "trivia", "golden")
            assert stored is not None
            (label,) = labels.labels_of(session, stored.id)
            assert label.correct == 1.0 and labels.waiting_count(session, "trivia") == 1
            in_force = assignments.assignment(session, "trivia")
            assert in_force is not None and in_force.champion == said["champion"]
        token = {"Authorization": f"Bearer {said['token']}"}
        with TestClient(create_app(settings, engine)) as client:
            assert client.get("/readyz").json()["status"] == "ready"
            detail = client.get("/v1/cascades/trivia", headers=token).json()
            assert detail["state"]["champion"] == said["champion"]
            assert client.get(f"/v1/bundles/{said['champion']}", headers=token).status_code == 200
            assert client.get("/cascades/trivia", headers=token).status_code == 200


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_the_page_names_every_published_name_of_the_runtime() -> None:
    named = set(re.findall(r"`(\w+)`", section("The runtime's names")))
    assert named >= set(knowgate.__all__) and named - set(knowgate.__all__) <= {"knowgate"}


def test_every_address_that_the_page_promises_is_there(sqlite_url: str) -> None:
    promised = set(re.findall(r"`(GET|POST) (/\S+)`", section("The API")))
    assert len(promised) >= 10
    with closing_engine(sqlite_url) as engine:
        paths = create_app(read_settings({}), engine).openapi()["paths"]
    there = {(method.upper(), re.sub(r"{\w+}", "{}", path)) for path, found in paths.items() for method in found}
    assert {(method, re.sub(r"{\w+}", "{}", path)) for method, path in promised} <= there


def test_one_number_stands_wherever_the_version_is_said() -> None:
    chart = ROOT / "deploy" / "helm" / "knowgate" / "Chart.yaml"
    said = {
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"],
        tomllib.loads((ROOT / "runtime" / "pyproject.toml").read_text())["project"]["version"],
        *re.findall(r'version="([\d.]+)"', (ROOT / "services" / "web" / "app.py").read_text()),
        *re.findall(r'^(?:version|appVersion): "?([\d.]+)"?$', chart.read_text(), flags=re.MULTILINE),
    }
    assert len(said) == 1
