"""The certification benchmark chooses what the product chooses, and its rivals what their formulas
say.
"""

import numpy as np
import pytest

from benchmarks.certify.chain import COSTS, best_pair_savings, chain_savings
from benchmarks.certify.ours import certified, coins
from benchmarks.certify.populations import Population, synthetic
from benchmarks.certify.rivals import Candidates, at_thresholds, loss_under, rival_path, rivals
from benchmarks.certify.weighted import CHAMPION, SCENARIOS, champion_of, kept_under, log_of, measure_scenario


def population(tiers: int, n: int = 3000) -> Population:
    rng = np.random.default_rng(tiers)
    p_t = (1 - 0.7 * rng.random((n, tiers - 1)) ** 2).round(3)  # with ties
    small = rng.random((n, tiers - 1)) < p_t
    return Population(
        name=f"made_{tiers}", p_t=p_t, correct=np.column_stack([small, rng.random(n) < 0.93]).astype(float)
    )


@pytest.mark.parametrize("tiers", [2, 3, 4])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_cut_down_walk_is_held_to_the_product(scenario: str, tiers: int) -> None:
    """It raises where `certify_policy` chooses otherwise."""
    traffic = population(tiers)
    rng = np.random.default_rng(1)
    ids = tuple(str(i) for i in range(3000))
    log = log_of(scenario, traffic, champion_of(traffic), rng.integers(0, 3000, 3000), rng)
    assert certified(log.sample(ids, coins(ids)), 0.1, 0.1, held_to_product=True) is not None


def test_a_walk_that_chose_otherwise_would_be_caught() -> None:
    traffic = population(2)
    ids = tuple(str(i) for i in range(3000))
    rng = np.random.default_rng(1)
    log = log_of("exploration_10", traffic, champion_of(traffic), np.arange(3000), rng)
    other_coins = coins(tuple(f"other-{i}" for i in range(3000)))
    log.propensity[:1500] *= 0.9  # so that the coins decide
    with pytest.raises(AssertionError, match="the cut-down walk"):
        certified(log.sample(ids, other_coins), 0.1, 0.1, held_to_product=True)


def test_the_best_pair_is_the_best_of_all_pairs_and_a_certified_chain_saves_less() -> None:
    traffic = population(3)
    best = 0.0
    grids = [[2.0, *np.quantile(traffic.p_t[:, tier], np.linspace(1, 0, 41)[1:])] for tier in (0, 1)]
    for first in grids[0]:
        for second in grids[1]:
            kept = np.where(traffic.p_t[:, 0] >= first, 0, np.where(traffic.p_t[:, 1] >= second, 1, 2))
            if traffic.drop_of(kept) <= 0.05:
                best = max(best, 1.0 - float(np.cumsum(COSTS)[kept].mean() / COSTS[-1]))
    assert best_pair_savings(traffic, 0.05) == pytest.approx(best, abs=0.02)
    figures = chain_savings(traffic, 0.05, 0.1, [np.arange(1500)])
    assert 0.5 < float(figures["chain_savings_share"] or 0.0) < 1.05


@pytest.mark.parametrize("tiers", [2, 3])
def test_a_champion_keeps_its_share(tiers: int) -> None:
    traffic = population(tiers)
    kept = kept_under(at_thresholds(champion_of(traffic)), traffic.p_t)
    assert abs((kept < tiers - 1).mean() - CHAMPION) < 0.01


def test_rivals_stop_at_their_first_failure() -> None:
    traffic = population(2)
    candidates = Candidates(rival_path(traffic.p_t), lambda policy: loss_under(policy, traffic.p_t, traffic.correct))
    at = {name: candidates.boldest(passes) for name, passes in rivals(0.05, 0.1).items()}
    chosen = {name: 2.0 if policy is None else policy.thresholds[0]["p_t"] for name, policy in at.items()}  # type: ignore[index]
    assert chosen["plug_in"] < chosen["reference"] < chosen["hoeffding"]
    bold = loss_under(at_thresholds([chosen["plug_in"]]), traffic.p_t, traffic.correct)
    assert bold.mean() <= 0.05


@pytest.mark.slow
def test_a_scenario_tells_both_readings() -> None:
    figures = measure_scenario("missing_by_score", population(2), 0.05, 0.1, 3000, 40)
    assert abs(float(figures["bias_in_errors"] or 0.0)) < 4 < abs(float(figures["naive_off_in_errors"] or 0.0))
    assert float(figures["naive_share"] or 0.0) > float(figures["share"] or 0.0) > 0.2
    feedback = measure_scenario("served_feedback_only", population(2), 0.05, 0.1, 3000, 5)
    assert feedback["estimate"] is None
    assert feedback["naive_violations"] == 1.0


def test_the_populations_built_to_hurt_have_the_drop_they_say() -> None:
    for made in synthetic(0.02):
        everything = made.drop_of(np.zeros(made.n, dtype=np.int64))
        expected = {"ties": 0.02, "exactly_epsilon": 0.02, "rare_large_losses": 0.02}.get(made.name)
        assert expected is None or everything == pytest.approx(expected, abs=1e-9)
