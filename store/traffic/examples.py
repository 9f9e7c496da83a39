"""The join: attempts with the label in force, as of a time. One statement, whatever the size of the
window.

The label in force is chosen by a window function: among labels made and received by `as_of`, the
strongest source (gold > human > judge > feedback), and within it the newest statement: the one made
last, whenever it came. A decision received after `as_of` is not there, so the same read gives the
same rows whenever it is made.

Told which sources are trusted, the join takes `correct` from those alone and puts the strongest of
the others beside it as `forecast`: a grader's verdict then stands also where a gold label does, or
it could not be corrected by it.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import DateTime, Select, Subquery, case, func, null, select, type_coerce
from sqlalchemy.orm import Session

from knowgate._records.records import LabelSource, Window
from knowgate.spec import LabelCoin
from store import dialects, partitions
from store.releases.cascades import declared_label_coins, declared_p_t_kinds
from store.statements import newest_first
from store.tables import AttemptRow, DecisionRow, FingerprintRow, LabelRow, VectorPlaceRow, VectorShardRow
from store.tables.base import UtcDateTime

# The tables rather than the models: nothing here needs the ORM, which would walk every row twice.
_DECISION = dialects.table_of(DecisionRow)
_ATTEMPT = dialects.table_of(AttemptRow)
_LABEL = dialects.table_of(LabelRow)
_PLACE = dialects.table_of(VectorPlaceRow)
_SHARD = dialects.table_of(VectorShardRow)
_FINGERPRINT = dialects.table_of(FingerprintRow)

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Objects = npt.NDArray[np.object_]
Times = npt.NDArray[np.datetime64]
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Attempts as columns of equal length n, ordered by decision id and tier.

    Floats are NaN where unknown, texts None, times NaT (all in UTC).
    """

    ids: Objects  # UUID of the decision
    decision: Integers  # 0, 1, …: equal for the attempts of one decision; what pairs tiers
    occurred_at: Times
    received_at: Times  # when the decision arrived
    tier: Integers
    role: Objects
    model: Objects
    p_t: Floats
    p_ik: Floats
    score: Floats
    ood: Floats
    entropy: Floats
    margin: Floats
    p_t_kind: Objects  # which probability p_t is: as it was sent, else as the cascade declared it then
    correct: Floats  # of the label in force
    label_source: Objects
    labelled_at: Times
    label_received_at: Times
    run_propensity: Floats
    label_propensity: Floats  # of the label in force
    label_coin: Objects  # how labels of this decision are drawn, as the cascade declared it then
    forecast: Floats  # what the strongest source that is not trusted says; NaN where every source is
    forecast_source: Objects
    exploration_rate: Floats  # the row's own chance of a run of the last tier beside a retained answer
    slice: Objects
    prompt: Objects
    prompt_hash: Objects
    answer: Objects
    tokens_in: Floats
    tokens_out: Floats
    latency_ms: Floats
    cost_usd: Floats
    gflops: Floats
    retained: Booleans  # this attempt's verdict was to keep its answer
    reason: Objects
    shard: Objects  # URL of the shard with this attempt's vector
    row: Integers  # within the shard; -1 = no vector
    dimension: Integers  # of the vector; -1 = no vector
    revision: Objects  # of the model that the attempt's fingerprint names; None without one
    vector_sha256: Objects  # of the row's bytes
    fingerprint: Objects  # SHA-256 of the attempt's fingerprint, a key of `store.traffic.fingerprints.fingerprints`
    generation: Integers  # of the assignment in force; -1 = none
    bundle: Objects

    @property
    def rows(self) -> int:
        """The number n of attempts."""
        return len(self.tier)

    @property
    def decisions(self) -> int:
        """The number of decisions."""
        return int(self.decision[-1]) + 1 if self.rows else 0

    def at_tier(self, tier: int) -> Integers:
        """Per decision the index of its attempt at `tier`; -1 where that did not run. Shape
        [decisions].
        """
        index = np.full(self.decisions, -1, dtype=np.int64)
        at = np.flatnonzero(self.tier == tier)
        index[self.decision[at]] = at
        return index

    def column_at(self, name: str, tier: int) -> Floats:
        """Per decision a float column's value at `tier`; NaN where that did not run. Shape
        [decisions].
        """
        column: Floats = getattr(self, name)
        index = self.at_tier(tier)
        values = np.full(self.decisions, np.nan)
        values[index >= 0] = column[index[index >= 0]]
        return values


