"""The account of a savings change: it adds up exactly, and it blames what moved."""

import numpy as np
import pytest

from evidence.costs.cohort_costs import Cohort, Escalation, SliceCohort, TokenCount, TokenPrice
from evidence.costs.shift_share import SavingsChange, explain_savings_change
from evidence.errors import InvalidInputError


def tokens(total: float) -> TokenCount:
    return TokenCount(tokens_in=total, tokens_out=total / 4)


def a_slice(
    name: str = "a",
    decisions: int = 100,
    by_p_t: int = 30,
    by_ood: int = 0,
    length: float = 100.0,
    explored: int = 0,
) -> SliceCohort:
    return SliceCohort(
        slice=name,
        decisions=decisions,
        escalations=(
            Escalation(tier=0, gate="p_t", decisions=by_p_t),
            Escalation(tier=0, gate="ood", decisions=by_ood),
        ),
        tokens_per_run=(tokens(length), tokens(length)),
        last_tokens=tokens(length),
        exploration_runs=explored,
        exploration_tokens=tokens(length),
    )


def cohort(*slices: SliceCohort, last_price: float = 10.0) -> Cohort:
    return Cohort(
        slices=slices,
        prices=(
            TokenPrice(per_token_in=1.0, per_token_out=2.0),
            TokenPrice(per_token_in=last_price, per_token_out=2 * last_price),
        ),
    )


def moved(change: SavingsChange) -> set[str]:
    return {name for name, part in change.by_cause().items() if abs(part) > 1e-12}


def random_cohort(rng: np.random.Generator, names: list[str]) -> Cohort:
    slices = []
    for name in names:
        decisions = int(rng.integers(0, 200)) + (name == names[0])
        gone = [int(rng.integers(0, decisions // 4 + 1)) for _ in range(3)]
        count = [
            TokenCount(tokens_in=float(rng.uniform(10, 500)), tokens_out=float(rng.uniform(1, 50))) for _ in range(5)
        ]
        slices.append(
            SliceCohort(
                slice=name,
                decisions=decisions,
                escalations=(
                    Escalation(tier=0, gate="p_ik", decisions=gone[0]),
                    Escalation(tier=0, gate="ood", decisions=gone[1]),
                    Escalation(tier=1, gate="p_t", decisions=gone[2]),
                ),
                tokens_per_run=(count[0], count[1], count[2]),
                last_tokens=count[3],
                exploration_runs=int(rng.integers(0, 5)) * (decisions > 0),
                exploration_tokens=count[4],
            )
        )
    prices = tuple(
        TokenPrice(per_token_in=float(rng.uniform(1, 3)) * 4**t, per_token_out=float(rng.uniform(1, 9)) * 4**t)
        for t in range(3)
    )
    return Cohort(slices=tuple(slices), prices=prices)


def net_savings(one: Cohort) -> float:
    """From the definition, run by run."""
    cost = last = 0.0
    for part in one.slices:
        for tier, (count, price) in enumerate(zip(part.tokens_per_run, one.prices, strict=True)):
            runs = part.decisions if tier == 0 else sum(e.decisions for e in part.escalations if e.tier == tier - 1)
            cost += runs * (count.tokens_in * price.per_token_in + count.tokens_out * price.per_token_out)
        top = one.prices[-1]
        learn = part.exploration_tokens
        cost += part.exploration_runs * (learn.tokens_in * top.per_token_in + learn.tokens_out * top.per_token_out)
        whole = part.last_tokens
        last += part.decisions * (whole.tokens_in * top.per_token_in + whole.tokens_out * top.per_token_out)
    return 1 - cost / last


@pytest.mark.parametrize("seed", range(20))
def test_the_parts_add_up_exactly_for_any_two_cohorts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    before, after = random_cohort(rng, ["a", "b", "c"]), random_cohort(rng, ["b", "c", "d", "e"])
    change = explain_savings_change(before, after)
    assert change.before == pytest.approx(net_savings(before), abs=1e-12)
    assert change.after == pytest.approx(net_savings(after), abs=1e-12)
    assert sum(part.change for part in change.parts) == pytest.approx(change.after - change.before, abs=1e-12)
    back = explain_savings_change(after, before).by_cause()
    assert {name: -part for name, part in change.by_cause().items()} == pytest.approx(back, abs=1e-12)


def test_a_gate_that_escalates_more_is_blamed_by_name() -> None:
    change = explain_savings_change(cohort(a_slice(by_ood=0)), cohort(a_slice(by_ood=20)))
    assert moved(change) == {"escalation:ood"}
    assert change.by_cause()["escalation:ood"] == pytest.approx(-0.2)


def test_a_price_change_is_blamed_on_prices() -> None:
    change = explain_savings_change(cohort(a_slice()), cohort(a_slice(), last_price=5.0))
    assert moved(change) == {"prices"}
    assert change.by_cause()["prices"] == pytest.approx(-0.1)


def test_a_harder_mix_is_blamed_on_the_mix_and_on_the_slice_that_grew() -> None:
    before = cohort(a_slice("easy", 80, by_p_t=8), a_slice("hard", 20, by_p_t=16))
    after = cohort(a_slice("easy", 20, by_p_t=2), a_slice("hard", 80, by_p_t=64))
    change = explain_savings_change(before, after)
    assert moved(change) == {"traffic_mix"}
    assert change.by_cause()["traffic_mix"] == pytest.approx(-0.42)
    assert all(part.change < 0 for part in change.parts if part.cause == "traffic_mix")


def test_exploration_is_a_cause_of_its_own() -> None:
    change = explain_savings_change(cohort(a_slice()), cohort(a_slice(explored=10)))
    assert moved(change) == {"exploration"}
    assert change.by_cause()["exploration"] == pytest.approx(-0.1)


def test_longer_queries_of_all_tiers_alike_change_nothing() -> None:
    change = explain_savings_change(cohort(a_slice(length=100)), cohort(a_slice(length=300)))
    assert change.after == pytest.approx(change.before)
    assert moved(change) == set()


def test_a_slice_that_appears_explains_only_the_mix() -> None:
    before = cohort(a_slice("a"))
    after = cohort(a_slice("a"), a_slice("new", 100, by_p_t=90))
    assert moved(explain_savings_change(before, after)) == {"traffic_mix"}


def test_bad_input_is_named() -> None:
    empty = cohort(a_slice(decisions=0, by_p_t=0))
    with pytest.raises(InvalidInputError, match="after has no decisions"):
        explain_savings_change(cohort(a_slice()), empty)
    with pytest.raises(InvalidInputError, match="names a slice twice"):
        explain_savings_change(cohort(a_slice(), a_slice()), cohort(a_slice()))
    with pytest.raises(InvalidInputError, match="price is nan"):
        explain_savings_change(cohort(a_slice()), cohort(a_slice(), last_price=float("nan")))
    with pytest.raises(InvalidInputError, match="tiers"):
        explain_savings_change(cohort(a_slice()), Cohort(slices=(a_slice(),), prices=cohort().prices[:1]))
