"""`knowgate export`: stored history as an outcome table again.

The table holds what was known as of a time: the labels in force then, each attempt's role and
propensities. Imported again, it gives the same decisions and the same labels.
"""

from datetime import datetime
from uuid import UUID

import numpy as np
from sqlalchemy.orm import Session

from evidence.certification.known_outcomes import agreeing
from knowgate._records.records import Window
from knowgate.spec import LabelCoin
from services.errors import InputInvalid
from services.outcome_tables.columns import FloatArray, IntArray, ObjectArray
from services.outcome_tables.outcomes import BoolArray, OutcomeTable
from store.releases import cascades
from store.traffic import decisions
from store.traffic.examples import Examples, labelled


def export_outcomes(session: Session, cascade: str, window: Window, *, as_of: datetime) -> OutcomeTable:
    """The cascade's decisions of a window of decision time, with the labels in force as of `as_of`.

    What sources say that the cascade does not trust is the column `forecast`.

    Raises CascadeUnknown, and InputInvalid where the window has no decision.
    """
    spec = cascades.cascade(session, cascade)
    examples = labelled(session, cascade, window, as_of=as_of, trusted=spec.targets.trusted)
    if examples.rows == 0:
        raise InputInvalid(
            f"{cascade} has no decision from {window.start.isoformat()} to {window.end.isoformat()}; widen the window"
        )
    names = _names(session, cascade, window, as_of)
    grid = _Grid(examples, len(spec.tiers))
    return OutcomeTable(
        query_ids=grid.per_query(np.array([names[item] for item in examples.ids], dtype=object)),
        ran=grid.numbers(np.ones(examples.rows)) == 1,
        model=grid.objects(examples.model),
        p_t=grid.numbers(examples.p_t),
        p_ik=grid.numbers(examples.p_ik),
        entropy=grid.numbers(examples.entropy),
        margin=grid.numbers(examples.margin),
        p_t_kind=grid.objects(_where(np.isfinite(examples.p_t), examples.p_t_kind)),
        correct=grid.numbers(examples.correct),
        slice=grid.per_query(examples.slice),
        prompt=grid.per_query(examples.prompt),
        tokens_in=grid.numbers(examples.tokens_in),
        tokens_out=grid.numbers(examples.tokens_out),
        cost_usd=grid.numbers(examples.cost_usd),
        latency_ms=grid.numbers(examples.latency_ms),
        occurred_at=grid.per_query(examples.occurred_at),
        labelled_at=grid.times(examples.labelled_at),
        run_propensity=grid.numbers(examples.run_propensity),
        label_propensity=grid.numbers(examples.label_propensity),
        label_source=grid.objects(examples.label_source),
        role=grid.objects(examples.role),
        forecast=grid.numbers(examples.forecast),
        label_coin=_told_coins(grid.per_query(examples.label_coin)),
        same_answer=_same_answer(grid.objects(examples.answer)),
        exploration_rate=_told_rates(
            grid.per_query(examples.exploration_rate), grid.numbers(examples.run_propensity)[:, -1]
        ),
    )


def _names(session: Session, cascade: str, window: Window, as_of: datetime) -> dict[UUID, str]:
    """What each decision is called: the user's own id, or ours where there is none or it is not
    unique.
    """
    named = {
        decision.id: decision.external_id
        for decision in decisions.decisions_between(session, cascade, window, as_of=as_of)
    }
    seen: dict[str, int] = {}
    for name in named.values():
        if name is not None:
            seen[name] = seen.get(name, 0) + 1
    return {key: str(key) if name is None or seen[name] > 1 else name for key, name in named.items()}


def _told_coins(coins: ObjectArray) -> ObjectArray:
    """The coins of labels, where any is not the usual one: what goes without saying is
    no column.
    """
    return coins if (coins == LabelCoin.ATTEMPT).any() else np.full(len(coins), None, dtype=object)


def _told_rates(rates: FloatArray, last_run: FloatArray) -> FloatArray:
    """The exploration rates, where the runs of the last tier [queries] do not show them."""
    goes_without_saying = (rates == min(last_run[last_run < 1.0], default=0.0)).all()
    return np.full(len(rates), np.nan) if goes_without_saying else rates


def _same_answer(answers: ObjectArray) -> FloatArray:
    """[queries, tiers] whether an answer is the last tier's; unknown where either is, and of the
    last tier itself.
    """
    agrees = np.column_stack([agreeing(answers.T.tolist()), np.zeros(len(answers), dtype=np.bool_)])
    known = (answers != np.array(None)) & (answers[:, -1:] != np.array(None))
    known[:, -1] = False
    return np.where(known, agrees, np.nan)


def _where(known: BoolArray, values: ObjectArray) -> ObjectArray:
    """The values where they are known, None elsewhere."""
    held = np.full(len(values), None, dtype=object)
    held[known] = values[known]
    return held


class _Grid:
    """Columns of attempts [rows] as arrays [queries, tiers]."""

    def __init__(self, examples: Examples, tiers: int) -> None:
        self._query: IntArray = examples.decision
        self._tier: IntArray = examples.tier
        self._shape = (examples.decisions, tiers)

    def numbers(self, values: FloatArray) -> FloatArray:
        placed = np.full(self._shape, np.nan)
        placed[self._query, self._tier] = values
        return placed

    def objects(self, values: ObjectArray) -> ObjectArray:
        placed = np.full(self._shape, None, dtype=object)
        placed[self._query, self._tier] = values
        return placed

    def times(
        self, values: np.ndarray[tuple[int], np.dtype[np.datetime64]]
    ) -> np.ndarray[tuple[int, int], np.dtype[np.datetime64]]:
        placed = np.full(self._shape, np.datetime64("NaT"), dtype="datetime64[us]")
        placed[self._query, self._tier] = values
        return placed

    def per_query(self, values: np.ndarray) -> np.ndarray:
        """The value of each query's first attempt."""
        _, first = np.unique(self._query, return_index=True)
        return values[first]
