"""Attempts as rows of a table: which of them figures count, and for how much."""

import logging
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from evidence.costs.run_limits import Runs, bounded_runs
from knowgate.spec import CascadeSpec
from store.traffic.attempt_columns import Ids
from store.traffic.example_columns import Examples
from store.traffic.uncertified import UncertifiedRuns

log = logging.getLogger("knowgate.monitoring")

# What figures, alarms and rules read of attempts, and no more: texts of prompts and answers are not
# even fetched for a run that keeps its cohorts.
COLUMNS = frozenset(
    {
        *("ids", "tier", "role", "model", "revision", "received_at"),
        *("slice", "bundle", "generation", "exploration_rate"),
        *("p_t", "p_t_kind", "p_ik", "score", "ood", "entropy", "margin", "retained", "reason", "answer_key"),
        *("correct", "label_source", "label_received_at", "label_propensity", "label_coin", "forecast"),
        *("tokens_in", "tokens_out", "latency_ms", "cost_usd", "gflops", "run_propensity"),
        *("shard", "row", "fingerprint"),
    }
)
# What a mature week's labels are judged by, and no more: neither what a decision cost in all, nor
# where its vectors lie. What a run took says how much of its `cost_usd` may count.
LABELLED = frozenset(
    {
        *("ids", "tier", "role", "bundle", "exploration_rate", "run_propensity"),
        *("score", "ood", "retained", "reason", "answer_key"),
        *("correct", "label_source", "label_propensity", "label_coin", "forecast"),
        *("tokens_in", "tokens_out", "cost_usd", "gflops", "latency_ms"),
    }
)
# What drift is looked for in, and no label.
COMPARED = frozenset(
    {
        *("ids", "tier", "role", "reason", "slice"),
        *("p_t", "p_ik", "score", "ood", "entropy"),
        *("tokens_in", "tokens_out", "cost_usd", "gflops", "latency_ms"),
        *("shard", "row", "fingerprint"),
    }
)


def pair_attempts(examples: Examples, columns: frozenset[str] = COLUMNS) -> pd.DataFrame:
    """One row per attempt, ordered by decision and tier.

    Columns are those that were read but for: id (16 bytes) and usd in place of ids and cost_usd;
    decision; occurred_at (aware; of the id); tokens, in and out together. Times are aware.
    """
    found = {name: _column(getattr(examples, name)) for name in sorted(columns - {"ids"})}
    found |= {"id": _ids(examples.ids), "decision": examples.decision, "usd": found.pop("cost_usd")}
    found["occurred_at"] = _times_of(examples.ids)
    return pd.DataFrame(found | {"tokens": examples.tokens_in + examples.tokens_out})


def uncertified_runs(runs: UncertifiedRuns, spec: CascadeSpec) -> pd.DataFrame:
    """One row per request that no certificate covers: id, slice, bundle, occurred_at (aware; of the
    id), tier, and what it took, no more than a query may take.
    """
    columns = {item.name: _column(getattr(runs, item.name)) for item in fields(runs) if item.name != "ids"}
    columns |= {"id": _ids(runs.ids), "occurred_at": _times_of(runs.ids), "tokens": runs.tokens_in + runs.tokens_out}
    frame = pd.DataFrame(columns)
    return within_bounds(frame, spec)


def _column(values: npt.NDArray[Any]) -> Any:
    """The array as a column: times are aware, texts stay texts."""
    if values.dtype.kind == "M":
        return pd.Series(values).dt.tz_localize("UTC")
    return pd.Series(values, dtype=object) if values.dtype == object else values


def _ids(ids: Ids) -> "pd.Series[bytes]":
    """Ids as a column of 16 bytes each: NumPy's own would lose zeros at the end."""
    column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(ids), [None, pa.py_buffer(ids.tobytes())])
    return pd.Series(pd.arrays.ArrowExtensionArray(column))


def _times_of(ids: Ids) -> "pd.Series[pd.Timestamp]":
    """The time in each decision's id: the one that windows are cut by, so that no row lies outside
    its window.
    """
    raw = np.frombuffer(ids.tobytes(), dtype=">u8").reshape(-1, 2)
    millis = (raw[:, 0] >> 16).astype("datetime64[ms]")  # the first 48 bits
    return pd.Series(millis.astype("datetime64[us]")).dt.tz_localize("UTC")


def of_known_tiers(attempts: pd.DataFrame, spec: CascadeSpec) -> pd.DataFrame:
    """The attempts of decisions that ran no tier beyond the cascade's last, their ordinals counted
    anew.
    """
    beyond = attempts.loc[attempts["tier"] > spec.last, "decision"].unique()
    if not len(beyond):
        return attempts
    log.warning("%d decisions of %s ran a tier it no longer has; they are left out", len(beyond), spec.name)
    kept = attempts[~attempts["decision"].isin(beyond)].reset_index(drop=True)
    return kept.assign(decision=np.unique(kept["decision"], return_inverse=True)[1])


def of_declared_kind(attempts: pd.DataFrame, spec: CascadeSpec) -> pd.DataFrame:
    """The same attempts without a P(T) of another kind than their tier declares: the two mean
    different things.
    """
    declared = np.array([str(tier.p_t_kind) for tier in spec.tiers], dtype=object)[attempts["tier"].to_numpy()]
    other = attempts["p_t_kind"].notna().to_numpy() & (attempts["p_t_kind"].to_numpy(dtype=object) != declared)
    return attempts.assign(p_t=attempts["p_t"].mask(other)) if other.any() else attempts


def within_bounds(attempts: pd.DataFrame, spec: CascadeSpec) -> pd.DataFrame:
    """The same attempts, none counting for more than a query may take
    (`evidence.costs.run_limits`); `cut` says which would.
    """
    names = ("tier", "tokens_in", "tokens_out", "latency_ms")
    used = {name: attempts[name].to_numpy(dtype=np.float64) for name in names}
    runs = Runs(cost_usd=attempts["usd"].to_numpy(dtype=np.float64), gflops=attempts["gflops"].to_numpy(), **used)
    bounded, cut = bounded_runs(runs, max_tokens=spec.alarms.max_tokens)
    if not cut.any():
        return attempts.assign(cut=cut)
    log.info("%d runs of %s take more than a query may, and count as that; see what sends them", cut.sum(), spec.name)
    return attempts.assign(
        cut=cut,
        tokens_in=bounded.tokens_in,
        tokens_out=bounded.tokens_out,
        tokens=bounded.tokens_in + bounded.tokens_out,
        latency_ms=bounded.latency_ms,
        usd=bounded.cost_usd,
        gflops=bounded.gflops,
    )
