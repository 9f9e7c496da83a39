"""`knowgate evidently export`: a workspace that Evidently itself opens."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from knowgate import Window

pytestmark = pytest.mark.xdist_group("evidently")  # which takes seconds to import, in every process


def test_the_reports_become_a_workspace(run: Callable[..., Result], reported: Window, tmp_path: Path) -> None:
    folder = tmp_path / "workspace"
    said = run("evidently", "export", "--cascade", "trivia", "--to", str(folder)).stdout
    assert said.startswith("1 reports written to")
    from evidently.ui.workspace import Workspace

    workspace = Workspace(str(folder))
    (project,) = workspace.list_projects()
    (name,) = workspace.list_runs(project.id)
    snapshot = workspace.get_run(project.id, name)
    assert snapshot is not None
    assert (project.name, snapshot.timestamp) == ("trivia", reported.end)
    run("evidently", "export", "--cascade", "trivia", "--to", str(folder), code=2)  # something is there already


def test_without_a_report_nothing_is_written(run: Callable[..., Result], trivia: str, tmp_path: Path) -> None:
    run("evidently", "export", "--cascade", trivia, "--to", str(tmp_path / "new"), code=3)
    assert not (tmp_path / "new").exists()
    run("evidently", "export", "--cascade", "nobody", "--to", str(tmp_path / "new"), code=2)
