"""A chain's answers in the interchange format, so that `knowgate certify`, `advise` and `simulate`
read them.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.paper.chain import Chain
from services.outcome_tables.table_files import write_table


def write_outcome_table(chain: Chain, path: Path) -> None:
    """Writes a row per question and tier; what is unknown is null."""
    pieces = []
    for tier, answers in enumerate(chain.tiers):
        columns: dict[str, pa.Array] = {
            "query_id": pa.array(answers.ids, pa.string()),
            "tier": pa.array([tier] * chain.n, pa.int8()),
            "model": pa.array([answers.model] * chain.n, pa.string()),
            "slice": pa.array(answers.slices, pa.string()),
            "prompt": pa.array(answers.prompts, pa.string()),
        }
        for name in ("p_t", "correct", "latency_ms"):
            values = getattr(answers, name)
            columns[name] = pa.array(values, pa.float64(), mask=np.isnan(values))
        for name in ("tokens_in", "tokens_out"):
            values = getattr(answers, name)
            columns[name] = pa.array(np.nan_to_num(values).astype(np.int64), pa.int64(), mask=np.isnan(values))
        pieces.append(pa.table(columns))
    write_table(pa.concat_tables(pieces), path)
