"""Everything that is learned of one tier: probe, calibrator, score, OOD statistics, from rows that will not certify.

A tier without enough labelled vectors gets no models: it is then served with p_t alone, which needs none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from knowgate.bundle import TierDocument, TierModels
from knowgate.probe import LinearProbe
from knowgate.records import Fingerprint
from training.calibrate import SignalRows, fit_calibrator, fit_score
from training.dataset import CascadeRows, TierVectors
from training.fit import FitProbe, FittedProbe, Former, ProbeRows, fit_probe
from training.ood import fit_ood
from training.probe_settings import FitSettings
from training.soft_labels import fitting_labels
from training.splits import Part, Split

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
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
    """The models of non-last tier `tier`; None where its labelled vectors are too few or of one class.

    `former` models start the linear probes of the layers whose fingerprint is theirs.
    """
    if vectors is None:
        return None
    columns = rows.tiers[tier]
    taught, weight = fitting_labels(columns, split.rows(Part.FIT))
    usable = vectors.present & np.isfinite(columns.correct)
    parts = {part: usable & split.rows(part) for part in LEAST_LABELS}
    parts[Part.FIT] = vectors.present & np.isfinite(taught) & split.rows(Part.FIT)
    if any(int(parts[part].sum()) < least for part, least in LEAST_LABELS.items()):
        return None
    if any(np.unique(taught[parts[part]] >= 0.5).size < 2 for part in parts):
        return None
    fitted = fit(
        ProbeRows(x=vectors.of(parts[Part.FIT]), y=taught[parts[Part.FIT]], weight=weight[parts[Part.FIT]]),
        _probe_rows(rows, tier, vectors, parts[Part.VALIDATION]),
        settings,
        warm_start=former_probes(former, vectors.fingerprints),
    )
    calibrated = parts[Part.CALIBRATION]
    calibrator = fit_calibrator(
        fitted.logits(vectors.of(calibrated)), columns.correct[calibrated], columns.weight[calibrated]
    )
    # States need no label to say what traffic looks like, so every state of the part serves as reference.
    seen = vectors.present & split.rows(Part.CALIBRATION)
    ood = fit_ood(
        fitted.standardiser.apply(vectors.of(vectors.present & split.rows(Part.FIT))[:, fitted.layer]),
        fitted.standardiser.apply(vectors.of(seen)[:, fitted.layer]),
        columns.tokens_in[seen],
    )
    document = TierDocument(
        fingerprint=vectors.fingerprints[fitted.layer],
        probe=fitted.probe.kind,
        dimension=fitted.probe.dimension,
        ik_calibrator=calibrator,
        ood=ood is not None,
    )
    bare = TierModels(document=document, standardiser=fitted.standardiser, probe=fitted.probe, ood=ood)
    p_ik = signal_columns(rows, tier, bare, vectors, fitted.layer)["p_ik"]
    score = fit_score(
        _signal_rows(rows, tier, p_ik, split.rows(Part.VALIDATION)),
        _signal_rows(rows, tier, p_ik, split.rows(Part.CALIBRATION)),
    )
    return LearnedTier(
        models=with_document(bare, score_model=score),
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
    hidden = np.full((rows.n, models.document.dimension), np.nan, dtype=np.float32)
    hidden[vectors.present] = vectors.x[:, layer]
    return models.signal_columns(
        p_t=columns.p_t,
        hidden=hidden,
        tokens_in=columns.tokens_in,
        entropy=columns.entropy,
        margin=columns.margin,
        slices=rows.slices,
    )


def with_document(models: TierModels, **changes: object) -> TierModels:
    """The same models under a document with these fields changed."""
    document = replace(models.document, **changes)  # type: ignore[arg-type]
    return TierModels(document=document, standardiser=models.standardiser, probe=models.probe, ood=models.ood)


def former_probes(former: TierModels | None, fingerprints: tuple[Fingerprint, ...]) -> Former:
    """A former linear probe by each layer that has its fingerprint; one of another kind or layer starts nothing."""
    if former is None or not isinstance(former.probe, LinearProbe):
        return {}
    held = (former.standardiser, former.probe)
    return {at: held for at, one in enumerate(fingerprints) if one == former.document.fingerprint}


def _probe_rows(rows: CascadeRows, tier: int, vectors: TierVectors, chosen: BoolArray) -> ProbeRows:
    columns = rows.tiers[tier]
    return ProbeRows(x=vectors.of(chosen), y=columns.correct[chosen], weight=columns.weight[chosen])


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
