"""`python -m benchmarks.pages`: how long every page takes over a year of hourly windows of 100
slices, and a million decisions. Asked in process, one after another: what is measured is reading,
counting and writing the page, not the network; in processor time, so that who else works on the
machine is not measured with it.
"""

import statistics
import tempfile
import time
from pathlib import Path

from fastapi.testclient import TestClient
from sqlalchemy import Engine

from benchmarks.pages.props import NOW
from benchmarks.pages.served import application, fast_folder, pages_of, story_at
from benchmarks.pages.story import Size
from benchmarks.shape import Figures, run
from services.pages.cascades.overview import look_once
from services.pages.rendering import load_templates
from services.serving import keep_loaded

YEAR = Size(days=365, slices=100, decisions=1_000_000)
QUICK = Size(days=60, slices=9, decisions=5000)
ROUNDS, QUICK_ROUNDS = 20, 3


def measure(quick: bool, size: Size | None = None) -> Figures:
    """p95 of every page in ms of processor time, over `ROUNDS` visits, the first one of the process
    among them.
    """
    chosen, rounds = size or (QUICK if quick else YEAR), QUICK_ROUNDS if quick else ROUNDS
    figures: dict[str, float | int | str | None] = {
        "days": chosen.days,
        "slices": chosen.slices,
        "decisions": chosen.decisions,
        "rounds": rounds,
    }
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        engine = story_at(Path(folder) / "story.db", chosen)
        try:
            figures |= visited(engine, Path(folder), rounds)
        finally:
            engine.dispose()
    return figures


def visited(engine: Engine, folder: Path, rounds: int) -> dict[str, float]:
    """The same over a story that is there."""
    figures: dict[str, float] = {}
    client = TestClient(application(engine, folder), base_url="http://127.0.0.1")
    client.get("/glossary")  # what is loaded once
    load_templates()  # these three as `knowgate serve` does
    look_once(engine, now=NOW)
    keep_loaded()
    addresses = [(page.name, page.path) for page in pages_of(engine)]
    of = "/cascades/support"
    addresses += [(f"cascade_{word}", f"{of}?range={word}") for word in ("24h", "7d", "all")]
    addresses += [("cascade_slice", f"{of}?range=30d&slice=billing"), ("slices_24h", f"{of}/slices?range=24h")]
    for name, path in addresses:
        times = [_milliseconds(client, path) for _ in range(rounds)]
        figures[f"{name.replace('-', '_')}_p95_ms"] = round(statistics.quantiles(times, n=20)[18], 1)
    figures["worst_p95_ms"] = max(figures.values())
    return figures


def _milliseconds(client: TestClient, path: str) -> float:
    began = time.process_time()
    answer = client.get(path)
    took = 1000 * (time.process_time() - began)
    assert answer.status_code == 200, (path, answer.status_code, answer.text[:500])
    return took


if __name__ == "__main__":
    run("pages", measure)
