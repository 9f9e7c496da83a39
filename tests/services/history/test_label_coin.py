"""Label propensities .5 and .8 of one decision: .5 together of one coin, .4 of coins apart, for
every user of them.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine

from evidence.certification.known_outcomes import certification_rows, label_coin
from evidence.estimation.estimates import joint_label_propensity
from factories import make_decision, make_label
from knowgate._records.records import (
    Action,
    Attempt,
    Decision,
    Label,
    Reason,
    Role,
    Signals,
    Verdict,
    Window,
)
from knowgate.spec import LabelCoin
from monitoring.alarms.risk_rows import risk_rows
from monitoring.figures.ood_figures import ood_figures
from monitoring.rows.cohorts import Cohort, cohort_of
from services.declaration.cascade_file import parse_cascade
from services.errors import TableInvalid
from services.history.export_outcomes import export_outcomes
from services.history.import_outcomes import import_outcomes, require_label_coin
from services.history.recorded_decisions import recorded_decisions
from services.labelling.estimates import label_estimates
from services.outcome_tables.certification import logged_rows as logged_in
from services.outcome_tables.outcomes import read_outcomes, write_outcomes
from services.privacy import SecretKey
from store.engine import reading, transaction
from store.releases import cascades
from store.traffic.decisions import add_decisions
from store.traffic.examples import labelled
from store.traffic.labels import add_labels
from tests.services.conftest import CASCADE, NOW
from training.certification.outcomes import logged_rows
from training.rows.dataset import read_window

N = 40
DAY = timedelta(days=1)
SPAN = Window(start=NOW - 3 * DAY, end=NOW - 2 * DAY)
JOINT = {LabelCoin.DECISION: 0.5, LabelCoin.ATTEMPT: 0.4}


def declared(coin: LabelCoin) -> str:
    return f'label_coin = "{coin.value}"\n{CASCADE}'


def retained(index: int, *, reason: Reason | None = None) -> Decision:
    """A decision of which both tiers ran; `reason` escalated it."""
    at = SPAN.start + timedelta(minutes=index)
    verdict = Verdict(action=Action.RETAIN if reason is None else Action.ESCALATE, reason=reason)
    small = Attempt(
        tier=0,
        role=Role.SERVED if reason is None else Role.SUPERSEDED,
        model="tiny",
        signals=Signals(p_t=0.9, p_ik=0.9, ood=0.2),
        verdict=verdict,
        run_propensity=1.0,
        tokens_in=10,
        tokens_out=1,
    )
    large = Attempt(
        tier=1,
        role=Role.EXPLORATION if reason is None else Role.SERVED,
        model="huge",
        run_propensity=1.0,
        tokens_in=10,
        tokens_out=1,
    )
    return make_decision(at, cascade="trivia", external_id=f"q{index}", attempts=(small, large), exploration_rate=1.0)


def labels(decision: Decision, chances: Sequence[float], right: Sequence[float]) -> list[Label]:
    return [
        make_label(
            cascade="trivia",
            correct=correct,
            labelled_at=decision.occurred_at + timedelta(hours=1),
            decision_id=decision.id,
            tier=tier,
            label_propensity=chance,
        )
        for tier, (chance, correct) in enumerate(zip(chances, right, strict=True))
    ]


@pytest.fixture(params=list(LabelCoin))
def coin(request: pytest.FixtureRequest, engine: Engine) -> LabelCoin:
    """A cascade that declares this coin, with decisions that are labelled at .5 and .8, and some by
    nobody.
    """
    declares: LabelCoin = request.param
    decisions = [retained(index, reason=Reason.OOD if index % 4 == 3 else None) for index in range(N)]
    with transaction(engine) as session:
        cascades.apply_cascade(session, parse_cascade(declared(declares)), now=SPAN.start - DAY)
        add_decisions(session, decisions, received_at=SPAN.end)
        said = [
            label
            for index, one in enumerate(decisions)
            if index % 2
            for label in labels(one, (0.5, 0.8), (float(index % 3 > 0), 1.0))
        ]
        assert not add_labels(session, said, received_at=SPAN.end).rejected
    return declares


def cohort(engine: Engine) -> Cohort:
    with reading(engine) as session:
        spec = cascades.cascade(session, "trivia")
        return cohort_of(labelled(session, "trivia", SPAN, as_of=NOW), spec, SPAN, as_of=NOW)


def test_the_chance_of_all_labels_is_the_smallest_of_one_coin_and_the_product_of_several() -> None:
    chances = [[0.5, 0.8], [1.0, 0.8], [0.5, np.nan], [0.2, 0.5]]
    np.testing.assert_allclose(joint_label_propensity(chances, False), [0.5, 0.8, np.nan, 0.2])
    np.testing.assert_allclose(joint_label_propensity(chances, True), [0.4, 0.8, np.nan, 0.1])
    np.testing.assert_allclose(joint_label_propensity(chances, [True, False, False, True]), [0.4, 0.8, np.nan, 0.1])


def test_figures_and_the_risk_alarm_weigh_a_pair_by_it(engine: Engine, coin: LabelCoin) -> None:
    watched = cohort(engine)
    kept = watched.decisions[watched.decisions["retained"]]
    x, observed, propensity = risk_rows(kept, watched.spec)
    assert observed.any() and (np.isfinite(x) == observed).all()
    np.testing.assert_allclose(propensity[observed], JOINT[coin])
    np.testing.assert_allclose(kept["label_propensity"][kept["x"].notna()], JOINT[coin])


def test_what_the_ood_gate_gained_is_weighed_by_it(engine: Engine, coin: LabelCoin) -> None:
    """Half of its ten decisions are labelled by chances .5 and .8, and the weights of a mean all
    alike cancel; so one decision more, labelled at 1 and 1, tells them apart.
    """
    extra = retained(N, reason=Reason.OOD)
    with transaction(engine) as session:
        add_decisions(session, [extra], received_at=SPAN.end)
        add_labels(session, labels(extra, (1.0, 1.0), (0.0, 1.0)), received_at=SPAN.end)
    watched = cohort(engine)
    pairs = watched.attempts[(watched.attempts["tier"] == 0) & (watched.attempts["reason"] == "ood")]
    gained = 1.0 - pairs["correct"].dropna().to_numpy()
    weights = np.array([1.0 / JOINT[coin]] * (len(gained) - 1) + [1.0])
    expected = float((weights * gained).sum() / weights.sum())
    assert ood_figures(watched, 0)[_gain()].value == pytest.approx(expected)


def _gain() -> object:
    from monitoring.names import FigureName

    return FigureName.OOD_GAIN


def test_estimates_weigh_by_it(engine: Engine, coin: LabelCoin) -> None:
    with reading(engine) as session:
        estimated = label_estimates(session, "trivia", SPAN, as_of=NOW, largest_weight=20.0)
    by_weight = next(e for e in estimated.estimates if (e.figure, e.method) == ("drop", "inverse_propensity"))
    watched = cohort(engine).decisions
    lost = float(watched["x"].fillna(0.0).sum())
    assert lost > 0
    assert by_weight.value == pytest.approx(lost / JOINT[coin] / N)


def test_training_certifies_with_it(engine: Engine, coin: LabelCoin) -> None:
    with reading(engine) as session:
        spec = cascades.cascade(session, "trivia")
    rows = read_window(engine, spec, SPAN, as_of=NOW)
    joint = label_coin(logged_rows(rows))
    assert joint is not None
    np.testing.assert_allclose(joint[np.isfinite(joint)], JOINT[coin])
    known = certification_rows(logged_rows(rows))
    np.testing.assert_allclose(np.asarray(known.propensity), JOINT[coin])


def test_a_table_that_is_exported_certifies_with_it(engine: Engine, coin: LabelCoin, tmp_path: Path) -> None:
    with reading(engine) as session:
        table = export_outcomes(session, "trivia", SPAN, as_of=NOW)
    for suffix in ("csv", "jsonl", "parquet"):
        path = tmp_path / f"outcomes.{suffix}"
        write_outcomes(table, path)
        again = read_outcomes(path)
        assert set(again.label_coin) == {coin.value if coin is LabelCoin.ATTEMPT else None}
        undrawn = np.where(np.isfinite(again.correct).any(axis=1), again.label_coin, None)
        silent = certification_rows(logged_in(replace(again, label_coin=undrawn), np.ones(N, dtype=np.bool_)))
        np.testing.assert_allclose(np.asarray(silent.propensity), JOINT[coin])
        known = certification_rows(logged_in(again, np.ones(N, dtype=np.bool_)))
        np.testing.assert_allclose(np.asarray(known.propensity), JOINT[coin])


def test_a_table_of_the_other_coin_is_not_imported_and_one_of_its_own_keeps_it(
    engine: Engine, coin: LabelCoin, tmp_path: Path
) -> None:
    with reading(engine) as session:
        table = export_outcomes(session, "trivia", SPAN, as_of=NOW)
    other = next(one for one in LabelCoin if one is not coin)
    spec = parse_cascade(declared(other).replace('"trivia"', '"other"'))
    table = replace(table, label_coin=np.full(N, coin.value, dtype=object))
    with pytest.raises(TableInvalid, match=f"cascade other declares '{other.value}'"):
        require_label_coin(table, spec)
    with transaction(engine) as session:
        cascades.apply_cascade(session, replace(spec, label_coin=coin), now=NOW)
        same = cascades.cascade(session, "other")
    require_label_coin(table, same)
    import_outcomes(
        engine, recorded_decisions(table, "other"), "other", key=SecretKey(b"a hash key for tests"), now=NOW
    )
    rows = read_window(engine, same, SPAN, as_of=NOW + DAY)
    joint = label_coin(logged_rows(rows))
    assert joint is not None
    np.testing.assert_allclose(joint[np.isfinite(joint)], JOINT[coin])


def test_a_change_of_the_declaration_reweighs_no_decision_of_before(engine: Engine, coin: LabelCoin) -> None:
    other = next(one for one in LabelCoin if one is not coin)
    with transaction(engine) as session:
        cascades.apply_cascade(session, parse_cascade(declared(other)), now=NOW)
    assert set(cohort(engine).decisions["label_coin"]) == {coin.value}


def test_a_coin_of_another_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.csv"
    path.write_text("query_id,tier,model,label_coin\na,0,s,decision\na,1,l,query\n")
    with pytest.raises(TableInvalid, match=r"label_coin.*row 2.*use one of decision, attempt"):
        read_outcomes(path)
    path.write_text("query_id,tier,model,label_coin\na,0,s,decision\na,1,l,attempt\n")
    with pytest.raises(TableInvalid, match="make them one"):
        read_outcomes(path)
