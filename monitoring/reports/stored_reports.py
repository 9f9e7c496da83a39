"""What becomes of a stored report: Evidently's page of it, and a workspace that `evidently ui`
opens.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from monitoring.errors import DriftUnavailable
from monitoring.names import FigureName
from monitoring.reports.daily_report import quiet

# What the workspace's first page draws over time: a title, a metric, of the day or of the last
# mature week, and which of its numbers.
PANELS = (
    ("Saved against the last tier alone, share", "Savings", "day", (FigureName.SAVINGS_USD,)),
    ("Escalated by the OOD gate alone", "OodConservativeness", "day", (FigureName.OOD_ONLY_SHARE,)),
    (
        "What the OOD gate gains, and unlike beside like",
        "OodConservativeness",
        "week",
        (FigureName.OOD_GAIN, FigureName.OOD_MATCHED_DIFFERENCE),
    ),
    (
        "Calibration error of the score",
        "ScoreCalibration",
        "week",
        (FigureName.ECE, FigureName.CALIBRATION_IN_THE_LARGE),
    ),
    (
        "Missing signals",
        "MissingSignals",
        "day",
        (FigureName.MISSING_P_T, FigureName.MISSING_P_IK, FigureName.MISSING_OOD),
    ),
)


def render_html(document: str) -> str:
    """Evidently's page of a stored report. Raises DriftUnavailable where the document
    is not one.
    """
    page: str = _snapshot(document).get_html_str(as_iframe=False)
    return page


def write_workspace(folder: Path, cascade: str, documents: Iterable[str]) -> int:
    """Write a new Evidently workspace with a project of the cascade's reports; how many there are.

    Raises DriftUnavailable where a document is no report.
    """
    quiet()
    from evidently.sdk.models import PanelMetric
    from evidently.sdk.panels import line_plot_panel
    from evidently.ui.workspace import Workspace

    workspace = Workspace.create(str(folder))
    project = workspace.create_project(cascade, description="Written by `knowgate evidently export`.")
    for title, metric, period, numbers in PANELS:
        values = [
            PanelMetric(legend=one.value, metric=metric, metric_labels={"label": one.value, "period": period})
            for one in numbers
        ]
        project.dashboard.add_panel(line_plot_panel(title, values, size="half"))
    count = 0
    for document in documents:
        workspace.add_run(project.id, _snapshot(document), include_data=False)
        count += 1
    return count


def _snapshot(document: str) -> Any:
    quiet()
    from evidently.core.report import Snapshot

    try:
        return Snapshot.loads(json.dumps(json.loads(document)["evidently"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DriftUnavailable(f"the stored document is no drift report ({error}); run the window again") from error
