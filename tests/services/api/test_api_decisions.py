"""Decisions over HTTP: acknowledged is committed, once, and one bad row harms no other."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from fastapi.testclient import TestClient
from safetensors.numpy import save
from sqlalchemy import Engine

from knowgate import Decision
from knowgate._wire import codec
from services.audit.explain import explain
from services.commands.explanation import explanation_lines
from services.settings import Settings
from store.engine import reading
from store.shards import shards
from store.traffic import decisions, vectors

Make = Callable[..., Decision]
SAFETENSORS = "application/vnd.knowgate.safetensors"


def stored(engine: Engine, decision_id: UUID) -> Decision:
    with reading(engine) as session:
        return decisions.decision(session, decision_id)


def post(client: TestClient, *rows: Any) -> Any:
    return client.post("/v1/decisions", json={"decisions": [codec.encode(row) for row in rows]})


def post_vectors(client: TestClient, rows: list[Any], tensors: dict[str, Any]) -> Any:
    body = save(tensors, metadata={"decisions": json.dumps([codec.encode(row) for row in rows])})
    return client.post("/v1/decisions", content=body, headers={"Content-Type": SAFETENSORS})


def vector_files(settings: Settings) -> list[Path]:
    return sorted(Path(settings.shards_url).rglob("*.safetensors"))


@pytest.mark.usefixtures("trivia")
def test_what_is_acknowledged_is_stored_and_priced(client: TestClient, engine: Engine, decision: Make) -> None:
    sent = decision()
    response = post(client, sent)
    assert response.status_code == 200
    assert response.json() == {
        "stored": 1,
        "duplicates": 0,
        "rejected": [],
        "adopted": 0,
        "undeclared": [],
        "vectors_dropped": 0,
    }
    kept = stored(engine, sent.id)
    assert kept.external_id == "q0"
    assert kept.attempts[0].cost_usd == pytest.approx((100 * 1 + 1 * 2) / 1e6)


@pytest.mark.usefixtures("trivia")
def test_a_batch_that_is_sent_again_changes_nothing(client: TestClient, decision: Make) -> None:
    rows = [decision(index) for index in range(3)]
    assert post(client, *rows).json()["stored"] == 3
    again = post(client, *rows, rows[0]).json()
    assert (again["stored"], again["duplicates"]) == (0, 4)


@pytest.mark.usefixtures("trivia")
def test_one_bad_row_is_named_and_the_good_ones_are_stored(client: TestClient, engine: Engine, decision: Make) -> None:
    good = [decision(index) for index in range(3)]
    bad = codec.encode(decision(9))
    bad["attempts"][0]["signals"]["p_t"] = 1.5
    response = post(client, good[0], bad, good[1], "not a decision", good[2])
    assert response.status_code == 200
    answer = response.json()
    assert answer["stored"] == 3
    assert [(row["index"], row["field"], row["value"]) for row in answer["rejected"]] == [
        (1, "attempts[0].signals.p_t", "1.5"),
        (3, "document", '"not a decision"'),
    ]
    assert "lie in [0, 1]" in answer["rejected"][0]["cure"]
    assert stored(engine, good[2].id).external_id == "q2"


@pytest.mark.usefixtures("trivia")
def test_an_undeclared_model_is_stored_and_named_in_the_receipt_the_figures_and_the_page(
    client: TestClient, engine: Engine, decision: Make
) -> None:
    sent = decision()
    small, large = sent.attempts
    sent = replace(sent, attempts=(replace(small, model="tinny", verdict=None, note="it was slow"), large))
    receipt = post(client, sent, decision(1)).json()
    assert (receipt["stored"], receipt["rejected"]) == (2, [])
    named = {"cascade": "trivia", "tier": 0, "model": "tinny", "declared": "tiny", "attempts": 1}
    assert receipt["undeclared"] == [named]
    assert stored(engine, sent.id).attempts[0].model == "tinny"
    assert 'knowgate_undeclared_attempts_total{cascade="trivia",tier="0"} 1.0' in client.get("/metrics").text
    page = client.get(f"/decisions/{sent.id}").text
    assert "undeclared model" in page and "it was slow" in page
    assert "went on to large; whoever sent the decision logged no reason" in page
    with reading(engine) as session:
        lines = explanation_lines(explain(session, stored(engine, sent.id)))
    assert "  note         it was slow" in lines
    assert "  model        tinny; tiny is declared, so nothing is learned from it" in lines


BAD_ROWS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"cascade": "unheard-of"}, "cascade"),
    ({"occurred_at": "2026-03-10T11:00:00"}, "occurred_at"),
    ({"occurred_at": "2099-01-01T00:00:00Z"}, "occurred_at"),
    ({"id": "f" * 8 + "-ffff-7fff-bfff-" + "f" * 12}, "id"),
    ({"id": "00000000-0000-4000-8000-000000000000"}, "id"),
    ({"id": 5}, "id"),
    ({"slice": "with a NUL \x00"}, "slice"),
    ({"slice": "lone \ud800 surrogate"}, "slice"),
    ({"external_id": "x" * 3000}, "external_id"),
    ({"generation": 10**30}, "generation"),
    ({"generation": 1.5}, "generation"),
    ({"exploration_rate": 2}, "exploration_rate"),
    ({"surprise": 1}, "surprise"),
    ({"attempts": []}, "attempts"),
    ({"attempts": 7}, "attempts"),
)


@pytest.mark.usefixtures("trivia")
def test_rows_that_no_database_could_hold_are_named_beside_a_good_one(client: TestClient, decision: Make) -> None:
    rows = [codec.encode(decision(index)) | change for index, (change, _) in enumerate(BAD_ROWS)]
    body = json.dumps({"decisions": [*rows, codec.encode(decision(99))]})
    response = client.post("/v1/decisions", content=body, headers={"Content-Type": "application/json"})
    answer = response.json()
    assert (response.status_code, answer["stored"]) == (200, 1), answer
    assert [(row["index"], row["field"]) for row in answer["rejected"]] == [
        (index, field) for index, (_, field) in enumerate(BAD_ROWS)
    ]
    assert all(row["cure"] for row in answer["rejected"])


@pytest.mark.usefixtures("trivia")
def test_an_unknown_cascade_is_rejected_with_its_cure(client: TestClient, decision: Make) -> None:
    answer = post(client, decision(cascade="trivia2")).json()
    assert "cascade apply" in answer["rejected"][0]["cure"] and "trivia" in answer["rejected"][0]["cure"]


BAD_BODIES = (
    (b"{", "application/json", 400),
    (b'{"decisions": [NaN]}', "application/json", 400),
    (b'{"decisions": 3}', "application/json", 400),
    (b"[]", "application/json", 400),
    (b'{"decisions": [], "more": 1}', "application/json", 400),
    (b"[" * 100_000, "application/json", 400),
    (b'{"decisions": [' + b"9" * 5000 + b"]}", "application/json", 400),
    (b"\xff\xfe", "application/json", 400),
    (b"{}", "text/plain", 415),
    (b"no safetensors", SAFETENSORS, 400),
    (b"", SAFETENSORS, 400),
    (b"x" * 200_001, "application/json", 413),
)


def test_a_body_that_is_none_is_told_in_the_one_error_shape(client: TestClient) -> None:
    for content, kind, status in BAD_BODIES:
        response = client.post("/v1/decisions", content=content, headers={"Content-Type": kind})
        assert response.status_code == status, content[:40]
        assert set(response.json()) == {"error"}
        assert set(response.json()["error"]) == {"field", "value", "cure", "message"}


def test_a_body_without_a_length_meets_the_limit_too(client: TestClient) -> None:
    parts = (b"x" * 50_000 for _ in range(10))
    response = client.post("/v1/decisions", content=parts, headers={"Content-Type": "application/json"})
    assert response.status_code == 413


@pytest.mark.usefixtures("trivia")
def test_a_prompt_in_plain_text_is_kept_as_its_hash(client: TestClient, engine: Engine, decision: Make) -> None:
    sent = decision(prompt="capital of Peru?")
    assert post(client, sent).json()["stored"] == 1
    kept = stored(engine, sent.id)
    assert kept.prompt is None
    assert kept.prompt_hash is not None and len(kept.prompt_hash) == 32


@pytest.mark.usefixtures("trivia")
def test_vectors_are_stored_in_the_shard_that_their_rows_name(
    client: TestClient, engine: Engine, settings: Settings, decision: Make
) -> None:
    rows = [decision(index, vector=index) for index in range(3)]
    hidden = np.arange(12, dtype=np.float16).reshape(3, 4)
    assert post_vectors(client, rows, {"vectors/0": hidden}).json()["stored"] == 3
    with reading(engine) as session:
        places = vectors.vector_rows(session, "trivia", 0, [row.id for row in rows])
    for index, row in enumerate(rows):
        place = places[row.id]
        np.testing.assert_array_equal(shards.read_rows(place.url, [place.row])[0], hidden[index])
    assert len(vector_files(settings)) == 1


@pytest.mark.usefixtures("trivia")
def test_one_tensor_may_serve_all_tiers_and_dimensions_get_shards_of_their_own(
    client: TestClient, engine: Engine, settings: Settings, decision: Make
) -> None:
    shared = decision(1, vector=0)
    assert post_vectors(client, [shared], {"vectors": np.ones((1, 4), np.float16)}).json()["stored"] == 1
    other = decision(2, vector=0)
    assert post_vectors(client, [other], {"vectors/0": np.ones((1, 6), np.float16)}).json()["stored"] == 1
    with reading(engine) as session:
        places = vectors.vector_rows(session, "trivia", 0, [shared.id, other.id])
    assert {place.dimension for place in places.values()} == {4, 6}
    assert len(vector_files(settings)) == 2


@pytest.mark.usefixtures("trivia")
def test_a_duplicate_batch_gets_no_vector_a_second_time(
    client: TestClient, engine: Engine, settings: Settings, decision: Make
) -> None:
    first, second = decision(1, vector=0), decision(2, vector=1)
    hidden = np.ones((2, 4), np.float16)
    post_vectors(client, [first], {"vectors/0": hidden})
    before = vector_files(settings)
    assert post_vectors(client, [first], {"vectors/0": hidden}).json()["duplicates"] == 1
    assert vector_files(settings) == before
    # A batch that holds both writes the vector of the new one alone.
    assert post_vectors(client, [first, second], {"vectors/0": hidden}).json()["stored"] == 1
    with reading(engine) as session:
        places = vectors.vector_rows(session, "trivia", 0, [first.id, second.id])
    assert len({place.shard for place in places.values()}) == 2
    assert all(place.row == 0 for place in places.values())


@pytest.mark.usefixtures("trivia")
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_hidden_state_that_is_not_finite_costs_the_vector_and_not_the_decision(
    client: TestClient, engine: Engine, settings: Settings, decision: Make, wrong: float
) -> None:
    hidden = np.arange(12, dtype=np.float16).reshape(3, 4)
    hidden[1, 2] = wrong
    rows = [decision(index, vector=index) for index in range(3)]
    receipt = post_vectors(client, rows, {"vectors/0": hidden}).json()
    assert (receipt["stored"], receipt["rejected"], receipt["vectors_dropped"]) == (3, [], 1)
    with reading(engine) as session:
        places = vectors.vector_rows(session, "trivia", 0, [row.id for row in rows])
    kept = [places[rows[index].id] for index in (0, 2)]
    assert len(places) == 2
    assert shards.read_rows(kept[0].url, [place.row for place in kept]).tolist() == hidden[[0, 2]].tolist()
    assert stored(engine, rows[1].id).external_id == "q1"
    again = post_vectors(client, rows, {"vectors/0": hidden}).json()
    assert (again["duplicates"], again["vectors_dropped"]) == (3, 0)


@pytest.mark.usefixtures("trivia")
def test_a_batch_of_nothing_but_broken_states_writes_no_shard(
    client: TestClient, settings: Settings, decision: Make
) -> None:
    rows = [decision(index, vector=index) for index in range(2)]
    receipt = post_vectors(client, rows, {"vectors": np.full((2, 4), np.nan, np.float16)}).json()
    assert (receipt["stored"], receipt["vectors_dropped"]) == (2, 2)
    assert vector_files(settings) == []


@pytest.mark.usefixtures("trivia")
def test_a_row_whose_vector_is_not_there_is_named_and_leaves_no_file(
    client: TestClient, settings: Settings, decision: Make
) -> None:
    hidden = np.ones((2, 4), np.float16)
    rows = [decision(1, vector=7), decision(2, vector=2)]
    answer = post_vectors(client, rows, {"vectors/0": hidden}).json()
    assert [(row["index"], row["field"]) for row in answer["rejected"]] == [
        (0, "attempts.0.vector"),
        (1, "attempts.0.vector"),
    ]
    assert vector_files(settings) == []
    assert post(client, decision(3, vector=0)).json()["rejected"][0]["field"] == "attempts.0.vector"


BAD_FILES: tuple[tuple[dict[str, Any], dict[str, str] | None], ...] = (
    ({"vectors/0": np.ones((1, 4), np.float32)}, {"decisions": "[]"}),
    ({"vectors/0": np.ones(4, np.float16)}, {"decisions": "[]"}),
    ({"weights": np.ones((1, 4), np.float16)}, {"decisions": "[]"}),
    ({"vectors/0": np.ones((1, 4), np.float16)}, None),
    ({"vectors/0": np.ones((1, 4), np.float16)}, {"decisions": "{}"}),
    ({"vectors/0": np.ones((1, 4), np.float16)}, {"decisions": "nonsense"}),
)


def test_a_safetensors_body_of_another_kind_is_refused(client: TestClient) -> None:
    for tensors, metadata in BAD_FILES:
        body = save(tensors, metadata=metadata)
        response = client.post("/v1/decisions", content=body, headers={"Content-Type": SAFETENSORS})
        assert response.status_code == 400, metadata
        assert response.json()["error"]["cure"]
