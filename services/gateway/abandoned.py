"""What was spent on queries whose callers left: shown beside everything else that is not in any
decision.

Nothing was served, so these runs are in no decision, no figure, no promise and no savings. What
they cost is real all the same, and an operator who sees it grow will ask which client's timeout is
too short.
"""

from datetime import UTC, datetime
from typing import Any

from knowgate._serving.cascade import Cascade
from knowgate.spec import CascadeSpec


def abandoned_of(cascade: Cascade, spec: CascadeSpec) -> dict[str, Any]:
    """Queries since the start, and what each tier was asked for them; a cost of None = no price is
    declared.
    """
    serving = cascade.serving
    if serving is None:
        return {"queries": 0, "tiers": []}
    now = datetime.now(UTC)
    tiers = []
    for tier, spent in zip(spec.tiers, serving.abandoned, strict=False):
        price = tier.price_at(now)
        cost = None if price is None else price.cost_usd(spent.tokens_in, spent.tokens_out)
        tiers.append(
            {
                "tier": tier.name,
                "runs": spent.runs,
                "tokens_in": spent.tokens_in,
                "tokens_out": spent.tokens_out,
                "cost_usd": cost,
            }
        )
    return {"queries": serving.left, "tiers": tiers}
