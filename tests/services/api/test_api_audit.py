"""The API explains a decision and plays another bundle over a period, as the command line does."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from factories import make_label
from knowgate import Bundle, Decision, Policy, PolicyKind, write_bundle
from knowgate._wire import codec
from services.clock import SimulatedClock
from store.disclosures import newest_disclosures
from store.engine import reading, transaction
from store.releases import bundles
from store.releases.bundles import BundleStatus
from store.traffic.decisions import add_decisions
from store.traffic.labels import add_labels


@pytest.fixture
def bold(engine: Engine, promoted: Bundle, clock: SimulatedClock) -> Bundle:
    """A bundle that keeps whatever P(T) is at least 0.4."""
    policy = Policy.of(PolicyKind.P_T, ({"p_t": 0.4},))
    made = write_bundle(replace(promoted.document, policy=policy), promoted.tiers)
    with transaction(engine) as session:
        document = codec.canonical(made.document)
        bundles.add_bundle(session, made.id, "trivia", document, made.content, BundleStatus.CERTIFIED, clock.now())
    return made


@pytest.fixture
def served(engine: Engine, promoted: Bundle, decision: Callable[..., Decision], clock: SimulatedClock) -> Decision:
    """Twenty decisions of the last tier, both answers labelled; the first of them."""
    made = [decision(index, bundle=promoted.id) for index in range(20)]
    about = [(one, tier) for one in made for tier in (0, 1)]
    labels = [
        make_label(cascade="trivia", labelled_at=clock.now(), decision_id=one.id, tier=tier, correct=float(tier))
        for one, tier in about
    ]
    with transaction(engine) as session:
        add_decisions(session, made, received_at=clock.now())
        add_labels(session, labels, received_at=clock.now())
    return made[0]


def test_a_decision_is_explained_and_so_is_what_another_bundle_would_have_done(
    client: TestClient, engine: Engine, promoted: Bundle, bold: Bundle, served: Decision
) -> None:
    address = f"/v1/decisions/{served.id}/explanation"
    explained = client.get(address).json()
    assert explained["decision"]["id"] == str(served.id)
    assert (explained["instead"]["bundle"], explained["instead"]["serves"]) == (promoted.id, 1)
    other = client.get(address, params={"bundle": bold.id[:12]}).json()
    assert (other["instead"]["bundle"], other["instead"]["serves"], other["instead"]["served"]) == (bold.id, 0, 1)
    assert client.get(address, params={"bundle": "nothing"}).status_code == 422
    assert client.get(address.replace("-7", "-4")).status_code == 404
    with reading(engine) as session:
        assert [one.what for one in newest_disclosures(session, limit=9)] == [f"decision {served.id}"] * 2


@pytest.mark.usefixtures("served")
def test_a_bundle_is_played_over_a_period(client: TestClient, bold: Bundle) -> None:
    found = client.get("/v1/cascades/trivia/what-if", params={"bundle": bold.id}).json()
    assert (found["compared"], found["kept_share"], found["would_keep_share"]) == (20, 0.0, 1.0)
    assert (found["changed"], found["accuracy_change"]["value"]) == (20, -1.0)
    assert found["routes"][0] | {"decision": ""} == {"decision": "", "served": 1, "would_serve": 0}
    assert client.get("/v1/cascades/trivia/what-if", params={"bundle": "nothing"}).status_code == 422
    assert client.get("/v1/cascades/nobody/what-if", params={"bundle": bold.id}).status_code == 404
