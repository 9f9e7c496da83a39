"""Tiers that a gate ended before they answered: what such rows say of thresholds, and what not."""

from typing import Any

import numpy as np
import pytest

from evidence.certification.certificate import Target, Thresholds
from evidence.certification.certification_rows import CertificationRows
from evidence.certification.chain import ChainCertification, certify_chain
from evidence.certification.known_outcomes import LoggedRows, certification_rows, ended_early, run_coin
from evidence.certification.tally import tally_of
from evidence.inputs import FloatArray
from knowgate.policy import Policy, PolicyKind, ended_mask, kept_tiers
from knowgate.spec import TargetKind

NAN = np.nan
IN_FORCE, RATE = 0.5, 0.2
SKIPPED, EXPLORED = ["skipped", "served"], ["exploration", "served"]
KEPT, CHECKED, ESCALATED = ["served", None], ["served", "exploration"], ["superseded", "served"]


def logged(roles: list[list[str | None]], chances: list[list[float]], **changes: Any) -> LoggedRows:
    role = np.array(roles, dtype=object)
    n, tiers = role.shape
    fields: dict[str, Any] = {
        "ids": tuple(f"id{row}" for row in range(n)),
        "ran": (role != np.array(None)) & (role != "skipped"),
        "early": ended_early(role),
        "agrees": np.zeros((n, tiers - 1), dtype=bool),
        "correct": np.where((role == np.array(None)) | (role == "skipped"), NAN, 1.0),
        "label_propensity": np.full((n, tiers), NAN),
        "run_propensity": np.array(chances),
        "exploration_rate": np.full(n, RATE),
        "apart": np.zeros(n, dtype=bool),
    }
    return LoggedRows(**fields | changes)


def test_of_all_that_one_coin_runs_the_smallest_chance_counts_and_not_the_product() -> None:
    roles = [SKIPPED, EXPLORED, ESCALATED, KEPT, CHECKED]
    chances = [[0.2, 1.0], [0.2, 1.0], [1.0, 1.0], [1.0, NAN], [1.0, 0.2]]
    chance, there = run_coin(logged(roles, chances))
    assert chance.tolist() == [0.2, 0.2, 1.0, 0.2, 0.2]
    assert there.tolist() == [False, True, True, False, True]


def test_in_a_chain_a_skipped_tier_and_the_last_one_are_run_by_one_coin() -> None:
    roles = [["skipped", "served", None], ["exploration", "served", "exploration"], ["skipped", "skipped", "served"]]
    chances = [[0.1, 1.0, NAN], [0.1, 1.0, 0.3], [0.1, 0.1, 1.0]]
    chance, there = run_coin(logged(roles, chances, exploration_rate=np.array([0.3, 0.3, 0.1])))
    assert chance.tolist() == [0.1, 0.1, 0.1]
    assert there.tolist() == [False, True, False]


def test_without_a_known_chance_a_skipped_row_counts_once_and_as_the_worst_under_bolder_thresholds() -> None:
    rows = certification_rows(logged([SKIPPED, ESCALATED], [[NAN, 1.0], [1.0, 1.0]]))
    assert rows.drops(np.array([1, 1])).tolist() == [0.0, 0.0]
    assert rows.drops(np.array([0, 1])).tolist() == [1.0, 0.0]


def world(rng: np.random.Generator, n: int, lost_below: float) -> tuple[FloatArray, FloatArray]:
    """p_ik [n] and correct [n, 2]; between the bold and the strict threshold the share `lost_below`
    is lost by keeping the small answer.
    """
    p_ik = rng.random(n)
    lost = rng.random(n) < np.where(p_ik < IN_FORCE, lost_below, 0.0)
    return p_ik, np.column_stack([~lost, np.ones(n, dtype=bool)]).astype(np.float64)


def served(rng: np.random.Generator, p_ik: FloatArray, correct: FloatArray) -> tuple[CertificationRows, Any]:
    """What is logged under the thresholds in force, and whether each first tier answered."""
    coin = rng.random(len(p_ik)) < RATE
    roles = [
        (CHECKED if explores else KEPT) if value >= IN_FORCE else (EXPLORED if explores else SKIPPED)
        for value, explores in zip(p_ik, coin, strict=True)
    ]
    below = p_ik < IN_FORCE
    chances = np.column_stack([np.where(below, RATE, 1.0), np.where(below, 1.0, np.where(coin, RATE, NAN))])
    known = logged(roles, chances.tolist())
    ids = tuple(f"{number:x}" for number in rng.integers(1 << 62, size=len(p_ik)))
    seen = np.where(known.ran, correct, NAN)
    rows = certification_rows(logged(roles, chances.tolist(), ids=ids, correct=seen))
    return rows, known.ran


def kept_under(threshold: float, p_ik: FloatArray, ran: Any) -> Any:
    policy = Policy.of(PolicyKind.GATES, ({"p_ik": threshold, "p_t": 0.5},))
    p_t = np.where(ran[:, 0], 0.9, NAN)  # every answer passes
    return kept_tiers(policy, [{"p_ik": p_ik, "p_t": p_t}], ran)


