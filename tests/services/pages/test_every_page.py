"""Every page of a believable deployment in a real browser: nothing is complained of, nothing is
wider than a phone, and axe-core finds no serious fault.
"""

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from benchmarks.pages.served import Page, application, fast_folder, pages_of, serving, story_at
from benchmarks.pages.story import Size
from tests.services.pages.test_pages import Balanced
from tests.services.pages.test_pages_in_a_browser import FLAGS

AXE = "axe-core@4.10.3"
SHA256 = "880970c081707360e64f34cea25ff91892f5bc95675b0776925b9709dd8a68bb"  # of its axe.min.js
SERIOUS = ("serious", "critical")
FAULTS = "async () => (await axe.run()).violations.map((one) => [one.impact, one.id, one.nodes.map((n) => n.html)])"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def story() -> Iterator[tuple[Engine, Path]]:
    with tempfile.TemporaryDirectory(dir=fast_folder()) as place:
        engine = story_at(Path(place) / "story.db", Size(days=34, slices=4, decisions=1500))
        yield engine, Path(place)
        engine.dispose()


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe-core as npm has it; it is no part of the repository."""
    npm, folder = shutil.which("npm"), tmp_path_factory.mktemp("axe")
    if npm is None:
        pytest.skip("no npm here: it fetches axe-core")
    fetched = subprocess.run([npm, "pack", AXE], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    if fetched.returncode != 0:
        pytest.skip(f"npm does not reach {AXE}: {fetched.stderr[-200:]}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member is not None
        content = member.read()
    assert hashlib.sha256(content).hexdigest() == SHA256
    return content.decode()


def test_every_page_is_there_and_well_formed(story: tuple[Engine, Path]) -> None:
    client = TestClient(application(*story), base_url="http://127.0.0.1")
    for page in pages_of(story[0]):
        answer = client.get(page.path)
        assert answer.status_code == 200, (page.path, answer.text[:300])
        parser = Balanced()
        parser.feed(answer.text)
        assert not parser.open


def test_no_page_has_a_serious_fault(story: tuple[Engine, Path], axe: str) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no browser here: install Debian's chromium to run the page tests")
    from playwright.sync_api import sync_playwright

    found: list[object] = []
    with serving(application(*story)) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for page in pages_of(story[0]):
            found += faults(browser, url, page, axe)
        browser.close()
    assert found == []


def faults(browser: Any, url: str, page: Page, axe: str) -> list[object]:
    """What the browser and axe complain of, wide and light, then dark and on a phone."""
    found: list[object] = []
    for scheme, width in (("light", 1280), ("dark", 390)):
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
        opened = context.new_page()
        opened.on("pageerror", partial(_hear, found, page))
        opened.on("console", partial(_hear, found, page))
        opened.goto(url + page.path)
        if opened.evaluate("document.documentElement.scrollWidth") > width:
            found.append((page.name, f"wider than {width} pixels"))
        if opened.evaluate("(nav => nav && nav.scrollWidth > nav.clientWidth)(document.querySelector('.top nav'))"):
            found.append((page.name, f"its places are cut off at {width} pixels"))
        opened.evaluate(axe)
        found += [(page.name, scheme, *one) for one in opened.evaluate(FAULTS) if one[0] in SERIOUS]
        context.close()
    return found


def _hear(found: list[object], page: Page, said: Any) -> None:
    """What a page throws, and what it writes to the console as an error."""
    if getattr(said, "type", "error") == "error":
        found.append((page.name, str(said)))
