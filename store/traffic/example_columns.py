"""Attempts with their labels as columns, and how they are made of Arrow batches, wherever those
were read.

What is read is `example_schema`: ids of 16 bytes, texts as dictionaries, times in UTC. What is kept
is `Examples`: one array per column, and no object per row.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa

from knowgate._records.records import Role
from knowgate.spec import LabelCoin
from store.column_reader import ID, TEXT, TIME, as_schema
from store.traffic.attempt_columns import (
    AttemptColumns,
    Booleans,
    Floats,
    Ids,
    Integers,
    Objects,
    Times,
    absent,
    objects,
    taken,
    uuids,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examples(AttemptColumns):
    """Attempts as columns of equal length n, ordered by decision id and tier.

    A column is that of its name in the tables of attempts or decisions; `store.traffic.examples`
    says of the others where they come from. The kind of P(T) is as it was sent, else as the cascade
    declared it then. What was not named is left out (`absent`), but for ids, decision and tier.
    Texts are one object per different text, not per row.
    """

    ids: Ids  # of the decision
    decision: Integers  # 0, 1, …: equal for the attempts of one decision; what pairs tiers
    received_at: Times = field(default_factory=absent)  # when the decision arrived
    tier: Integers
    score: Floats = field(default_factory=absent)
    ood: Floats = field(default_factory=absent)
    label_received_at: Times = field(default_factory=absent)
    forecast_source: Objects = field(default_factory=absent)
    # The row's own chance of a run of the last tier beside a retained answer.
    exploration_rate: Floats = field(default_factory=absent)
    prompt_hash: Objects = field(default_factory=absent)
    answer: Objects = field(default_factory=absent)
    # Equal where answers are, for as long as this process lives; -1 = none.
    answer_key: Integers = field(default_factory=absent)
    gflops: Floats = field(default_factory=absent)
    retained: Booleans = field(default_factory=absent)  # this attempt's verdict was to keep its answer
    reason: Objects = field(default_factory=absent)
    shard: Objects = field(default_factory=absent)  # URL of the shard with this attempt's vector
    row: Integers = field(default_factory=absent)  # within the shard; -1 = no vector
    dimension: Integers = field(default_factory=absent)  # of the vector; -1 = no vector
    # Of the model that the attempt's fingerprint names; None without one.
    revision: Objects = field(default_factory=absent)
    vector_sha256: Objects = field(default_factory=absent)  # of the row's bytes
    # SHA-256, a key of `store.traffic.fingerprints.fingerprints`.
    fingerprint: Objects = field(default_factory=absent)
    generation: Integers = field(default_factory=absent)  # of the assignment in force; -1 = none
    bundle: Objects = field(default_factory=absent)

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

    def uuids(self) -> list[UUID]:
        """[n] the decision of each attempt."""
        return uuids(self.ids)

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


_KINDS: dict[Any, pa.DataType] = {
    Ids: ID,
    Floats: pa.float64(),
    Objects: TEXT,
    Times: TIME,
    Integers: pa.int64(),
    Booleans: pa.bool_(),
}
_EMPTY = {pa.int64(): -1, pa.bool_(): False}  # of the kinds that have a value for what is unknown
_TYPES = {item.name: item.type for item in fields(Examples)}
COLUMNS = frozenset(_TYPES) - {"decision"}  # what may be named
_ALWAYS = frozenset({"ids", "tier"})
_MADE_OF = {"answer_key": "answer", "label_coin": "spec_version"}  # columns that no table has


def example_schema(columns: Collection[str]) -> pa.Schema:
    """What is read for these columns, wherever rows are kept: `examples_of` makes them of it.

    Ids are 16 bytes, texts dictionaries, times in UTC to the microsecond. Beside the columns that
    a table has stands `spec_version`, where what the cascade declared then is asked for. Raises
    ValueError for a column that there is none of.
    """
    unknown = sorted(set(columns) - COLUMNS)
    if unknown:
        raise ValueError(f"columns: there is no {unknown[0]}; name some of {', '.join(sorted(COLUMNS))}")
    read = {_MADE_OF.get(name, name) for name in {*columns, *_ALWAYS}}
    read |= {"spec_version"} if "p_t_kind" in read else set()
    found = [(name, _KINDS[kind]) for name, kind in _TYPES.items() if name in read]
    return pa.schema(found + [("spec_version", pa.int64())] * ("spec_version" in read))


def examples_of(
    batches: Iterable[pa.RecordBatch | pa.Table],
    columns: Collection[str],
    *,
    kinds: Mapping[tuple[int, int], str],
    coins: Mapping[int, str],
) -> Examples:
    """These columns of batches that hold `example_schema(columns)`, their rows in order of decision
    and tier.

    `kinds` are the declared kinds of P(T) by version and tier, `coins` how labels are drawn by
    version (`store.releases.cascades`).
    """
    schema, wanted = example_schema(columns), {*columns, *_ALWAYS}
    parts: dict[str, list[Any]] = {name: [_nothing(schema, name)] for name in {*wanted, *schema.names}}
    texts: dict[str, str] = {}
    for batch in batches:
        found = as_schema(batch, schema)
        for name in schema.names:
            if name in parts and (name != "answer" or "answer" in wanted):
                parts[name].append(_values(found.column(name), texts))
        if "answer_key" in wanted:
            parts["answer_key"].append(_keys(found.column("answer")))
    arrays: dict[str, Any] = {name: np.concatenate(parts.pop(name)) for name in list(parts)}
    versions = arrays.pop("spec_version", absent())
    if "p_t_kind" in wanted:
        arrays["p_t_kind"] = _kinds(arrays["p_t_kind"], versions, arrays["tier"], kinds)
    if "label_coin" in wanted:
        arrays["label_coin"] = _by_version(versions, coins)
    ids = arrays["ids"]
    fresh = np.ones(len(ids), dtype=bool)
    fresh[1:] = ids[1:] != ids[:-1]
    kept = {name: arrays[name] for name in wanted}
    return Examples(decision=np.cumsum(fresh).astype(np.int64) - 1, **kept)


def _nothing(schema: pa.Schema, name: str) -> Any:
    """The column without a row."""
    kind = schema.field(name).type if name in schema.names else pa.int64() if name == "answer_key" else TEXT
    return _values(pa.array([], kind), {})


def _values(column: pa.Array, texts: dict[str, str]) -> Any:
    """A batch of a column as numpy has it; `texts` are those seen before, so that each is one
    object.
    """
    if column.type == ID:
        return np.frombuffer(column.buffers()[1] or b"", dtype="S16", count=len(column), offset=16 * column.offset)
    if column.type == TEXT:
        words = [texts.setdefault(word, word) for word in column.dictionary.to_pylist()]
        return objects([*words, None])[column.indices.fill_null(len(words)).to_numpy()]
    if column.type in _EMPTY:
        column = column.fill_null(_EMPTY[column.type])
    return column.to_numpy(zero_copy_only=False)


def _keys(answers: pa.Array) -> Integers:
    """A number per text; texts differ where the numbers do, and hardly ever where they do not: one
    pair in 2⁶⁴.
    """
    keys: Integers = np.array([*(hash(word) for word in answers.dictionary.to_pylist()), -1], dtype=np.int64)
    return np.asarray(keys[answers.indices.fill_null(len(keys) - 1).to_numpy()], dtype=np.int64)


def _by_version(versions: Integers, coins: Mapping[int, str]) -> Objects:
    """How labels were drawn, by the versions that the decisions name; a version that says nothing
    means one coin.
    """
    known, place = np.unique(versions, return_inverse=True)
    return objects([coins.get(int(version), LabelCoin.DECISION.value) for version in known])[place]


def _kinds(sent: Objects, versions: Integers, tiers: Integers, declared: Mapping[tuple[int, int], str]) -> Objects:
    """The kinds of P(T), those that nobody sent filled in from the cascade's versions that the
    decisions name.
    """
    unsaid = np.flatnonzero(sent == np.array(None))
    if not len(unsaid):
        return sent
    width = int(tiers.max()) + 1
    known, place = np.unique(versions[unsaid] * width + tiers[unsaid], return_inverse=True)
    sent[unsaid] = objects([declared.get(divmod(int(one), width)) for one in known])[place]
    return sent
