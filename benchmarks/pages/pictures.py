"""`python -m benchmarks.pages.pictures [FOLDER]`: every page as it looks, light and dark, wide and
on a phone, side by side in one picture a page; docs/screenshots unless another is named.
"""

import io
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from benchmarks.pages.served import Page, application, fast_folder, pages_of, serving, story_at
from benchmarks.pages.story import Size

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "screenshots"
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
Look = tuple[Literal["light", "dark"], int]
LOOKS: tuple[Look, ...] = (("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390))
TALL = 1300  # pixels of a page that are shown
COLOURS = 48
SIZE = 0.35


def looks(browser: Browser, url: str, page: Page) -> list[Image.Image]:
    """The page in each look, as high as it is, up to `TALL`."""
    shown = []
    for scheme, width in LOOKS:
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
        opened: Any = context.new_page()
        opened.goto(url + page.path)
        shown.append(Image.open(io.BytesIO(opened.screenshot(full_page=True))).convert("RGB"))
        context.close()
    return [image.crop((0, 0, image.width, min(image.height, TALL))) for image in shown]


def side_by_side(images: list[Image.Image]) -> Image.Image:
    """One picture, smaller and of few colours."""
    height = max(image.height for image in images)
    whole = Image.new("RGB", (sum(image.width for image in images) + 24 * (len(images) - 1), height), "#9aa3ad")
    left = 0
    for image in images:
        whole.paste(image, (left, 0))
        left += image.width + 24
    small = whole.resize((int(whole.width * SIZE), int(whole.height * SIZE)), Image.Resampling.LANCZOS)
    return small.quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)


def main(folder: Path) -> None:
    """Writes a picture of every page into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=fast_folder()) as place:
        engine = story_at(Path(place) / "story.db", Size())
        with serving(application(engine, Path(place))) as url, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            for page in pages_of(engine):
                side_by_side(looks(browser, url, page)).save(folder / f"{page.name}.png", optimize=True)
                sys.stdout.write(f"{page.name}\n")
            browser.close()
        engine.dispose()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
