"""A champion beside its challenger: its own promise is tested on the challenger's rows, for either
target.
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from factories import make_fingerprint
from knowgate import Fingerprint, write_bundle
from knowgate._bundles.bundle import Bundle
from knowgate._bundles.bundle_documents import BundleDocument
from knowgate._bundles.tier_models import TierDocument, TierModels
from knowgate._models.calibrator import Platt
from knowgate._models.features import Standardiser
from knowgate._models.probe import LinearProbe, ProbeKind
from knowgate.policy import Policy, PolicyKind
from knowgate.spec import TargetKind, Targets
from training.certification.certify import certify_kind
from training.certification.compare import bolder_on_its_path, compare_with_champion, signals_under
from training.rows.dataset import CascadeRows, TierColumns, TierVectors
from training.rows.row_blocks import ArrayBlocks
from training.rows.splits import Proportions, split_rows

N = 600
DROP = Targets(kind=TargetKind.MAX_ACCURACY_DROP, value=0.05, delta=0.1, rule=PolicyKind.P_T)
ACCURACY = Targets(kind=TargetKind.RETAINED_ACCURACY, value=0.9, delta=0.1, rule=PolicyKind.P_T)


def tier(correct: np.ndarray, p_t: np.ndarray, cost: float) -> TierColumns:
    one = np.ones(N)
    return TierColumns(
        ran=np.ones(N, dtype=bool),
        p_t=p_t,
        correct=correct,
        run_propensity=one,
        label_propensity=one,
        tokens_in=np.full(N, 10.0),
        cost_usd=np.full(N, cost),
    )


def rows() -> CascadeRows:
    """The small tier is right above a P(T) of 0.5 and wrong below, the large one is
    always right.
    """
    p_t = (np.random.default_rng(1).permutation(N) + 0.5) / N
    return CascadeRows(
        ids=tuple(f"{number:032x}" for number in range(N)),
        seconds=np.arange(N, dtype=float),
        slices=(None,) * N,
        prompts=(None,) * N,
        prompt_hashes=tuple(f"h{number}" for number in range(N)),
        exploration_rate=np.ones(N),
        tiers=(tier((p_t >= 0.5).astype(float), p_t, 1.0), tier(np.ones(N), np.full(N, np.nan), 10.0)),
        fingerprints={},
    )


def champion(threshold: float) -> Bundle:
    document = BundleDocument(
        cascade="quiz",
        models=("small", "large"),
        tiers=(None,),
        policy=Policy.of(PolicyKind.P_T, ({"p_t": threshold},)),
        code_version="test",
        created_at=datetime(2026, 3, 1, tzinfo=UTC),
    )
    return write_bundle(document, (None,))


@pytest.mark.parametrize("targets", [DROP, ACCURACY], ids=["drop", "accuracy"])
@pytest.mark.parametrize(("threshold", "broken"), [(0.2, True), (0.6, False)])
def test_a_champion_that_breaks_its_promise_on_these_rows_is_told(
    targets: Targets, threshold: float, broken: bool
) -> None:
    window = rows()
    split = split_rows(window.ids, window.seconds, window.prompt_hashes, Proportions())
    signals = [{"p_t": window.tiers[0].p_t}]
    certified = certify_kind(window, split, signals, targets, kind=PolicyKind.P_T, delta=0.1)
    assert certified is not None and certified.certified
    found = compare_with_champion(window, [None], certified, champion(threshold), targets)
    assert found.champion_broken is broken
    assert found.passed and not found.harmful
    assert found.savings_gain is not None and (found.savings_gain < 0) is broken


def test_answers_that_are_the_same_are_no_loss_against_the_champion_though_nobody_labelled_them() -> None:
    window = rows()
    said = np.full(N, "an answer", dtype=object)
    told_apart = np.where(window.tiers[0].correct > 0, said, "another")
    labelled = np.arange(N) % 2 == 0
    small, large = (
        replace(
            one,
            answer=answer,
            correct=np.where(labelled, one.correct, np.nan),
            label_propensity=np.where(labelled, 0.5, np.nan),
        )
        for one, answer in zip(window.tiers, (told_apart, said), strict=True)
    )
    window = replace(window, tiers=(small, large))
    split = split_rows(window.ids, window.seconds, window.prompt_hashes, Proportions())
    certified = certify_kind(window, split, [{"p_t": small.p_t}], DROP, kind=PolicyKind.P_T, delta=0.1)
    assert certified is not None and certified.certified
    timid = champion(0.95)
    compared = compare_with_champion(window, [None], certified, timid, DROP)
    kept, ours = certified.certification.retained_share, certified.certification.estimated_drop
    assert kept is not None and kept > 0.4 and ours is not None
    # The champion keeps only what it is sure of, and loses nothing.
    assert compared.estimated_drop == pytest.approx(ours, abs=0.01)
    assert not compared.harmful


@pytest.mark.parametrize(
    ("challenger", "champion", "bolder"),
    [
        (({"p_t": 0.5},), ({"p_t": 0.6},), True),
        (({"p_t": 0.6},), ({"p_t": 0.6},), False),
        (({"p_t": 0.7},), ({"p_t": 0.6},), False),
        ((None, {"p_t": 0.6}), ({"p_t": 0.9}, {"p_t": 0.6}), False),
        (({"p_t": 0.95}, {"p_t": 0.6}), (None, {"p_t": 0.6}), True),
    ],
)
def test_on_one_path_what_opens_a_tier_further_is_bolder(challenger: Any, champion: Any, bolder: bool) -> None:
    new, old = Policy.of(PolicyKind.P_T, challenger), Policy.of(PolicyKind.P_T, champion)
    assert bolder_on_its_path(new, old) is bolder


def test_a_rule_that_looks_at_a_probe_is_on_a_path_of_its_own() -> None:
    new, old = (Policy.of(PolicyKind.SCORE, ({"score": at},)) for at in (0.5, 0.9))
    assert not bolder_on_its_path(new, old)


def test_a_bundle_sees_of_its_probe_what_vectors_of_its_own_fingerprint_show() -> None:
    window, n = rows(), N
    states = np.random.default_rng(2).normal(size=(n, 1, 3)).astype(np.float32)
    own, other = make_fingerprint(layer=1), make_fingerprint(layer=2)
    document = TierDocument(
        fingerprint=own, probe=ProbeKind.LINEAR, dimension=3, ik_calibrator=Platt(slope=1.0, intercept=0.0), ood=False
    )
    flat = Standardiser(mean=np.zeros(3), scale=np.ones(3))
    probe = LinearProbe(weight=np.array([1.0, 0.0, 0.0]), bias=0.0)
    learned = TierModels(document=document, standardiser=flat, probe=probe, ood=None)
    bundle = write_bundle(replace(champion(0.5).document, tiers=(document,)), (learned,))

    def seen(fingerprint: Fingerprint) -> Any:
        vectors = TierVectors(fingerprints=(fingerprint,), present=np.ones(n, dtype=bool), rows=ArrayBlocks(x=states))
        return signals_under(bundle, window, 0, vectors)

    assert seen(own)["p_ik"] == pytest.approx(1 / (1 + np.exp(-states[:, 0, 0])), abs=1e-3)
    for blind in (seen(other), signals_under(bundle, window, 0, None), signals_under(champion(0.5), window, 0, None)):
        assert np.isnan(blind["p_ik"]).all() and (blind["p_t"] == window.tiers[0].p_t).all()
