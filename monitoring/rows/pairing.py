"""Attempts to decisions: the one place where the tiers of a decision are put side by side.

X = retained · (correct_last − correct_kept). It is 0 where the query escalated, 0 without a label
where both answers are the same, and unknown (NaN) where the last tier did not run or a label is
missing. The chance that both tiers' labels are there follows from how the cascade declares that
they are drawn (`both_labelled`). A null propensity stays NaN: a figure that needs it says "not
identified".

Costs are counted three ways, the unit in the name. What exploration cost stands apart: it is paid
to learn, not to answer.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd

from evidence.estimation.estimates import joint_label_propensity
from knowgate._records.arrays import BoolArray, FloatArray, IntArray
from knowgate._records.records import Role
from knowgate.policy import NOTHING_KEPT
from knowgate.spec import CascadeSpec, LabelCoin
from monitoring.errors import CohortInvalid
from store.traffic.attempt_columns import Objects, taken

UNITS = ("usd", "gflops", "tokens")


def pair_decisions(attempts: pd.DataFrame, spec: CascadeSpec, *, as_of: datetime) -> pd.DataFrame:
    """One row per decision, in order of decision time.

    Columns: id, decision (as the attempts have it), occurred_at, received_at, slice, bundle,
    generation; kept_tier, retained (kept before the last tier), reason (why the last tier was
    asked; None where retained); last_ran, explored (the last tier ran though the query was
    retained), agrees (explored, and both answers are the same), run_propensity (chance that the
    last tier ran: 1 where escalated),
    label_propensity (of X), correct_kept, kept_label_propensity, kept_label_source, correct_last,
    last_label_propensity, last_label_source, x; forecast_kept, forecast_last, forecast_x (what
    sources say that are not trusted); score (of the kept tier); prompt_tokens; per unit: U (what
    answering cost), ended_U (of it, reading for tiers that a gate then ended), last_U (NaN where
    the last tier did not run), exploration_U; expected_last_U (the last tier's price of the tokens
    that the first answer took: a forecast that has not seen the last tier; NaN where there is none
    but the last tier's); label_late (the kept answer's label came after the horizon), overdue (past
    the horizon and a label is missing).
    """
    _check(attempts)
    at = _places(attempts, spec)
    columns = {name: attempts[name].to_numpy()[at.first] for name in ("slice", "generation")}
    columns |= {
        "occurred_at": attempts["occurred_at"].array[at.first],
        "received_at": attempts["received_at"].array[at.first],
        "score": numbers_at(attempts, "score", at.kept),
        "prompt_tokens": numbers_at(attempts, "tokens_in", at.first),
    }
    columns |= _answered(attempts, spec, at)
    for unit in UNITS:
        columns |= _costs(attempts, spec, unit, at, columns["kept_tier"])
    frame = pd.DataFrame(columns)
    received = pd.Series(attempts["label_received_at"].array[at.kept])
    frame["label_late"] = received > frame["occurred_at"] + spec.horizon
    missing = frame["correct_kept"].isna() | (frame["last_ran"] & frame["correct_last"].isna())
    frame["overdue"] = missing & (frame["occurred_at"] + spec.horizon <= as_of)
    return frame  # attempts come in the order of their ids, which is that of decision time


def pair_answers(attempts: pd.DataFrame, spec: CascadeSpec) -> pd.DataFrame:
    """The columns of `pair_decisions` that say what was decided and what the answers are labelled.
    Without slice, generation, times, score and costs.
    """
    _check(attempts)
    return pd.DataFrame(_answered(attempts, spec, _places(attempts, spec)))


def _answered(attempts: pd.DataFrame, spec: CascadeSpec, at: "_Places") -> dict[str, Any]:
    decided = _of_decisions(attempts, spec, at)
    return decided | _of_answers(attempts, at, decided)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """Per decision the rows of four of its attempts, each [n]; −1 where there is none. And whether
    nobody waited for an attempt [attempts].
    """

    first: IntArray
    begun: IntArray  # the first, or, where that was skipped, the first that may stand for it
    kept: IntArray
    last: IntArray  # of the last tier
    beside: BoolArray  # `beside_the_last`


def _places(attempts: pd.DataFrame, spec: CascadeSpec) -> _Places:
    n = int(attempts["decision"].iloc[-1]) + 1 if len(attempts) else 0
    ordinal, tier = attempts["decision"].to_numpy(), attempts["tier"].to_numpy()
    role = attempts["role"].to_numpy(dtype=object)
    first = np.flatnonzero(np.diff(ordinal, prepend=-1))
    last = np.full(n, -1)
    last[ordinal[tier == spec.last]] = np.flatnonzero(tier == spec.last)
    return _Places(
        first=first,
        begun=_first_answer(ordinal, (role != Role.SKIPPED) & (tier < spec.last), first, role),
        kept=np.flatnonzero(role == Role.SERVED),
        last=last,
        beside=beside_the_last(attempts),
    )


def _of_decisions(attempts: pd.DataFrame, spec: CascadeSpec, at: _Places) -> dict[str, Any]:
    """The columns of what was decided, each [n]."""
    columns: dict[str, Any] = {
        name: attempts[name].to_numpy()[at.first] for name in ("decision", "bundle", "exploration_rate", "label_coin")
    }
    columns["id"] = attempts["id"].array[at.first]
    kept_tier, last_ran = attempts["tier"].to_numpy()[at.kept], at.last >= 0
    retained = kept_tier < spec.last
    coin = np.where(last_ran, numbers_at(attempts, "run_propensity", at.last), columns["exploration_rate"])
    return columns | {
        "kept_tier": kept_tier,
        "retained": retained,
        "last_ran": last_ran,
        "explored": last_ran & retained,
        "reason": _last_reason(attempts, len(at.last), retained),
        "run_propensity": np.where(retained, coin, 1.0),
    }


def _of_answers(attempts: pd.DataFrame, at: _Places, decided: dict[str, Any]) -> dict[str, Any]:
    """The columns of what the kept and the last answer are labelled, each [n]."""
    columns: dict[str, Any] = {}
    for name, rows in (("kept", at.kept), ("last", at.last)):
        columns[f"correct_{name}"] = numbers_at(attempts, "correct", rows)
        columns[f"forecast_{name}"] = numbers_at(attempts, "forecast", rows)
        columns[f"{name}_label_propensity"] = numbers_at(attempts, "label_propensity", rows)
        columns[f"{name}_label_source"] = taken(attempts["label_source"].to_numpy(dtype=object), rows)
    kept, last = (taken(attempts["answer_key"].to_numpy(), rows) for rows in (at.kept, at.last))
    same = (kept != -1) & (kept == last)
    columns["agrees"] = decided["explored"] & same
    columns["x"], columns["label_propensity"] = _difference(decided | columns, same, "correct")
    columns["forecast_x"], _ = _difference(decided | columns, same, "forecast")
    return columns


def _check(attempts: pd.DataFrame) -> None:
    ordinal = attempts["decision"].to_numpy()
    served = np.bincount(ordinal, attempts["role"].to_numpy(dtype=object) == Role.SERVED)
    if (served != 1).any():
        wrong = int(np.argmax(served != 1))
        name = UUID(bytes=attempts["id"].array[int(np.argmax(ordinal == wrong))])
        raise CohortInvalid(f"decision {name} has {int(served[wrong])} served attempts, expected 1: send it whole")


def numbers_at(attempts: pd.DataFrame, name: str, rows: IntArray) -> FloatArray:
    """A column's numbers at these rows, in their shape; NaN where the row is −1."""
    return taken(attempts[name].to_numpy(dtype=np.float64), rows)