def test_what_was_skipped_costs_nothing_under_thresholds_that_skip_it_too() -> None:
    rng = np.random.default_rng(5)
    p_ik, correct = world(rng, 4000, 1.0)  # whatever is skipped would have been lost
    rows, ran = served(rng, p_ik, correct)
    for threshold in (IN_FORCE, 0.7):
        tally = tally_of(rows, kept_under(threshold, p_ik, ran), 0.1)
        assert tally.drop.estimate == 0.0


def test_the_drop_of_a_bolder_threshold_is_estimated_without_bias() -> None:
    rng, estimates = np.random.default_rng(6), []
    for _ in range(60):
        p_ik, correct = world(rng, 2000, 0.3)
        rows, ran = served(rng, p_ik, correct)
        estimates.append(float(rows.drops(kept_under(0.3, p_ik, ran)).mean()))
    error = float(np.std(estimates)) / np.sqrt(len(estimates))
    assert np.mean(estimates) == pytest.approx(0.2 * 0.3, abs=3 * error)


@pytest.mark.slow
def test_no_more_bolder_thresholds_than_delta_are_certified_that_break_the_promise() -> None:
    """The true drop of the bold threshold is exactly ε, so each certificate is a violation."""
    rng, delta, epsilon, runs, given = np.random.default_rng(7), 0.1, 0.04, 150, 0
    for _ in range(runs):
        p_ik, correct = world(rng, 3000, epsilon / 0.2)
        rows, ran = served(rng, p_ik, correct)
        given += tally_of(rows, kept_under(0.3, p_ik, ran), delta).drop.shown(epsilon, delta)
    assert given / runs <= delta + 2 * np.sqrt(delta * (1 - delta) / runs)


def walked(p_ik: FloatArray, p_t: FloatArray, correct: FloatArray, *, ends_early: bool) -> ChainCertification:
    """Certified along four thresholds of P(IK), where reading costs a tenth of the last tier, an
    answer a quarter of it.
    """
    signals = [{"p_ik": p_ik, "p_t": p_t}]
    path: list[Thresholds] = [
        Policy.of(PolicyKind.GATES, ({"p_ik": at, "p_t": 0.5},)).rules for at in (0.8, 0.6, 0.4, 0.2)
    ]

    def saves(kept: Any, policy: Policy) -> float:
        answers = ~ended_mask(policy, signals[0])
        return 1.0 - float((0.1 + 0.25 * answers + (kept == 1)).mean())

    return certify_chain(
        PolicyKind.GATES,
        signals,
        CertificationRows(correct=correct),
        Target(kind=TargetKind.MAX_ACCURACY_DROP, value=0.04),
        0.1,
        paths=[path],
        saves=saves,
        ends_early=ends_early,
    )


def half_sure(rng: np.random.Generator, n: int, lost: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """P(T) keeps all with a P(IK) of .6 and more, of which the share `lost` is lost from .8 down,
    and one in ten of the others.
    """
    p_ik = rng.random(n)
    p_t = np.where((p_ik >= 0.6) | (rng.random(n) < 0.1), 0.9, 0.1)
    right = (p_ik < 0.6) | (p_ik >= 0.8) | (rng.random(n) >= lost)
    return p_ik, p_t, np.column_stack([right, np.ones(n)]).astype(np.float64)


def test_of_all_certified_thresholds_those_are_taken_that_save_most_where_answers_are_not_paid_for_all() -> None:
    shown = half_sure(np.random.default_rng(8), 4000, 0.05)
    by_savings, boldest = walked(*shown, ends_early=True), walked(*shown, ends_early=False)
    assert [gate.threshold for gate in boldest.certification.thresholds[0] or ()] == [0.2, 0.5]
    assert [gate.threshold for gate in by_savings.certification.thresholds[0] or ()] == [0.6, 0.5]
    assert by_savings.savings is not None and boldest.savings is not None
    assert by_savings.savings > boldest.savings + 0.04
    assert by_savings.certification.stopped_at == boldest.certification.stopped_at
    assert by_savings.certification.retained_share < boldest.certification.retained_share


@pytest.mark.slow
def test_thresholds_that_are_chosen_by_savings_break_the_promise_in_at_most_delta_of_all_draws() -> None:
    """The true drop of those that save most, and of all bolder ones, is exactly ε: each certificate
    of one of them is a violation.
    """
    rng, delta, runs, broken = np.random.default_rng(9), 0.1, 150, 0
    for _ in range(runs):
        chosen = walked(*half_sure(rng, 600, 0.2), ends_early=True).certification
        broken += (chosen.thresholds[0] or ())[0].threshold < 0.8
    assert 0.02 < broken / runs <= delta + 2 * np.sqrt(delta * (1 - delta) / runs)
