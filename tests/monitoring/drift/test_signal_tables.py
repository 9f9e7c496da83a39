"""Which columns are compared, from which attempts and vectors, and what is missing of them."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from knowgate._bundles.tier_models import TierDocument, TierModels
from knowgate._models.calibrator import Platt
from knowgate._models.features import Standardiser
from knowgate._models.ood import OodStatistics
from knowgate._models.probe import LinearProbe, ProbeKind
from monitoring.drift.drift import LEAST_ROWS
from monitoring.drift.signal_tables import (
    LOGGED,
    MADE,
    MOST_VECTORS,
    WATCHED,
    current_table,
    missing_shares,
    missing_shifts,
    reference_table,
)
from store.shards.shards import write_shard
from store.traffic.decision_rows import fingerprint_id
from tests.vector_cast import FINGERPRINT

N = LEAST_ROWS
NOTHING = float("nan")


def attempts(n: int = N, **columns: object) -> pd.DataFrame:
    usual: dict[str, object] = dict.fromkeys(WATCHED, 0.5) | {"slice": None, "shard": None, "row": -1, "role": "served"}
    usual["fingerprint"] = fingerprint_id(FINGERPRINT)
    return pd.DataFrame({name: [value] * n for name, value in usual.items()} | columns)


@pytest.mark.parametrize("name", WATCHED)
def test_what_is_missing_is_counted_column_by_column(name: str) -> None:
    shares = missing_shares(attempts(4, **{name: [0.1, NOTHING, 0.2, NOTHING]}))
    assert shares == dict.fromkeys(WATCHED, (0, 4)) | {name: (2, 4)}


def test_a_tier_that_was_not_even_asked_owes_nothing_and_has_read_nothing() -> None:
    roles = ["served", "skipped", "skipped", "skipped", "exploration"]  # the third was read for by an encoder
    read, made = [40.0, 0.0, 0.0, 30.0, 50.0], [0.5, NOTHING, 0.2, 0.4, 0.5]
    p_t = [0.9, NOTHING, NOTHING, NOTHING, 0.8]
    rows = attempts(5, role=roles, tokens_in=read, p_ik=made, score=made, ood=made, p_t=p_t)
    shares = missing_shares(rows)
    assert (shares["p_ik"], shares["ood"], shares["p_t"]) == ((0, 4), (0, 4), (0, 2))
    for table in (current_table(rows, None), reference_table(rows, None)):
        np.testing.assert_array_equal(table["tokens_in"], [40.0, NOTHING, NOTHING, 30.0, 50.0])


def test_what_a_bundle_makes_is_missing_only_on_rows_where_it_could_be_made() -> None:
    some, none = [0.5] * N, [NOTHING] * N
    made = {"p_ik": some + none + none, "score": none + some + none, "ood": none * 3}  # nothing on the last rows
    found = {one.column: one for one in missing_shifts(attempts(), pd.DataFrame(made), attempts())}
    assert {name: found[name].reference_share for name in MADE} == {"p_ik": 0.5, "score": 0.5, "ood": 1.0}
    assert {found[name].reference_share for name in WATCHED if name not in MADE} == {0.0}


def test_without_vectors_nothing_that_is_made_has_a_reference() -> None:
    found = {one.column for one in missing_shifts(attempts(), attempts()[list(LOGGED)], attempts())}
    assert found == set(WATCHED) - set(MADE)


DIMENSION = 6


def models(*, ood: bool = True) -> TierModels:
    """Six features, of which the leading components read the first and the second."""
    components = np.eye(DIMENSION)[:2]
    statistics = OodStatistics(
        mean=np.zeros(DIMENSION),
        components=components,
        variances=np.array([2.0, 1.0]),
        residual_variance=1.0,
        length_slope=0.0,
        length_intercept=0.0,
        reference=np.linspace(-3.0, 3.0, 21),
    )
    document = TierDocument(
        fingerprint=FINGERPRINT,
        probe=ProbeKind.LINEAR,
        dimension=DIMENSION,
        ik_calibrator=Platt(slope=1.0, intercept=0.0),
        score_model=None,
        ood=ood,
        validation_auroc=0.7,
    )
    return TierModels(
        document=document,
        standardiser=Standardiser(mean=np.zeros(DIMENSION), scale=np.ones(DIMENSION)),
        probe=LinearProbe(weight=np.ones(DIMENSION) / 10, bias=0.0),
        ood=statistics if ood else None,
    )


def stored(folder: Path, n: int, *, dimension: int = DIMENSION) -> tuple[str, np.ndarray]:
    vectors = np.random.default_rng(n).normal(size=(n, dimension)).astype(np.float16)
    return write_shard(str(folder), vectors, [f"v{row}" for row in range(n)], fingerprint=FINGERPRINT).url, vectors


def test_components_stand_beside_the_attempts_whose_vectors_they_are_of(tmp_path: Path) -> None:
    one, first = stored(tmp_path / "one", 3)
    other, second = stored(tmp_path / "other", 2)
    today = attempts(6, shard=[one, None, other, one, other, one], row=[2, -1, 1, 0, 0, 1])
    table = current_table(today, models())
    assert list(table.columns) == [*LOGGED, *MADE, "pca_1", "pca_2"]
    expected = np.array([first[2], np.full(DIMENSION, NOTHING), second[1], first[0], second[0], first[1]])
    scaled = table[["pca_1", "pca_2"]].to_numpy()
    assert np.isnan(scaled[1]).all()
    ratios = scaled[:, 0] / scaled[:, 1]
    assert np.delete(ratios, 1) == pytest.approx(np.delete(expected[:, 0] / expected[:, 1], 1), rel=1e-2)
    assert "pca_1" not in current_table(today, None).columns
    assert "pca_1" not in current_table(today, models(ood=False)).columns
    assert "pca_1" not in current_table(attempts(3), models()).columns


def test_the_reference_is_made_with_the_models_that_decide_now(tmp_path: Path) -> None:
    url, _ = stored(tmp_path, 3)
    table = reference_table(attempts(4, shard=[url, None, url, url], row=[0, -1, 1, 2], p_ik=0.99), models())
    assert table["p_ik"].isna().tolist() == [False, True, False, False]
    assert not (table["p_ik"] == 0.99).any(), "what another bundle said is no reference"
    assert list(reference_table(attempts(2), None).columns) == list(LOGGED)
    assert list(reference_table(attempts(2), models()).columns) == list(LOGGED)


def test_states_of_another_layer_than_the_bundles_are_no_reference(tmp_path: Path) -> None:
    url, _ = stored(tmp_path, 3)
    other = fingerprint_id(replace(FINGERPRINT, layer=FINGERPRINT.layer + 1))
    before = attempts(3, shard=[url] * 3, row=[0, 1, 2], fingerprint=[fingerprint_id(FINGERPRINT), other, None])
    assert reference_table(before, models())["p_ik"].isna().tolist() == [False, True, False]
    assert list(reference_table(before.assign(fingerprint=other), models()).columns) == list(LOGGED)


def test_vectors_that_are_gone_or_of_another_size_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, _ = stored(tmp_path / "good", 2)
    wide, _ = stored(tmp_path / "wide", 3, dimension=7)
    gone = str(tmp_path / "gone.safetensors")
    with caplog.at_level(logging.WARNING, "knowgate.monitoring"):
        table = current_table(attempts(6, shard=[wide, gone, good, wide, wide, good], row=[0, 0, 0, 1, 2, 1]), models())
    assert table["pca_1"].notna().tolist() == [False, False, True, False, False, True]
    warnings = sorted(record.getMessage() for record in caplog.records)
    assert warnings[0].startswith("1 vectors are left out of drift: ") and gone in warnings[0]
    assert warnings[1].startswith(f"3 vectors are left out of drift: {wide} has dimension 7, the bundle in force 6")


@pytest.mark.parametrize(("n", "read"), [(MOST_VECTORS, MOST_VECTORS), (MOST_VECTORS + 1, MOST_VECTORS // 2 + 1)])
def test_of_very_many_vectors_evenly_spaced_ones_are_read(tmp_path: Path, n: int, read: int) -> None:
    url, _ = stored(tmp_path, n)
    table = current_table(attempts(n, shard=[url] * n, row=list(range(n))), models())
    known = np.flatnonzero(table["pca_1"].notna())
    assert len(known) == read
    assert set(np.diff(known)) == {1 if n == read else 2}
