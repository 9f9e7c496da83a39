"""What is compared, and what a score says of it; Evidently's part is tested where it runs."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from monitoring.drift.drift import LEAST_ROWS, MissingShift, drift_of, missing_shift, sides_of


def test_columns_with_too_few_rows_or_on_one_side_only_are_left_out():
    reference = pd.DataFrame({"p_t": np.zeros(200), "p_ik": np.zeros(200), "score": np.full(200, np.nan)})
    reference.loc[: LEAST_ROWS - 2, "score"] = 0.5
    sides = sides_of(reference, pd.DataFrame({"p_t": np.zeros(60), "score": np.zeros(60), "ood": np.zeros(60)}))
    assert sides.left_out == ("score",)
    assert set(sides.thresholds) == {"p_t"}
    assert set(sides.current.columns) == {"p_t", "score"}


def test_few_rows_need_a_larger_shift():
    sides = sides_of(pd.DataFrame({"p_t": np.arange(1000.0)}), pd.DataFrame({"p_t": np.arange(60.0)}))
    assert sides.thresholds["p_t"] == pytest.approx(2.5 / np.sqrt(60))
    assert not drift_of(sides, {"p_t": 0.3}).columns[0].drifted
    assert drift_of(sides, {"p_t": 0.33}).drifted[0].column == "p_t"


def test_a_column_that_hardly_varies_is_measured_against_a_least_spread():
    sides = sides_of(pd.DataFrame({"p_t": np.full(900, 1.0)}), pd.DataFrame({"p_t": np.full(900, 0.999)}))
    assert sides.scores_at_threshold["p_t"] == pytest.approx(0.1 * 0.05 / 0.001)
    (column,) = drift_of(sides, {"p_t": 1.0}).columns  # one of Evidently's least deviations, 0.001
    assert column.score == pytest.approx(0.001 / 0.05)
    assert not column.drifted


def test_columns_that_are_missing_everywhere_are_a_record_of_their_own():
    nothing = pd.DataFrame({"p_t": np.full(200, np.nan)})
    gone = MissingShift(column="p_t", reference_share=0.0, current_share=1.0, threshold=0.05)
    sides = sides_of(pd.DataFrame({"p_t": np.random.default_rng(6).random(200)}), nothing, (gone,))
    found = drift_of(sides, {})
    assert (found.columns, found.left_out, found.missing) == ((), ("p_t",), (gone,))


@pytest.mark.parametrize(
    ("before", "now", "drifts"),
    [
        ((0, 400), (400, 400), True),
        ((0, 400), (24, 400), True),
        ((0, 400), (16, 400), False),  # less than a twentieth
        ((40, 400), (48, 400), False),
        ((400, 400), (0, 400), False),  # it came back
        ((5, 60), (10, 60), False),  # as chance will have it
    ],
)
def test_a_column_drifts_where_it_is_missing_oftener_than_before(before, now, drifts):
    assert missing_shift("p_t", before, now).drifted is drifts


def test_too_few_attempts_say_nothing_of_what_is_missing():
    assert missing_shift("p_t", (0, LEAST_ROWS - 1), (100, 100)) is None
    assert missing_shift("p_t", (0, 100), (LEAST_ROWS - 1, LEAST_ROWS - 1)) is None


def test_without_enough_rows_there_is_nothing_to_compare():
    rows = pd.DataFrame({"p_t": np.zeros(LEAST_ROWS - 1)})
    assert sides_of(rows, rows) is None


@pytest.mark.slow
def test_watching_is_imported_without_evidently():
    code = (
        "import sys, monitoring.watching.watch\n"
        "print(sorted(m for m in ('evidently', 'torch', 'plotly') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
