"""Evidently really runs here: what it says, what is kept of it, and what comes back from that."""

import json
import subprocess
import sys
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from knowgate._records.records import Reason
from monitoring.drift.drift import MissingShift, sides_of
from monitoring.errors import DriftUnavailable
from monitoring.figures.figures import figures_of
from monitoring.reports.daily_report import ReportParts, daily_report
from monitoring.reports.stored_reports import render_html, write_workspace

pytestmark = pytest.mark.xdist_group("evidently")  # which takes seconds to import, in every process
UNSCORED = {"p_t": None, "score": None}


@pytest.fixture(scope="module")
def signals():
    """p_ik moved by two of its deviations, p_t by none; p_t is missing oftener than it was."""
    rng = np.random.default_rng(3)
    reference = pd.DataFrame({"p_t": rng.random(800), "p_ik": rng.normal(0.8, 0.1, 800)})
    current = pd.DataFrame({"p_t": rng.random(500), "p_ik": rng.normal(0.6, 0.1, 500)})
    current.loc[:20, "p_ik"] = np.nan
    gone = MissingShift(column="p_t", reference_share=0.0, current_share=0.25, threshold=0.05)
    return sides_of(reference, current, (gone,))


@pytest.fixture
def parts(cast, cohort, signals):
    """A day of eight queries, two without p_t; and a week of eleven, labelled."""
    asked = [cast.Asked(explored=True), *[cast.Asked() for _ in range(3)], cast.Asked(reason=Reason.P_IK)]
    asked += [cast.Asked(reason=Reason.OOD, ood=0.99), *[cast.Asked(reason=Reason.P_T, **UNSCORED)] * 2]
    labelled = [cast.Asked(explored=True, small=1.0, large=1.0, score=0.95) for _ in range(4)]
    labelled += [cast.Asked(explored=True, small=0.0, large=1.0, score=0.95) for _ in range(2)]
    labelled += [cast.Asked(reason=Reason.OOD, small=small, large=1.0, ood=0.99) for small in (1.0, 1.0, 0.0)]
    labelled += [cast.Asked(reason=Reason.P_IK, small=1.0, large=1.0), cast.Asked(small=1.0)]
    early = cast.DAY + timedelta(hours=12)
    return ReportParts(day=cohort(asked, as_of=early), week=cohort(labelled), champion=None, sides={0: signals})


@pytest.fixture
def report(parts):
    return daily_report(parts)


def values(report, cohort, name):
    by_cohort = json.loads(report.document)["figures"]
    return next(one["values"] for one in by_cohort if one["cohort"] == cohort and name in one["values"])


def test_a_shifted_column_drifts_and_an_unshifted_one_does_not(report):
    columns = {column.column: column for column in report.drift[0].columns}
    assert columns["p_ik"].drifted
    assert columns["p_ik"].score == pytest.approx(2.0, abs=0.2)  # 0.2 of a standard deviation of 0.1
    assert not columns["p_t"].drifted
    assert [column.column for column in report.drift[0].drifted] == ["p_ik"]


@pytest.mark.slow
def test_the_figures_are_those_that_are_stored_of_the_same_cohort(parts, report):
    def stored(cohort, tier):
        return {row.name: row for row in figures_of(cohort, computed_at=cohort.as_of) if row.tier == tier}

    day, week = stored(parts.day, 0), stored(parts.week, 0)
    ood = values(report, "week", "ood_gain")
    for name in ("ood_only_share", "ood_gain", "ood_as_good", "ood_needless_usd", "ood_matched_difference"):
        assert ood[name] == pytest.approx(week[name].value, rel=1e-4), name
    assert ood["ood_gain"] == pytest.approx(1 / 3, rel=1e-4)
    assert ood["ood_matched_difference"] == 0.5  # of the same score two unlike ones escalate, one like one of two
    assert ood["ood_gain.low"] == pytest.approx(week["ood_gain"].low, rel=1e-4)
    assert values(report, "week", "ece")["ece"] == pytest.approx(week["ece"].value, rel=1e-4)
    assert values(report, "day", "missing_share.p_t")["missing_share.p_t"] == day["missing_share.p_t"].value == 0.25
    saved = stored(parts.day, None)["savings_usd"]
    assert values(report, "day", "savings_usd")["savings_usd.low"] == pytest.approx(saved.low, rel=1e-4)


