"""Attempts to decisions: the one place where the tiers of a decision are put side by side.

X = retained · (correct_last − correct_kept). It is 0 where the query escalated, 0 without a label where both answers
are the same, and unknown (NaN) where the last tier did not run or a label is missing. Both tiers' labels come from one
draw of that decision, so of their two label propensities the smaller one counts. A null propensity stays NaN: a
figure that needs it says "not identified".

Costs are counted three ways, the unit in the name. What exploration cost stands apart: it is paid to learn, not to
answer.
"""

from datetime import datetime

import numpy as np
import numpy.typing as npt
import pandas as pd

from knowgate.records import Role
from knowgate.spec import CascadeSpec
from monitoring.errors import CohortInvalid
from store.examples import Examples

FloatArray = npt.NDArray[np.float64]

UNITS = ("usd", "gflops", "tokens")
_SIGNALS = ("p_t", "p_ik", "score", "ood", "entropy")
_PLAIN = ("run_propensity", "label_propensity", "exploration_rate", "correct", "tokens_in", "tokens_out", "latency_ms")
_NAMES = ("role", "slice", "answer", "reason", "shard", "bundle")


def pair_attempts(examples: Examples) -> pd.DataFrame:
    """One row per attempt, ordered by decision and tier.

    Columns: id, decision (ordinal), occurred_at (aware; of the id), tier, role, slice, bundle, generation, reason (None
    where kept or undecided), retained (this tier's verdict was to keep), p_t, p_ik, score, ood, entropy, correct,
    run_propensity, label_propensity, exploration_rate, answer, tokens_in, tokens_out, latency_ms, usd, gflops, tokens,
    label_received_at (aware), shard, row.
    """
    columns: dict[str, object] = {
        "id": examples.ids,
        "decision": examples.decision,
        "occurred_at": _decision_times(examples),
        "label_received_at": pd.Series(examples.label_received_at).dt.tz_localize("UTC"),
        "tier": examples.tier,
        "retained": examples.retained,
        "row": examples.row,
        "generation": examples.generation,
        "usd": examples.cost_usd,
        "gflops": examples.gflops,
        "tokens": examples.tokens_in + examples.tokens_out,
    }
    columns |= {name: getattr(examples, name) for name in _SIGNALS + _PLAIN}
    columns |= {name: pd.Series(getattr(examples, name), dtype=object) for name in _NAMES}
    return pd.DataFrame(columns)


def _decision_times(examples: Examples) -> "pd.Series[pd.Timestamp]":
    """The time in each decision's id: the one that windows are cut by, so that no row lies outside its window."""
    millis = np.array([decision_id.int >> 80 for decision_id in examples.ids], dtype="datetime64[ms]")
    return pd.Series(millis.astype("datetime64[us]")).dt.tz_localize("UTC")


def pair_decisions(attempts: pd.DataFrame, spec: CascadeSpec, *, as_of: datetime) -> pd.DataFrame:
    """One row per decision, in order of decision time.

    Columns: id, occurred_at, slice, bundle, generation; kept_tier, retained (kept before the last tier), reason (why
    the last tier was asked; None where retained); last_ran, explored (the last tier ran though the query was retained),
    run_propensity (chance that the last tier ran: 1 where escalated), label_propensity (of X), correct_kept,
    kept_label_propensity, correct_last, last_label_propensity, x; score (of the kept tier); prompt_tokens; per unit:
    U (what answering cost), last_U (NaN where the last tier did not run), exploration_U; expected_last_U (the last
    tier's price of the tokens that the first attempt used: a forecast that has not seen the last tier);
    label_late (the kept answer's label came after the horizon), overdue (past the horizon and a label is missing).
    """
    _check(attempts, spec)
    first = attempts.drop_duplicates("decision").set_index("decision")
    frame = first[["id", "occurred_at", "slice", "bundle", "generation", "exploration_rate"]].copy()
    kept = attempts[attempts["role"] == Role.SERVED].set_index("decision")
    last = attempts[attempts["tier"] == spec.last].set_index("decision").reindex(frame.index)
    frame["kept_tier"] = kept["tier"]
    frame["retained"] = frame["kept_tier"] < spec.last
    frame["reason"] = _last_reason(attempts, frame.index).where(~frame["retained"], None)
    frame["last_ran"] = last["tier"].notna()
    frame["explored"] = frame["last_ran"] & frame["retained"]
    frame["run_propensity"] = np.select(
        [~frame["retained"], frame["explored"]], [1.0, last["run_propensity"]], frame["exploration_rate"]
    )
    for name, rows in (("kept", kept), ("last", last)):
        frame[f"correct_{name}"] = rows["correct"].astype(np.float64)
        frame[f"{name}_label_propensity"] = rows["label_propensity"].astype(np.float64)
    frame["x"], frame["label_propensity"] = _difference(frame, kept["answer"], last["answer"])
    frame["score"] = kept["score"]
    frame["prompt_tokens"] = first["tokens_in"]
    _add_costs(frame, attempts, first, last, spec)
    received = kept["label_received_at"]
    frame["label_late"] = received.notna() & (received > frame["occurred_at"] + spec.horizon)
    missing = frame["correct_kept"].isna() | (frame["last_ran"] & frame["correct_last"].isna())
    frame["overdue"] = missing & (frame["occurred_at"] + spec.horizon <= as_of)
    return frame.sort_values(["occurred_at", "id"], kind="stable").reset_index(drop=True)


