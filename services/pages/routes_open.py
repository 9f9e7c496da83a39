"""The addresses that ask nobody who looks: the API's reference, words, what every page loads."""

from pathlib import Path

from fastapi import APIRouter, Request, Response

from services.http.conditional import conditional
from services.http.context import InContext
from services.pages.figures_shown import REASONS, TITLES
from services.pages.rendering import FOLDER
from services.pages.responses import framed

router = APIRouter(include_in_schema=False)
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@router.get("/docs")
def get_reference(request: Request, context: InContext) -> Response:
    """The API's addresses, from its own description."""
    document = request.app.openapi()
    return framed(request, context, "reference.html", title="API", document=document)


@router.get("/glossary")
def get_glossary(request: Request, context: InContext) -> Response:
    """What each figure is called, and what states mean."""
    return framed(request, context, "glossary.html", title="Words", titles=TITLES, reasons=REASONS)


@router.get("/icon.svg")
@router.get("/style.css")
@router.get("/page.js")
def get_file(request: Request) -> Response:
    """The gate, the one style sheet, or the one script."""
    name = Path(request.url.path).name
    return conditional(request, (FOLDER / name).read_bytes(), media_type=_TYPES[Path(name).suffix])
