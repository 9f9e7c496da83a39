"""What every tier costs on every query of an outcome table: the prices' currency first, arithmetic
beside it.

Prices win over a recorded `cost_usd`, since they are what is asked about. Token counts that a table
lacks are assumed to be the same for every query, and that is said.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evidence.costs.savings import gflops, usd
from knowgate._records.arrays import BoolArray, FloatArray
from services.advice.price_lists import TierRates
from services.errors import InputInvalid
from services.outcome_tables.outcomes import OutcomeTable
from services.simulation.recorded import TOKENS_IN, TOKENS_OUT


@dataclass(frozen=True, slots=True, kw_only=True)
class CostTable:
    """Costs in one unit."""

    unit: str
    per_tier: FloatArray  # [rows, tiers]
    of_prompts: FloatArray | None = None  # [rows, tiers] what of it reading the prompts costs; None = unknown


def cost_tables(
    table: OutcomeTable, rates: Sequence[TierRates], rows: BoolArray
) -> tuple[tuple[CostTable, ...], tuple[str, ...]]:
    """The chosen rows' costs in every unit that the rates allow, the deciding one first, and what
    was assumed.

    Raises InputInvalid where neither prices nor parameters nor a complete `cost_usd` are there, or
    where the last tier is free.
    """
    tokens_in, tokens_out, assumed = _tokens(table, rows)
    tables: list[CostTable] = []
    if all(rate.priced for rate in rates):
        columns = [
            usd(tokens_in[:, t], tokens_out[:, t], rate.usd_per_million_in or 0.0, rate.usd_per_million_out or 0.0)
            for t, rate in enumerate(rates)
        ]
        none = np.zeros(len(tokens_in))
        reading = [usd(tokens_in[:, t], none, r.usd_per_million_in or 0.0, 0.0) for t, r in enumerate(rates)]
        tables.append(CostTable(unit="usd", per_tier=np.column_stack(columns), of_prompts=np.column_stack(reading)))
    elif np.isfinite(table.cost_usd[rows]).all():
        tables.append(CostTable(unit="usd", per_tier=table.cost_usd[rows]))
    sizes = [rate.parameters for rate in rates]
    if all(size is not None for size in sizes):
        columns = [gflops(size or 0.0, tokens_in[:, t] + tokens_out[:, t]) for t, size in enumerate(sizes)]
        reading = [gflops(size or 0.0, tokens_in[:, t]) for t, size in enumerate(sizes)]
        tables.append(CostTable(unit="gflops", per_tier=np.column_stack(columns), of_prompts=np.column_stack(reading)))
    if not tables:
        raise InputInvalid(
            "nothing says what the tiers cost: give --prices 0.1/0.4,2.5/10 or a cascade.toml, or --parameters 8e9,70e9"
        )
    for cost in tables:
        if not cost.per_tier[:, -1].sum() > 0.0:
            raise InputInvalid(f"the last tier costs 0 {cost.unit}: a free last tier leaves nothing to save")
    return tuple(tables), assumed


def _tokens(table: OutcomeTable, rows: BoolArray) -> tuple[FloatArray, FloatArray, tuple[str, ...]]:
    """Token counts [rows, tiers] in and out: a tier's mean where a query's is unknown, a constant
    where all are.
    """
    assumed: list[str] = []
    filled = []
    for name, default in (("tokens_in", TOKENS_IN), ("tokens_out", TOKENS_OUT)):
        column: FloatArray = getattr(table, name)
        known = np.isfinite(column)
        means = np.array([column[known[:, t], t].mean() if known[:, t].any() else default for t in range(table.tiers)])
        never = [str(tier) for tier in range(table.tiers) if not known[:, tier].any()]
        sometimes = int((~known[rows]).sum()) - len(never) * int(rows.sum())
        if never:
            assumed.append(f"{name} of tier {', '.join(never)} is not recorded: {default} for every query")
        if sometimes:
            assumed.append(f"{name} is unknown in {sometimes} attempts: their tier's mean")
        filled.append(np.where(known, column, means)[rows])
    return filled[0], filled[1], tuple(assumed)
