"""Grader's labels in training: forecasts that certify by correction, soft labels for probes."""

from dataclasses import replace

import numpy as np
import pytest

from evidence.certification.known_outcomes import certification_rows, forecast_error, forecasts_left_out, label_basis
from knowgate._bundles.bundle_documents import CertificateStatus
from knowgate._records.records import LabelSource
from knowgate.policy import PolicyKind
from knowgate.spec import Targets
from training.certification.certify import certify_kind
from training.certification.outcomes import logged_rows
from training.rows.dataset import CascadeRows, TierColumns
from training.rows.soft_labels import LEAST_COMPARED, fitting_labels
from training.rows.splits import Part, Split

NAN = np.nan
N = 3000


def judged_rows(*, gold: float = 0.3, up: float = 0.2) -> CascadeRows:
    """Both tiers ran on all; all answers are judged, a coin draws gold labels."""
    rng = np.random.default_rng(7)
    signal, drawn = rng.random(N), rng.random(N) < gold
    tiers = []
    for tier, chance in enumerate((0.75 + 0.24 * signal, np.full(N, 0.95))):
        truth = (rng.random(N) < chance).astype(float)
        verdicts = np.where((truth == 0.0) & (rng.random(N) < up), 1.0, truth)
        tiers.append(
            TierColumns(
                ran=np.ones(N, dtype=bool),
                p_t=signal if tier == 0 else np.full(N, NAN),
                correct=np.where(drawn, truth, NAN),
                run_propensity=np.ones(N),
                label_propensity=np.where(drawn, gold, NAN),
                tokens_in=np.full(N, 10.0),
                forecast=verdicts,
                label_source=np.where(drawn, LabelSource.GOLD, np.array(None)),
                forecast_source=np.full(N, LabelSource.JUDGE, dtype=object),
            )
        )
    return CascadeRows(
        ids=tuple(f"id{row}" for row in range(N)),
        seconds=np.arange(N, dtype=float),
        slices=(None,) * N,
        prompts=(None,) * N,
        prompt_hashes=(None,) * N,
        exploration_rate=np.zeros(N),
        tiers=tuple(tiers),
        fingerprints={},
    )


def test_a_certificate_says_whose_labels_it_rests_on() -> None:
    rows = judged_rows()
    split = Split(parts=np.full(N, str(Part.CERTIFICATION)), prompts={})
    signals = [{"p_t": rows.tiers[0].p_t}]
    found = certify_kind(rows, split, signals, Targets(value=0.06), kind=PolicyKind.P_T, delta=0.1)
    assert found is not None and found.certification.status is CertificateStatus.CERTIFIED
    tested = logged_rows(found.rows)
    basis = label_basis(tested, found.certification, (LabelSource.GOLD, LabelSource.HUMAN))
    drawn = int(np.isfinite(rows.tiers[0].correct).sum())
    assert basis.labels == {"gold": 2 * drawn}
    assert basis.forecasts == {"judge": 2 * N}
    assert basis.forecasts_left_out is None and basis.agreement_with == ()
    trusted = label_basis(tested, found.certification, tuple(LabelSource))
    assert trusted.agreement_with == (LabelSource.JUDGE, LabelSource.FEEDBACK)


def test_forecasts_reach_the_rows_with_the_run_coin_and_an_error_of_other_rows() -> None:
    rows, half = judged_rows(), np.arange(N) < N // 2
    error = forecast_error(logged_rows(rows.take(half)))
    assert error is not None and 0.0 < error < 0.1  # .2 of the wrong ones
    known = certification_rows(logged_rows(rows.take(~half)), error)
    assert known.forecast is not None and np.isfinite(np.asarray(known.forecast)).all()
    assert known.corrected_bound == pytest.approx(2 / 0.3 - 1)
    assert forecast_error(logged_rows(rows.take(np.zeros(N, dtype=bool)))) is None


def test_a_grader_that_errs_as_often_as_a_coin_has_no_error_rate_that_could_be_used() -> None:
    rows = judged_rows()
    coin = np.random.default_rng(8).integers(0, 2, N).astype(float)
    guessed = replace(rows, tiers=tuple(replace(tier, forecast=coin) for tier in rows.tiers))
    assert forecast_error(logged_rows(guessed)) is None


def test_without_a_known_coin_for_gold_labels_forecasts_are_left_out_and_it_is_said() -> None:
    rows = judged_rows()
    unknown = replace(rows, tiers=tuple(replace(tier, label_propensity=np.full(N, NAN)) for tier in rows.tiers))
    assert certification_rows(logged_rows(unknown)).forecast is None
    assert "not identified" in str(forecasts_left_out(logged_rows(unknown)))
    assert forecasts_left_out(logged_rows(rows)) is None


@pytest.mark.parametrize(("compared", "taught"), [(LEAST_COMPARED - 1, False), (LEAST_COMPARED, True)])
def test_a_verdict_teaches_once_it_was_compared_often_enough(compared: int, taught: bool) -> None:
    columns = judged_rows().tiers[0]
    known = np.arange(N) < compared
    columns = replace(
        columns,
        correct=np.where(known, np.arange(N) % 2, NAN),
        forecast=np.ones(N),
        run_propensity=np.where(np.arange(N) % 2, 0.5, 0.04),
    )
    labels, weight = fitting_labels(columns, np.ones(N, dtype=bool))
    assert bool(np.isfinite(labels[~known]).all()) is taught
    if taught:
        assert set(labels[~known]) == {(compared // 2 + 0.5) / (compared + 1)}
        assert set(weight) == {2.0, 20.0}, "each row stands for the runs that its coin left out, and 20 at most"


def test_a_probe_learns_from_a_grader_what_its_verdict_was_worth() -> None:
    columns, fitting = judged_rows().tiers[0], np.arange(N) < 2000
    taught, weight = fitting_labels(columns, fitting)
    assert columns.forecast is not None
    known = np.isfinite(columns.correct)
    np.testing.assert_array_equal(taught[known], columns.correct[known])
    assert np.isnan(taught[~fitting & ~known]).all()  # validation and calibration keep to trusted labels
    soft = taught[fitting & ~known & (columns.forecast == 1.0)]
    both = fitting & known & (columns.forecast == 1.0)
    assert np.ptp(soft) == 0.0
    assert soft[0] == pytest.approx((columns.correct[both].sum() + 0.5) / (both.sum() + 1))
    assert (weight == 1.0).all()
    few, same = fitting_labels(columns, fitting & (np.arange(N) < 20))
    np.testing.assert_array_equal(few, columns.correct)  # too few compared: the grader teaches nothing
    np.testing.assert_array_equal(same, columns.weight)