def _last_reason(attempts: pd.DataFrame, n: int, retained: BoolArray) -> Objects:
    """Per decision the reason of the highest tier that gave one, why the last tier was asked; None
    where it was not.
    """
    reasons = attempts["reason"].to_numpy(dtype=object)
    given = np.flatnonzero(reasons != np.array(None))
    column = np.full(n, None, dtype=object)
    column[attempts["decision"].to_numpy()[given]] = reasons[given]  # in order of tier, so that the highest stays
    column[retained] = None
    return column


def _difference(columns: dict[str, Any], same: BoolArray, column: str) -> tuple[FloatArray, FloatArray]:
    """X by `column` (labels or forecasts), and the propensity of its labels, both [n]."""
    settled = ~columns["retained"] | (columns["explored"] & same)  # X is 0 whatever the labels say
    labelled = columns[f"{column}_last"] - columns[f"{column}_kept"]
    x = np.select([settled, columns["explored"]], [0.0, labelled], np.nan)
    both = both_labelled(columns["kept_label_propensity"], columns["last_label_propensity"], columns["label_coin"])
    return x, np.where(settled, 1.0, both)


def both_labelled(kept: FloatArray, last: FloatArray, coin: Objects) -> FloatArray:
    """[n] the chance that the labels of a decision's two answers are there, drawn as its
    `label_coin` says.
    """
    return joint_label_propensity(np.column_stack([kept, last]), coin == LabelCoin.ATTEMPT)


