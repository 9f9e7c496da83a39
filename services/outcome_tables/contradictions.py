"""What an outcome table says of chance and of roles, against what its rows show.

A coin that falls the same way for every one of many rows was no coin. Weights by its chance would
be wrong throughout, and a label that is missing there would be taken for one that was not drawn.
The chance of what is seen is the product of the stated propensities, summed in logarithms.
"""

import math

import numpy as np

from knowgate._records.arrays import BoolArray, FloatArray
from services.errors import TableInvalid
from services.outcome_tables.outcomes import OutcomeTable

FEWEST = 100  # rows on which a coin can be distinguished from none
INCREDIBLE = math.log(1e-12)
FEWEST_SAME, SAME_AND_DIFFERENT = 30, 0.1  # rows of equal answers with both labels, and how many may be graded apart


def refuse_contradictions(table: OutcomeTable) -> None:
    """Raises TableInvalid for coins below 1 that never fell against a row, for a query that was
    served twice, and for answers that are the same and often graded apart.
    """
    labelled: BoolArray = np.asarray(np.isfinite(table.correct), dtype=np.bool_)
    everywhere: BoolArray = np.ones(table.queries, dtype=np.bool_)
    for tier in range(table.tiers):
        _refuse_no_coin("label_propensity", "is labelled", tier, table.label_propensity, table.ran[:, tier], labelled)
        _refuse_no_coin("run_propensity", "ran", tier, table.run_propensity, everywhere, table.answered)
    _refuse_two_served(table)
    for tier in range(table.tiers - 1):
        _refuse_same_graded_apart(tier, table)


def _refuse_no_coin(
    name: str, happens: str, tier: int, propensity: FloatArray, asked: BoolArray, happened: BoolArray
) -> None:
    chances = propensity[asked, tier]
    if chances.size < FEWEST or not happened[asked, tier].all() or not np.isfinite(chances).all():
        return
    chance = float(np.log(chances).sum())
    if chance < INCREDIBLE:
        raise TableInvalid(
            f"{name} of tier {tier} is {chances.min():g} at the least, yet every one of its {chances.size} queries"
            f" {happens} (chance 1e{chance / math.log(10):.0f}): leave the column out if there was no coin, else"
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


def _refuse_same_graded_apart(tier: int, table: OutcomeTable) -> None:
    one, last = table.correct[:, tier], table.correct[:, -1]
    both = (table.same_answer[:, tier] == 1.0) & np.isfinite(one) & np.isfinite(last)
    apart = int((both & ((one >= 0.5) != (last >= 0.5))).sum())
    if both.sum() >= FEWEST_SAME and apart > SAME_AND_DIFFERENT * both.sum():
        raise TableInvalid(
            f"same_answer of tier {tier} is 1 on {int(both.sum())} queries with both labels, and on {apart} of them one"
            " answer is right and the other wrong: it says whether the answer is the last tier's; correct it, or leave"
            " the column out"
        )
