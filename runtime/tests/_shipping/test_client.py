"""The client speaks the control plane's HTTP, shows its errors, and keeps its token to itself."""

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load

from factories import make_label
from knowgate._records.receipts import Rejected
from knowgate._records.records import Decision, Label
from knowgate._shipping.client import VECTORS_MEDIA_TYPE, Acknowledgement, Client, Receipt
from knowgate._wire import codec
from knowgate.errors import RecordInvalid, ServiceUnreachable

Make = Callable[..., Any]
RECEIPT = {"stored": 2, "duplicates": 0, "rejected": []}


def test_decisions_travel_as_json_and_come_with_the_token(control_plane: Any, decision: Make) -> None:
    control_plane.answer("POST /v1/decisions", RECEIPT)
    sent = [decision(), decision()]
    assert Client(control_plane.url, "kg_secret").send_decisions(sent) == Receipt(stored=2, duplicates=0)
    ((_, headers, body),) = control_plane.asked
    assert headers["Authorization"] == "Bearer kg_secret"
    assert headers["Content-Type"] == "application/json"
    assert [codec.decode(Decision, row) for row in json.loads(body)["decisions"]] == sent


def test_decisions_with_vectors_travel_as_one_safetensors_body(control_plane: Any, decision: Make) -> None:
    control_plane.answer("POST /v1/decisions", RECEIPT)
    sent = [decision(rows=(0, None)), decision(rows=(1, 0))]
    vectors = {0: np.arange(8, dtype=np.float16).reshape(2, 4), 1: np.ones((1, 6), np.float16)}
    Client(control_plane.url).send_decisions(sent, vectors)
    ((_, headers, body),) = control_plane.asked
    assert headers["Content-Type"] == VECTORS_MEDIA_TYPE
    tensors = load(body)
    assert {name: tensor.dtype for name, tensor in tensors.items()} == {
        "vectors/0": np.float16,
        "vectors/1": np.float16,
    }
    assert np.array_equal(tensors["vectors/0"], vectors[0])
    header = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])
    rows = json.loads(header["__metadata__"]["decisions"])
    assert [codec.decode(Decision, row) for row in rows] == sent


def test_the_receipt_names_the_rejected_rows(control_plane: Any, decision: Make) -> None:
    rejected = [{"index": 1, "field": "cascade", "value": "x", "cure": "apply it"}]
    control_plane.answer("POST /v1/decisions", {"stored": 1, "duplicates": 1, "rejected": rejected})
    receipt = Client(control_plane.url).send_decisions([decision()] * 3)
    assert receipt.rejected == (Rejected(index=1, field="cascade", value="x", cure="apply it"),)
    assert (receipt.stored, receipt.duplicates) == (1, 1)


def test_labels_may_wait_for_their_decision(control_plane: Any, now: datetime) -> None:
    control_plane.answer("POST /v1/labels", {"stored": 0, "duplicates": 0, "waiting": 1, "rejected": []})
    label = make_label(labelled_at=now, external_id="q-1")
    assert Client(control_plane.url).send_labels([label]).waiting == 1
    assert codec.decode(Label, json.loads(control_plane.asked[0][2])["labels"][0]) == label


def test_an_assignment_that_is_still_the_same_is_not_sent_again(control_plane: Any) -> None:
    control_plane.answer("GET /v1/cascades/questions/assignment", b"{}", ETag='"7"')
    client = Client(control_plane.url)
    fetched = client.assignment("questions")
    assert fetched is not None and (fetched.content, fetched.etag) == (b"{}", '"7"')
    assert client.assignment("questions", '"7"') is None


def test_a_bundle_comes_with_its_signature(control_plane: Any) -> None:
    control_plane.answer("GET /v1/bundles/abc", b"\x00bytes", Knowgate_Signature="ff")
    fetched = Client(control_plane.url).bundle("abc")
    assert (fetched.content, fetched.signature) == (b"\x00bytes", "ff")


