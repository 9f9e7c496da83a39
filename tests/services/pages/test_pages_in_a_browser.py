"""The pages in a real browser: they load without errors, and a person finds the way from the list
to a cascade.
"""

import shutil
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from sqlalchemy import Engine

from services.settings import Settings
from services.web.app import create_app

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
    config = uvicorn.Config(create_app(settings, engine), host="127.0.0.1", port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.mark.usefixtures("trivia")
def test_a_person_finds_a_cascade(url: str) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no browser here: install Debian's chromium to run the page tests")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(url)
        page.get_by_role("link", name="trivia").first.click()
        assert page.url == f"{url}/cascades/trivia"
        assert page.get_by_role("heading", name="trivia").is_visible()
        assert page.get_by_role("heading", name="Promotions").is_visible()
        browser.close()
    assert errors == []
