"""Decisions as they were logged, column by column, and what a bundle that did not decide them would
have kept.

The bundle's own policy is asked again (`knowgate.policy.kept_tiers`), with signals that its own
models make of the stored hidden states. A tier that did not run may have kept anything.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pandas as pd

from evidence.certification.known_outcomes import LoggedRows, agreeing, ended_early
from knowgate._bundles.bundle import Bundle
from knowgate._bundles.tier_models import TierModels
from knowgate._records.arrays import BoolArray, FloatArray, IntArray
from knowgate._records.records import Fingerprint, Role
from knowgate.policy import kept_tiers
from knowgate.spec import CascadeSpec, LabelCoin
from monitoring.figures.tier_figures import undeclared_attempts
from monitoring.rows.cohorts import Cohort
from monitoring.rows.pairing import numbers_at
from store.shards.shards import ShardRefused, read_rows
from store.traffic.attempt_columns import taken

log = logging.getLogger("knowgate.monitoring")

MOST_DECISIONS = 20_000  # the newest of the window; their vectors are in memory at once


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoggedColumns:
    """Per decision [n] and tier [n, tiers] what is known; −1, NaN and None where a tier did not
    run.
    """

    ids: tuple[str, ...]
    attempts: pd.DataFrame
    at: IntArray  # [n, tiers] the attempt's row
    ran: BoolArray
    early: BoolArray  # a gate ended the tier before it answered
    correct: FloatArray
    exploration_rate: FloatArray  # [n]
    apart: BoolArray  # [n] labels of a decision's tiers were drawn by coins apart
    served: IntArray  # [n] the tier whose answer was served

    @property
    def n(self) -> int:
        return len(self.ids)

    @staticmethod
    def of(cohort: Cohort) -> "LoggedColumns":
        """The newest decisions whose first tier ran the declared model; what another model answered
        later is unknown.

        To leave the latter out too would favour what is retained.
        """
        attempts = cohort.attempts
        strange = pd.Series(undeclared_attempts(cohort.spec, attempts), index=attempts.index)
        first = attempts.loc[strange & (attempts["tier"] == 0), "decision"]
        decisions = cohort.decisions[~cohort.decisions["decision"].isin(first)].tail(MOST_DECISIONS)
        place = pd.Series(np.arange(len(decisions)), index=decisions["decision"])
        attempts = attempts.assign(correct=attempts["correct"].mask(strange))
        attempts = attempts[attempts["decision"].isin(decisions["decision"])].reset_index(drop=True)
        at = np.full((len(decisions), cohort.spec.last + 1), -1, dtype=np.int64)
        at[place[attempts["decision"]].to_numpy(), attempts["tier"].to_numpy()] = np.arange(len(attempts))
        role = taken(attempts["role"].to_numpy(dtype=object), at)
        return LoggedColumns(
            ids=tuple(str(UUID(bytes=name)) for name in decisions["id"]),
            attempts=attempts,
            at=at,
            ran=(at >= 0) & (role != Role.SKIPPED),
            early=ended_early(role),
            correct=numbers_at(attempts, "correct", at),
            exploration_rate=decisions["exploration_rate"].to_numpy(dtype=np.float64),
            apart=np.asarray(decisions["label_coin"] == LabelCoin.ATTEMPT, dtype=np.bool_),
            served=np.argmax(role == Role.SERVED, axis=1),
        )

    @property
    def tells(self) -> bool:
        """Whether there is a decision whose last tier answered and was labelled."""
        return bool((self.ran[:, -1] & np.isfinite(self.correct[:, -1])).any())

    def logged(self) -> LoggedRows:
        keys = [None if key == -1 else key for key in self.attempts["answer_key"].tolist()]
        answers = [*keys, None]  # the last place is that of a tier that did not run
        return LoggedRows(
            ids=self.ids,
            ran=self.ran,
            agrees=agreeing([[answers[row] for row in of_tier] for of_tier in self.at.T]),
            correct=self.correct,
            label_propensity=numbers_at(self.attempts, "label_propensity", self.at),
            run_propensity=numbers_at(self.attempts, "run_propensity", self.at),
            exploration_rate=self.exploration_rate,
            apart=self.apart,
            early=self.early,
        )


def kept_by(columns: LoggedColumns, bundle: Bundle, spec: CascadeSpec) -> IntArray:
    """[n] the tier at which the bundle would have kept each decision."""
    same_kind = [kind is tier.p_t_kind for kind, tier in zip(bundle.document.p_t_kinds, spec.tiers, strict=False)]
    signals = [_signals(columns, tier, bundle.tiers[tier], same_kind=same_kind[tier]) for tier in range(spec.last)]
    return kept_tiers(bundle.document.policy, signals, columns.ran)


def _signals(
    columns: LoggedColumns, tier: int, models: TierModels | None, *, same_kind: bool
) -> Mapping[str, FloatArray]:
    """What the bundle would have seen at the tier, by gate, each [n]."""
    at = columns.at[:, tier]
    unknown = np.full(columns.n, np.nan)
    p_t = numbers_at(columns.attempts, "p_t", at) if same_kind else unknown
    if models is None:
        return {"p_t": p_t, "p_ik": unknown, "ood": unknown, "score": unknown}
    slices = columns.attempts["slice"].to_numpy(dtype=object)
    return models.signal_columns(
        p_t=p_t,
        hidden=_hidden(columns.attempts, at, models.document.fingerprint, models.document.dimension),
        tokens_in=numbers_at(columns.attempts, "tokens_in", at),
        entropy=numbers_at(columns.attempts, "entropy", at),
        margin=numbers_at(columns.attempts, "margin", at),
        slices=[None if row < 0 or slices[row] is None else str(slices[row]) for row in at],
    )


def _hidden(attempts: pd.DataFrame, at: IntArray, fingerprint: Fingerprint, dimension: int) -> npt.NDArray[np.float16]:
    """[n, d] the attempts' stored states; NaN where there is none of this fingerprint."""
    hidden = np.full((len(at), dimension), np.nan, dtype=np.float16)
    shards, rows = attempts["shard"].to_numpy(dtype=object), attempts["row"].to_numpy(dtype=np.int64)
    places: dict[str, list[int]] = {}
    for number, row in enumerate(at):
        if row >= 0 and isinstance(shards[row], str):
            places.setdefault(shards[row], []).append(number)
    for url, numbers in places.items():
        try:
            read = read_rows(url, rows[at[numbers]].tolist(), fingerprint=fingerprint)
        except ShardRefused as error:
            log.warning("%d vectors count as missing: %s", len(numbers), error)
            continue
        if read.shape[1] == dimension:
            hidden[numbers] = read
    return hidden
