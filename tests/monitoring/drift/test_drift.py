"""Evidently really runs here: what it says, what is kept of it, and the page that comes back from
what is kept.
"""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from monitoring.drift.drift import LEAST_ROWS, MissingShift, compare, missing_shift, render_html
from monitoring.errors import DriftUnavailable

pytestmark = pytest.mark.xdist_group("evidently")  # which takes seconds to import, in every process


@pytest.fixture(scope="module")
def record():
    rng = np.random.default_rng(3)
    reference = pd.DataFrame({"p_t": rng.random(800), "p_ik": rng.normal(0.8, 0.1, 800), "score": np.full(800, np.nan)})
    current = pd.DataFrame({"p_t": rng.random(500), "p_ik": rng.normal(0.6, 0.1, 500), "ood": rng.random(500)})
    current.loc[:20, "p_ik"] = np.nan
    reference["score"] = np.where(np.arange(800) < LEAST_ROWS - 1, 0.5, np.nan)
    current["score"] = 0.5
    return compare(reference, current)


def test_a_shifted_column_drifts_and_an_unshifted_one_does_not(record):
    columns = {column.column: column for column in record.columns}
    assert columns["p_ik"].drifted
    assert columns["p_ik"].score == pytest.approx(2.0, abs=0.2)  # 0.2 of a standard deviation of 0.1
    assert not columns["p_t"].drifted
    assert [column.column for column in record.drifted] == ["p_ik"]


def test_columns_with_too_few_rows_or_on_one_side_only_are_left_out(record):
    assert record.left_out == ("score",)
    assert {column.column for column in record.columns} == {"p_t", "p_ik"}


def test_what_is_kept_is_json_of_a_fraction_of_the_page_and_renders_to_it(record):
    kept = json.loads(record.document)
    assert {column["column"] for column in kept["columns"]} == {"p_t", "p_ik"}
    assert len(record.document) < 200_000
    page = render_html(record.document)
    assert len(page) > 1_000_000
    assert "p_ik" in page


def test_few_rows_need_a_larger_shift():
    rng = np.random.default_rng(4)
    reference = pd.DataFrame({"p_t": rng.normal(0.0, 1.0, 1000)})
    current = pd.DataFrame({"p_t": rng.normal(0.0, 1.0, 60)})
    found = compare(reference, current)
    assert found.columns[0].threshold == pytest.approx(2.5 / np.sqrt(60))
    assert not found.columns[0].drifted


@pytest.mark.parametrize("signal", ["p_t", "p_ik", "ood"])
def test_a_tiny_difference_is_no_drift_where_the_reference_hardly_varies(signal):
    rng = np.random.default_rng(5)
    certain = pd.DataFrame({signal: np.full(400, 1.0)})
    for other in (np.full(400, 0.999), 0.999 + 0.001 * rng.random(400), np.full(400, 1.0)):
        found = compare(certain, pd.DataFrame({signal: other}))
        assert not found.columns[0].drifted
        assert found.columns[0].score < 0.05
    assert compare(certain, pd.DataFrame({signal: np.full(400, 0.9)})).columns[0].drifted
    lengths = pd.DataFrame({"tokens_in": np.full(400, 900.0)})
    assert not compare(lengths, pd.DataFrame({"tokens_in": np.full(400, 901.0)})).columns[0].drifted
    assert compare(lengths, pd.DataFrame({"tokens_in": np.full(400, 1200.0)})).columns[0].drifted


def test_columns_that_are_missing_everywhere_are_a_report_of_their_own():
    nothing = pd.DataFrame({"p_t": np.full(200, np.nan)})
    gone = MissingShift(column="p_t", reference_share=0.0, current_share=1.0, threshold=0.05)
    found = compare(pd.DataFrame({"p_t": np.random.default_rng(6).random(200)}), nothing, (gone,))
    assert (found.columns, found.left_out, found.missing) == ((), ("p_t",), (gone,))
    assert json.loads(found.document)["missing"][0]["current_share"] == 1.0


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


def test_without_enough_rows_there_is_no_report():
    rows = pd.DataFrame({"p_t": np.zeros(LEAST_ROWS - 1)})
    assert compare(rows, rows) is None


def test_a_document_that_is_no_report_is_refused():
    with pytest.raises(DriftUnavailable, match="no drift report"):
        render_html('{"columns": []}')


def test_watching_is_imported_without_evidently():
    code = (
        "import sys, monitoring.watching.watch\n"
        "print(sorted(m for m in ('evidently', 'torch', 'plotly') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
