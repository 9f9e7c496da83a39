"""How soon harm would be heard under a plan: sooner with more decisions and labels, and said where
the table shows what it takes.
"""

import json
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from evidence.certification.certificate import Target
from evidence.costs.savings import savings_of
from knowgate.spec import TargetKind
from monitoring.names import Rule
from services.advice.hearing import Heard, heard_losses, heard_risks
from services.advice.label_plan import LabelPlan, yield_of
from services.advice.price_lists import TierRates
from services.advice.query_costs import CostTable
from services.command_line import app

N = 2000
DROP = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.02)
ACCURACY = Target(kind=TargetKind.RETAINED_ACCURACY, value=0.95)
RATES = (
    TierRates(usd_per_million_in=0.1, usd_per_million_out=0.4),
    TierRates(usd_per_million_in=2.5, usd_per_million_out=10.0),
)
KEPT = np.where(np.arange(N) % 2, 0, 1)  # every other query
CORRECT = np.column_stack([np.arange(N) % 50 != 1, np.ones(N)]).astype(float)  # 4 % of the retained are wrong
COSTS = CostTable(unit="usd", per_tier=np.tile([120e-6, 3000e-6], (N, 1)))


def risks(*, per_day: float = 10_000, target: Target = DROP, **plan: float) -> list[float | None]:
    """Median hours of the two rises."""
    labels = yield_of(
        LabelPlan(decisions_per_day=per_day, **plan), KEPT == 0, np.zeros(N, dtype=np.bool_), target.kind, None
    )
    heard = heard_risks(target, CORRECT, KEPT, labels)
    assert [(one.alarm, one.points) for one in heard] == [(Rule.RISK, 5), (Rule.RISK, 10)]
    return [one.hours.median for one in heard]


def losses(
    *, per_day: float = 10_000, costs: CostTable = COSTS, rates: tuple[TierRates, ...] = RATES
) -> tuple[Heard, ...]:
    cost, last = np.where(KEPT == 0, costs.per_tier[:, 0], costs.per_tier.sum(axis=1)), costs.per_tier[:, -1]
    return heard_losses([costs], rates, KEPT, savings_of(cost, last).lower, per_day)


def test_a_larger_harm_and_more_decisions_are_heard_sooner() -> None:
    for medians in (risks(), [one.hours.median for one in losses()]):
        small, large = medians
        assert small is not None and large is not None and large < small
    few, many = risks(per_day=1_000)[1], risks()[1]
    assert few is not None and many is not None and many < few
    slow, fast = (losses(per_day=number)[0].hours.median for number in (1_000, 10_000))
    assert slow is not None and fast is not None and fast < slow


def test_what_is_explored_and_labelled_counts_at_the_smaller_of_the_two_rates() -> None:
    assert risks(exploration_rate=0.05, label_rate=0.2) == risks(exploration_rate=0.05)
    assert risks(exploration_rate=0.2, label_rate=0.05) == risks(exploration_rate=0.05)
    rarely, often = risks(exploration_rate=0.05)[1], risks(exploration_rate=0.2)[1]
    assert rarely is not None and often is not None and often < rarely


def test_of_a_target_of_retained_accuracy_labels_alone_count() -> None:
    assert risks(target=ACCURACY, label_rate=0.1, exploration_rate=0.02) == risks(target=ACCURACY, label_rate=0.1)
    rarely, often = (risks(target=ACCURACY, label_rate=rate)[1] for rate in (0.1, 0.5))
    assert rarely is not None and often is not None and often < rarely


def test_savings_cannot_fall_by_more_than_what_is_retained_saves() -> None:
    assert [one.points for one in losses()] == [10, 20]
    kept = np.where(np.arange(N) % 8, 1, 0)  # an eighth: escalating all of it costs 12.5 points more
    assert [one.points for one in heard_losses([COSTS], RATES, kept, 0.0, 10_000)] == [10]


def test_without_a_bound_of_what_a_query_costs_nothing_is_said_of_savings() -> None:
    assert losses(rates=(TierRates(), TierRates())) == ()
    sizes = (TierRates(parameters=8e9), TierRates(parameters=70e9))
    arithmetic = CostTable(unit="gflops", per_tier=np.tile([16.0 * 600, 140.0 * 600], (N, 1)))
    assert [one.points for one in losses(costs=arithmetic, rates=sizes)] == [10, 20]


def outcomes(folder: Path) -> Path:
    draw = np.random.default_rng(11)
    rows = ["query_id,tier,model,p_t,correct,tokens_in,tokens_out"]
    for query in range(3000):
        hard = draw.random()
        rows += [f"q{query},{t},m{t},{1 - hard:.4f},{int(hard < (0.6, 0.9)[t])},100,500" for t in (0, 1)]
    path = folder / "outcomes.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_the_command_says_how_soon_where_a_plan_is_given(tmp_path: Path) -> None:
    asked = ["advise", str(outcomes(tmp_path)), "--prices", "0.1/0.4,2.5/10", "--max-accuracy-drop", "0.02"]
    assert "heard" not in CliRunner().invoke(app, asked).stdout
    asked += ["--decisions-per-day", "10000"]
    lines = [line for line in CliRunner().invoke(app, asked).stdout.splitlines() if line.startswith("heard")]
    assert len(lines) == 4
    assert lines[0].startswith("heard         savings 10 points lower: within ") and "nine times in ten" in lines[0]
    assert lines[3].startswith("heard         10 points more drop: within ")
    assert lines[3].endswith(", after the label horizon")
    shown = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)["heard"]
    assert [(one["alarm"], one["points"]) for one in shown] == [
        ("savings", 10),
        ("savings", 20),
        ("risk", 5),
        ("risk", 10),
    ]
    rare = CliRunner().invoke(app, [*asked[:-1], "100"]).stdout
    assert "heard         5 points more drop: half of the time not within three weeks, after the label horizon" in rare


def test_where_nothing_is_retained_nothing_is_said(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.csv"
    lines = [f"q{at},{tier},m{tier},0.{at % 9 + 1},{0 if tier == 0 else 1}" for at in range(90) for tier in (0, 1)]
    path.write_text("query_id,tier,model,p_t,correct\n" + "\n".join(lines) + "\n")
    asked = ["advise", str(path), "--prices", "0.1/0.4,2.5/10", "--decisions-per-day", "1000"]
    assert "heard" not in CliRunner().invoke(app, [*asked, "--max-accuracy-drop", "0.02"]).stdout
