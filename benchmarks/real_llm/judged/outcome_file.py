"""A form of the recording as an outcome table, so that `knowgate advise`, `certify` and `simulate`
read it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.real_llm import weights
from benchmarks.real_llm.judged.prices import Pricing, costs_of
from benchmarks.real_llm.recording import Outcomes
from knowgate._records.records import PTKind
from services.outcome_tables import table_files

MODELS = (weights.NAME, f"{weights.NAME}-open-book")


def write_outcome_table(tiers: Sequence[Outcomes], path: Path) -> None:
    """Writes a row per question and tier, with the mean P(T), and costs that hold a search's
    declared price.
    """
    costs = costs_of(tiers, Pricing.SEARCH)
    pieces = []
    for tier, (outcomes, cost) in enumerate(zip(tiers, costs.tiers, strict=True)):
        n = len(outcomes.id)
        columns: dict[str, pa.Array] = {
            "query_id": pa.array(outcomes.id, pa.string()),
            "tier": pa.array([tier] * n, pa.int8()),
            "model": pa.array([MODELS[tier]] * n, pa.string()),
            "slice": pa.array(outcomes.kind, pa.string()),
            "prompt": pa.array(outcomes.question, pa.string()),
            "p_t": pa.array(outcomes.p_t_mean, pa.float64(), mask=np.isnan(outcomes.p_t_mean)),
            "p_t_kind": pa.array([str(PTKind.MEAN)] * n, pa.string()),
            "correct": pa.array(outcomes.correct, pa.float64()),
            "cost_usd": pa.array(cost, pa.float64()),
            "tokens_in": pa.array(outcomes.tokens_in.astype(np.int64)),
            "tokens_out": pa.array(outcomes.tokens_out.astype(np.int64)),
        }
        pieces.append(pa.table(columns))
    table_files.write_table(pa.concat_tables(pieces), path)
