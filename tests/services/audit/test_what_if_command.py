"""`knowgate audit what-if` says what a bundle would have done with a period."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from knowgate import Bundle, Decision, Policy, PolicyKind, write_bundle
from monitoring.words import short
from services.clock import SimulatedClock
from services.command_line import app
from services.errors import InputInvalid
from store.engine import transaction
from store.traffic.decisions import add_decisions


def test_a_bundle_is_played_over_the_last_days(
    engine: Engine,
    promoted: Bundle,
    decision: Callable[..., Decision],
    clock: SimulatedClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with transaction(engine) as session:
        add_decisions(session, [decision(index, bundle=promoted.id) for index in range(10)], received_at=clock.now())
    monkeypatch.setenv("KNOWGATE_DATABASE_URL", engine.url.render_as_string(hide_password=False))
    monkeypatch.setenv("KNOWGATE_DATA_DIR", str(tmp_path / "data"))
    until = ("--until", "2026-03-11")
    nothing = CliRunner().invoke(app, ["audit", "what-if", promoted.id, "--until", "2026-02-01"])
    assert isinstance(nothing.exception, InputInvalid) and "no decision in the window" in str(nothing.exception)
    states = CliRunner().invoke(app, ["audit", "what-if", short(promoted.id), *until])
    assert isinstance(states.exception, InputInvalid) and "shows what bundle" in str(states.exception)
    by_p_t = tmp_path / "by_p_t.safetensors"
    by_p_t.write_bytes(_keeping_all(promoted).content)
    shown = CliRunner().invoke(app, ["audit", "what-if", str(by_p_t), *until]).stdout
    assert "compared     10 of 10 decisions" in shown and "kept share   0.0 % as served, 100.0 % with it" in shown
    assert "routes       10 would have changed" in shown and "tier 1 to 0" in shown
    assert "from −100.00 points to +100.00 points at" in shown and "0 of 10 changed routes are labelled" in shown


def _keeping_all(bundle: Bundle) -> Bundle:
    return write_bundle(replace(bundle.document, policy=Policy.of(PolicyKind.P_T, ({"p_t": 0.0},))), bundle.tiers)
