"""Whether an outcome table is one of a cascade's: its attempts are spent on tables of its own tiers
alone.

Thresholds of other models, or of another kind of P(T), would be certified in the cascade's name and
mean nothing for what it serves.
"""

from dataclasses import replace

import numpy as np

from knowgate.spec import CascadeSpec
from services.errors import TableInvalid
from services.outcome_tables.outcomes import OutcomeTable


def of_cascade(table: OutcomeTable, spec: CascadeSpec) -> OutcomeTable:
    """The table, with an empty p_t_kind filled in as the cascade declares it.

    Raises TableInvalid for another number of tiers than the cascade's, and for a model or a kind of
    P(T) that its tiers do not declare.
    """
    if table.tiers != len(spec.tiers):
        raise TableInvalid(
            f"tier goes from 0 to {table.tiers - 1} in the table, and cascade {spec.name!r} has"
            f" {len(spec.tiers)} tiers: give a table of all its tiers and no other, or name"
            " the cascade that the table is of"
        )
    kinds = table.p_t_kind.copy()
    for tier, declared in enumerate(spec.tiers):
        _refuse_another_model(table, tier, spec)
        ran = table.ran[:, tier]
        kinds[ran & (kinds[:, tier] == np.array(None)), tier] = declared.p_t_kind.value
        other = np.flatnonzero(np.isfinite(table.p_t[:, tier]) & (kinds[:, tier] != declared.p_t_kind.value))
        if other.size:
            raise TableInvalid(
                f"p_t_kind of query {table.query_ids[other[0]]!r} on tier {tier} is {str(kinds[other[0], tier])!r}, and"
                f" cascade {spec.name!r} declares {declared.p_t_kind.value!r}: keep the rows of the declared kind"
                " alone, or correct p_t_kind in the cascade's file and apply it"
            )
    return replace(table, p_t_kind=kinds)


def _refuse_another_model(table: OutcomeTable, tier: int, spec: CascadeSpec) -> None:
    declared = spec.tiers[tier]
    for model in dict.fromkeys(table.model[table.ran[:, tier], tier]):
        if not declared.declares(str(model)):
            raise TableInvalid(
                f"model of tier {tier} is {str(model)!r}, and cascade {spec.name!r} declares {declared.named_model!r}:"
                " keep the declared model's rows alone, or correct the model in the cascade's file and apply it"
            )
