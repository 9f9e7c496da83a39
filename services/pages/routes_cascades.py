"""The overview, and the pages of one cascade that this floor draws from figures."""

from typing import Any

from fastapi import APIRouter, Request, Response

from services.http.access import InAccess
from services.http.context import InContext
from services.pages.act_page import acts_block
from services.pages.cascades import cascade_page, overview
from services.pages.cascades.ranges import RANGES, range_of
from services.pages.cascades.sample import sample_of
from services.pages.cascades.tables import figures_of, slices_of
from services.pages.responses import LOOKS, framed, problem
from store.engine import reading
from store.errors import BundleDamaged, CascadeUnknown, RecordUnreadable
from store.releases import cascades

router = APIRouter(include_in_schema=False, dependencies=[LOOKS])


@router.get("/")
def get_overview(request: Request, context: InContext, access: InAccess) -> Response:
    """All cascades."""
    with reading(context.engine) as session:
        lines = tuple(line for line in overview.lines(session, now=context.now()) if access.covers(line.name))
    return framed(request, context, "overview.html", title="Overview", lines=lines)


@router.get("/cascades/{name}")
def get_cascade_page(request: Request, name: str, context: InContext, range: str = "", slice: str = "") -> Response:
    """One cascade, over a range of time."""
    try:
        with reading(context.engine) as session:
            page = cascade_page.cascade_page(session, name, now=context.now(), word=range, slice=slice or None)
            hands = acts_block(session, name, now=context.now())
    except (CascadeUnknown, BundleDamaged, RecordUnreadable) as error:
        return problem(request, context, str(error))
    return framed(request, context, "cascade.html", title=name, page=page, hands=hands)


@router.get("/cascades/{name}/how")
def get_how(request: Request, name: str, context: InContext, range: str = "", slice: str = "") -> Response:
    """How it decides, in its newest decisions."""
    now = context.now()
    try:
        with reading(context.engine) as session:
            spec = cascades.cascade(session, name)
            chosen = range_of("30d" if range == "all" else range, slice or None, first=None, now=now)
            sample = sample_of(session, spec, chosen, now=now)
    except (CascadeUnknown, RecordUnreadable) as error:
        return problem(request, context, str(error))
    return framed(request, context, "how.html", title=f"How {name} decides", name=name, sample=sample, chosen=chosen)


@router.get("/cascades/{name}/slices")
def get_slices(request: Request, name: str, context: InContext, range: str = "") -> Response:
    """Every slice."""
    try:
        with reading(context.engine) as session:
            spec = cascades.cascade(session, name)
            chosen = range_of(range, None, first=None, now=context.now())
            slices = slices_of(session, spec, chosen)
    except (CascadeUnknown, RecordUnreadable) as error:
        return problem(request, context, str(error))
    shown: dict[str, Any] = {"name": name, "slices": slices, "chosen": chosen, "ranges": RANGES}
    return framed(request, context, "slices.html", title=f"Slices of {name}", **shown)


@router.get("/cascades/{name}/figures")
def get_figures(request: Request, name: str, context: InContext) -> Response:
    """Every figure there is."""
    try:
        with reading(context.engine) as session:
            table = figures_of(session, cascades.cascade(session, name))
    except (CascadeUnknown, RecordUnreadable) as error:
        return problem(request, context, str(error))
    return framed(request, context, "figures.html", title=f"Figures of {name}", name=name, table=table)
