"""Every runbook is a page, at the path that alerts and messages name."""

import re
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from monitoring.names import Rule
from services.pages.runbook_page import FOLDER, BlockKind, parse_runbook, runbook
from services.settings import Auth, Settings


@pytest.mark.parametrize("path", sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.md")))
def test_every_runbook_is_read_whole(path: str) -> None:
    book = runbook(path.removesuffix(".md"))
    assert book is not None
    text = (FOLDER / path).read_text(encoding="utf-8")
    assert f"# {book.title}\n" in text
    headings = [block.items[0][0].text for block in book.blocks if block.kind is BlockKind.HEADING]
    assert headings == [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    shown = "".join(part.text for block in book.blocks for item in block.items for part in item)
    assert "](" not in shown and "`" not in shown and "\n" not in shown
    assert re.search(r"\. \d\. ", shown) is None  # each step is an item of its own


def test_steps_code_and_links_are_told_apart() -> None:
    book = parse_runbook("# Harm.\n\n## What to do\n\n1. Say `stop\n   now` ([why](../x.md)).\n2. Wait.\n")
    steps = book.blocks[-1]
    assert steps.kind is BlockKind.STEPS
    assert [(part.text, part.code) for part in steps.items[0]] == [
        ("Say ", False),
        ("stop now", True),
        (" (why).", False),
    ]
    assert len(steps.items) == 2


def test_a_rules_runbook_is_a_page_for_who_may_look(
    serve: Callable[[Settings], TestClient], settings: Settings
) -> None:
    client = serve(settings)
    page = client.get(f"/{Rule.RISK.runbook}")
    assert page.status_code == 200 and f"<h1>{Rule.RISK.headline}</h1>" in page.text and "<ol><li>" in page.text
    for name in ("nothing", "../monitoring", "service/nothing", "..%2Fmonitoring"):
        assert client.get(f"/docs/runbooks/{name}.md").status_code == 404
    guarded = serve(settings.model_copy(update={"auth": Auth.ON}))
    assert guarded.get(f"/{Rule.RISK.runbook}", follow_redirects=False).headers["location"] == "/sign-in"
