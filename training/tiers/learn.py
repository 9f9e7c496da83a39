"""Everything that is learned of one tier: probe, calibrator, score, OOD statistics, from rows that
will not certify.

Decisions:
- A tier without enough labelled vectors gets no models: it is then served with p_t alone, which
  needs none.
- Vectors are read in blocks, so a window's need not fit the memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from evidence.signals.score_fit import SignalRows
from knowgate._bundles.bundle import TierDocument, TierModels
from knowgate._models.probe import LinearProbe
from knowgate._records.arrays import BoolArray, FloatArray
from knowgate._records.records import Fingerprint
from training.probes.fit import FitProbe, FittedProbe, Former, fit_probe
from training.probes.probe_settings import FitSettings
from training.rows.dataset import CascadeRows, TierColumns, TierVectors
from training.rows.row_blocks import ROWS_AT_ONCE, StreamedRows, cut, layer_features
from training.rows.soft_labels import fitting_labels
from training.rows.splits import Part, Split
from training.tiers.calibrate import fit_calibrator, fit_score
from training.tiers.ood import fit_ood
from training.tiers.resample import resampled_scores

MOST_OOD_ROWS = 8192  # states that shape, and are, the reference: 16 components and 101 quantiles need no more
LEAST_LABELS: Mapping[Part, int] = {Part.FIT: 60, Part.VALIDATION: 20, Part.CALIBRATION: 20}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LearnedTier:
    """One tier's models, and how they came about."""

    models: TierModels
    fitted: FittedProbe
    fingerprints: tuple[Fingerprint, ...]  # of all layers that were compared
    rows: dict[str, int] = field(default_factory=dict)  # part -> labelled rows it used


def learn_tier(
    rows: CascadeRows,
    split: Split,
    tier: int,
    vectors: TierVectors | None,
    settings: FitSettings,
    former: TierModels | None = None,
    *,
    fit: FitProbe = fit_probe,
) -> LearnedTier | None:
    """The models of non-last tier `tier`; None where its labelled vectors are too few or of one
    class.

    `former` models start the linear probes of the layers whose fingerprint is theirs.
    """
    if vectors is None:
        return None
    columns = rows.tiers[tier]
    taught, weight = fitting_labels(columns, split.rows(Part.FIT))
    parts = _labelled_parts(columns, split, vectors, taught)
    if not _enough(parts, taught):
        return None
    fitting = parts[Part.FIT]
    fitted = fit(
        StreamedRows(x=vectors.of(fitting), y=taught[fitting], weight=weight[fitting]),
        _probe_rows(columns, vectors, parts[Part.VALIDATION]),
        settings,
        warm_start=former_probes(former, vectors.fingerprints),
    )
    bare = _models_without_score(columns, split, vectors, fitted, parts[Part.CALIBRATION])
    p_ik = signal_columns(rows, tier, bare, vectors, fitted.layer)["p_ik"]
    calibration = _signal_rows(rows, tier, p_ik, split.rows(Part.CALIBRATION))
    score = fit_score(_signal_rows(rows, tier, p_ik, split.rows(Part.VALIDATION)), calibration)
    prompts = _prompts(rows, tier, split.rows(Part.CALIBRATION))
    resampled = None if score is None else resampled_scores(score, calibration, prompts)
    document = replace(bare.document, score_model=score, resampled=resampled is not None)
    return LearnedTier(
        models=replace(bare, document=document, resampled=resampled),
        fitted=fitted,
        fingerprints=vectors.fingerprints,
        rows={str(part): int(chosen.sum()) for part, chosen in parts.items()},
    )


def signal_columns(
    rows: CascadeRows, tier: int, models: TierModels | None, vectors: TierVectors | None, layer: int = 0
) -> dict[str, FloatArray]:
    """Every signal of one tier in each decision, by gate name, [n] with NaN where missing."""
    columns = rows.tiers[tier]
    unknown = np.full(rows.n, np.nan)
    if models is None or vectors is None:
        return {"p_t": columns.p_t, "p_ik": unknown, "ood": unknown, "score": unknown}
    number = np.cumsum(vectors.present) - 1  # which vector is the decision's
    parts = []
    for start, stop in cut(0, rows.n, ROWS_AT_ONCE):
        hidden = np.full((stop - start, models.document.dimension), np.nan, dtype=np.float32)
        here, present = slice(start, stop), vectors.present[start:stop]
        if present.any():
            block = vectors.rows.take(number[here][present])
            hidden[present] = next(layer_features(block, layer, size=stop - start))
        parts.append(
            models.signal_columns(
                p_t=columns.p_t[here],
                hidden=hidden,
                tokens_in=columns.tokens_in[here],
                entropy=columns.entropy[here],
                margin=columns.margin[here],
                slices=rows.slices[here],
            )
        )
    return {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else {"p_t": unknown})}


