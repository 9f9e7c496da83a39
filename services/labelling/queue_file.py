"""The queue as a file to fill in: the columns that `knowgate labels import` reads, `correct` left
empty.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from services.labelling.queue import QueuedAnswer
from services.outcome_tables.table_files import write_table


def write_queue(rows: Sequence[QueuedAnswer], path: Path) -> None:
    """Writes CSV, JSONL or Parquet, as the file's name says."""
    table = pa.table(
        {
            "decision_id": pa.array([str(row.decision_id) for row in rows], pa.string()),
            "external_id": pa.array([row.external_id for row in rows], pa.string()),
            "tier": pa.array([row.tier for row in rows], pa.int8()),
            "model": pa.array([row.model for row in rows], pa.string()),
            "slice": pa.array([row.slice for row in rows], pa.string()),
            "prompt": pa.array([row.prompt for row in rows], pa.string()),
            "answer": pa.array([row.answer for row in rows], pa.string()),
            "correct": pa.array([None for _ in rows], pa.float64()),
            "label_propensity": pa.array([row.label_propensity for row in rows], pa.float64()),
        }
    )
    write_table(table, path)
