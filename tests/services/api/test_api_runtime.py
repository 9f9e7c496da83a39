"""What runtimes fetch: assignments as signed leases, bundles for ever; and what they
acknowledge.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from knowgate import Bundle, read_assignment
from knowgate._bundles import signing
from services.api.assignments import lease_end
from services.clock import SimulatedClock
from services.settings import Settings
from store.engine import reading
from store.releases import assignments
from tests.services.conftest import NOW

ADDRESS = "/v1/cascades/trivia/assignment"


def test_without_an_assignment_or_a_cascade_the_answer_is_404(client: TestClient, trivia: str) -> None:
    nothing = client.get(f"/v1/cascades/{trivia}/assignment")
    assert nothing.status_code == 404 and "escalates" in nothing.json()["error"]["cure"]
    unknown = client.get("/v1/cascades/unheard-of/assignment")
    assert unknown.status_code == 404 and unknown.json()["error"]["field"] == "cascade"


def test_an_assignment_is_a_lease_that_is_renewed_every_half(
    client: TestClient, promoted: Bundle, clock: SimulatedClock, settings: Settings
) -> None:
    first = client.get(ADDRESS)
    served = read_assignment(first.json())
    assert (served.champion, served.generation) == (promoted.id, 1)
    lease = settings.assignment_lease
    assert lease / 2 < served.valid_until - clock.now() <= lease
    etag = first.headers["etag"]
    assert client.get(ADDRESS, headers={"If-None-Match": etag}).status_code == 304
    clock.set(clock.now() + lease / 2)
    renewed = client.get(ADDRESS, headers={"If-None-Match": etag})
    assert renewed.status_code == 200
    later = read_assignment(renewed.json())
    assert later == replace(served, valid_until=served.valid_until + lease / 2)


@pytest.mark.parametrize("hours", [0, 1, 11.9, 12, 23.99])
def test_a_lease_lasts_at_least_half_and_at_most_all_of_its_length(hours: float) -> None:
    now = datetime.fromisoformat("2026-03-10T00:00:00+00:00") + timedelta(hours=hours)
    left = lease_end(now, timedelta(hours=24)) - now
    assert timedelta(hours=12) < left <= timedelta(hours=24)


def test_with_a_key_assignments_and_bundles_are_signed_as_served(
    serve: Callable[[Settings], TestClient], settings: Settings, promoted: Bundle
) -> None:
    pair = signing.new_key_pair()
    client = serve(settings.model_copy(update={"signing_key": pair.private_key}))
    served = read_assignment(client.get(ADDRESS).json())
    assert signing.verify(pair.public_key, served.signed_bytes, served.signature)
    response = client.get(f"/v1/bundles/{promoted.id}")
    assert signing.verify(pair.public_key, promoted.id.encode(), response.headers["knowgate-signature"])


def test_a_bundle_is_served_to_the_byte_and_never_again(client: TestClient, promoted: Bundle) -> None:
    response = client.get(f"/v1/bundles/{promoted.id}")
    assert response.content == promoted.content
    assert "immutable" in response.headers["cache-control"]
    assert "knowgate-signature" not in response.headers
    again = client.get(f"/v1/bundles/{promoted.id}", headers={"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    missing = client.get(f"/v1/bundles/{'0' * 64}")
    assert missing.status_code == 404
    assert missing.json()["error"]["message"].count("0" * 64) == 1  # field and value are named once


def acknowledgement(bundle: str | None, **fields: Any) -> dict[str, Any]:
    said = {
        "runtime": "gateway-7",
        "generation": 1,
        "bundle": bundle,
        "accepted": True,
        "reason": None,
        "acknowledged_at": "2026-03-10T11:59:00Z",
    }
    return said | fields


def test_an_acknowledgement_is_kept_and_shown(client: TestClient, engine: Engine, promoted: Bundle) -> None:
    address = "/v1/cascades/trivia/acknowledgements"
    assert client.post(address, json=acknowledgement(promoted.id)).status_code == 200
    refused = acknowledgement(promoted.id, runtime="gateway-8", accepted=False, reason="wrong signature")
    refused |= {"version": "9.9", "again_s": 90.0, "unshipped_bytes": 7, "refused_rows": 0}
    assert client.post(address, json=refused).status_code == 200
    with reading(engine) as session:
        by_runtime = {said.runtime: said for said in assignments.acknowledgements(session, "trivia")}
    assert by_runtime["gateway-7"].accepted and by_runtime["gateway-7"].heard_at == NOW
    assert (by_runtime["gateway-8"].unshipped_bytes, by_runtime["gateway-7"].unshipped_bytes) == (7, None)
    assert by_runtime["gateway-8"].detail == "wrong signature"
    shown = client.get("/v1/cascades/trivia").json()["runtimes"]
    assert {row["runtime"]: row["accepted"] for row in shown} == {"gateway-7": True, "gateway-8": False}


@pytest.mark.usefixtures("trivia")
def test_a_bad_acknowledgement_is_refused(client: TestClient) -> None:
    address = "/v1/cascades/trivia/acknowledgements"
    missing = client.post(address, json={"runtime": "x"})
    assert missing.status_code == 422 and missing.json()["error"]["field"] == "generation"
    unknown = client.post("/v1/cascades/unheard-of/acknowledgements", json=acknowledgement(None))
    assert unknown.status_code == 404


def test_cascades_are_listed_with_what_is_in_force(client: TestClient, promoted: Bundle) -> None:
    response = client.get("/v1/cascades")
    (row,) = response.json()["cascades"]
    assert row["champion"] == promoted.id
    assert (row["tiers"], row["generation"], row["mode"], row["open_alerts"]) == (["small", "large"], 1, "active", 0)
    assert client.get("/v1/cascades", headers={"If-None-Match": response.headers["etag"]}).status_code == 304
