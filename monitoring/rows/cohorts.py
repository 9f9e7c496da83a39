"""A cohort: all decisions of a block of decision time, each with its tiers paired.

The store joins one row per attempt; a figure needs one row per decision: what was kept, what the
last tier said, what both cost. The pairing is done once (`monitoring.rows.pairing`), and figures,
alarms and causes read the same two tables. A cohort knows as of when its labels are: before every
decision is older than the label horizon it is immature, and figures of correctness lean towards
whatever is labelled first.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

import pandas as pd

from knowgate._records.records import Window
from knowgate.spec import CascadeSpec
from monitoring.rows.attempts import (
    LABELLED,
    of_declared_kind,
    of_known_tiers,
    pair_attempts,
    uncertified_runs,
    within_bounds,
)
from monitoring.rows.pairing import pair_answers, pair_decisions
from store.traffic.example_columns import Examples
from store.traffic.uncertified import UncertifiedRuns


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """Decisions of one window as they were known at `as_of`; `monitoring.rows.pairing` describes
    the columns.
    """

    spec: CascadeSpec
    window: Window
    as_of: datetime
    decisions: pd.DataFrame  # a row per decision, in order of decision time
    attempts: pd.DataFrame  # a row per attempt
    uncertified: pd.DataFrame | None = None  # a row per request that no certificate covers; None = was not read

    @property
    def mature(self) -> bool:
        """Whether every decision is older than the label horizon. Missing labels stay in the
        denominator then.
        """
        return is_mature(self.spec, self.window, self.as_of)

    @property
    def size(self) -> int:
        """The number of decisions."""
        return len(self.decisions)

    @property
    def slices(self) -> tuple[str, ...]:
        """The names of the slices seen, those with most decisions first."""
        return tuple(str(name) for name in self.decisions["slice"].value_counts(sort=True).index)

    def of_slice(self, name: str) -> "Cohort":
        """The decisions of one slice."""
        return self._where(lambda rows: rows["slice"] == name)

    def of_bundle(self, bundle: str) -> "Cohort":
        """The decisions that one bundle made."""
        return self._where(lambda rows: rows["bundle"] == bundle)

    def between(self, window: Window) -> "Cohort":
        """The decisions of a shorter window."""
        inside = self._where(lambda rows: (rows["occurred_at"] >= window.start) & (rows["occurred_at"] < window.end))
        return replace(inside, window=window)

    def _where(self, chosen: Callable[[pd.DataFrame], "pd.Series[bool]"]) -> "Cohort":
        def of(rows: pd.DataFrame) -> pd.DataFrame:
            there = chosen(rows)  # often all are: one bundle decides for weeks
            return rows if there.all() else rows[there].reset_index(drop=True)

        uncertified = None if self.uncertified is None else of(self.uncertified)
        return replace(self, decisions=of(self.decisions), attempts=of(self.attempts), uncertified=uncertified)


def cohort_of(
    examples: Examples,
    spec: CascadeSpec,
    window: Window,
    *,
    as_of: datetime,
    uncertified: UncertifiedRuns | None = None,
) -> Cohort:
    """The cohort of the attempts that `store.traffic.examples.labelled` joined for `window`, labels
    as of `as_of`; `uncertified` are the requests of it that no certificate covers.

    Decisions with a tier that the cascade no longer has are left out: they cannot be measured
    against its last one. A P(T) of another kind than the cascade declares counts as missing, and no
    run for more than a query may take. Raises CohortInvalid where a decision does not have exactly
    one served attempt.
    """
    attempts = within_bounds(of_declared_kind(of_known_tiers(pair_attempts(examples), spec), spec), spec)
    return Cohort(
        spec=spec,
        window=window,
        as_of=as_of,
        decisions=pair_decisions(attempts, spec, as_of=as_of),
        attempts=attempts,
        uncertified=None if uncertified is None else uncertified_runs(uncertified, spec),
    )


def labelled_cohort(examples: Examples, spec: CascadeSpec, window: Window, *, as_of: datetime) -> Cohort:
    """The cohort that `cohort_of` makes, of the columns `LABELLED` alone: a fifth of it, and enough
    for figures of labels, calibration and the OOD gate. What needs another column raises KeyError.
    """
    attempts = within_bounds(of_known_tiers(pair_attempts(examples, LABELLED), spec), spec)
    return Cohort(spec=spec, window=window, as_of=as_of, decisions=pair_answers(attempts, spec), attempts=attempts)


def is_mature(spec: CascadeSpec, window: Window, as_of: datetime) -> bool:
    """Whether the youngest decision that `window` can hold is older than the label horizon at
    `as_of`.
    """
    return window.end + spec.horizon <= as_of
