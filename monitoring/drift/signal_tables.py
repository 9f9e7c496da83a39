"""The columns in which drift is looked for: one tier's signals, token counts and leading PCA
components.

p_t and token counts are as logged. p_ik, score and ood come from a bundle's models, and training
rows were logged under another bundle or none; so on the reference side they are computed from the
stored vectors with the models of the bundle that decides now. PCA components are those of the
bundle's OOD statistics, on both sides. Vectors are read where they are of the bundle's own
fingerprint: a probe that reads another layer than the one before has no vectors of earlier days.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from knowgate._bundles.bundle_documents import TierDocument
from knowgate._bundles.tier_models import TierModels
from knowgate._models.features import features
from knowgate._records.arrays import FloatArray, IntArray
from knowgate._records.records import Role
from monitoring.drift.drift import MissingShift, missing_shift
from store.shards.shards import ShardRefused, read_rows
from store.traffic.decision_rows import fingerprint_id

log = logging.getLogger("knowgate.monitoring")


LOGGED = ("p_t", "tokens_in", "tokens_out")
MADE = ("p_ik", "score", "ood")
WATCHED = ("p_t", "p_ik", "score", "ood", "entropy", "tokens_in", "tokens_out")  # may go missing
SIGNALS = ("p_t", "p_ik", "score", "ood", "entropy")  # must not be one value
OF_ANSWERS = ("p_t", "score", "entropy", "tokens_out")  # what a tier that was skipped does not show
LEAST_ATTEMPTS = 20  # with a signal; fewer may well be alike
_SAME = 1e-9  # values this near to each other are one
COMPONENTS = 5  # the leading ones; the rest is in ood
MOST_VECTORS = 2000  # per side, evenly spaced: reading all of a month's vectors would take minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalSpread:
    """How one signal of one tier varied over some attempts, enough to say so."""

    tier: str  # its name
    signal: str
    attempts: int  # that have it
    low: float
    high: float

    @property
    def constant(self) -> bool:
        """Whether it tells nothing. An ood of 1 throughout does: that every query is further off
        than any that the probe has seen; a gate keeps none of them.
        """
        beyond = self.signal == "ood" and self.low >= 1.0
        return self.high - self.low <= _SAME and not beyond


def signal_spreads(attempts: pd.DataFrame, tier: str) -> tuple[SignalSpread, ...]:
    """The signals of one tier's attempts that at least 20 of them have."""
    known = {name: attempts[name].dropna().to_numpy(dtype=np.float64) for name in SIGNALS}
    return tuple(
        SignalSpread(tier=tier, signal=name, attempts=len(v), low=float(v.min()), high=float(v.max()))
        for name, v in known.items()
        if len(v) >= LEAST_ATTEMPTS
    )


def missing_shares(attempts: pd.DataFrame) -> Mapping[str, tuple[int, int]]:
    """Per column in how many attempts it is missing, of how many: a skipped one owes none of an
    answer's, and one that was not even asked owes nothing.
    """
    answered, asked = attempts[attempts["role"] != Role.SKIPPED], attempts[~_unasked(attempts)]
    owed = {name: answered if name in OF_ANSWERS else asked for name in WATCHED}
    return {name: (int(rows[name].isna().sum()), len(rows)) for name, rows in owed.items()}


def missing_shifts(before: pd.DataFrame, reference: pd.DataFrame, today: pd.DataFrame) -> tuple[MissingShift, ...]:
    """How often columns are missing today beside the training window, `before` [attempts] as
    `reference` has it.

    What a bundle makes is made there from the stored vectors, so it is counted where it could be
    made: on the rows that have any of it. Where nothing could be made (no vector is stored), there
    is no reference.
    """
    then, now = dict(missing_shares(before)), missing_shares(today)
    made = [name for name in MADE if name in reference.columns]
    rows = reference[made].notna().any(axis=1) if made else pd.Series(dtype=bool)
    for name in MADE:
        then[name] = (int(reference.loc[rows, name].isna().sum()), int(rows.sum())) if name in made else (0, 0)
    shifts = (missing_shift(name, then[name], now[name]) for name in WATCHED)
    return tuple(shift for shift in shifts if shift is not None)


