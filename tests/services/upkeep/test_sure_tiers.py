"""`knowgate doctor` notes a tier whose first token is sure of answers that are half wrong."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from factories import make_decision, make_label
from knowgate import Attempt, Decision, PTKind, Role, Signals
from knowgate.policy import PolicyKind
from knowgate.spec import CascadeSpec
from services.declaration.cascade_file import parse_cascade
from services.settings import Settings
from services.upkeep.checkup import State, examine
from services.upkeep.sure_tiers import sure_tiers
from store.engine import open_engine, reading, transaction
from store.releases import cascades
from store.traffic.decisions import add_decisions
from store.traffic.labels import add_labels
from tests.services.conftest import CASCADE, NOW


@pytest.fixture
def engine(sqlite_url: str) -> Engine:
    return open_engine(sqlite_url)


def spec_of(kind: PTKind = PTKind.FIRST_TOKEN, rule: PolicyKind = PolicyKind.P_T) -> CascadeSpec:
    spec = parse_cascade(CASCADE)
    small, large = spec.tiers
    return replace(spec, tiers=(replace(small, p_t_kind=kind), large), targets=replace(spec.targets, rule=rule))


def put(engine: Engine, spec: CascadeSpec, *, p_t: float, right: float, n: int = 200) -> None:
    """n decisions of the last two hours, all labelled, the share `right` of them right."""
    made: list[Decision] = []
    for row in range(n):
        attempt = Attempt(tier=0, role=Role.SERVED, model="tiny", signals=Signals(p_t=p_t), run_propensity=1.0)
        at = NOW - timedelta(hours=2) + timedelta(seconds=row)
        made.append(make_decision(at, cascade="trivia", attempts=(attempt,)))
    labels = [
        make_label(one, tier=0, correct=float(row < right * n), label_propensity=1.0, labelled_at=NOW)
        for row, one in enumerate(made)
    ]
    with transaction(engine) as session:
        cascades.apply_cascade(session, spec, now=NOW - timedelta(days=1))
        add_decisions(session, made, received_at=NOW)
        add_labels(session, labels, received_at=NOW)


def said(engine: Engine, spec: CascadeSpec) -> tuple[str, ...]:
    with reading(engine) as session:
        return sure_tiers(session, spec, now=NOW)


def test_the_doctor_notes_it_with_the_cure(engine: Engine, settings: Settings, sqlite_url: str) -> None:
    put(engine, spec_of(), p_t=0.98, right=0.5)
    findings = examine(settings.model_copy(update={"database_url": sqlite_url}), now=NOW)
    (noted,) = (one for one in findings if "first token" in one.found)
    assert (noted.check, noted.state) == ("trivia", State.NOTE)
    assert "P(T) of small is 0.9 or more on 100 % of 200 labelled answers, and only 50 %" in noted.found
    assert noted.cure is not None and '"mean"' in noted.cure and "P(IK)" in noted.cure


@pytest.mark.parametrize(("p_t", "right"), [(0.98, 0.9), (0.6, 0.5)])
def test_a_certainty_that_is_earned_or_not_claimed_is_not_noted(engine: Engine, p_t: float, right: float) -> None:
    put(engine, spec_of(), p_t=p_t, right=right)
    assert said(engine, spec_of()) == ()


@pytest.mark.parametrize(
    "spec", [spec_of(kind=PTKind.MEAN), spec_of(kind=PTKind.OPTION), spec_of(rule=PolicyKind.P_IK)]
)
def test_neither_are_other_kinds_nor_a_rule_that_does_not_look_at_p_t(engine: Engine, spec: CascadeSpec) -> None:
    put(engine, spec, p_t=0.98, right=0.5)
    assert said(engine, spec) == ()


def test_nothing_is_said_before_there_is_traffic(engine: Engine) -> None:
    with transaction(engine) as session:
        cascades.apply_cascade(session, spec_of(), now=NOW)
    assert said(engine, spec_of()) == ()


def test_a_mature_day_is_enough_however_long_the_horizon(engine: Engine) -> None:
    put(engine, spec_of(), p_t=0.98, right=0.5)
    with transaction(engine) as session:  # a horizon later something else came, without labels
        late = make_decision(NOW + spec_of().horizon + timedelta(hours=1), cascade="trivia")
        add_decisions(session, [late], received_at=late.occurred_at)
    with reading(engine) as session:
        (found,) = sure_tiers(session, spec_of(), now=late.occurred_at + timedelta(hours=1))
    assert "100 % of 200 labelled answers" in found
