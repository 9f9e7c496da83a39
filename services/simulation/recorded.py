"""Recorded outcomes as answers: an outcome table of at least two tiers, played as if it were
today's traffic.

What a table lacks is assumed, and said: without token counts every query takes the same number,
without times the queries come evenly, without costs a model costs what its parameters do, without
parameters a model's name tells them ("…70b").
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from knowgate.spec import Alarms, CascadeSpec, Horizons, Price, Privacy, Schedule, Targets, TierSpec
from services.errors import InputInvalid
from services.outcome_tables.outcomes import OutcomeTable
from services.simulation.traffic import Answer, Asked

USD_PER_MILLION_TOKENS_PER_BILLION_PARAMETERS = 0.02
TOKENS_IN, TOKENS_OUT = 200, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A table that answers: the queries whose every tier was recorded and graded."""

    table: OutcomeTable
    rows: dict[str, int]

    @classmethod
    def of(cls, table: OutcomeTable) -> "Recorded":
        """Raises InputInvalid where no query has outcomes of every tier."""
        graded = np.flatnonzero(np.isfinite(table.correct).all(axis=1))
        if graded.size == 0:
            raise InputInvalid("correct is empty somewhere in every query: a simulation needs every tier's outcome")
        return cls(table=table, rows={str(table.query_ids[row]): int(row) for row in graded})

    def answer(self, asked: Asked, tier: int) -> Answer:
        row, table = self.rows[asked.name], self.table
        return Answer(
            correct=float(table.correct[row, tier]),
            p_t=_known(table.p_t[row, tier]),
            tokens_in=int(_known(table.tokens_in[row, tier]) or TOKENS_IN),
            tokens_out=int(_known(table.tokens_out[row, tier]) or TOKENS_OUT),
            latency_ms=_known(table.latency_ms[row, tier]),
            cost_usd=_known(table.cost_usd[row, tier]),
        )

    def queries(self, start: datetime, days: float) -> list[Asked]:
        """The queries in the table's order, evenly over `days` from `start`."""
        gap = timedelta(days=days) / len(self.rows)
        return [
            Asked(
                name=name,
                at=start + gap * number,
                prompt=name if self.table.prompt[row] is None else str(self.table.prompt[row]),
                slice=None if self.table.slice[row] is None else str(self.table.slice[row]),
            )
            for number, (name, row) in enumerate(self.rows.items())
        ]


def recorded_spec(
    table: OutcomeTable,
    *,
    name: str,
    targets: Targets,
    exploration_rate: float,
    horizon: timedelta,
    parameters: tuple[float, ...] | None,
    since: datetime,
) -> CascadeSpec:
    """The cascade that a table's models make.

    Raises InputInvalid where a model's size is not to be had.
    """
    sizes = parameters or tuple(_parameters_of(model) for model in table.models)
    if len(sizes) != table.tiers:
        raise InputInvalid(f"--parameters gives {len(sizes)} sizes: the table has {table.tiers} tiers")
    return CascadeSpec(
        name=name,
        tiers=tuple(_tier(table, tier, size, since) for tier, size in enumerate(sizes)),
        targets=targets,
        horizons=Horizons(gold=horizon),
        schedule=Schedule(
            train_every=timedelta(days=7), monitor_every=timedelta(days=1), training_window=timedelta(days=28)
        ),
        alarms=Alarms(max_tokens=_most_tokens(table)),
        exploration_rate=exploration_rate,
        privacy=Privacy.HASH,
    )


def parsed_sizes(text: str) -> tuple[float, ...]:
    """Each tier's parameters from "8e9,70e9". Raises InputInvalid."""
    try:
        return tuple(float(size) for size in text.split(","))
    except ValueError:
        raise InputInvalid(f"--parameters is {text!r}: give one number per tier, e.g. 8e9,70e9") from None


def _tier(table: OutcomeTable, tier: int, parameters: float, since: datetime) -> TierSpec:
    usd, model = _usd_per_million_tokens(table, tier, parameters), table.models[tier]
    price = Price(since=since, usd_per_million_tokens_in=usd, usd_per_million_tokens_out=usd)
    return TierSpec(name=model.lower(), model=model, parameters=parameters, prices=(price,))


def _usd_per_million_tokens(table: OutcomeTable, tier: int, parameters: float) -> float:
    """What the tier's runs cost in the table, spread over their tokens: an alarm that reckons with
    another price than was paid rings for nothing. By its size where the table has no costs.
    """
    cost = table.cost_usd[:, tier]
    known = np.isfinite(cost)
    if not known.any():
        return USD_PER_MILLION_TOKENS_PER_BILLION_PARAMETERS * parameters / 1e9
    tokens = np.nan_to_num(table.tokens_in[:, tier], nan=TOKENS_IN) + np.nan_to_num(
        table.tokens_out[:, tier], nan=TOKENS_OUT
    )
    return float(1e6 * cost[known].sum() / max(tokens[known].sum(), 1.0))


def _parameters_of(model: str) -> float:
    match = re.search(r"(\d+(?:\.\d+)?)\s*([bm])(?![a-z])", model.lower())
    if match is None:
        raise InputInvalid(f"model is {model!r}: its name does not say its size; give --parameters, e.g. 8e9,70e9")
    return float(match[1]) * (1e9 if match[2] == "b" else 1e6)


def _most_tokens(table: OutcomeTable) -> int:
    tokens = table.tokens_in + table.tokens_out
    return int(np.nanmax(tokens)) if np.isfinite(tokens).any() else TOKENS_IN + TOKENS_OUT


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
