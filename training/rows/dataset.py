"""From the store's join to arrays: one row per decision, one column set per tier, vectors read from
their shards.

Decisions:
- A window is read once. Every later step works on these arrays, so all steps see the same labels.
- A tier that a gate ended before it answered has its signals and its vector, and counts as one that
  did not run: nobody knows what it would have said.
- Only one fingerprint per tier teaches: that of the latest vector. Vectors of another model, layer
  or template are other quantities, and the probe that is served next meets the latest ones. A
  vector of another size under the same fingerprint is a sender's fault: the size that most have
  teaches, the others are left out and counted in the log.
- An attempt of a model that the cascade does not declare teaches nothing. Where the first tier ran
  another model the decision is left out: that was settled before the query was seen. Where a later
  tier did, leaving the decision out would favour what is retained, so its outcome there is unknown,
  which certification takes for the worst case.
- Decisions whose P(T) is of another kind than the cascade declares now, at any tier that a rule
  decides at, are left out whole and counted: thresholds of one kind mean nothing for another, and a
  row without its P(T) would count as one that escalates.
- Rows of a tier weigh 1 / (run_propensity · label_propensity) where known, cut at 20 times what the
  median labelled row weighs, so that one row never rules the fit. (The cut may bias a probe a
  little; no certificate depends on it.)
- `correct` is what trusted sources say; what the others say stands apart as a forecast.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine

from evidence.costs.run_limits import Runs, bounded_runs
from knowgate._records.arrays import BoolArray, FloatArray, IntArray
from knowgate._records.records import Fingerprint, PTKind, Role, Window
from knowgate.spec import CascadeSpec, LabelCoin, TierSpec
from store.engine import reading
from store.shards.shards import RowReader
from store.traffic.attempt_columns import AttemptColumns, absent, objects, taken, uuids
from store.traffic.example_columns import Examples
from store.traffic.examples import labelled
from store.traffic.fingerprints import fingerprints
from store.traffic.undeclared import undeclared
from training.extraction import Answerer
from training.rows.own_states import own_states
from training.rows.row_blocks import ShardBlocks, TakenBlocks

ObjectArray = npt.NDArray[np.object_]
Texts = tuple[str | None, ...]
LARGEST_WEIGHT = 20.0  # as a multiple of the usual one
_TAKEN = ("run_propensity", "tokens_in", "tokens_out", "latency_ms", "cost_usd", "gflops")  # by any model

log = logging.getLogger("knowgate.training")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TierColumns(AttemptColumns):
    """What one tier did in each of n decisions; where it did not run, and what is left out, is
    unknown.
    """

    ran: BoolArray  # [n] it answered
    gflops: FloatArray = field(default_factory=absent)  # [n]
    answer: ObjectArray = field(default_factory=absent)  # [n]
    fingerprint: ObjectArray = field(default_factory=absent)  # [n] SHA-256 of the fingerprint
    shard: ObjectArray = field(default_factory=absent)  # [n] URL
    row: IntArray = field(default_factory=absent)  # [n] in the shard
    dimension: IntArray = field(default_factory=absent)  # [n] of the vectors; -1 = none
    vector_sha256: ObjectArray = field(default_factory=absent)  # [n] of the vectors' bytes; None = not compared
    forecast_source: ObjectArray = field(default_factory=absent)  # [n]

    def __post_init__(self) -> None:
        self.fill(self.ran.shape)

    @property
    def weight(self) -> FloatArray:
        """[n] how much each row counts in learning."""
        run = np.where(np.isfinite(self.run_propensity), self.run_propensity, 1.0)
        label = np.where(np.isfinite(self.label_propensity), self.label_propensity, 1.0)
        weight, labelled = 1.0 / (run * label), np.isfinite(self.correct)
        usual = float(np.median(weight[labelled])) if labelled.any() else 1.0
        return np.minimum(weight, LARGEST_WEIGHT * usual)

    def take(self, rows: BoolArray) -> "TierColumns":
        """The columns of the chosen decisions."""
        chosen: dict[str, Any] = {name: values[rows] for name, values in self.arrays().items()}
        return replace(self, **chosen)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CascadeRows:
    """The n decisions of a window, in order of their ids."""

    ids: tuple[str, ...]
    seconds: FloatArray  # [n] decision time, seconds since 1970 in UTC
    slices: Texts
    prompts: Texts
    prompt_hashes: Texts
    exploration_rate: FloatArray  # [n] the row's own
    tiers: tuple[TierColumns, ...]  # cheapest first, the last tier too
    fingerprints: Mapping[str, Fingerprint]
    undeclared: int = 0  # decisions of the window that ran a model which the cascade does not declare
    coins_apart: BoolArray = field(default_factory=absent)  # [n] each answer's label was drawn by its own coin
    p_t_kinds: tuple[PTKind, ...] = ()  # per non-last tier, of every P(T) here
    of_another_kind: int = 0  # decisions that were left out since their P(T) is of another kind
    # By tier that a gate may end before it answers: what a token read costs beside one written.
    early: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.coins_apart.size == 0:
            object.__setattr__(self, "coins_apart", np.zeros(self.n, dtype=np.bool_))

    @property
    def n(self) -> int:
        return len(self.ids)

    @property
    def ran(self) -> BoolArray:
        """[n, tiers] whether each tier answered."""
        return np.column_stack([tier.ran for tier in self.tiers])

    def take(self, rows: BoolArray) -> "CascadeRows":
        """The chosen decisions, rows [n]."""
        texts: dict[str, Any] = {
            name: _chosen(getattr(self, name), rows) for name in ("slices", "prompts", "prompt_hashes")
        }
        return replace(
            self,
            ids=tuple(name for name, keep in zip(self.ids, rows, strict=True) if keep),
            seconds=self.seconds[rows],
            exploration_rate=self.exploration_rate[rows],
            tiers=tuple(tier.take(rows) for tier in self.tiers),
            coins_apart=self.coins_apart[rows],
            **texts,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TierVectors:
    """Features of one tier: of the decisions that have them, per layer. Not all of them need fit
    the memory.
    """

    fingerprints: tuple[Fingerprint, ...]  # one per layer
    present: BoolArray  # [n] which decisions
    rows: TakenBlocks  # of the decisions that are present, in their order

    def of(self, chosen: BoolArray) -> TakenBlocks:
        """The rows of the chosen decisions, which must be present."""
        return self.rows.take(np.flatnonzero(chosen[self.present]))


READ = frozenset(
    {
        *(item.name for item in fields(TierColumns) if item.name != "ran"),
        *("tier", "role", "revision", "prompt_hash", "exploration_rate"),
    }
)


def read_window(engine: Engine, spec: CascadeSpec, window: Window, *, as_of: datetime) -> CascadeRows:
    """Everything a training run needs to know of a window, as it was known at `as_of`.

    Decisions with a P(T) of another kind than the cascade declares are left out.
    """
    kinds = [tier.p_t_kind for tier in spec.tiers[:-1]]
    with reading(engine) as session:
        examples = labelled(session, spec.name, window, as_of=as_of, columns=READ, trusted=spec.targets.trusted)
        rows = cascade_rows(examples, spec, fingerprints(session))
    others = _of_another_kind(examples, kinds)
    del examples  # a window of a million decisions is not held twice, or three times
    same = np.array([name not in others for name in rows.ids], dtype=np.bool_)
    early = {at: _token_read(tier, window.end) for at, tier in enumerate(spec.tiers) if tier.early}
    return replace(rows.take(same), p_t_kinds=tuple(kinds), of_another_kind=int((~same).sum()), early=early)


def _token_read(tier: TierSpec, at: datetime) -> float:
    """What a token read costs beside one written; as much where no price tells."""
    price = tier.price_at(at)
    if price is None or not price.usd_per_million_tokens_out > 0.0:
        return 1.0
    return price.usd_per_million_tokens_in / price.usd_per_million_tokens_out


def _of_another_kind(examples: Examples, kinds: Sequence[PTKind]) -> set[str]:
    """The ids of decisions in which the P(T) of some non-last tier is of another kind."""
    declared = objects([*(str(kind) for kind in kinds), None])[np.minimum(examples.tier, len(kinds))]
    other = (examples.tier < len(kinds)) & np.isfinite(examples.p_t) & (examples.p_t_kind != declared)
    return {str(name) for name in uuids(examples.ids[other])}


def _within_bounds(examples: Examples, spec: CascadeSpec) -> Examples:
    """The same attempts, none of which counts for more than a query may take
    (`evidence.costs.run_limits`).
    """
    names = ("tier", "tokens_in", "tokens_out", "cost_usd", "gflops", "latency_ms")
    bounded, cut = bounded_runs(
        Runs(**{name: getattr(examples, name) for name in names}), max_tokens=spec.alarms.max_tokens
    )
    if not cut.any():
        return examples
    log.warning("%s: %d runs take more than a query may, and count as that; see what sends them", spec.name, cut.sum())
    return replace(examples, **{name: getattr(bounded, name) for name in names[1:]})


def cascade_rows(examples: Examples, spec: CascadeSpec, known: Mapping[str, Fingerprint]) -> CascadeRows:
    """One row per decision from the store's one row per attempt."""
    examples = _within_bounds(examples, spec)
    first = np.flatnonzero(np.diff(examples.decision, prepend=-1))
    foreign = undeclared(examples, spec)
    rows = CascadeRows(
        ids=tuple(str(name) for name in uuids(examples.ids[first])),
        seconds=examples.occurred_at[first].astype("datetime64[us]").astype(np.int64) / 1e6,
        slices=tuple(examples.slice[first].tolist()),
        prompts=tuple(examples.prompt[first].tolist()),
        prompt_hashes=tuple(examples.prompt_hash[first].tolist()),
        exploration_rate=examples.exploration_rate[first],
        tiers=tuple(_tier(examples, tier, foreign, spec.last) for tier in range(spec.last + 1)),
        fingerprints=known,
        undeclared=len(np.unique(examples.decision[foreign])),
        coins_apart=np.asarray(examples.label_coin[first] == LabelCoin.ATTEMPT, dtype=np.bool_),
    )
    begun = examples.at_tier(0)
    return rows.take(~((begun >= 0) & foreign[begun])) if foreign.any() else rows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredVectors:
    """The shipped vectors of one tier, where they lie: nothing is read yet."""

    fingerprint: Fingerprint
    present: BoolArray  # [n] which decisions have one
    reader: RowReader  # row i is the i-th decision that has one