def labelled(
    session: Session,
    cascade: str,
    window: Window,
    *,
    as_of: datetime,
    trusted: Collection[LabelSource] = tuple(LabelSource),
) -> Examples:
    """The attempts of a window of decision time with the label in force at `as_of`, of the sources
    that are trusted.

    Unlabelled attempts are there too, with `correct` NaN: they stay in the denominator.
    """
    rows = session.execute(_query(cascade, window, as_of, trusted)).all()
    columns: list[tuple[Any, ...]] = list(zip(*rows, strict=True)) if rows else [()] * (len(_COLUMNS) + 2)
    arrays = {name: make(values) for (name, _, make), values in zip(_COLUMNS, columns[:-2], strict=True)}
    arrays |= {"forecast": _floats(columns[-2]), "forecast_source": _objects(columns[-1])}
    versions = arrays.pop("spec_version")
    arrays["p_t_kind"] = _kinds(session, cascade, arrays, versions)
    arrays["label_coin"] = _label_coins(session, cascade, versions)
    ids = arrays["ids"]
    fresh = np.ones(len(ids), dtype=bool)
    fresh[1:] = ids[1:] != ids[:-1]
    return Examples(decision=np.cumsum(fresh).astype(np.int64) - 1, **arrays)


def _label_coins(session: Session, cascade: str, versions: Integers) -> Objects:
    """How labels were drawn, by the versions that the decisions name; a version that says nothing
    means one coin.
    """
    declared = declared_label_coins(session, cascade) if len(versions) else {}
    return _objects(tuple(declared.get(int(version), LabelCoin.DECISION.value) for version in versions))


def _kinds(session: Session, cascade: str, arrays: dict[str, Any], versions: Integers) -> Objects:
    """The kinds of P(T), those that nobody sent filled in from the cascade's versions that the
    decisions name.
    """
    sent = arrays["p_t_kind"]
    unsaid = np.flatnonzero([kind is None for kind in sent])
    if not len(unsaid):
        return np.asarray(sent, dtype=object)
    declared = declared_p_t_kinds(session, cascade)
    filled = np.array(sent, dtype=object)
    for at in unsaid:
        filled[at] = declared.get((int(versions[at]), int(arrays["tier"][at])))
    return filled


def _query(cascade: str, window: Window, as_of: datetime, trusted: Collection[LabelSource]) -> Select[Any]:
    low, high = partitions.first_id(window.start), partitions.first_id(window.end)
    others = [source for source in LabelSource if source not in trusted]
    held = _labels_in_force(low, high, as_of, trusted)
    foreseen = _labels_in_force(low, high, as_of, others)
    columns = [_plain(column(held)) for _, column, _ in _COLUMNS]
    columns += [foreseen.c.correct, foreseen.c.source] if others else [null(), null()]
    joined = (
        select(*columns)
        .select_from(_DECISION)
        .join(_ATTEMPT, _ATTEMPT.c.decision_id == _DECISION.c.id)
        .outerjoin(
            held,
            (held.c.decision_id == _ATTEMPT.c.decision_id) & (held.c.tier == _ATTEMPT.c.tier) & (held.c.place == 1),
        )
    )
    if others:
        joined = joined.outerjoin(
            foreseen,
            (foreseen.c.decision_id == _ATTEMPT.c.decision_id)
            & (foreseen.c.tier == _ATTEMPT.c.tier)
            & (foreseen.c.place == 1),
        )
    return (
        joined.outerjoin(
            _PLACE,
            (_PLACE.c.decision_id == _ATTEMPT.c.decision_id)
            & (_PLACE.c.tier == _ATTEMPT.c.tier)
            & (_PLACE.c.decision_id >= low)
            & (_PLACE.c.decision_id < high),
        )
        .outerjoin(_SHARD, _SHARD.c.id == _PLACE.c.shard)
        .outerjoin(_FINGERPRINT, _FINGERPRINT.c.sha256 == _ATTEMPT.c.fingerprint)
        .where(
            _DECISION.c.cascade == cascade,
            _DECISION.c.id >= low,
            _DECISION.c.id < high,
            _DECISION.c.received_at <= as_of,
            # Said again of the attempt, so that its partitions are pruned too.
            _ATTEMPT.c.decision_id >= low,
            _ATTEMPT.c.decision_id < high,
        )
        .order_by(_DECISION.c.id, _ATTEMPT.c.tier)
    )


def _plain(column: Any) -> Any:
    """Times as the driver reads them, all in UTC: arrays have no use for aware ones, and there are
    many.
    """
    return type_coerce(column, DateTime(timezone=True)) if isinstance(column.type, UtcDateTime) else column


