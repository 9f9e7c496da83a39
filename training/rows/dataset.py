"""From the store's join to arrays: one row per decision, one column set per tier, vectors read from
their shards.

Decisions:
- A window is read once. Every later step works on these arrays, so all steps see the same labels.
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
- Rows of a tier weigh 1 / (run_propensity · label_propensity) where known, cut at 20 so that one
  row never rules the fit. (The cut may bias a probe a little; no certificate depends on it.)
- `correct` is what trusted sources say; what the others say stands apart as a forecast.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine

from evidence.costs.run_limits import Runs, bounded_runs
from knowgate._records.records import Fingerprint, PTKind, Window
from knowgate.spec import CascadeSpec, LabelCoin
from store.engine import reading
from store.shards.shards import RowReader
from store.traffic.examples import Examples, labelled
from store.traffic.fingerprints import fingerprints
from store.traffic.undeclared import undeclared
from training.extraction import Answerer
from training.rows.own_states import own_states
from training.rows.row_blocks import ShardBlocks, TakenBlocks

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
Texts = tuple[str | None, ...]
LARGEST_WEIGHT = 20.0

log = logging.getLogger("knowgate.training")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TierColumns:
    """What one tier did in each decision; where it did not run, everything is unknown (NaN, None,
    −1).
    """

    ran: BoolArray  # [n]
    p_t: FloatArray  # [n]
    entropy: FloatArray  # [n] nats
    margin: FloatArray  # [n] in [0, 1]
    correct: FloatArray  # [n] in [0, 1]
    run_propensity: FloatArray  # [n]
    label_propensity: FloatArray  # [n]
    tokens_in: FloatArray  # [n]
    cost_usd: FloatArray  # [n]
    gflops: FloatArray  # [n]
    answers: Texts  # [n]
    fingerprints: Texts  # [n] SHA-256 of the fingerprint
    shards: Texts  # [n] URL
    shard_rows: IntArray  # [n]
    dimensions: IntArray  # [n] of the vectors; -1 = none
    vector_sha256: Texts = ()  # [n] of the vectors' bytes; empty = not compared
    forecast: FloatArray | None = None  # [n] in [0, 1], what a source that is not trusted says; None = no such labels
    sources: Texts = ()  # [n] of `correct`; empty = unknown
    forecast_sources: Texts = ()  # [n] of `forecast`

    @property
    def weight(self) -> FloatArray:
        """[n] how much each row counts in learning."""
        run = np.where(np.isfinite(self.run_propensity), self.run_propensity, 1.0)
        label = np.where(np.isfinite(self.label_propensity), self.label_propensity, 1.0)
        return np.minimum(1.0 / (run * label), LARGEST_WEIGHT)

    def take(self, rows: BoolArray) -> "TierColumns":
        """The columns of the chosen decisions."""
        return TierColumns(
            ran=self.ran[rows],
            p_t=self.p_t[rows],
            entropy=self.entropy[rows],
            margin=self.margin[rows],
            correct=self.correct[rows],
            run_propensity=self.run_propensity[rows],
            label_propensity=self.label_propensity[rows],
            tokens_in=self.tokens_in[rows],
            cost_usd=self.cost_usd[rows],
            gflops=self.gflops[rows],
            answers=_chosen(self.answers, rows),
            fingerprints=_chosen(self.fingerprints, rows),
            shards=_chosen(self.shards, rows),
            shard_rows=self.shard_rows[rows],
            dimensions=self.dimensions[rows],
            vector_sha256=_chosen(self.vector_sha256, rows),
            forecast=None if self.forecast is None else self.forecast[rows],
            sources=_chosen(self.sources, rows) if self.sources else (),
            forecast_sources=_chosen(self.forecast_sources, rows) if self.forecast_sources else (),
        )


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
    coins_apart: BoolArray | None = None  # [n] each answer's label was drawn by its own coin; None = one per decision
    p_t_kinds: tuple[PTKind, ...] = ()  # per non-last tier, of every P(T) here
    of_another_kind: int = 0  # decisions that were left out since their P(T) is of another kind

    @property
    def n(self) -> int:
        return len(self.ids)

    @property
    def ran(self) -> BoolArray:
        """[n, tiers] whether each tier ran."""
        return np.column_stack([tier.ran for tier in self.tiers])

    def take(self, rows: BoolArray) -> "CascadeRows":
        """The chosen decisions, rows [n]."""
        return CascadeRows(
            ids=tuple(name for name, keep in zip(self.ids, rows, strict=True) if keep),
            seconds=self.seconds[rows],
            slices=_chosen(self.slices, rows),
            prompts=_chosen(self.prompts, rows),
            prompt_hashes=_chosen(self.prompt_hashes, rows),
            exploration_rate=self.exploration_rate[rows],
            tiers=tuple(tier.take(rows) for tier in self.tiers),
            fingerprints=self.fingerprints,
            undeclared=self.undeclared,
            coins_apart=None if self.coins_apart is None else self.coins_apart[rows],
            p_t_kinds=self.p_t_kinds,
            of_another_kind=self.of_another_kind,
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


def read_window(engine: Engine, spec: CascadeSpec, window: Window, *, as_of: datetime) -> CascadeRows:
    """Everything a training run needs to know of a window, as it was known at `as_of`.

    Decisions with a P(T) of another kind than the cascade declares are left out.
    """
    kinds = [tier.p_t_kind for tier in spec.tiers[:-1]]
    with reading(engine) as session:
        examples = labelled(session, spec.name, window, as_of=as_of, trusted=spec.targets.trusted)
        rows = cascade_rows(examples, spec, fingerprints(session))
    others = _of_another_kind(examples, kinds)
    same = np.array([name not in others for name in rows.ids], dtype=np.bool_)
    return replace(rows.take(same), p_t_kinds=tuple(kinds), of_another_kind=int((~same).sum()))


def _of_another_kind(examples: Examples, kinds: Sequence[PTKind]) -> set[str]:
    """The ids of decisions in which the P(T) of some non-last tier is of another kind."""
    shown = zip(examples.ids, examples.tier, examples.p_t, examples.p_t_kind, strict=True)
    return {
        str(name)
        for name, tier, p_t, kind in shown
        if tier < len(kinds) and np.isfinite(p_t) and kind != kinds[int(tier)]
    }


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
        ids=tuple(str(examples.ids[at]) for at in first),
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
    held = np.array(
        [url is not None and name is not None for url, name in zip(columns.shards, columns.fingerprints, strict=True)]
    )
    if not held.any():
        return None
    latest = max(np.flatnonzero(held), key=lambda row: (rows.seconds[row], rows.ids[row]))
    chosen = str(columns.fingerprints[int(latest)])
    present = _of_usual_size(held & np.array([name == chosen for name in columns.fingerprints]), columns.dimensions)
    hashes = [str(value) for value in _chosen(columns.vector_sha256, present)]
    reader = RowReader(
        [str(url) for url in _chosen(columns.shards, present)],
        columns.shard_rows[present],
        sha256=hashes or None,
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
    ran = index >= 0
    other = ran.copy()  # ran another model than is declared
    other[ran] = foreign[index[ran]]
    declared = ran & ~other

    def texts(column: npt.NDArray[np.object_]) -> Texts:
        return tuple(column[at] if tells else None for at, tells in zip(index, declared, strict=True))

    def signals(name: str) -> FloatArray:
        return np.where(declared, examples.column_at(name, tier), np.nan)

    shard_rows = np.full(len(index), -1, dtype=np.int64)
    shard_rows[declared] = examples.row[index[declared]]
    dimensions = np.full(len(index), -1, dtype=np.int64)
    dimensions[declared] = examples.dimension[index[declared]]
    return TierColumns(
        # In the middle, a tier that did not run may have kept anything; the last one's coin is
        # known to have fallen.
        ran=ran if tier == last else declared,
        p_t=signals("p_t"),
        entropy=signals("entropy"),
        margin=signals("margin"),
        correct=signals("correct"),
        run_propensity=examples.column_at("run_propensity", tier),
        label_propensity=signals("label_propensity"),
        tokens_in=examples.column_at("tokens_in", tier),
        cost_usd=examples.column_at("cost_usd", tier),
        gflops=examples.column_at("gflops", tier),
        answers=texts(examples.answer),
        fingerprints=texts(examples.fingerprint),
        shards=texts(examples.shard),
        shard_rows=shard_rows,
        dimensions=dimensions,
        vector_sha256=texts(examples.vector_sha256),
        forecast=signals("forecast") if np.isfinite(examples.forecast).any() else None,
        sources=texts(examples.label_source),
        forecast_sources=texts(examples.forecast_source),
    )


def _chosen(values: Texts, rows: BoolArray) -> Texts:
    if not values:
        return ()
    return tuple(value for value, keep in zip(values, rows, strict=True) if keep)