def current_table(attempts: pd.DataFrame, models: TierModels | None) -> pd.DataFrame:
    """Today's columns of one tier's attempts: signals as logged, PCA components where vectors are
    there.
    """
    table = _numbers(attempts, (*LOGGED, *MADE))
    if models is None:
        return table
    rows, hidden = _vectors(attempts, models.document)
    return table.join(pd.DataFrame(_components(hidden, models), index=rows))


def reference_table(attempts: pd.DataFrame, models: TierModels | None) -> pd.DataFrame:
    """The reference columns of one tier's attempts, made with the models that decide now."""
    table = _numbers(attempts, LOGGED)
    if models is None:
        return table
    rows, hidden = _vectors(attempts, models.document)
    made: dict[str, FloatArray] = {}
    if len(rows):
        chosen = attempts.iloc[rows]
        signals = models.signal_columns(
            p_t=chosen["p_t"].to_numpy(dtype=np.float64),
            hidden=hidden,
            tokens_in=chosen["tokens_in"].to_numpy(dtype=np.float64),
            entropy=chosen["entropy"].to_numpy(dtype=np.float64),
            slices=[None if pd.isna(name) else str(name) for name in chosen["slice"]],
        )
        made = {name: signals[name] for name in MADE}
    return table.join(pd.DataFrame({**made, **_components(hidden, models)}, index=rows))


def _numbers(attempts: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """These columns as numbers; a tier that was skipped has no length of an answer, and one that
    was not even asked none of a prompt.
    """
    table = attempts[list(names)].astype(np.float64)
    tokens_in = table["tokens_in"].mask(_unread(attempts))
    tokens_out = table["tokens_out"].mask(attempts["role"] == Role.SKIPPED)
    return table.assign(tokens_in=tokens_in, tokens_out=tokens_out).reset_index(drop=True)


def _unread(attempts: pd.DataFrame) -> "pd.Series[bool]":
    """Whose prompt the tier did not read: it was passed over, or its encoder read for it."""
    return (attempts["role"] == Role.SKIPPED) & (attempts["tokens_in"] == 0)


def _unasked(attempts: pd.DataFrame) -> "pd.Series[bool]":
    """Of which nothing is known: passed over before anything looked at the prompt, as most are
    while a cascade is observed.
    """
    return _unread(attempts) & attempts[list(MADE)].isna().all(axis=1)


def _vectors(attempts: pd.DataFrame, document: TierDocument) -> tuple[IntArray, npt.NDArray[np.float16]]:
    """Positions of attempts with a vector of the bundle's fingerprint and size, and the vectors.

    A shard that cannot be read, or is of another dimension, is left out of the picture, and the log
    says how many.
    """
    dimension, own = document.dimension, fingerprint_id(document.fingerprint)
    named = attempts["fingerprint"]
    with_vector = np.flatnonzero((attempts["shard"].notna() & (named.isna() | (named == own))).to_numpy())
    with_vector = with_vector[:: max(1, -(-len(with_vector) // MOST_VECTORS))]
    positions: list[IntArray] = []
    vectors: list[npt.NDArray[np.float16]] = []
    places = attempts.iloc[with_vector]
    for url, group in places.groupby("shard").indices.items():
        try:
            read = read_rows(str(url), places["row"].to_numpy()[group].tolist())
        except ShardRefused as error:
            log.warning("%d vectors are left out of drift: %s", len(group), error)
            continue
        if read.shape[1] != dimension:
            warning = "%d vectors are left out of drift: %s has dimension %d, the bundle in force %d"
            log.warning(warning, len(group), url, read.shape[1], dimension)
            continue
        positions.append(with_vector[group])
        vectors.append(read)
    if not vectors:
        return np.empty(0, dtype=np.int64), np.empty((0, dimension), dtype=np.float16)
    return np.concatenate(positions), np.concatenate(vectors)


def _components(hidden: npt.NDArray[np.float16], models: TierModels) -> Mapping[str, FloatArray]:
    """`pca_1` … of vectors [n, d], in the order of the bundle's components."""
    if models.ood is None or not len(hidden):
        return {}
    x = models.standardiser.apply(features(hidden)) - models.ood.mean
    projected = (x @ models.ood.components[:COMPONENTS].T).astype(np.float64)
    return {f"pca_{number + 1}": projected[:, number] for number in range(projected.shape[1])}
