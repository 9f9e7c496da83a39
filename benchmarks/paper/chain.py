"""Answers of several models put together as a cascade, and what the cheaper tiers' states teach.

Rows are the questions that every tier answered. Probes, calibrators and splits are training's own:
half of the questions, by a hash of their prompts, teach and the other half are asked; where another
data set teaches, all of it teaches and every question is asked.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.paper.answer_files import NUMBERS, ModelAnswers
from benchmarks.paper.errors import PaperError
from evidence.signals.quality import macro_f1
from knowgate._models.features import features
from knowgate._records.arrays import BoolArray, FloatArray
from training.probes.probe_settings import FitSettings
from training.rows.dataset import CascadeRows, TierColumns, TierVectors
from training.rows.row_blocks import ArrayBlocks
from training.rows.splits import Part, Proportions, Split, split_rows
from training.tiers.learn import LearnedTier, learn_tier, signal_columns

HALVES = Proportions(certification=0.5)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chain:
    """What the tiers of a cascade answered to the same n questions, cheapest first."""

    tiers: tuple[ModelAnswers, ...]

    @property
    def n(self) -> int:
        return len(self.tiers[0].ids)

    @property
    def correct(self) -> FloatArray:
        """[n, tiers]"""
        return np.column_stack([tier.correct for tier in self.tiers])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaughtChain:
    """A chain with the signals of its non-last tiers, and which questions taught nothing."""

    chain: Chain
    asked: BoolArray  # [n] the questions that figures are about
    signals: tuple[dict[str, FloatArray], ...]  # per non-last tier, gate name → [n]
    learned: tuple[LearnedTier | None, ...]  # per non-last tier; None = no states, or too few labels
    tuned_p_ik: tuple[float | None, ...]  # per non-last tier, of the best macro-F1 on the calibration rows


def chain_of(answers: Sequence[ModelAnswers]) -> Chain:
    """The questions that all models answered, in the first one's order. Raises PaperError where
    there is none.
    """
    everywhere = set(answers[0].ids).intersection(*(one.ids for one in answers[1:]))
    if not everywhere:
        names = ", ".join(one.model for one in answers)
        raise PaperError(f"{names} have no question in common: ask them the same files")
    order = [name for name in answers[0].ids if name in everywhere]
    tiers = []
    for one in answers:
        place = {name: row for row, name in enumerate(one.ids)}
        tiers.append(one.take(np.array([place[name] for name in order], dtype=np.int64)))
    return Chain(tiers=tuple(tiers))


def teach_chain(chain: Chain, *, taught_on: Chain | None = None, settings: FitSettings | None = None) -> TaughtChain:
    """Fit the probes of all non-last tiers that have states, and compute every signal.

    Raises PaperError where `taught_on` is of other models.
    """
    both = chain if taught_on is None else _joined(taught_on, chain)
    rows = _rows(both)
    split = _split(rows, None if taught_on is None else taught_on.n)
    signals, learned, tuned = [], [], []
    for tier, answers in enumerate(both.tiers[:-1]):
        vectors = _vectors(answers)
        models = learn_tier(rows, split, tier, vectors, settings or FitSettings())
        layer = 0 if models is None else models.fitted.layer
        signals.append(signal_columns(rows, tier, None if models is None else models.models, vectors, layer))
        learned.append(models)
        taught_rows = split.rows(Part.CALIBRATION) & np.isfinite(signals[-1]["p_ik"])
        tuned.append(best_threshold(signals[-1]["p_ik"][taught_rows], answers.correct[taught_rows]))
    asked = split.rows(Part.CERTIFICATION) if any(learned) or taught_on is not None else np.ones(both.n, dtype=np.bool_)
    ours = np.arange(both.n) >= (0 if taught_on is None else taught_on.n)
    return TaughtChain(
        chain=chain,
        asked=np.asarray(asked[ours], dtype=np.bool_),
        signals=tuple({gate: values[ours] for gate, values in columns.items()} for columns in signals),
        learned=tuple(learned),
        tuned_p_ik=tuple(tuned),
    )


def best_threshold(p_ik: FloatArray, correct: FloatArray) -> float | None:
    """The P(IK) that tells right answers from wrong ones with the best macro-F1; None without both
    kinds.

    >>> best_threshold(np.array([0.9, 0.8, 0.7, 0.6]), np.array([1.0, 1.0, 0.0, 0.0]))
    0.8
    """
    if len(correct) == 0 or not 0.0 < correct.mean() < 1.0:
        return None
    candidates = np.unique(np.quantile(p_ik, np.linspace(0.0, 1.0, 101), method="higher"))
    return float(max(candidates, key=lambda threshold: macro_f1(p_ik >= threshold, correct).value))


def _joined(first: Chain, second: Chain) -> Chain:
    tiers = []
    for one, other in zip(first.tiers, second.tiers, strict=True):
        if one.model != other.model or one.fingerprints != other.fingerprints:
            raise PaperError(f"{one.model} teaches, {other.model} is asked: gather the same model, layers and engine")
        joined: dict[str, Any] = {
            name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in (*NUMBERS, "abstained")
        }
        for name in ("ids", "slices", "prompts", "answers"):
            joined[name] = getattr(one, name) + getattr(other, name)
        states = None
        if one.hidden is not None and other.hidden is not None:
            states = np.concatenate([one.hidden, other.hidden])
        tiers.append(replace(other, hidden=states, **joined))
    return Chain(tiers=tuple(tiers))


def _split(rows: CascadeRows, teaching: int | None) -> Split:
    if teaching is None:
        return split_rows(rows.ids, rows.seconds, rows.prompt_hashes, HALVES)
    taught = np.arange(rows.n) < teaching
    parts = split_rows(rows.ids, rows.seconds, rows.prompt_hashes, Proportions(certification=1e-9)).parts
    return Split(parts=np.where(taught, parts, str(Part.CERTIFICATION)), prompts={})


def _vectors(answers: ModelAnswers) -> TierVectors | None:
    if answers.hidden is None:
        return None
    n, layers, d = answers.hidden.shape
    x = features(answers.hidden.reshape(n * layers, d)).reshape(n, layers, d)
    return TierVectors(fingerprints=answers.fingerprints, present=np.ones(n, dtype=np.bool_), rows=ArrayBlocks(x=x))


def _rows(chain: Chain) -> CascadeRows:
    first = chain.tiers[0]
    return CascadeRows(
        ids=first.ids,
        seconds=np.zeros(chain.n),
        slices=first.slices,
        prompts=first.prompts,
        prompt_hashes=tuple(hashlib.sha256(prompt.encode()).hexdigest() for prompt in first.prompts),
        exploration_rate=np.zeros(chain.n),
        tiers=tuple(_columns(tier) for tier in chain.tiers),
        fingerprints={},
    )


def _columns(answers: ModelAnswers) -> TierColumns:
    n = len(answers.ids)
    return TierColumns(
        ran=np.ones(n, dtype=np.bool_),
        p_t=answers.p_t,
        entropy=answers.entropy,
        correct=answers.correct,
        run_propensity=np.ones(n),
        label_propensity=np.ones(n),
        tokens_in=answers.tokens_in,
        answer=np.array(answers.answers, dtype=object),
    )