def open_vectors(rows: CascadeRows, tier: int) -> StoredVectors | None:
    """A reader of the vectors that were shipped with the decisions; None where no attempt of this
    tier has one.

    Raises ShardRefused for a shard that is missing, damaged or of another fingerprint than its rows
    in SQL, and when a row is read that is not what was stored: a hole would bias what is learned
    from the rest. Left out, and counted in the log, are only vectors of another size than most
    have.
    """
    columns = rows.tiers[tier]
    stored = (columns.shard != np.array(None)) & (columns.fingerprint != np.array(None))
    if not stored.any():
        return None
    latest = max(np.flatnonzero(stored), key=lambda row: (rows.seconds[row], rows.ids[row]))
    chosen = str(columns.fingerprint[int(latest)])
    present = _of_usual_size(stored & (columns.fingerprint == chosen), columns.dimension)
    hashes = columns.vector_sha256[present].tolist()
    reader = RowReader(
        columns.shard[present].tolist(),
        columns.row[present],
        sha256=None if None in hashes else hashes,
        fingerprint=rows.fingerprints[chosen],
    )
    return StoredVectors(fingerprint=rows.fingerprints[chosen], present=present, reader=reader)


def stored_vectors(rows: CascadeRows, tier: int) -> TierVectors | None:
    """The vectors that were shipped with the decisions, read as they are needed; None where no
    attempt has one.

    Raises ShardRefused as `open_vectors` does.
    """
    stored = open_vectors(rows, tier)
    if stored is None:
        return None
    return TierVectors(
        fingerprints=(stored.fingerprint,), present=stored.present, rows=ShardBlocks(readers=(stored.reader,))
    )


