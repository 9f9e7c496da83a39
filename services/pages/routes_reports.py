"""A cascade's reports: the list of them, a month in plain words, and Evidently's own page of a day.

Evidently's page carries its scripts within it. So it is served in a sandbox: the browser gives it
an origin of its own, no cookie and no storage of ours, and lets it load, send and open nothing.
"""

from datetime import date

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from monitoring.errors import DriftUnavailable
from services.errors import InputInvalid
from services.http.context import InContext
from services.pages.monthly.month import month_report
from services.pages.monthly.weeks import month_of, months_since
from services.pages.responses import HEADERS, LOOKS, framed, problem
from store.engine import reading
from store.errors import CascadeUnknown
from store.releases.cascades import cascade_version
from store.traffic.decisions import first_time
from store.watching.drift_reports import daily_report, daily_windows

router = APIRouter(include_in_schema=False, dependencies=[LOOKS])
SANDBOX = HEADERS | {
    "Content-Security-Policy": "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'",
}


@router.get("/cascades/{name}/reports")
def get_reports(request: Request, name: str, context: InContext) -> Response:
    """The list of a cascade's reports."""
    try:
        with reading(context.engine) as session:
            cascade_version(session, name)
            windows = daily_windows(session, name)
            first = first_time(session, name)
    except CascadeUnknown as error:
        return problem(request, context, str(error))
    months, title = months_since(first, context.now()), f"Reports of {name}"
    return framed(request, context, "reports.html", title=title, name=name, windows=windows, months=months)


@router.get("/cascades/{name}/report")
def get_month(request: Request, name: str, context: InContext, month: str = "") -> Response:
    """The report of a month; of this one, where none is named."""
    now = context.now()
    try:
        of = month_of(month or f"{now:%Y-%m}", now=now)
        with reading(context.engine) as session:
            report = month_report(session, name, of, now=now)
    except (CascadeUnknown, InputInvalid) as error:
        return problem(request, context, str(error))
    return framed(request, context, "month.html", title=f"{name}, {of.start:%B %Y}", report=report)


@router.get("/cascades/{name}/reports/{day}")
def get_daily_report(request: Request, name: str, day: date, context: InContext) -> Response:
    """Evidently's page of the report on the day that begins so."""
    with reading(context.engine) as session:
        window = next((one for one in daily_windows(session, name) if one.start.date() == day), None)
        stored = None if window is None else daily_report(session, name, window)
    if stored is None:
        return problem(request, context, f"{name} has no daily report of {day}: the scheduler makes it after the day.")
    from monitoring.reports.stored_reports import render_html  # pandas: not for every page

    try:
        return HTMLResponse(render_html(stored.document), headers=SANDBOX)
    except DriftUnavailable as error:
        return problem(request, context, str(error), status=500)