def spread_out(chosen: BoolArray, most: int = MOST_OOD_ROWS) -> BoolArray:
    """`chosen`, or `most` of it at equal distances."""
    numbers = np.flatnonzero(chosen)
    if len(numbers) <= most:
        return chosen
    kept = np.zeros_like(chosen)
    kept[numbers[np.linspace(0, len(numbers) - 1, most).astype(np.int64)]] = True
    return kept


def with_document(models: TierModels, **changes: object) -> TierModels:
    """The same models under a document with these fields changed."""
    document = replace(models.document, **changes)  # type: ignore[arg-type]
    return replace(models, document=document)


def former_probes(former: TierModels | None, fingerprints: tuple[Fingerprint, ...]) -> Former:
    """A former linear probe by each layer that has its fingerprint; one of another kind or layer
    starts nothing.
    """
    if former is None or not isinstance(former.probe, LinearProbe):
        return {}
    models = (former.standardiser, former.probe)
    return {at: models for at, one in enumerate(fingerprints) if one == former.document.fingerprint}


def _labelled_parts(
    columns: TierColumns, split: Split, vectors: TierVectors, taught: FloatArray
) -> dict[Part, BoolArray]:
    """Per part that learns, which rows [n] have a vector and a label; a label to fit on is one that
    teaches.
    """
    usable = vectors.present & np.isfinite(columns.correct)
    parts = {part: usable & split.rows(part) for part in LEAST_LABELS}
    parts[Part.FIT] = vectors.present & np.isfinite(taught) & split.rows(Part.FIT)
    return parts


def _enough(parts: Mapping[Part, BoolArray], taught: FloatArray) -> bool:
    """Whether every part has labelled rows enough, and right answers as well as wrong ones."""
    return all(
        int(chosen.sum()) >= LEAST_LABELS[part] and np.unique(taught[chosen] >= 0.5).size == 2
        for part, chosen in parts.items()
    )


def _models_without_score(
    columns: TierColumns, split: Split, vectors: TierVectors, fitted: FittedProbe, calibrated: BoolArray
) -> TierModels:
    """The fitted probe, calibrated on the rows `calibrated` [n], beside what traffic looks like."""
    calibrator = fit_calibrator(
        fitted.logits(vectors.of(calibrated)), columns.correct[calibrated], columns.weight[calibrated]
    )
    # States need no label to say what traffic looks like, so any state of the part may serve as
    # reference.
    shaping = spread_out(vectors.present & split.rows(Part.FIT))
    seen = spread_out(vectors.present & split.rows(Part.CALIBRATION))
    ood = fit_ood(
        fitted.standardised(vectors.of(shaping)), fitted.standardised(vectors.of(seen)), columns.tokens_in[seen]
    )
    document = TierDocument(
        fingerprint=vectors.fingerprints[fitted.layer],
        probe=fitted.probe.kind,
        dimension=fitted.probe.dimension,
        ik_calibrator=calibrator,
        ood=ood is not None,
    )
    return TierModels(document=document, standardiser=fitted.standardiser, probe=fitted.probe, ood=ood)


def _probe_rows(columns: TierColumns, vectors: TierVectors, chosen: BoolArray) -> StreamedRows:
    return StreamedRows(x=vectors.of(chosen), y=columns.correct[chosen], weight=columns.weight[chosen])


def _prompts(rows: CascadeRows, tier: int, chosen: BoolArray) -> tuple[str, ...]:
    """Of each of `_signal_rows` its prompt; a decision whose prompt is unknown stands alone."""
    kept = np.flatnonzero(chosen & np.isfinite(rows.tiers[tier].correct))
    return tuple(rows.prompt_hashes[row] or f"decision {rows.ids[row]}" for row in kept)


def _signal_rows(rows: CascadeRows, tier: int, p_ik: FloatArray, chosen: BoolArray) -> SignalRows:
    columns = rows.tiers[tier]
    kept = chosen & np.isfinite(columns.correct)
    return SignalRows(
        p_t=columns.p_t[kept],
        p_ik=p_ik[kept],
        entropy=columns.entropy[kept],
        margin=columns.margin[kept],
        slices=tuple(name for name, keep in zip(rows.slices, kept, strict=True) if keep),
        y=columns.correct[kept],
        weight=columns.weight[kept],
    )
