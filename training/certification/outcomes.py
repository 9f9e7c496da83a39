"""What a window's rows know, as it was logged: `evidence.certification.known_outcomes` says what
certification makes of it.
"""

import numpy as np

from evidence.certification.known_outcomes import LoggedRows, agreeing
from training.rows.dataset import CascadeRows


def logged_rows(rows: CascadeRows) -> LoggedRows:
    """The n decisions as they were logged."""
    unknown = np.full(rows.n, np.nan)
    forecasts = [unknown if tier.forecast is None else tier.forecast for tier in rows.tiers]
    return LoggedRows(
        ids=rows.ids,
        ran=rows.ran,
        agrees=agreeing([tier.answers for tier in rows.tiers]),
        correct=np.column_stack([tier.correct for tier in rows.tiers]),
        label_propensity=np.column_stack([tier.label_propensity for tier in rows.tiers]),
        run_propensity=np.column_stack([tier.run_propensity for tier in rows.tiers]),
        exploration_rate=rows.exploration_rate,
        apart=np.zeros(rows.n, dtype=np.bool_) if rows.coins_apart is None else rows.coins_apart,
        forecast=np.column_stack(forecasts),
    )