def _first_answer(ordinal: IntArray, may_be: BoolArray, first: IntArray, role: Objects) -> IntArray:
    """Per decision its first attempt, or, where that was skipped, the first one that may stand for
    it; −1 where there is none.
    """
    answers = np.full(len(first), -1)
    at = np.flatnonzero(may_be)[::-1]
    answers[ordinal[at]] = at
    return np.where(role[first] == Role.SKIPPED, answers, first)


def _costs(
    attempts: pd.DataFrame, spec: CascadeSpec, unit: str, at: _Places, kept_tier: IntArray
) -> dict[str, FloatArray]:
    """The five cost columns of one unit, each [n].

    A tier that a gate ended, and that answered all the same to learn from, was read to decide: only
    its answer was exploration. One that nobody waited for was read to learn from too.
    """
    ordinal, cost = attempts["decision"].to_numpy(), attempts[unit].to_numpy(dtype=np.float64)
    n, role = len(at.begun), attempts["role"].to_numpy(dtype=object)
    exploration = role == Role.EXPLORATION
    by_a_gate = ~at.beside
    early = exploration & (attempts["tier"].to_numpy() < kept_tier[ordinal]) & by_a_gate
    paid_to_learn = np.where(early, 1.0 - _share_of_reading(attempts, spec, unit), exploration.astype(np.float64))
    return {
        # A sum over an unknown cost is unknown: NaN stays NaN here.
        unit: _sums(ordinal, np.where(paid_to_learn == 1.0, 0.0, cost * (1.0 - paid_to_learn)), n),
        f"exploration_{unit}": _sums(ordinal, np.nan_to_num(cost) * paid_to_learn, n),
        f"ended_{unit}": _sums(
            ordinal, np.where(early | (role == Role.SKIPPED) & by_a_gate, cost * (1.0 - paid_to_learn), 0.0), n
        ),
        f"last_{unit}": numbers_at(attempts, unit, at.last),
        f"expected_last_{unit}": _price_of_last(attempts, at.begun, spec, unit),
    }


def beside_the_last(attempts: pd.DataFrame) -> BoolArray:
    """[attempts] whether nobody waited for the tier, since nothing could be kept: it ran beside the
    last one, or did not.
    """
    unserved = attempts["role"].isin([Role.SKIPPED, Role.EXPLORATION])
    return np.asarray(unserved & attempts["reason"].isin([reason.value for reason in NOTHING_KEPT]), dtype=np.bool_)


def _share_of_reading(attempts: pd.DataFrame, spec: CascadeSpec, unit: str) -> FloatArray:
    """[attempts] the share of each attempt's cost that its prompt took; 0 where that is unknown."""
    tokens = attempts[["tokens_in", "tokens_out"]].to_numpy(dtype=np.float64)
    if unit == "usd" and len(attempts):
        at = attempts["occurred_at"].max().to_pydatetime()
        prices = [tier.price_at(at) for tier in spec.tiers]
        rates = [(np.nan, np.nan) if one is None else (one.cost_usd(1, 0), one.cost_usd(0, 1)) for one in prices]
        tokens = tokens * np.array(rates)[attempts["tier"].to_numpy()]
    total = tokens.sum(axis=1)
    share: FloatArray = np.divide(tokens[:, 0], total, out=np.zeros(len(total)), where=total > 0.0)
    return np.nan_to_num(share)


def _sums(ordinal: IntArray, values: FloatArray, n: int) -> FloatArray:
    return np.bincount(ordinal, values, minlength=n).astype(np.float64)


def _price_of_last(attempts: pd.DataFrame, begun: IntArray, spec: CascadeSpec, unit: str) -> FloatArray:
    """[n] what the last tier would cost on the tokens of the attempts at `begun` (−1 = none); NaN
    without tokens or price.
    """
    tier = spec.tiers[spec.last]
    tokens_in = numbers_at(attempts, "tokens_in", begun)
    tokens_out = np.nan_to_num(numbers_at(attempts, "tokens_out", begun))
    if unit == "tokens":
        return np.add(tokens_in, tokens_out)
    if unit == "gflops":
        return np.multiply(tokens_in + tokens_out, tier.gflops(1))
    price = tier.price_at(attempts["occurred_at"].max().to_pydatetime()) if len(begun) else None
    if price is None:
        return np.full(len(begun), np.nan)
    return np.add(tokens_in * price.cost_usd(1, 0), tokens_out * price.cost_usd(0, 1))