def _check(attempts: pd.DataFrame, spec: CascadeSpec) -> None:
    beyond = attempts.loc[attempts["tier"] > spec.last]
    if len(beyond):
        row = beyond.iloc[0]
        raise CohortInvalid(
            f"decision {row['id']} has an attempt at tier {row['tier']}, {spec.name} has tiers 0 to {spec.last}:"
            " apply the cascade with the tiers that ran"
        )
    served = attempts["role"].eq(Role.SERVED).groupby(attempts["decision"]).sum()
    if (served != 1).any():
        ordinal = served[served != 1].index[0]
        name = attempts.loc[attempts["decision"] == ordinal, "id"].iloc[0]
        raise CohortInvalid(f"decision {name} has {served[ordinal]} served attempts, expected 1: send it whole")


def _last_reason(attempts: pd.DataFrame, index: "pd.Index[int]") -> "pd.Series[str]":
    """Per decision the reason of the highest tier that gave one: why the last tier was asked."""
    given = attempts[attempts["reason"].notna()].drop_duplicates("decision", keep="last").set_index("decision")
    reason = given["reason"].reindex(index)
    return reason.astype(object).where(reason.notna(), None)


def _difference(
    frame: pd.DataFrame, kept_answer: "pd.Series[str]", last_answer: "pd.Series[str]"
) -> tuple[FloatArray, FloatArray]:
    """X and the propensity of its labels, both [n]."""
    labelled = frame["correct_last"] - frame["correct_kept"]
    same = frame["explored"] & kept_answer.notna() & (kept_answer == last_answer)
    settled = ~frame["retained"] | same  # X is 0 whatever the labels say
    x = np.select([settled, frame["explored"]], [0.0, labelled], np.nan)
    both = frame[["kept_label_propensity", "last_label_propensity"]].min(axis=1, skipna=False)
    return x, np.where(settled, 1.0, both)


def _add_costs(
    frame: pd.DataFrame, attempts: pd.DataFrame, first: pd.DataFrame, last: pd.DataFrame, spec: CascadeSpec
) -> None:
    exploration = attempts["role"] == Role.EXPLORATION
    for unit in UNITS:
        # A sum over an unknown cost is unknown, hence no skipping of NaN.
        answering = attempts[~exploration].groupby("decision")[unit].sum(min_count=1)
        unknown = attempts.loc[~exploration & attempts[unit].isna(), "decision"].unique()
        frame[unit] = answering.where(~answering.index.isin(unknown))
        frame[f"exploration_{unit}"] = (
            attempts[exploration].groupby("decision")[unit].sum().reindex(frame.index).fillna(0.0)
        )
        frame[f"last_{unit}"] = last[unit].astype(np.float64)
        frame[f"expected_last_{unit}"] = _price_of_last(first, spec, unit)


def _price_of_last(first: pd.DataFrame, spec: CascadeSpec, unit: str) -> FloatArray:
    """[n] what the last tier would cost on the tokens of the first attempt; NaN without tokens or price."""
    tier = spec.tiers[spec.last]
    tokens_in: FloatArray = first["tokens_in"].to_numpy(dtype=np.float64)
    tokens_out: FloatArray = first["tokens_out"].fillna(0.0).to_numpy(dtype=np.float64)
    if unit == "tokens":
        return np.add(tokens_in, tokens_out)
    if unit == "gflops":
        return np.multiply(tokens_in + tokens_out, tier.gflops(1))
    price = tier.price_at(first["occurred_at"].max().to_pydatetime()) if len(first) else None
    if price is None:
        return np.full(len(first), np.nan)
    per_in, per_out = price.cost_usd(1, 0), price.cost_usd(0, 1)
    return np.add(tokens_in * per_in, tokens_out * per_out)
