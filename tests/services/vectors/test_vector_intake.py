"""What one request brings: shards of one fingerprint within the bound, or nothing at all and word
to try again.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from safetensors.numpy import save
from sqlalchemy import Engine

from knowgate import Decision
from knowgate._wire import codec
from services.declaration.cascade_file import parse_cascade
from services.errors import CascadeFileInvalid
from services.settings import SETTINGS, Settings, read_settings
from services.upkeep.checkup import examine
from store.engine import reading
from store.shards.shards import SHARD_BYTES, MappedShard
from store.traffic import vectors

Make = Callable[..., Decision]
Serve = Callable[[Settings], TestClient]
TYPE = "application/vnd.knowgate.safetensors"


def send(client: TestClient, sent: list[Decision], hidden: Any) -> Any:
    body = save({"vectors/0": hidden}, metadata={"decisions": json.dumps([codec.encode(one) for one in sent])})
    return client.post("/v1/decisions", content=body, headers={"Content-Type": TYPE})


def deeper(decision: Decision) -> Decision:
    """The same decision, whose small tier was read at another layer."""
    first, *rest = decision.attempts
    assert first.fingerprint is not None
    first = replace(first, fingerprint=replace(first.fingerprint, layer=7))
    return replace(decision, attempts=(first, *rest))


@pytest.mark.usefixtures("trivia")
def test_a_push_is_cut_into_shards_of_one_fingerprint_within_the_bound(
    serve: Serve, settings: Settings, engine: Engine, decision: Make
) -> None:
    sent = [decision(index, vector=index) for index in range(10)]
    sent = [deeper(one) if index % 2 else one for index, one in enumerate(sent)]
    hidden = np.arange(40, dtype=np.float16).reshape(10, 4)
    small = settings.model_copy(update={"shard_bytes": 2 * 4 * 2})
    assert send(serve(small), sent, hidden).json()["stored"] == 10
    with reading(engine) as session:
        stored = vectors.shards(session)
        places = vectors.vector_rows(session, "trivia", 0, [one.id for one in sent])
    assert sorted(record.rows for record in stored) == [1, 1, 2, 2, 2, 2]
    for index, one in enumerate(sent):
        with MappedShard(places[one.id].url, fingerprint=one.attempts[0].fingerprint) as shard:
            np.testing.assert_array_equal(shard.read([places[one.id].row])[0], hidden[index])


@pytest.mark.usefixtures("trivia")
def test_where_no_shard_can_be_written_nothing_is_stored_and_the_sender_is_to_try_again(
    serve: Serve, settings: Settings, decision: Make, tmp_path: Path
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, where a folder is needed")
    away = settings.model_copy(update={"shards_url": str(blocked)})
    sent, hidden = [decision(0, vector=0)], np.ones((1, 4), np.float16)
    response = send(serve(away), sent, hidden)
    assert (response.status_code, response.json()["error"]["field"]) == (503, "shards")
    assert response.headers["Retry-After"]
    assert send(serve(settings), sent, hidden).json()["stored"] == 1


def test_the_bound_of_a_shard_is_said_once() -> None:
    assert read_settings({}).shard_bytes == SHARD_BYTES
    assert "KNOWGATE_SHARD_BYTES" in SETTINGS


def test_retention_that_would_starve_training_is_refused_or_told(
    engine: Engine, settings: Settings, trivia: str, clock: Any
) -> None:
    head = 'name = "x"\nvector_retention = "{}"\n'
    tiers = '[[tiers]]\nname = "a"\nmodel = "m"\nparameters = 1\n[[tiers]]\nname = "b"\nmodel = "n"\nparameters = 2\n'
    assert parse_cascade(head.format("98d") + tiers).vector_retention == timedelta(days=98)
    with pytest.raises(CascadeFileInvalid, match=r"vector_retention.*training reads vectors 98 days"):
        parse_cascade(head.format("97d") + tiers)
    url = engine.url.render_as_string(hide_password=False)
    for days, notes in ((90, 1), (100, 0)):
        keeping = settings.model_copy(update={"database_url": url, "vector_retention": timedelta(days=days)})
        found = [one for one in examine(keeping, now=clock.now()) if "training reads" in one.found]
        assert (len(found), {one.check for one in found} <= {trivia}) == (notes, True)
