"""The templates, with everything escaped and nothing undefined let through."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from knowgate._bundles.bundle import read_document
from knowgate.errors import BundleRefused, RecordInvalid
from services.pages.filters import FILTERS

FOLDER = Path(__file__).parent


@cache
def templates() -> Environment:
    """Jinja's environment of the pages."""
    environment = Environment(
        loader=PackageLoader("services.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "ensure_ascii": False}
    return environment


def load_templates() -> None:
    """Read every template, so that nobody who looks first waits for it."""
    for name in templates().list_templates():
        templates().get_template(name)


def document_shown(text: str) -> dict[str, Any]:
    """A bundle's document as templates read it, with what its certificate's δ is the chance against
    in words.
    """
    document: dict[str, Any] = json.loads(text)
    if document.get("certificate") is not None:
        try:
            certificate = read_document(text).certificate
        except (BundleRefused, RecordInvalid):
            certificate = None  # a damaged one is shown as far as it can be read
        document["certificate"]["sentence"] = "" if certificate is None else certificate.sentence
    return document
