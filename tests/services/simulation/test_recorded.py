"""A table's models as a cascade: what it says counts, what it lacks is assumed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from knowgate.spec import CascadeSpec, Targets
from services.outcome_tables.outcomes import read_outcomes
from services.simulation.recorded import recorded_spec

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def spec_of(path: Path, costs: tuple[str, str]) -> CascadeSpec:
    """Of two queries; the small model reads 40 tokens and the large one 90."""
    lines = ["query_id,tier,model,p_t,correct,tokens_in,tokens_out,cost_usd"]
    for query in "ab":
        lines += [f"{query},0,small-1b,0.9,1,39,1,{costs[0]}", f"{query},1,large-10b,0.9,1,88,2,{costs[1]}"]
    path.write_text("\n".join(lines) + "\n")
    return recorded_spec(
        read_outcomes(path),
        name="recorded",
        targets=Targets(),
        exploration_rate=0.1,
        horizon=timedelta(days=3),
        parameters=None,
        since=NOW,
    )


def prices(spec: CascadeSpec) -> list[float]:
    return [tier.prices[0].usd_per_million_tokens_in for tier in spec.tiers]


def test_what_runs_cost_in_the_table_is_the_price_of_their_tokens(tmp_path: Path) -> None:
    spec = spec_of(tmp_path / "table.csv", ("0.00002", "0.0045"))
    assert prices(spec) == pytest.approx([0.5, 50.0])
    assert [tier.parameters for tier in spec.tiers] == [1e9, 1e10]


def test_without_costs_a_model_costs_what_its_parameters_do(tmp_path: Path) -> None:
    assert prices(spec_of(tmp_path / "table.csv", ("", ""))) == pytest.approx([0.02, 0.2])
