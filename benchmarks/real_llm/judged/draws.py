"""One random split of the questions: which teach, which certify, and which come later as traffic
that nobody has seen.

Draws of one recording share its questions, so their spread is that of the splits alone: the
standard errors beside the report's figures say how many draws were enough, not what other questions
would give.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.real_llm.recording import Outcomes
from benchmarks.real_llm.rows import cascade_rows, vectors_of
from evidence.certification.nested_path import Signals
from knowgate._records.arrays import BoolArray
from knowgate._records.records import PTKind
from training.probes.fit import FittedProbe
from training.probes.probe_settings import FitSettings
from training.rows.dataset import CascadeRows, TierVectors
from training.rows.splits import Part, Proportions, Split, split_rows
from training.tiers.learn import LearnedTier, learn_tier, signal_columns

LATER_SHARE = 0.3  # of the questions that did not choose the layer
NOW, LATER = 1.0, 0.0  # decision times: what comes later is outside the window that certifies


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Taught:
    """A draw with what its teaching questions taught."""

    split: Split
    later: BoolArray  # [n] questions that neither teach nor certify
    unseen: BoolArray  # [n] those, and the ones that certify: they taught nothing and chose no layer
    learned: LearnedTier | None  # None = too few labels, or of one class
    signals: Signals  # of the first tier, [n]
    score_without_slice: np.ndarray  # [n]


def drawn(tiers: Sequence[Outcomes], draw: int, *, untaught: str | None = None) -> tuple[Split, BoolArray]:
    """The split of the n questions, and which come later; questions of the kind `untaught` teach
    nothing.
    """
    first = tiers[0]
    later = _later(first, draw)
    rows = cascade_rows(tiers, PTKind.MEAN, [first.tokens_in] * len(tiers), draw=draw)
    parts = split_rows(rows.ids, rows.seconds, rows.prompt_hashes, Proportions()).parts.copy()
    parts[later] = str(Part.LEFT_OUT)
    parts[first.chose_layer] = str(Part.FIT)
    strange = np.array([kind == untaught for kind in first.kind], dtype=np.bool_)
    parts[strange & (parts != str(Part.CERTIFICATION))] = str(Part.LEFT_OUT)
    return Split(parts=parts, prompts={}, since=NOW), later


def teach(tiers: Sequence[Outcomes], draw: int, *, untaught: str | None = None) -> Taught:
    """What the first tier's states teach in this draw, with the mean P(T) beside them."""
    first = tiers[0]
    assert first.hidden is not None and first.fingerprint is not None
    split, later = drawn(tiers, draw, untaught=untaught)
    vectors = vectors_of(first.hidden[:, None, :], [first.fingerprint])
    rows = cascade_rows(tiers, PTKind.MEAN, [first.tokens_in] * len(tiers))
    learned = learn_tier(rows, split, 0, vectors, FitSettings())
    signals = _signals(rows, learned, vectors)
    return Taught(
        split=split,
        later=later,
        unseen=later | (split.parts == str(Part.CERTIFICATION)),
        learned=learned,
        signals=signals,
        score_without_slice=signals["score"]
        if learned is None
        else _without_slice(rows, split, vectors, learned.fitted),
    )


def window(rows: CascadeRows, later: BoolArray) -> CascadeRows:
    """The rows with later traffic outside the window that certifies."""
    return replace(rows, seconds=np.where(later, LATER, NOW))


def _later(first: Outcomes, draw: int) -> BoolArray:
    digests = [hashlib.sha256(f"later:{draw}:{name}".encode()).digest() for name in first.id]
    shares = np.array([int.from_bytes(digest[:8], "big") / 2**64 for digest in digests])
    return np.asarray((shares < LATER_SHARE) & ~first.chose_layer, dtype=np.bool_)


def _without_slice(rows: CascadeRows, split: Split, vectors: TierVectors, fitted: FittedProbe) -> np.ndarray:
    """[n] the score of a cascade that does not know the kind of question; the probe is the same."""
    bare = replace(rows, slices=(None,) * rows.n)
    learned = learn_tier(bare, split, 0, vectors, FitSettings(), fit=lambda *_, **__: fitted)
    return _signals(bare, learned, vectors)["score"]


def _signals(rows: CascadeRows, learned: LearnedTier | None, vectors: TierVectors) -> Signals:
    models = None if learned is None else learned.models
    return signal_columns(rows, 0, models, vectors, 0 if learned is None else learned.fitted.layer)
