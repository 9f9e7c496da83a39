"""The pages about what runs in a real browser: a person finds each of them, and none complains."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from factories import make_label
from knowgate import Bundle, Decision
from store.engine import transaction
from store.jobs.job_ticks import put_tick
from store.ledger.ledger import seal_all
from store.releases.assignments import RuntimeState, add_acknowledgement
from store.traffic.decisions import add_decisions
from store.traffic.labels import add_labels
from tests.services.conftest import NOW
from tests.services.pages.test_pages_in_a_browser import page, url

__all__ = ["page", "url"]  # fixtures


@pytest.fixture
def at_work(engine: Engine, promoted: Bundle, decision: Callable[..., Decision]) -> Bundle:
    """A deployment at work: decisions, labels, a runtime, a scheduler, a sealed ledger."""
    made = [decision(index) for index in range(30)]
    said = [make_label(cascade="trivia", correct=0.0, decision_id=one.id, labelled_at=NOW, tier=0) for one in made[:9]]
    with transaction(engine) as session:
        add_decisions(session, made, received_at=NOW)
        add_labels(session, said, received_at=NOW)
        put_tick(session, "monitor", owner="a", now=NOW, error=None)
        alive = RuntimeState(
            cascade="trivia", runtime="gateway-7", generation=1, bundle=promoted.id, accepted=True, detail=None, at=NOW
        )
        add_acknowledgement(session, alive)
        seal_all(session, now=NOW)
    return promoted


@pytest.mark.slow
def test_a_person_finds_every_page_about_what_runs(page: Any, at_work: Bundle) -> None:
    page.reload()
    places = page.get_by_role("navigation", name="Places")
    for name in ("Runtimes", "Jobs", "Messages", "Audit"):
        places.get_by_role("link", name=name).click()
        assert page.get_by_role("heading", name=name, exact=True).is_visible()
    page.get_by_role("button", name="Verify what was sealed since").click()
    assert page.get_by_text("as it was written").is_visible()
    page.goto(page.url.replace("/audit", "/cascades/trivia/decisions?range=all"))
    places = page.get_by_role("navigation", name="trivia")
    page.get_by_label("Small was".lower()).select_option("wrong")
    page.get_by_role("button", name="Search").click()
    assert page.locator("table[data-name=decisions] tbody tr").count() == 9
    for name in ("Bundles", "Labels"):
        places.get_by_role("link", name=name).click()
        assert page.get_by_role("heading", name=name, exact=True).is_visible()
    places.get_by_role("link", name="Bundles").click()
    page.get_by_role("link", name=at_work.id[:8]).click()
    assert page.get_by_role("heading", name="Thresholds").is_visible()