def _of_usual_size(present: BoolArray, dimensions: IntArray) -> BoolArray:
    """[n] those of the size that most have."""
    sizes, counts = np.unique(dimensions[present], return_counts=True)
    if len(sizes) == 1:
        return present
    usual = sizes[np.argmax(counts)]
    log.warning("%d vectors have other than %d numbers and teach nothing", counts.sum() - counts.max(), usual)
    return np.asarray(present & (dimensions == usual), dtype=np.bool_)


def extracted_vectors(rows: CascadeRows, tier: int, answerer: Answerer, folder: Path) -> TierVectors | None:
    """The states of the answerer's layers for all prompts that are stored in full; None where none
    is.

    This is how layers are compared: production ships one layer, the model itself can be asked for
    all of them. It is also how a black box gets a probe: an encoder reads its prompts. The states
    lie in `folder`. Raises as `own_states`.
    """
    present = rows.tiers[tier].ran & np.array([prompt is not None for prompt in rows.prompts], dtype=bool)
    if not present.any():
        return None
    asked = [str(prompt) for prompt, keep in zip(rows.prompts, present, strict=True) if keep]
    return TierVectors(fingerprints=answerer.fingerprints, present=present, rows=own_states(answerer, asked, folder))


def _tier(examples: Examples, tier: int, foreign: BoolArray, last: int) -> TierColumns:
    index = examples.at_tier(tier)
    ran = (index >= 0) & (taken(examples.role, index) != Role.SKIPPED)
    # Where another model ran, only what it took is known.
    known = np.where((index >= 0) & ~taken(foreign, index), index, -1)
    names = [column.name for column in fields(TierColumns) if column.name != "ran"]
    shown: dict[str, Any] = {name: taken(getattr(examples, name), index if name in _TAKEN else known) for name in names}
    # In the middle, a tier that did not run may have kept anything; the last one's coin is known to
    # have fallen.
    return TierColumns(ran=ran if tier == last else ran & (known >= 0), **shown)


def _chosen(values: Texts, rows: BoolArray) -> Texts:
    return tuple(value for value, keep in zip(values, rows, strict=True) if keep)
