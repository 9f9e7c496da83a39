"""Attempts as rows of a table: which of them figures count, and for how much."""

import logging
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from evidence.costs.run_limits import Runs, bounded_runs
from knowgate.spec import CascadeSpec
from store.traffic.attempt_columns import Objects
from store.traffic.examples import Examples
from store.traffic.uncertified import UncertifiedRuns

log = logging.getLogger("knowgate.monitoring")


def pair_attempts(examples: Examples) -> pd.DataFrame:
    """One row per attempt, ordered by decision and tier.

    Columns are those of `store.traffic.examples.Examples` but for: id and usd in place of ids and
    cost_usd; occurred_at (aware; of the id); tokens, in and out together. Times are aware. Prompts
    are left out: no figure reads them, and a run that keeps its cohorts would keep their texts.
    """
    columns = {name: _column(values) for name, values in examples.arrays().items() if name != "prompt"}
    columns["id"], columns["usd"] = columns.pop("ids"), columns.pop("cost_usd")
    columns["occurred_at"] = _times_of(examples.ids)
    return pd.DataFrame(columns | {"tokens": examples.tokens_in + examples.tokens_out})


def uncertified_runs(runs: UncertifiedRuns, spec: CascadeSpec) -> pd.DataFrame:
    """One row per request that no certificate covers: id, slice, bundle, occurred_at (aware; of the
    id), tier, and what it took, no more than a query may take.
    """
    frame = pd.DataFrame({item.name: _column(getattr(runs, item.name)) for item in fields(runs)})
    frame = frame.assign(tokens=frame["tokens_in"] + frame["tokens_out"], occurred_at=_times_of(runs.ids))
    return within_bounds(frame, spec)


def _column(values: npt.NDArray[Any]) -> Any:
    """The array as a column: times are aware, texts stay texts."""
    if values.dtype.kind == "M":
        return pd.Series(values).dt.tz_localize("UTC")
    return pd.Series(values, dtype=object) if values.dtype == object else values


def _times_of(ids: Objects) -> "pd.Series[pd.Timestamp]":
    """The time in each decision's id: the one that windows are cut by, so that no row lies outside
    its window.
    """
    millis = np.array([decision_id.int >> 80 for decision_id in ids], dtype="datetime64[ms]")
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
