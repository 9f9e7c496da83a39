"""What an outcome table says of chance and of roles, against what its rows show.

A coin that falls the same way for every one of many rows was no coin. Weights by its chance would be wrong throughout,
and a label that is missing there would be taken for one that was not drawn. The chance of what is seen is the product
of the stated propensities, summed in logarithms.
"""

import math

import numpy as np

from knowgate.policy import BoolArray, FloatArray
from services.errors import TableInvalid
from services.history.outcomes import OutcomeTable

FEWEST = 100  # rows on which a coin can be told from none
INCREDIBLE = math.log(1e-12)


def refuse_contradictions(table: OutcomeTable) -> None:
    """Raises TableInvalid for coins below 1 that never fell against a row, and for a query that was served twice."""
    labelled: BoolArray = np.asarray(np.isfinite(table.correct), dtype=np.bool_)
    everywhere: BoolArray = np.ones(table.queries, dtype=np.bool_)
    for tier in range(table.tiers):
        _refuse_no_coin("label_propensity", "is labelled", tier, table.label_propensity, table.ran[:, tier], labelled)
        _refuse_no_coin("run_propensity", "ran", tier, table.run_propensity, everywhere, table.ran)
    _refuse_two_served(table)


def _refuse_no_coin(
    name: str, told: str, tier: int, propensity: FloatArray, asked: BoolArray, happened: BoolArray
) -> None:
    chances = propensity[asked, tier]
    if chances.size < FEWEST or not happened[asked, tier].all() or not np.isfinite(chances).all():
        return
    chance = float(np.log(chances).sum())
    if chance < INCREDIBLE:
        raise TableInvalid(
            f"{name} of tier {tier} is {chances.min():g} at the least, yet every one of its {chances.size} queries"
            f" {told} (chance 1e{chance / math.log(10):.0f}): leave the column out if there was no coin, else"
            " add the rows that it fell against"
        )


def _refuse_two_served(table: OutcomeTable) -> None:
    served = table.role == "served"
    twice = np.flatnonzero(served.sum(axis=1) > 1)
    if twice.size:
        tiers = " and ".join(str(tier) for tier in np.flatnonzero(served[twice[0]]))
        raise TableInvalid(
            f"role of query {table.query_ids[twice[0]]!r} is 'served' on tiers {tiers}: one answer is served; say"
            " 'superseded' or 'exploration' of the others"
        )
