"""The addresses of pages about the operation: decisions, bundles and labels of a cascade."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse

from knowgate._records.records import Reason
from knowgate.errors import RecordInvalid
from services.audit.recorded import disclose
from services.errors import InputInvalid
from services.http.access import InAccess
from services.http.context import InContext
from services.operations import bundle_page, decision_search, labels_page
from services.operations.bundle_page import SIGNALS, labels_by_source, rows_by_purpose, shown_value
from services.operations.decision_search import csv_rows, reason_word, said, wanted_of
from services.pages.numbers import short
from services.pages.responses import HEADERS, LOOKS, framed, problem
from services.privacy import hash_key
from store.disclosures import Shown
from store.engine import reading
from store.errors import BundleDamaged, BundleUnknown, CascadeUnknown
from store.releases import cascades

router = APIRouter(include_in_schema=False, dependencies=[LOOKS])
UNREADABLE = (CascadeUnknown, BundleUnknown, BundleDamaged, RecordInvalid)


async def given(request: Request) -> dict[str, str]:
    """The fields of an address, each as it stands first."""
    return {name: request.query_params.getlist(name)[0] for name in request.query_params}


Given = Annotated[dict[str, str], Depends(given)]


@router.get("/cascades/{name}/decisions")
def get_decisions(request: Request, name: str, fields: Given, context: InContext) -> Response:
    """A page of decisions that fit what the address asks."""
    try:
        with reading(context.engine) as session:
            page = decision_search.search_page(session, name, fields, now=context.now())
    except UNREADABLE as error:
        return problem(request, context, str(error))
    shown: dict[str, Any] = {"page": page, "reasons": tuple(Reason), "said": said, "reason_word": reason_word}
    status = 400 if page.fault else 200
    return framed(request, context, "operations/decisions.html", status=status, title=f"Decisions of {name}", **shown)


@router.get("/cascades/{name}/decisions.csv")
def get_decisions_file(request: Request, name: str, fields: Given, context: InContext, access: InAccess) -> Response:
    """All of them, as CSV."""
    try:
        with reading(context.engine) as session:
            spec = cascades.cascade(session, name)
        wanted = wanted_of(spec, fields, now=context.now())
    except UNREADABLE as error:
        return problem(request, context, str(error))
    except InputInvalid as error:
        return problem(request, context, str(error), status=400)
    disclose(context.engine, Shown.EXPORTED, f"decisions of {name}", by=access.name, now=context.now())
    headers = HEADERS | {"Content-Disposition": f'attachment; filename="{name}-decisions.csv"'}
    return StreamingResponse(csv_rows(context.engine, wanted), media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/cascades/{name}/bundles")
def get_bundles(request: Request, name: str, context: InContext) -> Response:
    """A cascade's bundles."""
    try:
        with reading(context.engine) as session:
            lines = bundle_page.bundle_lines(session, name)
    except UNREADABLE as error:
        return problem(request, context, str(error))
    return framed(request, context, "operations/bundles.html", title=f"Bundles of {name}", name=name, lines=lines)


@router.get("/bundles/{bundle_id}")
def get_bundle(request: Request, bundle_id: str, fields: Given, context: InContext, access: InAccess) -> Response:
    """One bundle."""
    try:
        with reading(context.engine) as session:
            url, beside = context.settings.mlflow_url, fields.get("with") or None
            page = bundle_page.bundle_page(session, bundle_id, beside=beside, mlflow_url=url)
        access.require_sight(page.line.record.cascade, BundleUnknown(bundle_id))
    except UNREADABLE as error:
        return problem(request, context, str(error))
    certificate, document = page.line.certificate, page.document
    shown: dict[str, Any] = {"page": page, "shown_value": shown_value, "signals": SIGNALS}
    shown["labels"] = () if certificate is None else labels_by_source(certificate)
    shown["rows"] = {} if document is None else rows_by_purpose(document)
    return framed(request, context, "operations/bundle.html", title=f"Bundle {short(bundle_id)}", **shown)


@router.get("/cascades/{name}/labels")
def get_labels(request: Request, name: str, fields: Given, context: InContext) -> Response:
    """A cascade's labels."""
    try:
        with reading(context.engine) as session:
            key, look = hash_key(context.settings), fields.get("look") == "near"
            page = labels_page.labels_page(session, name, key=key, look=look, now=context.now())
    except UNREADABLE as error:
        return problem(request, context, str(error))
    return framed(request, context, "operations/labels.html", title=f"Labels of {name}", page=page)
