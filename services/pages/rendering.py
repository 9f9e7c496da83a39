"""The templates, with everything escaped and nothing undefined let through."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

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
