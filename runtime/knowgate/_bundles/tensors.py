"""Which tensors a tier has in a bundle, and how they become its models again.

    tier/<i>/standardiser/mean [d], scale [d]
    tier/<i>/probe/weight [d], bias [1]                a linear probe
    tier/<i>/probe/w1 [h, d], b1 [h], w2 [h], b2 [1]   one with a hidden layer
    tier/<i>/ood/mean [d], components [k, d], variances [k],
                 residual_variance [1], length [2], reference [q]
    tier/<i>/resampled/at [k], refits [b, k]

`length` holds the slope and the intercept of the length adjustment. All are float32; the models
check the shapes.
"""

from collections.abc import Mapping

import numpy as np

from knowgate._bundles.bundle_documents import TierDocument
from knowgate._bundles.tier_models import TierModels
from knowgate._models.features import Standardiser
from knowgate._models.ood import OodStatistics
from knowgate._models.probe import LinearProbe, MlpProbe, Probe, ProbeKind
from knowgate._models.resampled import ResampledScores
from knowgate._records.arrays import Float32Array
from knowgate.errors import RecordInvalid

_STANDARDISER = ("standardiser/mean", "standardiser/scale")
_PROBES = {
    ProbeKind.LINEAR: ("probe/weight", "probe/bias"),
    ProbeKind.MLP: ("probe/w1", "probe/b1", "probe/w2", "probe/b2"),
}
_OOD = ("ood/mean", "ood/components", "ood/variances", "ood/residual_variance", "ood/length", "ood/reference")
_RESAMPLED = ("resampled/at", "resampled/refits")
# The tensors that hold numbers rather than arrays, and how many.
_SCALARS = {"probe/bias": 1, "probe/b2": 1, "ood/residual_variance": 1, "ood/length": 2}


def tensor_names(index: int, document: TierDocument) -> set[str]:
    """The names of all tensors that tier `index` must have."""
    names = (*_STANDARDISER, *_PROBES[document.probe], *(_OOD if document.ood else ()))
    names += _RESAMPLED if document.resampled else ()
    return {f"tier/{index}/{name}" for name in names}


def tier_tensors(index: int, models: TierModels) -> dict[str, Float32Array]:
    """Tier `index`'s models as named float32 tensors."""
    tensors = {"standardiser/mean": models.standardiser.mean, "standardiser/scale": models.standardiser.scale}
    probe, ood = models.probe, models.ood
    if isinstance(probe, LinearProbe):
        tensors |= {"probe/weight": probe.weight, "probe/bias": _scalars(probe.bias)}
    else:
        tensors |= {"probe/w1": probe.w1, "probe/b1": probe.b1}
        tensors |= {"probe/w2": probe.w2, "probe/b2": _scalars(probe.b2)}
    if ood is not None:
        tensors |= {
            "ood/mean": ood.mean,
            "ood/components": ood.components,
            "ood/variances": ood.variances,
            "ood/residual_variance": _scalars(ood.residual_variance),
            "ood/length": _scalars(ood.length_slope, ood.length_intercept),
            "ood/reference": ood.reference,
        }
    if models.resampled is not None:
        tensors |= {"resampled/at": models.resampled.at, "resampled/refits": models.resampled.refits}
    return {f"tier/{index}/{name}": tensor for name, tensor in tensors.items()}


def tier_from_tensors(index: int, document: TierDocument, tensors: Mapping[str, Float32Array]) -> TierModels:
    """Tier `index`'s models. Raises RecordInvalid for a wrong shape or a number that a model cannot
    hold.
    """
    own = {name: tensors[f"tier/{index}/{name}"] for name in _local_names(index, document)}
    for name, length in _SCALARS.items():
        if name in own and own[name].shape != (length,):
            raise RecordInvalid(f"{name}.shape", own[name].shape, f"the shape [{length}] is expected")
    return TierModels(
        document=document,
        standardiser=Standardiser(mean=own["standardiser/mean"], scale=own["standardiser/scale"]),
        probe=_probe(document.probe, own),
        ood=_ood(own) if document.ood else None,
        resampled=ResampledScores(at=own["resampled/at"], refits=own["resampled/refits"])
        if document.resampled
        else None,
    )


def _scalars(*values: float) -> Float32Array:
    return np.array(values, dtype=np.float32)


def _local_names(index: int, document: TierDocument) -> list[str]:
    prefix = f"tier/{index}/"
    return [name.removeprefix(prefix) for name in tensor_names(index, document)]


def _probe(kind: ProbeKind, own: Mapping[str, Float32Array]) -> Probe:
    if kind is ProbeKind.LINEAR:
        return LinearProbe(weight=own["probe/weight"], bias=float(own["probe/bias"][0]))
    return MlpProbe(w1=own["probe/w1"], b1=own["probe/b1"], w2=own["probe/w2"], b2=float(own["probe/b2"][0]))


def _ood(own: Mapping[str, Float32Array]) -> OodStatistics:
    slope, intercept = own["ood/length"].tolist()
    return OodStatistics(
        mean=own["ood/mean"],
        components=own["ood/components"],
        variances=own["ood/variances"],
        residual_variance=float(own["ood/residual_variance"][0]),
        length_slope=slope,
        length_intercept=intercept,
        reference=own["ood/reference"],
    )
