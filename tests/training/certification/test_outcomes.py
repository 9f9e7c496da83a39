"""What is assumed where nothing is known: never anything in a candidate's favour."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from evidence.certification import known_outcomes
from evidence.certification.certificate import Target
from evidence.certification.certification_rows import CertificationRows
from evidence.certification.certify import certify_policy
from evidence.certification.path import chain_paths, path_of
from evidence.certification.tally import tally_of
from evidence.errors import OverlapError
from factories import make_certificate
from knowgate._bundles.bundle import write_bundle
from knowgate._bundles.bundle_documents import BundleDocument, CertificateStatus
from knowgate.policy import Policy, PolicyKind, retain_mask
from knowgate.spec import PromiseKind, TargetKind, Targets
from training.certification import seasons
from training.certification.certify import certify_kind, kept_at, outlook_on, path_on
from training.certification.outcomes import labelled_decisions, logged_rows
from training.certification.paths import learn_pace, learn_speed
from training.certification.report import signal_quality
from training.certification.savings import cohort_savings, ended_at, retained_share
from training.probes.probe_settings import FitSettings
from training.publishing.run_report import run_report
from training.rows.dataset import CascadeRows, TierColumns
from training.rows.splits import Part, Split

NAN = np.nan


def tier_of(n: int, **columns: Any) -> TierColumns:
    known: dict[str, Any] = {"ran": np.ones(n, dtype=bool), "tokens_in": np.full(n, 10.0)}
    return TierColumns(**(known | columns))


def certification_rows(rows: CascadeRows) -> CertificationRows:
    return known_outcomes.certification_rows(logged_rows(rows))


def label_coin(rows: CascadeRows) -> np.ndarray | None:
    return known_outcomes.label_coin(logged_rows(rows))


def rows_of(*tiers: TierColumns, rate: float = 0.0, **columns: Any) -> CascadeRows:
    n = len(tiers[0].ran)
    known: dict[str, Any] = {
        "ids": tuple(f"id{row}" for row in range(n)),
        "seconds": np.arange(n, dtype=float),
        "slices": (None,) * n,
        "prompts": (None,) * n,
        "prompt_hashes": (None,) * n,
        "exploration_rate": np.full(n, rate),
        "tiers": tiers,
        "fingerprints": {},
    }
    return CascadeRows(**(known | columns))


def test_a_row_stands_for_those_that_its_coins_left_out_and_for_twenty_usual_ones_at_most() -> None:
    chances = {
        "run_propensity": np.array([NAN, 0.5, 0.5, NAN, 0.1, 0.05, 0.01]),
        "label_propensity": np.array([NAN, NAN, 0.5, 0.25, 1.0, 1.0, 0.5]),
    }
    assert tier_of(7, **chances).weight.tolist() == [1.0, 2.0, 4.0, 4.0, 10.0, 20.0, 20.0]  # nothing labelled yet
    labelled = tier_of(7, **chances, correct=np.array([1.0, NAN, 1.0, 0.0, NAN, 1.0, 0.0]))  # the median weighs 4
    assert labelled.weight.tolist() == [1.0, 2.0, 4.0, 4.0, 10.0, 20.0, 80.0]


def savings_at(rows: CascadeRows, kept: np.ndarray, ended: np.ndarray | None = None) -> float | None:
    saved = cohort_savings(rows, kept, ended)
    return None if saved is None else saved.value


def priced(small: list[float], large: list[float], *, column: str = "cost_usd", **of_large: Any) -> CascadeRows:
    """Two tiers of these costs; NaN = that the tier did not run."""
    tiers = [
        tier_of(len(costs), ran=np.isfinite(costs), **{column: np.array(costs)}, **given)
        for costs, given in ((small, {}), (large, of_large))
    ]
    return rows_of(*tiers, rate=0.5)


def test_savings_by_hand_where_every_tier_ran() -> None:
    rows = priced([1.0, 1.0, 2.0, 2.0], [10.0, 20.0, 30.0, 40.0])
    for kept, spent in (([0, 0, 0, 0], 6.0), ([1, 1, 1, 1], 106.0), ([0, 1, 0, 1], 66.0)):
        saved = cohort_savings(rows, np.array(kept))
        assert saved is not None and saved.value == pytest.approx(1.0 - spent / 100.0)
    skipped = cohort_savings(priced([1.0, NAN, 3.0], [10.0, 10.0, 10.0]), np.array([0, 0, 1]))
    assert skipped is not None and skipped.value == pytest.approx(1.0 - (1.0 + 2.0 + 3.0 + 10.0) / 30.0)


def priced_early(roles: list[str], tokens_out: list[float], *, read: float = 1.0) -> CascadeRows:
    """A first tier that a gate may end: 10 tokens in, each at `read` times the price of one out."""
    role = np.array(roles, dtype=object)
    n, written = len(roles), np.array(tokens_out)
    small = tier_of(
        n,
        ran=role != "skipped",
        role=role,
        tokens_out=written,
        cost_usd=10.0 * read + written,
        run_propensity=np.where(role == "superseded", 1.0, 0.25),
    )
    served = np.full(n, "served", dtype=object)
    return rows_of(small, tier_of(n, role=served, cost_usd=np.full(n, 100.0)), rate=0.25, early={0: read})


def test_a_tier_that_is_ended_costs_its_prompt_and_one_that_was_ended_would_have_written_as_much_as_others() -> None:
    rows = priced_early(["superseded", "superseded", "skipped", "exploration"], [20.0, 40.0, 0.0, 30.0])
    unknown = rows_of(
        replace(rows.tiers[0], run_propensity=np.full(4, NAN)), rows.tiers[1], rate=0.25, early=rows.early
    )
    kept = np.array([0, 0, 1, 1])
    ended = np.array([[False], [False], [True], [True]])
    as_served = cohort_savings(rows, kept, ended)
    assert as_served is not None and as_served.value == pytest.approx(1.0 - (30 + 50 + 10 + 10 + 200) / 400)
    bolder = cohort_savings(unknown, np.array([0, 0, 0, 1]), np.array([[False], [False], [False], [True]]))
    assert bolder is not None and bolder.value == pytest.approx(1.0 - (30 + 50 + (10 + 30) + 10 + 100) / 400)
    answering_first = cohort_savings(unknown, kept)
    assert answering_first is not None and answering_first.value == pytest.approx(1.0 - (30 + 50 + 40 + 40 + 200) / 400)


def test_what_answered_all_the_same_speaks_for_what_was_skipped_under_thresholds_that_would_let_both_answer() -> None:
    rows = priced_early(["superseded", "skipped", "skipped", "exploration"], [20.0, 0.0, 0.0, 40.0])
    lets = np.zeros((4, 1), dtype=bool)
    for kept_of_explored, last in ((0, 0), (1, 100)):
        saved = cohort_savings(rows, np.array([0, 0, 0, kept_of_explored]), lets)
        assert saved is not None and saved.value == pytest.approx(1.0 - (30 + 4 * (50 + last)) / 500)
    ended = cohort_savings(rows, np.array([0, 1, 1, 1]), ~np.array([[True], [False], [False], [False]]))
    assert ended is not None and ended.value == pytest.approx(1.0 - (30 + 3 * (10 + 100)) / 400)


def test_what_a_prompt_costs_follows_from_the_prices_of_reading_and_of_writing() -> None:
    rows = priced_early(["superseded", "superseded"], [20.0, 40.0], read=0.5)
    ended = cohort_savings(rows, np.array([1, 1]), np.array([[True], [True]]))
    assert ended is not None and ended.value == pytest.approx(1.0 - (5 + 5 + 200) / 200)


def test_speeds_of_gates_are_chosen_by_what_they_save_where_a_gate_ends_the_tier() -> None:
    rng = np.random.default_rng(9)
    n = 4000
    p_ik, p_t = rng.random(n), rng.random(n)
    right = (p_ik > 0.5).astype(float)  # P(T) knows nothing
    small = tier_of(n, correct=right, tokens_out=np.full(n, 90.0), cost_usd=np.full(n, 100.0))
    large = tier_of(n, correct=np.ones(n), cost_usd=np.full(n, 150.0))
    rows, signals = rows_of(small, large, rate=0.25, early={0: 1.0}), {"p_ik": p_ik, "p_t": p_t}

    def saves(kept: np.ndarray, policy: Policy) -> float | None:
        return savings_at(rows, kept, ended_at(policy, rows, [signals]))

    speed = learn_speed(signals, right, np.ones(n), 0.02, saves=saves, ran=rows.ran)
    path = path_of(PolicyKind.GATES, [signals], speed=speed)
    assert path and speed["p_t"] > speed["p_ik"]  # what P(IK) lets answer is kept


def _dear_to_answer(n: int = 4000) -> tuple[CascadeRows, dict[str, np.ndarray]]:
    """P(T) knows which answers are right: nine in ten that P(IK) is sure of, and one in five of the
    others, which are not worth an answer to find out.
    """
    rng = np.random.default_rng(11)
    p_ik = rng.random(n)
    right = rng.random(n) < np.where(p_ik > 0.5, 0.9, 0.2)
    p_t = np.where(right, 0.9, 0.1)
    small = tier_of(n, p_t=p_t, correct=right * 1.0, tokens_out=np.full(n, 90.0), cost_usd=np.full(n, 100.0))
    large = tier_of(n, correct=np.ones(n), cost_usd=np.full(n, 150.0))
    shown = {"p_ik": p_ik, "p_t": p_t, "score": p_t, "ood": np.full(n, NAN)}
    return rows_of(small, large, rate=0.25, early={0: 1.0}), shown


@pytest.mark.slow
def test_of_all_that_is_certified_that_is_taken_which_saves_most_where_a_gate_ends_the_tier() -> None:
    rows, signals = _dear_to_answer()
    kind, split, targets = PolicyKind.GATES, _split(4000), Targets(rule=PolicyKind.GATES, value=0.02)
    found = certify_kind(rows, split, [signals], targets, kind=kind, delta=0.1)
    assert found is not None and found.certified
    path = path_on(rows, split, [signals], targets, kind)
    target, level = Target(kind=targets.kind, value=targets.value), found.certification.delta
    boldest = certify_policy(kind, found.signals, certification_rows(found.rows), target, level, path=path)
    policy = Policy(kind=kind, rules=boldest.thresholds)
    kept, ended = kept_at(policy, found.rows, found.signals), ended_at(policy, found.rows, found.signals)
    saved, of_boldest = savings_at(found.rows, found.kept, found.ended), savings_at(found.rows, kept, ended)
    assert saved is not None and of_boldest is not None and saved > of_boldest + 0.02
    assert found.certification.retained_share < boldest.retained_share


def test_of_the_levels_of_a_season_that_is_taken_which_saves_most_where_a_gate_ends_the_tier() -> None:
    rows, signals = _dear_to_answer(1000)
    targets = Targets(rule=PolicyKind.GATES, value=0.02, promise=PromiseKind.SEASON)
    path = path_of(PolicyKind.GATES, [signals])
    begun = seasons.begin(PolicyKind.GATES, targets, [path], rows, [signals])
    assert begun is not None
    counted = seasons.count(begun, rows, (signals,), targets)
    assert counted is not None
    document, chosen = counted
    certified = [Policy(kind=PolicyKind.GATES, rules=rules) for rules in path[: document.paths[0].certified]]
    saved = [savings_at(rows, kept_at(of, rows, [signals]), ended_at(of, rows, [signals])) for of in certified]
    known = [one for one in saved if one is not None]
    assert savings_at(rows, chosen.kept, chosen.ended) == max(known) > known[-1] + 0.02
    assert chosen.policy in certified[:-1]
    assert chosen.certification.retained_share == (chosen.kept == 0).mean()


def test_what_bolder_thresholds_would_retain_is_what_those_that_answered_all_the_same_say() -> None:
    """P(T) of a skipped row is unknown; of ten that answer, it would keep three."""
    rng, n, shares, naive = np.random.default_rng(12), 1000, [], []
    policy = Policy.of(PolicyKind.GATES, ({"p_ik": 0.2, "p_t": 0.7},))
    for _ in range(100):
        p_ik, p_t = rng.random(n), rng.random(n)
        skipped = (p_ik < 0.6) & (rng.random(n) >= 0.25)
        role = np.where(skipped, "skipped", np.where(p_ik < 0.6, "exploration", "superseded")).astype(object)
        shown = {"p_ik": p_ik, "p_t": np.where(skipped, NAN, p_t)}
        chance = np.where(p_ik < 0.6, 0.25, 1.0)
        small = tier_of(n, ran=~skipped, role=role, run_propensity=chance, p_t=shown["p_t"])
        rows = rows_of(small, tier_of(n, role=np.full(n, "served", dtype=object)), rate=0.25, early={0: 1.0})
        kept = kept_at(policy, rows, [shown])
        shares.append(retained_share(rows, kept, ended_at(policy, rows, [shown])))
        naive.append(float((kept == 0).mean()))
    error = float(np.std(shares)) / np.sqrt(len(shares))
    assert np.mean(shares) == pytest.approx(0.8 * 0.3, abs=3 * error)
    assert np.mean(naive) > 0.24 + 0.1  # counted as retained, they are an upper bound


def test_what_observed_rows_would_retain_is_what_those_of_the_coin_say() -> None:
    """While a cascade is observed, a coin alone lets its first tier answer."""
    rng, n, shares = np.random.default_rng(13), 1000, []
    policy = Policy.of(PolicyKind.P_T, ({"p_t": 0.7},))
    for _ in range(100):
        skipped = rng.random(n) >= 0.25
        role = np.where(skipped, "skipped", "exploration").astype(object)
        shown = {"p_t": np.where(skipped, NAN, rng.random(n))}
        small = tier_of(n, ran=~skipped, role=role, run_propensity=np.full(n, 0.25), p_t=shown["p_t"])
        rows = rows_of(small, tier_of(n, role=np.full(n, "served", dtype=object)), rate=0.25)
        kept = kept_at(policy, rows, [shown])
        shares.append(retained_share(rows, kept, ended_at(policy, rows, [shown])))
    error = float(np.std(shares)) / np.sqrt(len(shares))
    assert np.mean(shares) == pytest.approx(0.3, abs=3 * error)


def test_only_tiers_that_are_declared_so_are_ended_early() -> None:
    policy = Policy.of(PolicyKind.GATES, ({"p_ik": 0.5, "p_t": 0.5},))
    shown = [{"p_ik": np.array([0.2, 0.8]), "p_t": np.array([0.9, 0.9])}]
    declared = priced_early(["superseded", "superseded"], [1.0, 1.0])
    assert ended_at(policy, declared, shown).tolist() == [[True], [False]]
    assert not ended_at(policy, replace(declared, early={}), shown).any()


def test_savings_are_in_gflops_where_one_run_has_no_price_and_unknown_where_nothing_tells() -> None:
    for place in range(3):
        prices = np.array([1.0, 1.0, 1.0])
        prices[place] = NAN
        gflops = {"gflops": np.array([4.0, 4.0, 4.0])}
        rows = rows_of(
            tier_of(3, cost_usd=prices, gflops=np.ones(3)), tier_of(3, cost_usd=np.full(3, 10.0), **gflops), rate=0.5
        )
        saved = cohort_savings(rows, np.zeros(3, dtype=int))
        assert saved is not None and saved.value == pytest.approx(0.75)
    assert cohort_savings(rows_of(tier_of(2), tier_of(2), rate=0.5), np.zeros(2, dtype=int)) is None


def test_savings_need_a_last_tier_that_ran_by_a_coin_and_costs_something() -> None:
    kept = np.zeros(3, dtype=int)
    assert cohort_savings(priced([1.0] * 3, [NAN] * 3), kept) is None
    assert cohort_savings(priced([1.0] * 3, [0.0] * 3), kept) is None
    partly = priced([1.0] * 3, [10.0, 10.0, NAN])
    assert cohort_savings(partly, kept) is not None
    for place in range(3):
        rate = np.full(3, 0.5)
        rate[place] = 0.0
        unknown = replace(partly, exploration_rate=rate)
        assert (cohort_savings(unknown, kept) is None) is (place == 2), "a row that can never run tells nothing"


def test_each_row_that_was_not_explored_counts_with_its_own_rate() -> None:
    ran = np.array([True, False, False])
    small = tier_of(3, correct=np.array([1.0, 0.0, 1.0]))
    large = tier_of(3, ran=ran, correct=np.array([1.0, NAN, NAN]), run_propensity=np.array([0.45, NAN, NAN]))
    known = certification_rows(rows_of(small, large, exploration_rate=np.array([0.45, 0.3, 0.05])))
    assert np.asarray(known.propensity).tolist() == [0.45, 0.3, 0.05]
    assert np.asarray(known.observed).tolist() == [True, False, False]


def test_a_cold_start_is_tested_exactly_whatever_propensities_were_logged() -> None:
    small = tier_of(3, correct=np.array([1.0, 0.0, 1.0]))
    large = tier_of(3, correct=np.array([1.0, 1.0, 0.0]), run_propensity=np.array([1.0, NAN, 0.5]))
    known = certification_rows(rows_of(small, large))
    assert not known.weighted and known.counted.all()
    assert known.drops(np.array([0, 0, 0])).tolist() == [0.0, 1.0, -1.0]


def test_a_row_that_was_explored_by_coin_weighs_its_inverse_and_one_that_was_not_weighs_nothing() -> None:
    small = tier_of(3, correct=np.array([0.0, 1.0, 0.0]))
    large = tier_of(
        3,
        ran=np.array([True, False, True]),
        correct=np.array([1.0, NAN, 1.0]),
        run_propensity=np.array([0.25, NAN, 1.0]),
    )
    known = certification_rows(rows_of(small, large, rate=0.25))
    assert known.weighted and known.bound == 4.0
    assert known.drops(np.array([0, 0, 0])).tolist() == [4.0, 0.0, 1.0]


def test_a_retained_row_without_exploration_is_the_worst_case() -> None:
    small = tier_of(2, correct=np.array([1.0, 1.0]))
    large = tier_of(2, ran=np.array([True, False]), correct=np.array([1.0, NAN]), run_propensity=np.array([1.0, NAN]))
    known = certification_rows(rows_of(small, large, rate=0.0))
    assert known.drops(np.array([0, 0])).tolist() == [0.0, 1.0]


def test_a_missing_label_is_the_worst_case_unless_the_answers_agree() -> None:
    small = tier_of(2, answer=np.array(["Paris", "Rome"], dtype=object))
    large = tier_of(2, answer=np.array(["Paris", "Oslo"], dtype=object))
    assert certification_rows(rows_of(small, large)).drops(np.array([0, 0])).tolist() == [0.0, 1.0]


def test_labels_drawn_by_coin_weigh_and_the_undrawn_are_not_observed() -> None:
    coin = np.array([0.5, NAN, 0.5, NAN])
    small = tier_of(4, correct=np.array([0.0, NAN, 1.0, NAN]), label_propensity=coin)
    large = tier_of(4, correct=np.array([1.0, NAN, 1.0, NAN]), label_propensity=coin)
    known = certification_rows(rows_of(small, large))
    # One coin for all rows: those it showed are a plain sample, and the test stays exact.
    assert not known.weighted and known.counted.tolist() == [True, False, True, False]
    assert known.drops(np.zeros(4, dtype=int)).tolist() == [1.0, 0.0]


def test_labels_of_one_coin_weigh_the_smallest_chance_and_those_of_coins_apart_the_product() -> None:
    small = tier_of(2, correct=np.array([0.0, 1.0]), label_propensity=np.array([0.5, 0.5]))
    large = tier_of(2, correct=np.array([1.0, 1.0]), label_propensity=np.array([0.2, 0.5]))
    np.testing.assert_allclose(label_coin(rows_of(small, large)), [0.2, 0.5])
    apart = rows_of(small, large, coins_apart=np.array([True, False]))
    np.testing.assert_allclose(label_coin(apart), [0.1, 0.5])


def test_labelled_decisions_are_counted_at_both_tiers_for_a_drop_and_at_the_first_for_an_accuracy() -> None:
    first, last = (tier_of(4, correct=np.array(said)) for said in ([1.0, 0.0, NAN, NAN], [1.0, NAN, 1.0, NAN]))
    for known in (rows_of(first, last), rows_of(first, tier_of(4), last)):
        assert labelled_decisions(known, TargetKind.MAX_ACCURACY_DROP) == 1
        assert labelled_decisions(known, TargetKind.RETAINED_ACCURACY) == 2


def test_labels_of_which_some_were_certain_are_drawn_by_coin_all_the_same() -> None:
    coin = np.array([1.0, 0.5, NAN, 1.0])
    correct = np.array([1.0, 0.0, NAN, 1.0])
    known = rows_of(*(tier_of(4, correct=correct, label_propensity=coin) for _ in range(2)))
    np.testing.assert_allclose(label_coin(known), coin)
    found = certification_rows(known)
    assert found.weighted and np.asarray(found.observed).tolist() == [True, True, False, True]


def test_an_answer_that_its_coin_did_not_draw_leaves_its_row_out_and_an_owed_one_does_not() -> None:
    """Chances .5 and .8: the last row has only the label that comes oftener, so the rarer one need
    not have fallen.
    """
    small = tier_of(4, correct=np.array([0.0, NAN, 1.0, NAN]), label_propensity=np.array([0.5, NAN, 0.5, NAN]))
    large = tier_of(4, correct=np.array([1.0, NAN, NAN, 1.0]), label_propensity=np.array([0.8, NAN, NAN, 0.8]))
    np.testing.assert_allclose(label_coin(rows_of(small, large)), [0.5, NAN, 0.5, NAN])  # the third: owed
    apart = label_coin(rows_of(small, large, coins_apart=np.ones(4, dtype=bool)))
    np.testing.assert_allclose(apart, [0.4, NAN, NAN, NAN])
    even = replace(large, label_propensity=np.array([0.5, NAN, NAN, 0.5]))
    np.testing.assert_allclose(label_coin(rows_of(small, even)), [0.5, NAN, 0.5, 0.5])


def test_a_row_of_equal_answers_is_known_by_its_run_alone_whether_its_label_was_drawn_or_not() -> None:
    """Else such rows, which lose nothing, would be seen oftener than their weight says, and hide
    what others lose.
    """
    coin = np.array([0.5, NAN, 0.5, NAN])
    answers = np.full(4, "yes", dtype=object)
    small = tier_of(4, correct=np.array([1.0, NAN, 1.0, NAN]), label_propensity=coin, answer=answers)
    large = tier_of(
        4,
        correct=np.array([1.0, NAN, 0.0, NAN]),
        label_propensity=coin,
        answer=np.array(["yes", "yes", "no", "no"], dtype=object),
    )
    known = certification_rows(rows_of(small, large))
    assert np.asarray(known.propensity).tolist() == [1.0, 1.0, 0.5, 0.5]
    assert np.asarray(known.observed).tolist() == [True, True, True, False]


def test_labels_that_were_owed_have_no_coin() -> None:
    assert label_coin(rows_of(tier_of(2, correct=np.ones(2)), tier_of(2, correct=np.ones(2)))) is None
    everything = np.ones(2)
    owed = tier_of(2, correct=everything, label_propensity=everything)
    assert label_coin(rows_of(owed, owed)) is None


def test_a_middle_tier_that_did_not_run_counts_as_having_kept_something_unknown() -> None:
    first = tier_of(2, p_t=np.array([0.1, 0.1]), correct=np.array([0.0, 0.0]))
    middle = tier_of(2, ran=np.array([True, False]), p_t=np.array([0.1, NAN]), correct=np.array([0.0, NAN]))
    rows = rows_of(first, middle, tier_of(2, correct=np.ones(2)))
    policy = Policy.of(PolicyKind.P_T, ({"p_t": 0.9}, {"p_t": 0.9}))
    kept = kept_at(policy, rows, [{"p_t": first.p_t}, {"p_t": middle.p_t}])
    assert kept.tolist() == [2, 1]
    assert certification_rows(rows).drops(kept).tolist() == [0.0, 1.0]


def _signals(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {name: draw.random(n) for name in ("p_t", "p_ik", "score", "ood")}


@pytest.mark.parametrize("kind", [PolicyKind.P_T, PolicyKind.P_IK, PolicyKind.SCORE, PolicyKind.GATES])
def test_a_path_only_ever_opens(kind: PolicyKind) -> None:
    signals = _signals(500)
    path = path_of(kind, [signals], speed={"p_ik": 2.0})
    masks = [retain_mask(Policy(kind=kind, rules=at), signals) for at in path]
    for closed, open_ in itertools.pairwise(masks):
        assert (open_ | ~closed).all()
    assert masks[0].mean() < 0.02
    assert masks[-1].mean() > 0.95


def test_a_signal_that_is_missing_everywhere_has_no_path() -> None:
    signals = _signals(50) | {"p_ik": np.full(50, NAN)}
    assert path_of(PolicyKind.GATES, [signals]) == []
    assert path_of(PolicyKind.P_T, [signals]) != []


def test_the_gates_open_at_the_speed_of_the_signal_that_knows() -> None:
    signals = _signals(3000)
    draw = np.random.default_rng(1)
    right = (draw.random(3000) < signals["p_ik"]).astype(float)
    speed = learn_speed(signals, right, np.ones(3000), 0.05)
    assert speed["p_t"] > speed["p_ik"]  # p_t knows nothing, so it opens first


def _chain(n: int = 4000, second_cost: float = 13.0) -> tuple[CascadeRows, list[dict[str, np.ndarray]]]:
    """Three tiers of which the first hardly knows what it knows, and the second does."""
    draw = np.random.default_rng(4)
    hardness = draw.random(n)
    last = draw.random(n) < 0.9 - 0.2 * hardness
    second = np.where(hardness < 0.7, last, draw.random(n) < 0.35)
    scores = draw.random(n), np.clip(1.0 - hardness, 0.0, 1.0)
    shown = [dict.fromkeys(("p_t", "p_ik", "score", "ood"), score) for score in scores]
    correct = ((draw.random(n) < 0.45).astype(float), second.astype(float), last.astype(float))
    tiers = [
        tier_of(n, p_t=score, correct=right, cost_usd=np.full(n, cost))
        for score, right, cost in zip((*scores, np.full(n, NAN)), correct, (7.0, second_cost, 70.0), strict=True)
    ]
    return rows_of(*tiers), shown


def test_the_tiers_of_a_chain_open_at_the_pace_that_saves_most_on_rows_that_teach() -> None:
    rows, signals = _chain()
    pace = learn_pace(PolicyKind.P_T, signals, certification_rows(rows), 0.05, lambda kept, _: savings_at(rows, kept))
    assert pace == (0.0, 1.0)
    nothing_to_save = learn_pace(PolicyKind.P_T, signals, certification_rows(rows), 0.05, lambda *_: -1.0)
    assert nothing_to_save == (1.0, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "delta"), [(PolicyKind.P_T, 0.1), (PolicyKind.SCORE, 0.08)])
def test_a_chain_is_certified_by_what_it_saves(kind: PolicyKind, delta: float) -> None:
    rows, signals = _chain()
    found = certify_kind(rows, _split(4000), signals, Targets(rule=kind, value=0.05), kind=kind, delta=0.1)
    assert found is not None and found.certified
    assert found.policy.rules[0] is None
    assert found.certification.delta == pytest.approx(delta)
    saved = savings_at(found.rows, found.kept)
    assert saved is not None and saved > 0.1


def test_a_chain_that_saves_nothing_is_refused_by_name_and_escalates_all() -> None:
    rows, signals = _chain(second_cost=69.0)
    targets = Targets(rule=PolicyKind.P_T, value=0.05)
    found = certify_kind(rows, _split(4000), signals, targets, kind=PolicyKind.P_T, delta=0.1)
    assert found is not None and not found.certified
    assert found.certification.status is CertificateStatus.SAVES_NOTHING
    assert found.policy.kind is PolicyKind.ESCALATE_ALL
    assert (found.kept == 2).all()


def test_of_what_the_paths_of_a_season_have_certified_that_is_taken_which_saves_most() -> None:
    rows, signals = _chain()
    targets = Targets(rule=PolicyKind.P_T, value=0.05, promise=PromiseKind.SEASON)
    begun = seasons.begin(PolicyKind.P_T, targets, chain_paths(PolicyKind.P_T, signals), rows, signals)
    assert begun is not None
    counted = seasons.count(begun, rows, tuple(signals), targets)
    assert counted is not None
    document, chosen = counted
    certified = [one.path[one.certified - 1] for one in document.paths if one.certified]
    policies = [Policy(kind=PolicyKind.P_T, rules=rules) for rules in certified]
    saved = [savings_at(rows, kept_at(policy, rows, signals)) for policy in policies]
    known = [one for one in saved if one is not None]
    assert len(known) > 1 and max(known) > min(known)
    assert savings_at(rows, chosen.kept) == max(known)
    assert chosen.policy == policies[saved.index(max(known))]


def _split(n: int) -> Split:
    parts = np.where(np.arange(n) % 2 == 0, str(Part.CERTIFICATION), str(Part.CALIBRATION))
    return Split(parts=parts, prompts={str(part): n // 2 for part in Part})


def _known(n: int = 2000, seed: int = 0) -> tuple[CascadeRows, dict[str, np.ndarray]]:
    signals = _signals(n, seed)
    draw = np.random.default_rng(seed + 1)
    right = (draw.random(n) < 0.1 + 0.9 * signals["score"]).astype(float)
    small = tier_of(n, p_t=signals["p_t"], correct=right, cost_usd=np.full(n, 1.0))
    return rows_of(small, tier_of(n, correct=np.full(n, 1.0), cost_usd=np.full(n, 10.0))), signals


@pytest.mark.parametrize(("kind", "value"), [(TargetKind.MAX_ACCURACY_DROP, 0.1), (TargetKind.RETAINED_ACCURACY, 0.8)])
def test_a_season_says_of_the_thresholds_that_it_certifies_what_was_counted_of_them(
    kind: TargetKind, value: float
) -> None:
    rows, signals = _known()
    targets = Targets(kind=kind, value=value, rule=PolicyKind.SCORE, promise=PromiseKind.SEASON)
    path = path_of(PolicyKind.SCORE, [signals])
    begun = seasons.begin(PolicyKind.SCORE, targets, [path], rows, [signals])
    assert begun is not None
    assert all(seasons.begin(PolicyKind.SCORE, targets, paths, rows, [signals]) is None for paths in ([], [path, []]))
    counted = seasons.count(begun, rows, (signals,), targets)
    assert counted is not None
    certificate, kept, lost = counted[1].certification, counted[1].kept == 0, 1.0 - rows.tiers[0].correct
    assert certificate.status is CertificateStatus.CERTIFIED and certificate.n == 2000
    if kind is TargetKind.MAX_ACCURACY_DROP:
        assert certificate.estimated_drop == pytest.approx((lost * kept).mean()) and certificate.estimated_drop > 0.05
        assert certificate.estimated_drop < certificate.drop_upper_bound <= value
        assert certificate.retained_accuracy is None
    else:
        assert certificate.retained_accuracy == pytest.approx(1.0 - lost[kept].mean())
        assert certificate.retained_accuracy_lower_bound == value < certificate.retained_accuracy


def test_a_rule_is_certified_on_its_own_rows_and_its_fallback_on_all_on_a_fifth_of_delta() -> None:
    rows, signals = _known()
    targets = Targets(rule=PolicyKind.SCORE, value=0.1)
    found = certify_kind(rows, _split(2000), [signals], targets, kind=PolicyKind.SCORE, delta=0.1)
    assert found is not None and found.certified
    assert found.certification.delta == pytest.approx(0.08) and found.certification.n == 1000
    assert found.fallback is not None
    assert found.fallback.delta == pytest.approx(0.02) and found.fallback.n == 2000
    dropped = (found.kept == 0) * (1.0 - found.rows.tiers[0].correct)
    assert dropped.mean() <= 0.1
    saved = cohort_savings(found.rows, found.kept)
    assert saved is not None
    share = (found.kept == 0).mean()
    assert saved.value == pytest.approx(1 - (1.0 + (1 - share) * 10.0) / 10.0)


def test_missing_signals_are_decided_by_the_fallback_that_was_certified() -> None:
    rows, signals = _known()
    signals = signals | {"score": np.where(np.arange(2000) % 10 < 2, NAN, signals["score"])}
    targets = Targets(rule=PolicyKind.SCORE, value=0.3)
    found = certify_kind(rows, _split(2000), [signals], targets, kind=PolicyKind.SCORE, delta=0.1)
    assert found is not None and found.policy.fallback is not None
    missing = np.isnan(found.signals[0]["score"])
    threshold = found.policy.fallback.thresholds[0]
    assert threshold is not None
    expected = found.signals[0]["p_t"][missing] >= threshold["p_t"]
    assert ((found.kept == 0)[missing] == expected).all()


def test_an_attempt_is_made_where_the_teaching_rows_show_that_it_could_win() -> None:
    rows, signals = _known(n=4000)
    parts = np.where(np.arange(4000) < 150, str(Part.CERTIFICATION), str(Part.CALIBRATION))
    few = Split(parts=parts, prompts={})
    strict, loose = (Targets(rule=PolicyKind.SCORE, value=value, min_retained_share=0.2) for value in (0.02, 0.2))
    hardly = outlook_on(rows, few, [signals], strict, kind=PolicyKind.SCORE, delta=0.1)
    assert not hardly.made
    assert hardly.labels_needed is not None
    assert outlook_on(rows, few, [signals], loose, kind=PolicyKind.SCORE, delta=0.1).made
    assert outlook_on(rows, _split(4000), [signals], strict, kind=PolicyKind.SCORE, delta=0.1).made
    assert outlook_on(rows, few, [signals], strict, kind=PolicyKind.P_T, delta=0.1).made


def test_one_prompt_on_both_sides_stops_the_certification() -> None:
    rows, signals = _known(40)
    shared = rows_of(*rows.tiers, prompt_hashes=("same",) * 40)
    with pytest.raises(OverlapError):
        certify_kind(shared, _split(40), [signals], Targets(), kind=PolicyKind.GATES, delta=0.1)


def test_without_any_label_there_is_nothing_to_test() -> None:
    rows = rows_of(tier_of(5, p_t=np.full(5, 0.5)), tier_of(5))
    split = _split(5)
    assert certify_kind(rows, split, [_signals(5)], Targets(), kind=PolicyKind.P_T, delta=0.1) is None


def test_unlabelled_rows_cost_savings_and_never_the_guarantee() -> None:
    rows, signals = _known()
    half = np.where(np.arange(2000) % 4 < 2, NAN, rows.tiers[0].correct)
    poor = rows_of(tier_of(2000, p_t=signals["p_t"], correct=half), rows.tiers[1])
    targets = Targets(rule=PolicyKind.P_T, value=0.05)
    found = certify_kind(poor, _split(2000), [signals], targets, kind=PolicyKind.P_T, delta=0.1)
    assert found is not None
    if found.certification.status is CertificateStatus.CERTIFIED:
        truly = (found.kept == 0) * (1.0 - rows.tiers[0].correct)
        assert truly.mean() <= 0.05


def test_p_t_alone_stands_beside_every_learned_signal() -> None:
    rows, signals = _known()
    found = {one.signal: one for one in signal_quality(rows, [signals | {"ood": np.full(2000, NAN)}])}
    assert set(found) == {"p_t", "p_ik", "score"}
    gain = found["score"].gain
    assert found["p_t"].gain is None and gain is not None
    assert 0 < gain.auroc_low < gain.auroc < gain.auroc_high
    assert 0 < gain.accuracy_low < gain.accuracy < gain.accuracy_high
    assert 0 < gain.share_low < gain.share < gain.share_high
    assert gain.within_slices is None, "no row names a slice"
    with_slices = replace(rows, slices=tuple("ab"[row % 2] for row in range(rows.n)))
    (_, _, sliced) = signal_quality(with_slices, [signals])
    assert sliced.gain is not None and sliced.gain.within_slices is not None
    assert (sliced.gain.within_slices.slices, sliced.gain.within_slices.n) == (2, gain.n)
    useless = found["p_ik"].gain
    assert useless is not None and useless.auroc_low < 0 < useless.auroc_high
    (_, p_ik, _) = signal_quality(rows, [signals], share=0.3)
    assert p_ik.gain is not None and (p_ik.gain.signal, p_ik.gain.at_share) == ("p_ik", 0.3)


def test_a_gain_is_shown_over_p_t_and_beyond_the_slice_where_there_are_slices() -> None:
    n, draw = 400, np.random.default_rng(3)
    p_t = draw.random(n)
    correct = (draw.random(n) < p_t).astype(float)
    signals = [{"p_t": p_t, "p_ik": draw.random(n), "score": 0.5 * (p_t + correct)}]
    policy = Policy.of(PolicyKind.P_T, ({"p_t": 0.9},))
    certificate = make_certificate()
    document = BundleDocument(
        cascade="facts",
        models=("small", "large"),
        tiers=(None,),
        policy=policy,
        code_version="test",
        created_at=certificate.cohort.end,
        certificate=certificate,
    )
    bundle = write_bundle(document, (None,))
    for slices, shown in ((("a", "b") * (n // 2), True), ((None,) * n, False)):
        rows = replace(rows_of(tier_of(n, p_t=p_t, correct=correct), tier_of(n)), slices=slices)
        report = run_report(bundle, rows, signals, [None], signal_quality(rows, signals), FitSettings())
        named = {figure.name: figure for figure in report.figures}
        over = named["tier0.score.gain_over_p_t"]
        assert over.low is not None and over.low > 0.1
        assert ("tier0.score.gain_over_p_t_within_slices" in named) == shown
        if shown:
            within = named["tier0.score.gain_over_p_t_within_slices"]
            assert within.value == pytest.approx(over.value, abs=0.05)
            assert within.low is not None and within.high is not None and within.low < within.value < within.high


@pytest.mark.slow
def test_labels_drawn_on_rows_of_equal_answers_too_break_no_promise() -> None:
    """The true drop is exactly ε, so every certificate is a violation; 30 % of answers differ, a
    tenth is labelled.
    """
    rng, n, runs, delta, epsilon, given = np.random.default_rng(1), 3000, 100, 0.1, 0.05, 0
    for run in range(runs):
        differs = rng.random(n) < 0.3
        lost = differs & (rng.random(n) < 0.5 + epsilon / 0.3 / 2)
        drawn = rng.random(n) < 0.1
        coin = np.where(drawn, 0.1, NAN)
        small = np.where(drawn, np.where(lost, 0.0, 1.0), NAN)
        large = np.where(drawn, np.where(differs & ~lost, 0.0, 1.0), NAN)
        rows = rows_of(
            tier_of(n, correct=small, label_propensity=coin, answer=np.full(n, "yes", dtype=object)),
            tier_of(n, correct=large, label_propensity=coin, answer=np.where(differs, "no", "yes").astype(object)),
            ids=tuple(f"{run}-{row}" for row in range(n)),
        )
        given += tally_of(certification_rows(rows), np.zeros(n, dtype=np.int64), delta).drop.shown(epsilon, delta)
    assert given / runs <= delta + 2 * np.sqrt(delta * (1 - delta) / runs)
