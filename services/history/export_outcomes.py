"""`knowgate export`: stored history as an outcome table again.

The table holds what was known as of a time: the labels in force then, each attempt's role and
propensities. Imported again, it gives the same attempts and, of an answer's labels, the one in
force; what sources say that the cascade does not trust comes back as a judge's.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy.orm import Session

from evidence.certification.known_outcomes import agreeing
from knowgate._records.records import Window
from knowgate.policy import NOTHING_KEPT
from knowgate.spec import CascadeSpec, LabelCoin
from services.errors import InputInvalid
from services.outcome_tables.columns import FloatArray, ObjectArray
from services.outcome_tables.grid import Grid
from services.outcome_tables.outcomes import COLUMNS, OutcomeTable
from store.releases import cascades
from store.traffic import decisions
from store.traffic.example_columns import Examples
from store.traffic.examples import labelled

READ = frozenset(COLUMNS) - {"same_answer"} | {"tier", "answer", "reason"}


def export_outcomes(session: Session, cascade: str, window: Window, *, as_of: datetime) -> OutcomeTable:
    """The cascade's decisions of a window of decision time, with the labels in force as of `as_of`.

    What sources say that the cascade does not trust is the column `forecast`.

    Raises CascadeUnknown, and InputInvalid where the window has no decision.
    """
    spec = cascades.cascade(session, cascade)
    examples = labelled(session, cascade, window, as_of=as_of, columns=READ, trusted=spec.targets.trusted)
    if examples.rows == 0:
        raise InputInvalid(
            f"{cascade} has no decision from {window.start.isoformat()} to {window.end.isoformat()}; widen the window"
        )
    return _table(examples, spec, _names(session, cascade, window, as_of))


def observed_outcomes(session: Session, cascade: str, window: Window, *, as_of: datetime) -> OutcomeTable | None:
    """The same of the decisions on which nothing could be kept and every tier ran all the same: a
    plain sample of the traffic, for as long as it was observed at one rate. None where there is
    none.

    Raises CascadeUnknown.
    """
    spec = cascades.cascade(session, cascade)
    examples = labelled(session, cascade, window, as_of=as_of, columns=READ, trusted=spec.targets.trusted)
    unkept = np.isin(examples.reason.astype(str), [reason.value for reason in NOTHING_KEPT]) & examples.answered
    answers = np.bincount(examples.decision, unkept & (examples.tier < spec.last), minlength=examples.decisions)
    chosen = (answers == spec.last)[examples.decision] if examples.rows else np.zeros(0, dtype=np.bool_)
    if not chosen.any():
        return None
    columns: dict[str, Any] = {name: getattr(examples, name)[chosen] for name in {*READ, "ids", "decision"}}
    columns["decision"] = np.unique(columns["decision"], return_inverse=True)[1]
    return _table(Examples(**columns), spec, _names(session, cascade, window, as_of))


def _table(examples: Examples, spec: CascadeSpec, names: Mapping[UUID, str]) -> OutcomeTable:
    grid = Grid(query=examples.decision, tier=examples.tier, shape=(examples.decisions, len(spec.tiers)))
    said = {name: getattr(examples, name) for name in COLUMNS if name != "same_answer"}
    said["p_t_kind"] = np.where(np.isfinite(examples.p_t), examples.p_t_kind, np.array(None))
    placed: dict[str, Any] = {
        name: grid.first(values) if COLUMNS[name].per_query else grid.place(values) for name, values in said.items()
    }
    placed["label_coin"] = _unusual_coins(placed["label_coin"])
    placed["exploration_rate"] = _unusual_rates(placed["exploration_rate"], placed["run_propensity"][:, -1])
    return OutcomeTable(
        query_ids=grid.first(np.array([names[item] for item in examples.uuids()], dtype=object)),
        ran=grid.place(np.ones(examples.rows, dtype=np.bool_)),
        same_answer=_same_answer(grid.place(examples.answer)),
        **placed,
    )


def _names(session: Session, cascade: str, window: Window, as_of: datetime) -> dict[UUID, str]:
    """What each decision is called: the user's own id, or ours where there is none or it is not
    unique.
    """
    named = decisions.external_ids_between(session, cascade, window, as_of=as_of)
    seen: dict[str, int] = {}
    for name in named.values():
        if name is not None:
            seen[name] = seen.get(name, 0) + 1
    return {key: str(key) if name is None or seen[name] > 1 else name for key, name in named.items()}


def _unusual_coins(coins: ObjectArray) -> ObjectArray:
    """The coins of labels, where any is not the usual one: what goes without saying is
    no column.
    """
    return coins if (coins == LabelCoin.ATTEMPT).any() else np.full(len(coins), None, dtype=object)


def _unusual_rates(rates: FloatArray, last_run: FloatArray) -> FloatArray:
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
