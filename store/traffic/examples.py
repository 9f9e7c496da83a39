"""The join: attempts with the label in force, as of a time. One statement, whatever the size of the
window.

The label in force is chosen by a window function: among labels made and received by `as_of`, the
strongest source (gold > human > judge > feedback), and within it the newest statement: the one made
last, whenever it came. A decision received after `as_of` is not there, so the same read gives the
same rows whenever it is made.

Told which sources are trusted, the join takes `correct` from those alone and puts the strongest of
the others beside it as `forecast`: a grader's verdict then stands also where a gold label does, or
it could not be corrected by it.

Requests that no certificate covers are not among them (`store.traffic.uncertified`).
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import DateTime, Select, Subquery, case, func, null, select, type_coerce
from sqlalchemy.orm import Session

from knowgate._records.records import LabelSource, Role, Window
from knowgate.spec import LabelCoin
from store import dialects, partitions
from store.releases.cascades import declared_label_coins, declared_p_t_kinds
from store.statements import newest_first
from store.tables import AttemptRow, DecisionRow, FingerprintRow, LabelRow, VectorPlaceRow, VectorShardRow
from store.tables.base import UtcDateTime
from store.traffic.attempt_columns import AttemptColumns, Booleans, Floats, Integers, Objects, Times, objects, taken
from store.traffic.uncertified import CERTIFIABLE

# The tables rather than the models: nothing here needs the ORM, which would walk every row twice.
_DECISION = dialects.table_of(DecisionRow)
_ATTEMPT = dialects.table_of(AttemptRow)
_LABEL = dialects.table_of(LabelRow)
_PLACE = dialects.table_of(VectorPlaceRow)
_SHARD = dialects.table_of(VectorShardRow)
_FINGERPRINT = dialects.table_of(FingerprintRow)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examples(AttemptColumns):
    """Attempts as columns of equal length n, ordered by decision id and tier.

    A column is that of its name in the tables of attempts or decisions; `_FROM` says of the others
    where they come from. The kind of P(T) is as it was sent, else as the cascade declared it then.
    """

    ids: Objects  # UUID of the decision
    decision: Integers  # 0, 1, …: equal for the attempts of one decision; what pairs tiers
    received_at: Times  # when the decision arrived
    tier: Integers
    score: Floats
    ood: Floats
    label_received_at: Times
    forecast_source: Objects
    exploration_rate: Floats  # the row's own chance of a run of the last tier beside a retained answer
    prompt_hash: Objects
    answer: Objects
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

    @property
    def answered(self) -> Booleans:
        """[n] whether the attempt gave an answer: it was not skipped."""
        return np.asarray(self.role != Role.SKIPPED, dtype=np.bool_)

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
        return taken(getattr(self, name), self.at_tier(tier))


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
    columns: list[tuple[Any, ...]] = list(zip(*rows, strict=True)) if rows else [()] * (len(_ARRAYS) + 1)
    *read, versions = columns
    arrays = {name: make(values) for (name, make), values in zip(_ARRAYS.items(), read, strict=True)}
    arrays["p_t_kind"] = _kinds(session, cascade, arrays, versions)
    arrays["label_coin"] = _label_coins(session, cascade, versions)
    ids = arrays["ids"]
    fresh = np.ones(len(ids), dtype=bool)
    fresh[1:] = ids[1:] != ids[:-1]
    return Examples(decision=np.cumsum(fresh).astype(np.int64) - 1, **arrays)


def _label_coins(session: Session, cascade: str, versions: tuple[int, ...]) -> Objects:
    """How labels were drawn, by the versions that the decisions name; a version that says nothing
    means one coin.
    """
    declared = declared_label_coins(session, cascade) if len(versions) else {}
    return objects(tuple(declared.get(int(version), LabelCoin.DECISION.value) for version in versions))


def _kinds(session: Session, cascade: str, arrays: dict[str, Any], versions: tuple[int, ...]) -> Objects:
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
    in_force = _labels_in_force(low, high, as_of, trusted)
    foreseen = _labels_in_force(low, high, as_of, others) if others else None
    columns = [_plain(_source(name, in_force, foreseen)) for name in _ARRAYS]
    joined = (
        select(*columns, _DECISION.c.spec_version)
        .select_from(_DECISION)
        .join(_ATTEMPT, _ATTEMPT.c.decision_id == _DECISION.c.id)
        .outerjoin(in_force, _of_attempt(in_force))
    )
    if foreseen is not None:
        joined = joined.outerjoin(foreseen, _of_attempt(foreseen))
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
            CERTIFIABLE,
            # Said again of the attempt, so that its partitions are pruned too.
            _ATTEMPT.c.decision_id >= low,
            _ATTEMPT.c.decision_id < high,
        )
        .order_by(_DECISION.c.id, _ATTEMPT.c.tier)
    )


def _of_attempt(labels: Subquery) -> Any:
    return (labels.c.decision_id == _ATTEMPT.c.decision_id) & (labels.c.tier == _ATTEMPT.c.tier) & (labels.c.place == 1)


def _source(name: str, in_force: Subquery, foreseen: Subquery | None) -> Any:
    """The column of a table, or of the labels, that an array is read from."""
    if name in _FROM:
        return _FROM[name]
    if name in _FORECAST:
        return null() if foreseen is None else foreseen.c[_FORECAST[name]]
    if name in _LABELLED:
        return in_force.c[_LABELLED[name]]
    return _ATTEMPT.c[name] if name in _ATTEMPT.c else _DECISION.c[name]


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


def _times(values: tuple[Any, ...]) -> Times:
    plain = [None if value is None else value.replace(tzinfo=None) for value in values]
    return np.array(plain, dtype="datetime64[us]")


def _integers(values: tuple[Any, ...]) -> Integers:
    return np.array([-1 if value is None else value for value in values], dtype=np.int64)


def _booleans(values: tuple[Any, ...]) -> Booleans:
    return np.array([bool(value) for value in values], dtype=bool)


_MAKE: dict[Any, Callable[[tuple[Any, ...]], Any]] = {
    Floats: _floats,
    Objects: objects,
    Times: _times,
    Integers: _integers,
    Booleans: _booleans,
}
_ARRAYS = {item.name: _MAKE[item.type] for item in fields(Examples) if item.name not in ("decision", "label_coin")}
_FROM = {
    "ids": _DECISION.c.id,
    "retained": _ATTEMPT.c.action == "retain",
    "shard": _SHARD.c.url,
    "row": _PLACE.c.row,
    "dimension": _SHARD.c.dimension,
    "revision": _FINGERPRINT.c.document["revision"].as_string(),
    "vector_sha256": _PLACE.c.sha256,
}
_LABELLED = {
    "correct": "correct",
    "label_source": "source",
    "labelled_at": "labelled_at",
    "label_received_at": "received_at",
    "label_propensity": "label_propensity",
}
_FORECAST = {"forecast": "correct", "forecast_source": "source"}
