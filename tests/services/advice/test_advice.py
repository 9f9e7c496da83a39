"""`knowgate advise`: it says "do not" in every case in which a cascade should not be
used, and why.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from evidence.certification.certificate import Target
from knowgate.policy import PolicyKind
from knowgate.spec import TargetKind
from services.advice.advice import Advice, advise
from services.advice.label_plan import LabelPlan, LabelYield, yield_of
from services.advice.price_lists import TierRates, read_latencies, read_rates
from services.advice.reasons import Question, Recommendation
from services.command_line import app
from services.errors import InputInvalid
from services.outcome_tables.outcomes import OutcomeTable, read_outcomes

NOW = datetime(2026, 3, 1, tzinfo=UTC)
CHEAP = "0.1/0.4,2.5/10"
TWO_POINTS = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.02)


def table(folder: Path, *, n: int = 4000, signal: str = "good", tiers: int = 2, small: float = 0.6) -> Path:
    """Outcomes of models whose signal is as good as named; the last one is right nine
    times in ten.
    """
    draw = np.random.default_rng(11)
    rows = ["query_id,tier,model,p_t,correct,tokens_in,tokens_out"]
    for query in range(n):
        hard = draw.random()
        for tier in range(tiers):
            reach = 0.9 if tier == tiers - 1 else small + 0.1 * tier
            p_t = {"good": 1 - hard, "constant": 0.7, "noise": draw.random()}[signal]
            rows.append(f"q{query},{tier},m{tier},{p_t:.4f},{int(hard < reach)},{100 + query % 50},{10 + query % 7}")
    path = folder / "outcomes.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def accuracy(value: float) -> Target:
    return Target(kind=TargetKind.RETAINED_ACCURACY, value=value)


def advice(path: Path, prices: str = CHEAP, target: Target = TWO_POINTS, **asked: Any) -> Advice:
    outcomes: OutcomeTable = read_outcomes(path)
    return advise(outcomes, read_rates(prices, None, tiers=outcomes.tiers, now=NOW), Question(target=target, **asked))


def test_a_good_signal_at_cheap_prices_is_worth_a_cascade(tmp_path: Path) -> None:
    given = advice(table(tmp_path))
    assert given.recommendation is Recommendation.CASCADE
    assert given.basis == "certified" and given.labels_needed == 0
    assert 0.5 < given.retained_share < 0.65
    assert given.worth is not None and given.worth > 0.7
    saved = given.costs[0].savings
    assert saved.value == pytest.approx(given.costs[0].break_even.savings)
    assert saved.value < given.costs[0].perfect.savings
    assert [case.applies for case in given.cases] == [False, None, False]


def probed(folder: Path, *, tokens_out: int = 300, n: int = 3000) -> Path:
    """Outcomes of a small model whose P(IK) knows what it cannot, and whose answers are long."""
    draw = np.random.default_rng(12)
    rows = ["query_id,tier,model,p_t,p_ik,correct,tokens_in,tokens_out"]
    for query in range(n):
        knows = draw.random()
        rows.append(f"q{query},0,small,{0.5 + 0.4 * draw.random():.4f},{knows:.4f},{int(knows > 0.5)},100,{tokens_out}")
        rows.append(f"q{query},1,large,0.9,,{int(draw.random() < 0.95)},100,{tokens_out}")
    path = folder / "probed.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_it_tells_what_is_saved_where_p_ik_ends_a_tier_before_it_answers(tmp_path: Path) -> None:
    given = advice(probed(tmp_path), "1/1,5/5", kind=PolicyKind.P_IK)
    (usd,) = given.costs
    assert usd.early is not None and usd.ended_share == pytest.approx(1 - given.retained_share)
    assert usd.savings.value == pytest.approx(given.retained_share - 0.2)  # a fifth of the price for every query
    spent = 0.2 * (given.retained_share + (1 - given.retained_share) * 100 / 400)
    assert usd.early.value == pytest.approx(given.retained_share - spent)
    (flops,) = advise(
        read_outcomes(probed(tmp_path)),
        read_rates(None, "1e9,5e9", tiers=2, now=NOW),
        Question(target=TWO_POINTS, kind=PolicyKind.P_IK),
    ).costs
    assert flops.early is not None and flops.early.value == pytest.approx(usd.early.value)


def test_where_p_t_alone_decides_nothing_can_be_ended_early(tmp_path: Path) -> None:
    (usd,) = advice(table(tmp_path)).costs
    assert (usd.early, usd.ended_share) == (None, 0.0)


def test_the_command_prints_what_ending_tiers_early_would_save(tmp_path: Path) -> None:
    asked = ["advise", str(probed(tmp_path)), "--prices", "1/1,5/5", "--max-accuracy-drop", "0.02", "--rule", "p_ik"]
    printed = CliRunner().invoke(app, asked)
    (line,) = [line for line in printed.output.splitlines() if line.startswith("early ")]
    assert "with tiers.early: P(IK) ends" in line


@pytest.mark.parametrize("prices", ["2.5/10,2.5/10", "3/12,2.5/10", "1/4,0.1/0.4"])
def test_prices_under_which_a_cascade_costs_more_than_its_largest_model_are_told_so(
    tmp_path: Path, prices: str
) -> None:
    given = advice(table(tmp_path), prices)
    assert given.recommendation is Recommendation.DO_NOT
    assert "even a perfect signal would cost" in given.reason
    assert given.costs[0].break_even.savings < 0 and given.cases[0].applies


def test_prices_that_a_perfect_signal_could_use_but_this_one_cannot(tmp_path: Path) -> None:
    given = advice(table(tmp_path), "1.7/6.8,2.5/10")
    assert given.costs[0].perfect.savings > 0 > given.costs[0].savings.upper
    assert given.recommendation is Recommendation.DO_NOT
    assert "within the promised accuracy a cascade costs" in given.reason


@pytest.mark.parametrize("signal", ["constant", "noise"])
def test_a_signal_without_order_is_no_ground_for_a_cascade(tmp_path: Path, signal: str) -> None:
    given = advice(table(tmp_path, signal=signal))
    assert given.recommendation is Recommendation.DO_NOT
    assert given.cases[2].applies
    assert given.worth is None or given.worth < 0.1


def test_the_accuracy_of_what_is_retained_may_be_the_target(tmp_path: Path) -> None:
    path = table(tmp_path)
    given = advice(path, target=accuracy(0.95))
    assert given.recommendation is Recommendation.CASCADE
    assert given.certificate.epsilon is None
    assert (given.certificate.retained_accuracy_lower_bound or 0.0) >= 0.95
    # The small model is right on three fifths; with a perfect signal a twentieth of what is
    # retained may be wrong.
    assert 0.55 < given.retained_share <= given.shares.perfect == pytest.approx(0.6 / 0.95, abs=0.02)
    assert given.shares.random == 0.0
    stricter = advice(path, target=accuracy(0.99))
    assert stricter.retained_share < given.retained_share


def test_a_first_token_that_is_sure_of_wrong_answers_is_warned_of_with_its_cure(tmp_path: Path) -> None:
    path = table(tmp_path)
    lines = [line.split(",") for line in path.read_text().splitlines()]
    for line in lines[1:]:
        line[3] = f"{0.97 + 0.03 * float(line[3]):.5f}"  # the same order, and sure of all
    with_kinds = [[*line, kind] for line, kind in zip(lines, ["p_t_kind", *["first_token"] * len(lines)], strict=False)]
    for rows, seems in ((lines, True), (with_kinds, False)):
        path.write_text("\n".join(",".join(row) for row in rows) + "\n")
        given = advice(path)
        (warning,) = given.warnings
        assert "of tier 0 (m0) is 0.9 or more on 100 % of 4000 labelled answers, and only 6" in warning
        assert 'p_t_kind = "mean"' in warning and "P(IK)" in warning and ("as it seems" in warning) == seems
        assert given.recommendation is Recommendation.CASCADE  # a warning decides nothing
    shown = CliRunner().invoke(app, ["advise", str(path), "--prices", CHEAP]).stdout
    assert "warning: the first token's P(T) of tier 0 (m0)" in shown
    mean = [[*line[:-1], "mean" if row else line[-1]] for row, line in enumerate(with_kinds)]
    path.write_text("\n".join(",".join(row) for row in mean) + "\n")
    assert advice(path).warnings == ()
    assert advice(table(tmp_path)).warnings == ()


def test_an_accuracy_that_the_small_model_has_alone_needs_no_cascade(tmp_path: Path) -> None:
    given = advice(table(tmp_path), target=accuracy(0.5))
    assert given.recommendation is Recommendation.DO_NOT
    assert "right at least 5" in given.reason and "use it alone" in given.reason


def test_too_few_labels_for_an_accuracy_say_how_many_are_needed(tmp_path: Path) -> None:
    given = advice(table(tmp_path, n=12), target=accuracy(0.99))
    assert given.recommendation is Recommendation.LABEL_FIRST
    assert given.labels_needed is not None and given.labels_needed >= 229 - 12


@pytest.mark.slow
@pytest.mark.parametrize("right", [0, 1])
def test_where_all_answers_are_alike_the_signals_cannot_be_judged(tmp_path: Path, right: int) -> None:
    """One class says nothing of a signal: unknown, neither weak nor strong."""
    path = tmp_path / "outcomes.csv"
    lines = [f"q{at},{tier},m{tier},0.{at % 9 + 1},{right if tier == 0 else 1}" for at in range(9) for tier in (0, 1)]
    path.write_text("query_id,tier,model,p_t,correct\n" + "\n".join(lines) + "\n")
    given = advice(path)
    assert given.recommendation is not Recommendation.CASCADE
    assert given.cases[2].applies is (None if right == 0 else False)  # right alone keeps the promise without a signal
    assert "cannot be judged" in given.cases[2].finding
    shown = CliRunner().invoke(app, ["advise", str(path), "--prices", CHEAP]).stdout
    assert ("unknown the signals are weak" in shown) is (right == 0)


@pytest.mark.slow
def test_a_small_model_that_keeps_the_promise_alone_needs_no_cascade(tmp_path: Path) -> None:
    given = advice(table(tmp_path, small=0.9))
    assert given.recommendation is Recommendation.DO_NOT
    assert "use it alone" in given.reason


def test_a_handful_of_labels_settles_nothing_and_the_number_needed_is_told(tmp_path: Path) -> None:
    given = advice(table(tmp_path, n=12))
    assert given.recommendation is Recommendation.LABEL_FIRST
    assert given.labels_needed is not None and given.labels_needed >= 100
    assert given.basis == "estimated"


def test_one_query_is_answered_too(tmp_path: Path) -> None:
    assert advice(table(tmp_path, n=1)).recommendation is not Recommendation.CASCADE


def test_a_wait_that_is_too_long_rules_a_cascade_out(tmp_path: Path) -> None:
    path = table(tmp_path)
    slow = advice(path, latencies_ms=(300.0, 900.0), max_latency_ms=1000.0)
    assert slow.recommendation is Recommendation.DO_NOT and "too long" in slow.reason
    assert slow.latency is not None and slow.latency.p95_ms == 1200.0 and slow.latency.last_p95_ms == 900.0
    assert advice(path, latencies_ms=(300.0, 900.0), max_latency_ms=1200.0).recommendation is Recommendation.CASCADE


@pytest.mark.slow
def test_a_long_chain_is_held_beside_its_shorter_ones(tmp_path: Path) -> None:
    given = advice(table(tmp_path, tiers=3), "0.1/0.4,2/8,2.5/10")
    assert [chain.tiers for chain in given.shorter] == [(0, 2), (1, 2)]
    assert given.shorter[0].savings > given.costs[0].savings.value
    assert given.recommendation is Recommendation.LABEL_FIRST
    assert given.reason.startswith("the shorter chain m0 → m2 would save")


def test_without_any_graded_query_it_says_how_many_to_label(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.csv"
    path.write_text("query_id,tier,model,p_t,correct\nq,0,a,0.5,\nq,1,b,0.5,1\n")
    with pytest.raises(InputInvalid, match="115 of them"):
        advice(path)


def test_compute_can_stand_in_for_prices_and_the_assumed_tokens_are_told(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.csv"
    lines = [f"q{at},{tier},m,0.{at % 9 + 1},{int(at % 9 > 2 or tier)}" for at in range(900) for tier in (0, 1)]
    path.write_text("query_id,tier,model,p_t,correct\n" + "\n".join(lines) + "\n")
    outcomes = read_outcomes(path)
    given = advise(outcomes, read_rates(None, "8e9,70e9", tiers=2, now=NOW), Question(target=TWO_POINTS))
    assert given.costs[0].unit == "gflops" and given.costs[0].break_even.overhead == pytest.approx(8 / 70)
    assert given.assumed[0] == "tokens_in of tier 0, 1 is not recorded: 200 for every query"
    with pytest.raises(InputInvalid, match="nothing says what the tiers cost"):
        advise(outcomes, (TierRates(), TierRates()), Question(target=TWO_POINTS))


@pytest.mark.parametrize(
    ("prices", "message"),
    [
        ("0.1,2.5", "'0.1'"),
        ("a/b,1/1", "'a'"),
        ("-1/1,1/1", "'-1'"),
        ("nan/1,1/1", "'nan'"),
        ("1/1", "states 1 tiers: the table has 2"),
    ],
)
def test_a_price_list_that_is_none_is_refused(prices: str, message: str) -> None:
    with pytest.raises(InputInvalid, match=message):
        read_rates(prices, None, tiers=2, now=NOW)


def test_latencies_come_one_per_tier() -> None:
    assert read_latencies("120,900", tiers=2) == (120.0, 900.0)
    with pytest.raises(InputInvalid, match="gives 1 times"):
        read_latencies("120", tiers=2)


def test_the_prices_in_force_are_read_from_a_cascade_file(tmp_path: Path) -> None:
    path = tmp_path / "cascade.toml"
    prices = "".join(
        f"[[tiers.prices]]\nsince = {since}T00:00:00Z\nusd_per_million_tokens_in = {usd}\n"
        f"usd_per_million_tokens_out = {usd}\n"
        for since, usd in (("2026-01-01", 5.0), ("2026-02-01", 3.0), ("2026-04-01", 1.0))
    )
    path.write_text(
        f'name = "c"\n[[tiers]]\nname = "s"\nmodel = "s"\nparameters = 1e9\n{prices}'
        '[[tiers]]\nname = "l"\nmodel = "l"\nparameters = 1e10\n'
    )
    small, large = read_rates(str(path), None, tiers=2, now=NOW)
    assert small == TierRates(usd_per_million_in=3.0, usd_per_million_out=3.0, parameters=1e9)
    assert not large.priced


def test_two_targets_are_refused_and_one_is_printed(tmp_path: Path) -> None:
    path = str(table(tmp_path))
    both = CliRunner().invoke(app, ["advise", path, "--max-accuracy-drop", "0.02", "--retained-accuracy", "0.9"])
    assert isinstance(both.exception, InputInvalid)
    shown = CliRunner().invoke(app, ["advise", path, "--prices", CHEAP, "--retained-accuracy", "0.95"]).stdout
    assert "certified, retained answers right at least 0.95 of the time with confidence 0.9" in shown


def test_the_command_exits_with_three_for_do_not_and_prints_one_object(tmp_path: Path) -> None:
    path = str(table(tmp_path))
    done = CliRunner().invoke(app, ["advise", path, "--prices", CHEAP, "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["recommendation"] == "cascade"
    refused = CliRunner().invoke(app, ["advise", path, "--prices", "3/12,2.5/10"])
    assert refused.exit_code == 3
    assert refused.stdout.startswith("Do not use a cascade here: at these prices")


def week_of(**plan: Any) -> LabelYield:
    """Six queries in ten retained; the tiers answer half of each side alike."""
    retained = np.arange(20) < 12
    same = np.arange(20) % 2 == 0
    needed = plan.pop("needed", None)
    kind = plan.pop("kind", TargetKind.MAX_ACCURACY_DROP)
    return yield_of(LabelPlan(decisions_per_day=10_000, **plan), retained, same, kind, needed)


def test_a_plan_yields_as_many_rows_as_the_smaller_of_its_two_rates_shows() -> None:
    week = week_of()
    assert (week.label_rate, week.counting) == (0.05, pytest.approx(3500))
    # .3 · .05 of all is explored and labelled for certain, .2 escalated; the rest has a quarter.
    assert week.labelled == pytest.approx(70_000 * (0.015 + 0.01 + (1 - 0.015 - 0.2) * 0.0125))
    assert week.weeks is None and week_of(needed=7000).weeks == pytest.approx(2.0)
    assert week_of(label_rate=0.2).counting == pytest.approx(3500)  # the last tier ran no oftener
    assert week_of(label_rate=0.01).counting == pytest.approx(700)
    assert week_of(exploration_rate=0.1).counting == pytest.approx(7000)


def test_a_budget_says_the_rate_that_it_pays_for() -> None:
    by_rate = week_of(label_rate=0.02)
    by_budget = week_of(label_budget=by_rate.labelled)
    assert by_budget.label_rate == pytest.approx(0.02)
    assert by_budget.counting == pytest.approx(by_rate.counting)
    assert week_of(label_budget=1e9).label_rate == 1.0  # it pays for more than there is
    accurate = week_of(label_budget=700, kind=TargetKind.RETAINED_ACCURACY)
    assert (accurate.label_rate, accurate.counting) == (pytest.approx(0.01), pytest.approx(420))


def test_the_command_says_what_a_plan_yields(tmp_path: Path) -> None:
    asked = ["advise", str(table(tmp_path)), "--prices", CHEAP]
    done = CliRunner().invoke(app, [*asked, "--decisions-per-day", "10000", "--label-rate", "0.05"])
    assert "10000 decisions a day, explored at 0.05, labelled at 0.05: about 3500 rows a week count" in done.stdout
    assert "plan" not in CliRunner().invoke(app, asked).stdout
    for wrong, message in (
        (("--label-rate", "0.1"), "give --decisions-per-day too"),
        (("--decisions-per-day", "9", "--label-rate", "0.1", "--label-budget", "5"), "give one of the two"),
        (("--decisions-per-day", "0"), "--decisions-per-day is 0.0"),
        (("--decisions-per-day", "9", "--exploration-rate", "0"), "--exploration-rate is 0.0: it lies in (0, 1]"),
    ):
        assert message in str(CliRunner().invoke(app, [*asked, *wrong]).exception)


def test_p_t_of_several_kinds_is_not_advised_on(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.csv"
    rows = [f"q{at},{tier},m{tier},0.{at % 9 + 1},1,{'mean' if at else 'option'}" for at in range(9) for tier in (0, 1)]
    path.write_text("query_id,tier,model,p_t,correct,p_t_kind\n" + "\n".join(rows) + "\n")
    result = CliRunner().invoke(app, ["advise", str(path), "--prices", CHEAP])
    assert result.exit_code != 0 and "p_t_kind of tier 0 is mean and option" in str(result.exception)