def test_what_labels_say_is_not_said_of_a_day_whose_labels_are_under_way(report):
    assert set(values(report, "day", "ood_only_share")) == {f"ood_only_share{end}" for end in ("", ".low", ".high")}


def test_a_test_fails_as_the_rules_have_it_and_what_is_not_known_has_not_failed(report):
    kept = json.loads(report.document)["evidently"]["metric_results"].values()
    tests = {test["name"]: test["status"] for result in kept for test in result["tests"]}
    failed = [name for name, status in tests.items() if status == "FAIL"]
    assert any(name.startswith("missing_share.p_t: ") for name in failed)
    assert not any(name.startswith("savings_usd.high") for name in failed)
    assert any(name.startswith("savings_usd.high") for name in tests)
    assert "ERROR" not in tests.values()


def test_what_is_kept_is_a_fraction_of_the_page_and_renders_to_it(report):
    assert len(report.document) < 200_000
    page = render_html(report.document)
    assert len(page) > 1_000_000
    assert "small.p_ik" in page
    assert "Unlike what the probe has seen of tier small, the last mature week" in page
    assert "no labels of both tiers" not in page


def test_a_cascade_of_three_tiers_has_each_of_its_own_columns(cast, cohort, signals):
    other = sides_of(signals.reference, signals.reference.iloc[:300])
    spec = cast.spec_of()
    middle = spec.tiers[0].__class__(name="middle", model="m", parameters=2e6)
    three = cohort([], tiers=(spec.tiers[0], middle, spec.tiers[1]))
    found = daily_report(ReportParts(day=three, week=None, champion=None, sides={0: signals, 1: other}))
    assert {c.column: c.drifted for c in found.drift[1].columns} == {"p_t": False, "p_ik": False}
    assert [c.column for c in found.drift[0].drifted] == ["p_ik"]
    assert set(json.loads(found.document)["drift"]) == {"small", "middle"}


def test_a_day_without_decisions_and_without_anything_to_compare_has_no_report(cohort):
    assert daily_report(ReportParts(day=cohort([]), week=None, champion=None, sides={})) is None


@pytest.mark.parametrize("signal", ["p_t", "ood"])
def test_a_tiny_difference_is_no_drift_where_the_reference_hardly_varies(cohort, signal):
    rng = np.random.default_rng(5)
    certain = pd.DataFrame({signal: np.full(400, 1.0)})

    def compared(current):
        sides = {0: sides_of(certain, pd.DataFrame({signal: current}))}
        found = daily_report(ReportParts(day=cohort([]), week=None, champion=None, sides=sides))
        return found.drift[0].columns[0]

    for other in (np.full(400, 0.999), 0.999 + 0.001 * rng.random(400)):
        assert compared(other).score < 0.05
    assert compared(np.full(400, 0.9)).drifted


def test_a_document_that_is_no_report_is_refused(tmp_path):
    with pytest.raises(DriftUnavailable, match="no drift report"):
        render_html('{"columns": []}')


@pytest.mark.slow
def test_a_workspace_is_read_by_evidently_in_a_process_that_knows_nothing_of_us(report, tmp_path):
    assert write_workspace(tmp_path / "workspace", "cities", [report.document] * 2) == 2
    code = (
        "import sys\n"
        "from evidently.ui.workspace import Workspace\n"
        "workspace = Workspace(sys.argv[1])\n"
        "(project,) = workspace.list_projects()\n"
        "runs = [workspace.get_run(project.id, run) for run in workspace.list_runs(project.id)]\n"
        "print(project.name, len(runs), len(project.dashboard.model().panels), runs[0].metadata['cascade'])\n"
        "print(sorted({r.display_name for r in runs[0].metric_results.values()})[0], 'monitoring' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "workspace")], capture_output=True, text=True, check=True, cwd="/"
    )
    first, second = done.stdout.splitlines()
    assert first == "cities 2 5 cities"
    assert second.endswith("False")
