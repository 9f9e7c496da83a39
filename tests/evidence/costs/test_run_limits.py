"""No run counts for more than a query may take, and no absurd row moves the bound."""

import numpy as np
import pytest

from evidence.costs.run_limits import LARGEST_CONTEXT, LONG_MS, Runs, bound_of, bounded_runs

NAN = float("nan")


def runs(tokens_in: list[float], **columns: list[float]) -> Runs:
    n = len(tokens_in)
    known = {
        "tokens_out": [0.0] * n,
        "cost_usd": [0.001] * n,
        "gflops": [1.0] * n,
        "latency_ms": [50.0] * n,
    } | columns
    arrays = {name: np.array(values, dtype=np.float64) for name, values in known.items()}
    return Runs(tier=np.zeros(n), tokens_in=np.array(tokens_in, dtype=np.float64), **arrays)


def test_an_absurd_run_counts_as_what_a_query_may_take_and_its_cost_with_it() -> None:
    tokens = [100.0] * 40 + [2.0**53]
    taken = runs(tokens, cost_usd=[0.001] * 40 + [2.0**53 * 1e-5], gflops=[2.0] * 40 + [2.0**53 / 50])
    bounded, cut = bounded_runs(taken, max_tokens=4096)
    assert cut.tolist() == [False] * 40 + [True]
    assert bounded.tokens_in[-1] == 4096
    assert bounded.gflops[-1] == pytest.approx(4096 / 50)
    assert bounded.cost_usd[-1] == pytest.approx(4096 * 1e-5)
    for name in ("tokens_in", "cost_usd", "gflops", "latency_ms"):
        assert getattr(bounded, name)[:-1].tolist() == getattr(taken, name)[:-1].tolist()


def test_tokens_in_and_out_are_bounded_together_and_keep_their_ratio() -> None:
    bounded, cut = bounded_runs(runs([100.0] * 20 + [6e6], tokens_out=[0.0] * 20 + [2e6]), max_tokens=4000)
    assert cut.sum() == 1
    assert (bounded.tokens_in[-1], bounded.tokens_out[-1]) == (3000.0, 1000.0)


def test_honest_traffic_beyond_a_small_declaration_is_left_alone() -> None:
    rng = np.random.default_rng(1)
    tokens = rng.lognormal(9.0, 0.6, 500)  # some 8000 tokens where 4096 are declared
    bounded, cut = bounded_runs(runs(tokens.tolist()), max_tokens=4096)
    assert not cut.any()
    assert bounded.tokens_in.tolist() == tokens.tolist()


@pytest.mark.parametrize("absurd", [1, 5, 9])
def test_up_to_a_tenth_of_absurd_rows_move_no_bound(absurd: int) -> None:
    bounded, cut = bounded_runs(runs([100.0] * 91 + [2.0**53] * absurd), max_tokens=0)
    assert cut.sum() == absurd
    assert bounded.tokens_in.max() == 1000.0


def test_where_all_rows_are_absurd_no_run_exceeds_what_any_model_takes() -> None:
    bounded, cut = bounded_runs(runs([2.0**53]), max_tokens=4096)
    assert (bounded.tokens_in[0], cut[0]) == (LARGEST_CONTEXT, True)


def test_a_cost_or_a_wait_that_is_absurd_by_itself_is_cut_within_its_tier() -> None:
    taken = runs([100.0] * 22, cost_usd=[0.001] * 10 + [9e9] + [0.1] * 11, latency_ms=[50.0] * 21 + [1e15])
    taken = Runs(
        tier=np.repeat([0, 1], 11),
        tokens_in=taken.tokens_in,
        tokens_out=taken.tokens_out,
        cost_usd=taken.cost_usd,
        gflops=taken.gflops,
        latency_ms=taken.latency_ms,
    )
    bounded, cut = bounded_runs(taken, max_tokens=4096)
    assert np.flatnonzero(cut).tolist() == [10, 21]
    assert bounded.cost_usd[10] == pytest.approx(4096 * 0.001 / 100)  # the tier's usual price of the most tokens
    assert bounded.latency_ms[21] == LONG_MS


def test_a_long_query_of_honest_cost_is_left_alone() -> None:
    tokens = [100.0] * 96 + [4000.0] * 4
    bounded, cut = bounded_runs(runs(tokens, cost_usd=[one * 1e-5 for one in tokens]), max_tokens=4096)
    assert not cut.any() and bounded.cost_usd[-1] == pytest.approx(0.04)


def test_what_is_unknown_stays_unknown_and_is_not_cut() -> None:
    bounded, cut = bounded_runs(runs([NAN, 100.0], cost_usd=[NAN, NAN], tokens_out=[NAN, 5.0]), max_tokens=10)
    assert not cut.any()
    assert np.isnan(bounded.tokens_in[0]) and np.isnan(bounded.cost_usd).all()
    assert bound_of([NAN]) == np.inf
    assert bound_of([0.0] * 5) == np.inf  # a free tier tells of no bound
