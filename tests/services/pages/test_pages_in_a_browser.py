"""The pages in a real browser: they load without errors, and a person finds the way from the list
to a cascade.
"""

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from sqlalchemy import Engine

from knowgate import Window
from services.clock import SimulatedClock
from services.http.auth import COOKIE
from services.settings import Settings
from services.web.app import create_app
from store.engine import transaction
from store.watching.alerts import AlertRecord, open_alert
from store.watching.figures import put_figures
from tests.services.conftest import NOW
from tests.services.pages.test_pages import figure

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
def url(engine: Engine, settings: Settings) -> Iterator[str]:
    app = create_app(settings, engine, clock=SimulatedClock(NOW))
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def page(url: str) -> Iterator[Any]:
    """A page of a real browser at the first address; what it complains of fails the test."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no browser here: install Debian's chromium to run the page tests")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        opened = browser.new_page()
        errors: list[str] = []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        opened.goto(url)
        yield opened
        browser.close()
    assert errors == []


@pytest.mark.slow
@pytest.mark.usefixtures("trivia")
def test_a_person_finds_a_cascade(page: Any, url: str) -> None:
    page.get_by_role("link", name="trivia").first.click()
    assert page.url == f"{url}/cascades/trivia"
    assert page.get_by_role("heading", name="trivia").is_visible()
    assert page.get_by_role("heading", name="What changed").is_visible()
    page.wait_for_load_state("load")  # the script that listens to keys is read last
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "id"


@pytest.mark.slow
def test_a_part_is_read_when_it_is_opened_and_its_table_sorts_and_filters(
    page: Any, engine: Engine, trivia: str
) -> None:
    values = {f"s{number}": (7 * number % 10) / 10 for number in range(10)}
    with transaction(engine) as session:
        put_figures(session, [figure("drop", 14, value, slice=name) for name, value in values.items()])
        put_figures(session, [figure("drop", 14, 0.1)])
    page.goto(page.url + f"cascades/{trivia}")
    page.locator("summary", has_text="By slice").click()
    names = page.locator("table[data-name=slices] tbody tr:visible td:first-child")
    page.get_by_role("button", name="Accuracy lost").click()
    assert names.all_text_contents() == sorted(values, key=values.__getitem__)
    assert page.locator("th[aria-sort=ascending]").count() == 1
    page.get_by_label("Filter slices").fill("s7")
    assert names.all_text_contents() == ["s7"]
    with page.expect_download() as download:
        page.locator("#slices").get_by_role("button", name="Download CSV").click()
    assert '"s7","90.0 points 88.0 – 92.0"' in Path(download.value.path()).read_text(encoding="utf-8")
    page.get_by_label("Filter slices").blur()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/cascades/trivia?range=7d&slice=s7")


@pytest.mark.slow
def test_a_person_acknowledges_and_resolves_an_alert(page: Any, engine: Engine, trivia: str) -> None:
    record = AlertRecord(cascade=trivia, rule="risk", cause="answers lose 4 %", details='{"n": 120}', opened_at=NOW)
    with transaction(engine) as session:
        open_alert(session, record)
    page.get_by_role("link", name="Alerts").click()
    page.get_by_role("link", name="Accuracy is worse than promised.").click()
    for what, done in (("Acknowledge", "acknowledged: looking"), ("Resolve", "resolved: looking")):
        page.locator("summary", has_text=what).click()
        page.get_by_label("Why").locator("visible=true").fill("looking")
        page.get_by_role("button", name=what).click()
        assert page.get_by_text(done).is_visible()
    assert page.get_by_role("button").count() == 0  # nothing is left to do
    page.get_by_role("link", name="Alerts").first.click()
    assert page.get_by_text("Nothing is open.").is_visible()


@pytest.mark.slow
def test_a_daily_report_draws_itself_and_cannot_reach_the_cookie(page: Any, url: str, reported: Window) -> None:
    page.context.add_cookies([{"name": COOKIE, "value": "secret", "url": url}])
    page.goto(f"{url}/cascades/trivia/reports")
    page.get_by_role("link", name=str(reported.start.date())).click()
    page.get_by_role("rowheader", name="savings usd").wait_for()
    with pytest.raises(Exception, match="sandboxed"):
        page.evaluate("document.cookie")