def test_an_acknowledgement_says_which_generation_and_bundle(control_plane: Any, now: datetime) -> None:
    control_plane.answer("POST /v1/cascades/questions/acknowledgements", {})
    acknowledgement = Acknowledgement(
        runtime="r-1", generation=3, bundle=None, accepted=False, reason="unsigned", acknowledged_at=now
    )
    Client(control_plane.url).acknowledge("questions", acknowledgement)
    assert codec.decode(Acknowledgement, json.loads(control_plane.asked[0][2])) == acknowledgement


def test_a_service_from_before_a_runtime_told_how_it_is_hears_the_rest(control_plane: Any, now: datetime) -> None:
    refusal = {"error": {"message": "again_s is present: this field is not known; remove it"}}
    path = "POST /v1/cascades/questions/acknowledgements"
    control_plane.answer(path, refusal, status=422)
    said = Acknowledgement(
        runtime="r-1", generation=3, bundle=None, accepted=True, reason=None, acknowledged_at=now, again_s=90.0
    )
    with pytest.raises(ServiceUnreachable, match="not known"):  # it refuses both, and it says why
        Client(control_plane.url).acknowledge("questions", said)
    first, second = (json.loads(body) for body in control_plane.bodies(path))
    assert first["again_s"] == 90.0
    assert codec.decode(Acknowledgement, second) == replace(said, again_s=None)
    assert second.keys() == {"runtime", "generation", "bundle", "accepted", "reason", "acknowledged_at"}


def test_an_error_shows_the_services_own_words_and_its_status(control_plane: Any, decision: Make) -> None:
    refusal = {"error": {"field": "token", "value": "", "cure": "give one", "message": "token is missing: give one"}}
    control_plane.answer("POST /v1/decisions", refusal, status=401)
    with pytest.raises(ServiceUnreachable, match="401: token is missing: give one") as raised:
        Client(control_plane.url, "kg_secret").send_decisions([decision()])
    assert raised.value.status == 401
    assert "kg_secret" not in str(raised.value)


def test_an_error_that_is_no_json_is_shown_by_its_beginning(control_plane: Any, decision: Make) -> None:
    control_plane.answer("POST /v1/decisions", b"<html>bad gateway", status=502)
    with pytest.raises(ServiceUnreachable, match="502: <html>bad gateway"):
        Client(control_plane.url).send_decisions([decision()])


def test_a_receipt_that_cannot_be_read_is_no_receipt(control_plane: Any, decision: Make) -> None:
    for body in (b"hello", b"[]", b'{"stored": "many"}'):
        control_plane.answer("POST /v1/decisions", body)
        with pytest.raises(ServiceUnreachable, match="receipt cannot be read"):
            Client(control_plane.url).send_decisions([decision()])


def test_a_redirect_is_not_followed_so_the_token_stays_here(control_plane: Any) -> None:
    control_plane.answer("GET /v1/bundles/abc", b"", status=302, Location=f"{control_plane.url}/elsewhere")
    with pytest.raises(ServiceUnreachable, match="302") as raised:
        Client(control_plane.url, "kg_secret").bundle("abc")
    assert raised.value.status == 302
    assert [asked for asked, _, _ in control_plane.asked] == ["GET /v1/bundles/abc"]


def test_no_answer_is_an_error_without_a_status(decision: Make) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound, not listening
        with pytest.raises(ServiceUnreachable, match="got no answer") as raised:
            Client(f"http://127.0.0.1:{bound.getsockname()[1]}").send_decisions([decision()])
    assert raised.value.status is None


def test_a_service_that_does_not_answer_in_time_is_unreachable(decision: Make) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        client = Client(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.05)
        with pytest.raises(ServiceUnreachable, match="timed out"):
            client.send_decisions([decision()])


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host", "host:8000", "http://"])
def test_a_url_that_is_no_http_is_refused(url: str) -> None:
    with pytest.raises(RecordInvalid, match="url"):
        Client(url)


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "kg_é"])
def test_a_token_that_could_break_a_header_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(RecordInvalid, match="token") as raised:
        Client("http://127.0.0.1", token)
    assert not token or token not in str(raised.value)


def test_the_token_is_not_in_the_repr() -> None:
    assert "kg_secret" not in repr(Client("http://127.0.0.1", "kg_secret"))