def _labels_in_force(low: Any, high: Any, as_of: datetime, sources: Collection[LabelSource]) -> Subquery:
    strength = case({source.value: rank for rank, source in enumerate(LabelSource)}, value=_LABEL.c.source)
    place = func.row_number().over(
        partition_by=(_LABEL.c.decision_id, _LABEL.c.tier),
        order_by=(strength, *newest_first(_LABEL.c)),
    )
    return (
        select(
            _LABEL.c.decision_id,
            _LABEL.c.tier,
            _LABEL.c.source,
            _LABEL.c.correct,
            _LABEL.c.labelled_at,
            _LABEL.c.received_at,
            _LABEL.c.label_propensity,
            place.label("place"),
        )
        .where(
            _LABEL.c.decision_id >= low,
            _LABEL.c.decision_id < high,
            _LABEL.c.labelled_at <= as_of,
            _LABEL.c.received_at <= as_of,
            _LABEL.c.source.in_([source.value for source in sources]),
        )
        .subquery()
    )


def _floats(values: tuple[Any, ...]) -> Floats:
    return np.array(values, dtype=np.float64)  # None becomes NaN


def _objects(values: tuple[Any, ...]) -> Objects:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _times(values: tuple[Any, ...]) -> Times:
    plain = [None if value is None else value.replace(tzinfo=None) for value in values]
    return np.array(plain, dtype="datetime64[us]")


def _integers(values: tuple[Any, ...]) -> Integers:
    return np.array([-1 if value is None else value for value in values], dtype=np.int64)


def _retained(values: tuple[Any, ...]) -> Booleans:
    return np.array([value == "retain" for value in values], dtype=bool)


_Column = tuple[str, Callable[[Subquery], Any], Callable[[tuple[Any, ...]], Any]]
_COLUMNS: tuple[_Column, ...] = (
    ("ids", lambda _: _DECISION.c.id, _objects),
    ("occurred_at", lambda _: _DECISION.c.occurred_at, _times),
    ("received_at", lambda _: _DECISION.c.received_at, _times),
    ("tier", lambda _: _ATTEMPT.c.tier, _integers),
    ("role", lambda _: _ATTEMPT.c.role, _objects),
    ("model", lambda _: _ATTEMPT.c.model, _objects),
    ("p_t", lambda _: _ATTEMPT.c.p_t, _floats),
    ("p_ik", lambda _: _ATTEMPT.c.p_ik, _floats),
    ("score", lambda _: _ATTEMPT.c.score, _floats),
    ("ood", lambda _: _ATTEMPT.c.ood, _floats),
    ("entropy", lambda _: _ATTEMPT.c.entropy, _floats),
    ("margin", lambda _: _ATTEMPT.c.margin, _floats),
    ("p_t_kind", lambda _: _ATTEMPT.c.p_t_kind, _objects),
    ("spec_version", lambda _: _DECISION.c.spec_version, _integers),
    ("correct", lambda held: held.c.correct, _floats),
    ("label_source", lambda held: held.c.source, _objects),
    ("labelled_at", lambda held: held.c.labelled_at, _times),
    ("label_received_at", lambda held: held.c.received_at, _times),
    ("run_propensity", lambda _: _ATTEMPT.c.run_propensity, _floats),
    ("label_propensity", lambda held: held.c.label_propensity, _floats),
    ("exploration_rate", lambda _: _DECISION.c.exploration_rate, _floats),
    ("slice", lambda _: _DECISION.c.slice, _objects),
    ("prompt", lambda _: _DECISION.c.prompt, _objects),
    ("prompt_hash", lambda _: _DECISION.c.prompt_hash, _objects),
    ("answer", lambda _: _ATTEMPT.c.answer, _objects),
    ("tokens_in", lambda _: _ATTEMPT.c.tokens_in, _floats),
    ("tokens_out", lambda _: _ATTEMPT.c.tokens_out, _floats),
    ("latency_ms", lambda _: _ATTEMPT.c.latency_ms, _floats),
    ("cost_usd", lambda _: _ATTEMPT.c.cost_usd, _floats),
    ("gflops", lambda _: _ATTEMPT.c.gflops, _floats),
    ("retained", lambda _: _ATTEMPT.c.action, _retained),
    ("reason", lambda _: _ATTEMPT.c.reason, _objects),
    ("shard", lambda _: _SHARD.c.url, _objects),
    ("row", lambda _: _PLACE.c.row, _integers),
    ("dimension", lambda _: _SHARD.c.dimension, _integers),
    ("revision", lambda _: _FINGERPRINT.c.document["revision"].as_string(), _objects),
    ("vector_sha256", lambda _: _PLACE.c.sha256, _objects),
    ("fingerprint", lambda _: _ATTEMPT.c.fingerprint, _objects),
    ("generation", lambda _: _DECISION.c.generation, _integers),
    ("bundle", lambda _: _DECISION.c.bundle, _objects),
)
