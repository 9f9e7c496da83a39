"""A window that is trained, exported and certified by the command: the same rows, rule, δ and
target give the same.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from factories import make_decision, make_label
from knowgate._bundles.bundle import Bundle, CertificateDocument, CertificateStatus, read_bundle
from knowgate._records.ids import new_id
from knowgate._records.records import Attempt, Role, Signals
from knowgate.policy import PolicyKind
from knowgate.spec import CascadeSpec, TargetKind, Targets
from services.command_line import app
from services.history.export_outcomes import export_outcomes
from services.outcome_tables.outcomes import read_outcomes, write_outcomes
from store.engine import reading, transaction
from store.releases.bundles import bundle_content
from store.releases.cascades import apply_cascade
from store.traffic.decisions import add_decisions
from store.traffic.labels import add_labels
from tests.training.test_pipeline import AS_OF, END, QUICK, START, WINDOW, Traffic, seed_store, spec_of
from training.certification.certify import FALLBACK_SHARE
from training.pipeline import train_window
from training.rows.dataset import read_window, stored_vectors
from training.rows.splits import Part, Proportions, split_rows
from training.tiers.learn import signal_columns


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


@pytest.mark.parametrize(
    ("exploration", "suffix"),
    [(None, "csv"), pytest.param(0.3, "jsonl", marks=pytest.mark.slow), (0.3, "parquet")],
)
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
    said = by_command(engine, tmp_path / f"window.{suffix}", *promise, "--delta", "0.2")
    assert said["thresholds"] == list(bundle.document.policy.thresholds)
    assert (said["status"], said["test"], said["n"]) == (certificate.status, certificate.test, certificate.n)
    assert (said["retained_share"], said["estimated_drop"]) == (certificate.retained_share, certificate.estimated_drop)
    assert (said["drop_upper_bound"], said["delta"]) == (certificate.drop_upper_bound, certificate.delta)


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_command_gets_the_thresholds_of_a_learned_score_on_the_part_that_certified(
    seeded: Callable[[CascadeSpec, Traffic], Engine], tmp_path: Path
) -> None:
    """The table has the trained score as its one signal, named p_ik: what a signal is called
    changes no path.
    """
    spec = spec_of(PolicyKind.SCORE, targets=Targets(rule=PolicyKind.SCORE, value=0.05, delta=0.2))
    engine = seeded(spec, Traffic())
    bundle, certificate = trained(engine)
    assert bundle.document.policy.kind is PolicyKind.SCORE and certificate.status is CertificateStatus.CERTIFIED
    rows = read_window(engine, spec, WINDOW, as_of=AS_OF)
    score = signal_columns(rows, 0, bundle.tiers[0], stored_vectors(rows, 0))["score"]
    certifies = split_rows(rows.ids, rows.seconds, rows.prompt_hashes, Proportions()).rows(Part.CERTIFICATION)
    with reading(engine) as session:
        table = export_outcomes(session, "facts", WINDOW, as_of=AS_OF)
    assert tuple(table.query_ids) == rows.ids
    part = np.where(certifies, "part", None)
    table = replace(table, p_ik=np.column_stack([score, np.full(rows.n, np.nan)]), slice=part)
    write_outcomes(table.of_slice("part"), tmp_path / "part.parquet")
    options = [
        "--rule",
        "p_ik",
        "--max-accuracy-drop",
        "0.05",
        "--delta",
        repr((1 - FALLBACK_SHARE) * certificate.delta),
    ]
    said = json.loads(CliRunner().invoke(app, ["certify", str(tmp_path / "part.parquet"), "--json", *options]).stdout)
    assert [at and {"score": at["p_ik"]} for at in said["thresholds"]] == list(bundle.document.policy.thresholds)
    assert (said["n"], said["drop_upper_bound"]) == (certificate.n, certificate.drop_upper_bound)


def seed_drawn_labels(engine: Engine, spec: CascadeSpec, n: int = 4000) -> None:
    """Rows explored at rates of their own, whose answers are labelled by coin, and
    often the same.
    """
    draw = np.random.default_rng(5)
    decisions, labels = [], []
    for row in range(n):
        at = START + (END - START) * (row / n)
        p_t, rate = float(draw.random()), 0.2 + 0.4 * float(draw.random())
        right = (bool(draw.random() < 0.6 + 0.4 * p_t), bool(draw.random() < 0.95))
        retained = p_t > 0.4
        ran = not retained or draw.random() < rate
        role = (Role.SERVED, Role.EXPLORATION) if retained else (Role.SUPERSEDED, Role.SERVED)
        small = Attempt(
            tier=0,
            role=role[0],
            model="small",
            signals=Signals(p_t=p_t),
            answer="yes" if right[0] else "no",
            run_propensity=1.0,
        )
        large = Attempt(
            tier=1,
            role=role[1],
            model="large",
            answer="yes" if right[1] else "no",
            run_propensity=rate if retained else 1.0,
        )
        decision = make_decision(
            at,
            id=new_id(at, randomness=row),
            cascade=spec.name,
            attempts=(small, large) if ran else (small,),
            exploration_rate=rate,
        )
        decisions.append(decision)
        coin = draw.random()
        labels += [
            make_label(
                cascade=spec.name,
                correct=float(right[tier]),
                labelled_at=at + timedelta(days=1),
                decision_id=decision.id,
                tier=tier,
                label_propensity=chance,
            )
            for tier, chance in ((0, 0.5), (1, 0.8))
            if coin < chance and (tier == 0 or ran)
        ]
    with transaction(engine) as session:
        apply_cascade(session, spec, now=START)
        assert not add_decisions(session, decisions, received_at=END).rejected
        add_labels(session, labels, received_at=END + timedelta(days=1))


@pytest.mark.slow
def test_equal_answers_and_rates_that_differ_reach_the_command_with_the_table(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    engine, targets = sqlite_engine, Targets(rule=PolicyKind.P_T, value=0.2, delta=0.2)
    seed_drawn_labels(engine, spec_of(PolicyKind.P_T, targets=targets))
    bundle, certificate = trained(engine)
    assert certificate.status is CertificateStatus.CERTIFIED
    said = by_command(engine, tmp_path / "w.csv", "--max-accuracy-drop", "0.2", "--delta", "0.2")
    assert said["thresholds"] == list(bundle.document.policy.thresholds)
    assert (said["n"], said["estimated_drop"]) == (certificate.n, certificate.estimated_drop)
    assert said["drop_upper_bound"] == certificate.drop_upper_bound
    read = read_outcomes(tmp_path / "w.csv")
    without = replace(read, same_answer=np.full(read.ran.shape, np.nan))
    write_outcomes(without, tmp_path / "without.csv")
    other = CliRunner().invoke(app, ["certify", str(tmp_path / "without.csv"), "--json", "--max-accuracy-drop", "0.2"])
    assert json.loads(other.stdout)["n"] != certificate.n
