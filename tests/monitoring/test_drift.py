"""Evidently really runs here: what it says, what is kept of it, and the page that comes back from what is kept."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from monitoring.drift import LEAST_ROWS, compare, render_html
from monitoring.errors import DriftUnavailable


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


def test_without_enough_rows_there_is_no_report():
    rows = pd.DataFrame({"p_t": np.zeros(LEAST_ROWS - 1)})
    assert compare(rows, rows) is None


def test_a_document_that_is_no_report_is_refused():
    with pytest.raises(DriftUnavailable, match="no drift report"):
        render_html('{"columns": []}')


def test_watching_is_imported_without_evidently():
    code = (
        "import sys, monitoring.watch; print(sorted(m for m in ('evidently', 'torch', 'plotly') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
