"""A window that is trained, exported and certified by the command: the same rows, rule, δ and target give the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from knowgate.bundle import Bundle, CertificateDocument, CertificateStatus, read_bundle
from knowgate.policy import PolicyKind
from knowgate.spec import CascadeSpec, TargetKind, Targets
from services.command_line import app
from services.history.export_outcomes import export_outcomes
from services.history.outcomes import write_outcomes
from store.bundles import bundle_content
from store.engine import reading
from tests.training.test_pipeline import AS_OF, QUICK, WINDOW, Traffic, seed_store, spec_of
from training.certify import FALLBACK_SHARE
from training.pipeline import train_window


@pytest.fixture
def seeded(sqlite_engine: Engine, tmp_path: Path) -> Callable[[CascadeSpec, Traffic], Engine]:
    def seed(spec: CascadeSpec, traffic: Traffic) -> Engine:
        seed_store(sqlite_engine, spec, traffic, f"file://{tmp_path}/shards")
        return sqlite_engine

    return seed


def trained(engine: Engine) -> tuple[Bundle, CertificateDocument]:
    outcome = train_window(engine, "facts", WINDOW, as_of=AS_OF, settings=QUICK, clock=lambda: AS_OF)
    assert outcome.bundle is not None and outcome.certificate is not None
    with reading(engine) as session:
        return read_bundle(bundle_content(session, outcome.bundle), expected_id=outcome.bundle), outcome.certificate


def by_command(engine: Engine, path: Path, *options: str) -> dict[str, Any]:
    """What `knowgate certify` says of the exported window."""
    with reading(engine) as session:
        write_outcomes(export_outcomes(session, "facts", WINDOW, as_of=AS_OF), path)
    said: dict[str, Any] = json.loads(CliRunner().invoke(app, ["certify", str(path), "--json", *options]).stdout)
    return said


@pytest.mark.parametrize(("exploration", "suffix"), [(None, "csv"), (0.3, "jsonl"), (0.3, "parquet")])
@pytest.mark.parametrize(
    "target", [Targets(value=0.08, delta=0.2), Targets(kind=TargetKind.RETAINED_ACCURACY, value=0.7, delta=0.2)]
)
def test_the_command_gets_the_trainers_thresholds(
    seeded: Callable[[CascadeSpec, Traffic], Engine],
    tmp_path: Path,
    exploration: float | None,
    suffix: str,
    target: Targets,
) -> None:
    engine = seeded(spec_of(PolicyKind.P_T, targets=target), Traffic(exploration=exploration, vectors=False))
    bundle, certificate = trained(engine)
    assert certificate.status is CertificateStatus.CERTIFIED
    promise = [f"--{target.kind.replace('_', '-')}", str(target.value)]
    said = by_command(engine, tmp_path / f"window.{suffix}", *promise, "--delta", "0.2", "--attempt", "1")
    assert said["thresholds"] == list(bundle.document.policy.thresholds)
    assert (said["status"], said["test"], said["n"]) == (certificate.status, certificate.test, certificate.n)
    assert (said["retained_share"], said["estimated_drop"]) == (certificate.retained_share, certificate.estimated_drop)
    assert (said["drop_upper_bound"], said["delta"]) == (certificate.drop_upper_bound, certificate.delta)


def test_the_command_gets_the_fallback_of_a_learned_rule(
    seeded: Callable[[CascadeSpec, Traffic], Engine], tmp_path: Path
) -> None:
    """The policy for missing signals is p_t on all rows, on its own share of δ."""
    engine = seeded(spec_of(PolicyKind.GATES, targets=Targets(rule=PolicyKind.GATES, value=0.08, delta=0.2)), Traffic())
    bundle, certificate = trained(engine)
    fallback = bundle.document.policy.fallback
    assert fallback is not None
    delta = FALLBACK_SHARE * certificate.delta
    said = by_command(engine, tmp_path / "window.jsonl", "--max-accuracy-drop", "0.08", "--delta", repr(delta))
    assert said["thresholds"] == list(fallback.thresholds)
