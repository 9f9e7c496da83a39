"""The list of a cascade's reports, and Evidently's page of one, which can touch nothing of ours."""

import pytest
from fastapi.testclient import TestClient

from knowgate import Window
from tests.services.pages.test_pages import page

pytestmark = pytest.mark.xdist_group("evidently")  # which takes seconds to import, in every process


@pytest.mark.usefixtures("trivia")
def test_where_there_is_no_report_yet_it_says_when_there_will_be_one(client: TestClient) -> None:
    assert "the scheduler makes one after each day (UTC) with decisions" in page(client, "/cascades/trivia/reports")
    assert "no daily report of 2026-03-01" in page(client, "/cascades/trivia/reports/2026-03-01", 404)
    page(client, "/cascades/nobody/reports", 404)


def test_a_daily_report_is_evidentlys_own_page_in_a_sandbox(client: TestClient, reported: Window) -> None:
    address = f"/cascades/trivia/reports/{reported.start.date()}"
    assert f'href="{address}"' in page(client, "/cascades/trivia/reports")
    response = client.get(address)
    assert response.status_code == 200
    assert len(response.text) > 1_000_000
    assert "Saved against the last tier alone" in response.text
    sandbox, *rest = response.headers["content-security-policy"].split("; ")
    assert sandbox == "sandbox allow-scripts"  # and not allow-same-origin: no cookie, no page of ours
    assert "default-src 'none'" in rest  # connect-src and all else: nothing is sent or loaded
    assert not any("self" in one for one in rest)
