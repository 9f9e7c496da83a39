"""What was shown is in the ledger with who saw it, and so is what services started with; neither
holds a secret.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from benchmarks.tampering.deployment import build
from services.audit.recorded import shown_settings, started
from services.audit.verify import verify_ledger
from services.clock import SimulatedClock
from services.command_line import app
from services.settings import read_settings
from store.disclosures import Shown, newest_disclosures
from store.engine import open_engine, reading
from store.ledger import ledger
from store.service_starts import newest_starts

SECRET = "5e" * 32
GIVEN = {
    "KNOWGATE_SIGNING_KEY": SECRET,
    "KNOWGATE_HASH_KEY": "a hash key for tests",
    "KNOWGATE_DATABASE_URL": "postgresql+psycopg://me:hidden@db/knowgate",
    "KNOWGATE_HEADS_URL": "https://heads.example/take?token=hidden",
    "KNOWGATE_PORT": "8421",
}


@pytest.fixture
def run(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs a command in a small deployment, as Ada."""
    engine = open_engine(sqlite_url)
    build(engine, read_settings({"KNOWGATE_DATA_DIR": str(tmp_path)}))
    engine.dispose()
    monkeypatch.setenv("KNOWGATE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("KNOWGATE_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("KNOWGATE_OPERATOR", "ada")
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


def test_who_looked_at_what_and_took_what_away_is_in_the_ledger(
    run: Callable[..., Any], tmp_path: Path, sqlite_url: str
) -> None:
    assert json.loads(run("audit", "explain", "q5", "--cascade", "facts", "--json").stdout)["decision"]
    proof = json.loads(run("audit", "prove", "q5", "--cascade", "facts").stdout)
    assert run("audit", "export", "--out", tmp_path / "march", "--to", "2027-01-01").exit_code == 0
    engine = open_engine(sqlite_url)
    with reading(engine) as session:
        seen = [one for one in newest_disclosures(session, limit=10) if one.by == "ada"]
        assert verify_ledger(session).problems == ()
        leaves = [leaf.payload for leaf in ledger.unsealed(session, 10_000) if leaf.kind == "disclosure"]
    engine.dispose()
    assert [one.act for one in reversed(seen)] == [
        Shown.EXPLAINED,
        Shown.PROVEN,
        Shown.EXPORTED,
    ]
    assert seen[-1].what == f"decision {proof['subject']}" and seen[0].what.startswith("the ledger")
    assert sum('"by":"ada"' in str(payload) for payload in leaves) == 3


def test_settings_are_shown_without_what_is_secret_in_them() -> None:
    shown = shown_settings(read_settings(GIVEN))
    assert shown == {
        "KNOWGATE_SIGNING_KEY": "(set)",
        "KNOWGATE_HASH_KEY": "(set)",
        "KNOWGATE_DATABASE_URL": "(set)",
        "KNOWGATE_HEADS_URL": "https://heads.example/…",
        "KNOWGATE_PORT": "8421",
    }


def test_what_a_service_started_with_is_in_the_ledger(engine: Engine, clock: SimulatedClock) -> None:
    started(engine, read_settings(GIVEN | {"KNOWGATE_OPERATOR": "ada"}), "api", now=clock.now())
    with reading(engine) as session:
        (start,) = newest_starts(session, limit=10)
        assert verify_ledger(session).problems == ()
        payloads = [str(leaf.payload) for leaf in ledger.unsealed(session)]
    assert (start.service, start.by, json.loads(start.settings)["KNOWGATE_PORT"]) == ("api", "ada", "8421")
    assert any("8421" in payload for payload in payloads)
    assert not any("hidden" in payload or SECRET in payload for payload in payloads)
