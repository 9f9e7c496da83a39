"""The pages about HTTP and about outcome tables name everything there is, and nothing
that is not.
"""

import re
from pathlib import Path

from fastapi.testclient import TestClient

from services.outcome_tables.outcomes import KNOWN

DOCS = Path(__file__).parents[3] / "docs"


def test_every_address_is_documented(client: TestClient) -> None:
    described = {
        f"{method.upper()} {path}"
        for path, operations in client.get("/openapi.json").json()["paths"].items()
        for method in operations
    }
    assert set(re.findall(r"^\| `((?:GET|POST|PUT) [^`]+)` \|", (DOCS / "http.md").read_text(), re.M)) == described


def test_every_column_of_an_outcome_table_is_documented() -> None:
    documented = re.findall(r"^\| `(\w+)` \|", (DOCS / "outcome_tables.md").read_text(), re.M)
    assert documented == list(KNOWN)
