"""The cascade that the runtime benchmark times: random weights of a real size, gates that nearly
all states pass.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from benchmarks.shape import FINGERPRINT
from knowgate import (
    Assignment,
    BundleDocument,
    Cascade,
    LinearProbe,
    MlpProbe,
    Mode,
    OodStatistics,
    Platt,
    Policy,
    PolicyKind,
    ProbeKind,
    Standardiser,
    TierDocument,
    TierModels,
    features,
    write_bundle,
)
from knowgate._bundles.pair import Pair

DIMENSION, COMPONENTS, HIDDEN_UNITS = 4096, 16, 64
LENGTH = 100  # tokens of every prompt
Half = npt.NDArray[np.float16]


def normal(random: np.random.Generator, *shape: int, scale: float = 1.0) -> npt.NDArray[np.float32]:
    """Normal numbers in float32."""
    return (random.normal(size=shape) * scale).astype(np.float32)


def probe_of(kind: ProbeKind, random: np.random.Generator) -> LinearProbe | MlpProbe:
    """A probe with random weights."""
    if kind is ProbeKind.LINEAR:
        return LinearProbe(weight=normal(random, DIMENSION, scale=1 / 64), bias=0.1)
    return MlpProbe(
        w1=normal(random, HIDDEN_UNITS, DIMENSION, scale=1 / 64),
        b1=normal(random, HIDDEN_UNITS),
        w2=normal(random, HIDDEN_UNITS, scale=1 / 8),
        b2=0.1,
    )


def ood_of(standardiser: Standardiser, states: Half, random: np.random.Generator) -> OodStatistics:
    """Random directions, with the states' own quantiles as the reference."""
    bare = OodStatistics(
        mean=normal(random, DIMENSION, scale=0.1),
        components=np.linalg.qr(normal(random, DIMENSION, COMPONENTS))[0].T,
        variances=np.full(COMPONENTS, 4.0, dtype=np.float32),
        residual_variance=1.0,
        length_slope=0.1,
        length_intercept=8.0,
        reference=np.array([0.0, 1.0], dtype=np.float32),
    )
    statistics = bare.statistics(standardiser.apply(features(states)), np.full(len(states), float(LENGTH)))
    return replace(bare, reference=np.quantile(statistics, np.linspace(0.0, 1.0, 101)).astype(np.float32))


def models_of(kind: ProbeKind, states: Half) -> TierModels:
    """One tier's models with a probe of `kind`."""
    random = np.random.default_rng(7)
    document = TierDocument(
        fingerprint=FINGERPRINT,
        probe=kind,
        dimension=DIMENSION,
        ik_calibrator=Platt(slope=1.0, intercept=0.0),
        score_model=None,
        ood=True,
        validation_auroc=0.7,
    )
    standardiser = Standardiser(
        mean=normal(random, DIMENSION), scale=random.uniform(0.5, 2, size=DIMENSION).astype(np.float32)
    )
    probe, ood = probe_of(kind, random), ood_of(standardiser, states, random)
    return TierModels(document=document, standardiser=standardiser, probe=probe, ood=ood)


def cascade_of(models: TierModels) -> Cascade:
    """A cascade with these models in force, whose gates nearly all states pass."""
    policy = Policy.of(
        PolicyKind.GATES,
        ({"p_ik": 0.01, "p_t": 0.9, "ood": 0.99},),
        fallback=Policy.of(PolicyKind.P_T, ({"p_t": 0.97},)),
    )
    now = datetime.now(UTC)
    document = BundleDocument(
        cascade="benchmark",
        models=("small", "large"),
        tiers=(models.document,),
        policy=policy,
        code_version="0",
        created_at=now,
        rows={"train": 1, "certify": 1},
    )
    bundle = write_bundle(document, (models,))
    assignment = Assignment(
        cascade="benchmark",
        generation=1,
        mode=Mode.ACTIVE,
        champion=bundle.id,
        challenger=None,
        exploration_rate=0.05,
        issued_at=now,
        valid_until=now + timedelta(days=1),
    )
    pair = Pair(assignment=assignment, champion=bundle, challenger=None)
    return Cascade("benchmark", pair, hash_key=bytes(32))
