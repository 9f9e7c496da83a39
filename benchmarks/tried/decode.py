"""A batch of decisions decoded by our codec and by pydantic, over the same records:
docs/decisions/0132.
"""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter

from knowgate._records.ids import new_id
from knowgate._records.records import Decision
from knowgate._wire import codec

ROWS, ROUNDS = 2000, 3


def rows(count: int) -> list[dict[str, Any]]:
    """Decisions as they come in a batch."""
    now = datetime.now(UTC)
    attempt = {
        "tier": 0,
        "role": "served",
        "model": "small",
        "signals": {"p_t": 0.97, "p_ik": 0.91},
        "verdict": {"action": "retain", "reason": None},
        "tokens_in": 412,
        "tokens_out": 1,
        "run_propensity": 1.0,
    }
    head = {"cascade": "support", "occurred_at": now.isoformat(), "slice": "billing", "exploration_rate": 0.05}
    return [
        head | {"id": str(new_id(now)), "external_id": f"ticket-{at}", "attempts": [attempt]} for at in range(count)
    ]


def best_ms(work: Callable[[], object]) -> float:
    """The shortest of a few rounds."""
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return 1e3 * min(took)


def main() -> None:
    """Prints milliseconds for the batch."""
    batch, adapter = rows(ROWS), TypeAdapter(Decision)
    ours = best_ms(lambda: [codec.decode(Decision, row) for row in batch])
    theirs = best_ms(lambda: [adapter.validate_python(row) for row in batch])
    sys.stdout.write(f"{ROWS} decisions: codec {ours:.0f} ms, pydantic {theirs:.0f} ms\n")


if __name__ == "__main__":
    main()
