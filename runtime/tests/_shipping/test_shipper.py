"""Every spooled decision reaches the service at least once, or lies in rejected.jsonl with the
reason.
"""

import json
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load

from knowgate._models.features import Float16Array
from knowgate._records.receipts import Rejected, Undeclared
from knowgate._records.records import Decision
from knowgate._shipping.client import Client, Receipt
from knowgate._shipping.shipper import Shipper
from knowgate._shipping.spool import Spool
from knowgate.errors import ServiceUnreachable

Make = Callable[..., Any]


class Service:
    """A service in memory: idempotent by id, and as ill-tempered as a test wants."""

    def __init__(self) -> None:
        self.decisions: dict[str, Decision] = {}
        self.vectors: dict[str, dict[int, list[float]]] = {}
        self.batches: list[int] = []
        self.failures: list[int | Exception | None] = []  # statuses of the next answers; None = no answer
        self.poison: set[str] = set()  # external ids that spoil the whole batch they are in
        self.unwanted: set[str] = set()  # external ids that are rejected by index
        self.undeclared: tuple[Undeclared, ...] = ()  # that each receipt tells of

    def send_decisions(
        self, decisions: Sequence[Decision], vectors: Mapping[int, Float16Array] | None = None
    ) -> Receipt:
        if self.failures:
            failure = self.failures.pop(0)
            raise failure if isinstance(failure, Exception) else ServiceUnreachable("not now", status=failure)
        if self.poison & {str(decision.external_id) for decision in decisions}:
            raise ServiceUnreachable("the body cannot be read", status=422)
        self.batches.append(len(decisions))
        rejected = []
        for index, decision in enumerate(decisions):
            if decision.external_id in self.unwanted:
                rejected.append(Rejected(index=index, field="slice", value="x", cure="use a known one"))
                continue
            self.decisions[str(decision.id)] = decision
            self.vectors[str(decision.id)] = {
                attempt.tier: (vectors or {})[attempt.tier][attempt.vector].tolist()
                for attempt in decision.attempts
                if attempt.vector is not None
            }
        dropped = sum(int((~np.isfinite(hidden).all(axis=1)).sum()) for hidden in (vectors or {}).values())
        return Receipt(
            stored=len(decisions) - len(rejected),
            duplicates=0,
            rejected=tuple(rejected),
            undeclared=self.undeclared,
            vectors_dropped=dropped,
        )


@pytest.fixture
def service() -> Service:
    return Service()


def ship_all(shipper: Shipper) -> None:
    while shipper.ship_batch():
        pass


def rejected_rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()]


def test_vectors_are_counted_anew_within_each_batch(tmp_path: Path, service: Service, decision: Make) -> None:
    with Spool(tmp_path) as spool:
        expected = {}
        for number in range(7):
            item = decision(rows=(0, 1) if number % 2 else (None, 0))
            rows = [np.full(3, number, np.float16), np.full(5, -number, np.float16)][0 if number % 2 else 1 :]
            spool.append(item, rows)
            large = [-float(number)] * 5
            expected[str(item.id)] = {0: [float(number)] * 3, 1: large} if number % 2 else {1: large}
        ship_all(Shipper(spool, service, batch_entries=3))
    assert service.batches == [3, 3, 1]
    assert service.vectors == expected


def test_a_state_that_is_not_finite_is_shipped_with_its_decision_and_counted(
    tmp_path: Path, service: Service, decision: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with Spool(tmp_path) as spool:
        for value in (1.0, np.nan, np.inf):
            spool.append(decision(rows=(0,)), [np.full(4, value, np.float16)])
        shipper = Shipper(spool, service)
        ship_all(shipper)
    assert (shipper.shipped, shipper.rejected, shipper.vectors_dropped) == (3, 0, 2)
    assert "2 hidden states hold NaN or infinity" in caplog.text


def test_attempts_of_undeclared_models_are_counted_and_logged_once_per_cause(
    tmp_path: Path, service: Service, decision: Make, caplog: pytest.LogCaptureFixture
) -> None:
    one = Undeclared(cascade="questions", tier=0, model="unknown", declared="small", attempts=1)
    service.undeclared = (one, replace(one, tier=1, declared="large"))
    with Spool(tmp_path) as spool:
        for _ in range(5):
            spool.append(decision())
        shipper = Shipper(spool, service, batch_entries=1)
        ship_all(shipper)
    assert (shipper.shipped, shipper.undeclared) == (5, 10)
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.getMessage().split(":")[0] for record in errors] == [
        "cascade questions, tier 0",
        "cascade questions, tier 1",
    ]


def test_vectors_of_another_length_get_a_batch_of_their_own(tmp_path: Path, service: Service, decision: Make) -> None:
    with Spool(tmp_path) as spool:
        for length in (4, 4, 6, 6, 6, 4):
            spool.append(decision(rows=(0,)), [np.ones(length, np.float16)])
        ship_all(Shipper(spool, service))
    assert service.batches == [2, 3, 1]
    assert len(service.decisions) == 6


def test_a_batch_is_bounded_in_bytes_too(tmp_path: Path, service: Service, decision: Make) -> None:
    with Spool(tmp_path) as spool:
        for _ in range(10):
            spool.append(decision(rows=(0,)), [np.ones(1000, np.float16)])
        ship_all(Shipper(spool, service, batch_bytes=8000))
    assert max(service.batches) <= 3
    assert len(service.decisions) == 10


@pytest.mark.parametrize("status", [None, 401, 404, 429, 500, 503])
def test_what_the_service_could_not_take_now_stays_in_the_spool(
    tmp_path: Path, service: Service, decision: Make, status: int | None
) -> None:
    with Spool(tmp_path) as spool:
        spool.append(decision())
        service.failures = [status]
        with pytest.raises(ServiceUnreachable):
            Shipper(spool, service).ship_batch()
        assert spool.unshipped_bytes > 0
    with Spool(tmp_path) as spool:
        ship_all(Shipper(spool, service))
    assert len(service.decisions) == 1


def test_rows_the_service_names_are_kept_aside_with_the_reason_and_their_vectors(
    tmp_path: Path, service: Service, decision: Make
) -> None:
    service.unwanted = {"1"}
    with Spool(tmp_path) as spool:
        for number in range(3):
            spool.append(decision(rows=(0,), external_id=str(number)), [np.full(2, number, np.float16)])
        shipper = Shipper(spool, service)
        ship_all(shipper)
        assert (shipper.shipped, shipper.rejected) == (2, 1)
    (row,) = rejected_rows(tmp_path)
    assert row["decision"]["external_id"] == "1"
    assert row["reason"] == "slice is x: use a known one"
    assert row["vectors_float16_base64"] == ["ADwAPA=="]


def test_one_entry_that_spoils_its_batch_is_found_and_the_others_arrive(
    tmp_path: Path, service: Service, decision: Make
) -> None:
    service.poison = {"5", "11"}
    with Spool(tmp_path) as spool:
        for number in range(13):
            spool.append(decision(external_id=str(number)))
        ship_all(Shipper(spool, service))
    arrived = {item.external_id for item in service.decisions.values()}
    assert arrived == {str(number) for number in range(13)} - {"5", "11"}
    assert [row["decision"]["external_id"] for row in rejected_rows(tmp_path)] == ["5", "11"]


def test_an_entry_this_version_cannot_read_is_kept_aside(tmp_path: Path, service: Service, decision: Make) -> None:
    with Spool(tmp_path) as spool:
        spool.append(decision(external_id="nul \0 byte"))
        spool.append(decision())
        ship_all(Shipper(spool, service))
    assert len(service.decisions) == 1
    assert "external_id" in rejected_rows(tmp_path)[0]["reason"]


def test_a_refused_entry_is_kept_aside_once_however_often_its_batch_is_tried(
    tmp_path: Path, service: Service, decision: Make
) -> None:
    service.failures = [503, None, 500]
    with Spool(tmp_path) as spool:
        spool.append(decision(external_id="nul \0 byte"))
        spool.append(decision(rows=(3,), external_id="a vector that is not there"))
        spool.append(decision())
        for _ in range(3):
            with pytest.raises(ServiceUnreachable):
                Shipper(spool, service).ship_batch()
        ship_all(Shipper(spool, service))
    assert len(rejected_rows(tmp_path)) == 2
    assert len(service.decisions) == 1


def test_a_receipt_for_rows_that_were_not_sent_is_not_believed(tmp_path: Path, decision: Make) -> None:
    class Confused(Service):
        def send_decisions(
            self, decisions: Sequence[Decision], vectors: Mapping[int, Float16Array] | None = None
        ) -> Receipt:
            return Receipt(stored=0, duplicates=0, rejected=(Rejected(index=9, field="", value="", cure=""),))

    with Spool(tmp_path) as spool:
        spool.append(decision())
        with pytest.raises(ServiceUnreachable, match="not sent"):
            Shipper(spool, Confused()).ship_batch()
        assert spool.unshipped_bytes > 0


def test_the_thread_ships_through_failures_and_drains_at_the_end(
    tmp_path: Path, service: Service, decision: Make
) -> None:
    service.failures = [None, 503]
    with Spool(tmp_path) as spool, Shipper(spool, service, linger_s=60, retry_s=60) as shipper:
        for _ in range(20):
            spool.append(decision())
        assert shipper.drain(30)
        assert len(service.decisions) == 20
        assert shipper.last_error is None
        spool.append(decision())
    assert len(service.decisions) == 21
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("failure", "named"), [(503, "not now"), (ValueError("odd"), "ValueError('odd')")])
def test_draining_gives_up_after_its_time_and_leaves_the_rest_to_the_next_process(
    tmp_path: Path, service: Service, decision: Make, failure: int | Exception, named: str
) -> None:
    service.failures = [failure] * 1000
    with Spool(tmp_path) as spool:
        spool.append(decision())
        shipper = Shipper(spool, service)
        assert not shipper.drain(0.05)
        while shipper.last_error is None:  # a busy machine may not have come to the first try by then
            assert not shipper.drain(0.05)
        shipper.close()
        assert shipper.last_error == named
    service.failures = []
    with Spool(tmp_path) as spool, Shipper(spool, service):
        pass
    assert len(service.decisions) == 1


def test_segments_of_a_dead_process_are_shipped_by_a_living_one(
    tmp_path: Path, service: Service, decision: Make
) -> None:
    from knowgate._shipping import segment

    with Spool(tmp_path) as spool, Shipper(spool, service, linger_s=0) as shipper:
        orphan = segment.MAGIC + segment.framed(decision(external_id="orphan"))
        (tmp_path / "written").write_bytes(orphan)
        (tmp_path / "written").rename(tmp_path / "999-abc.000000.segment")  # whole from the start
        spool.adopt()
        assert shipper.drain(30)
    assert [item.external_id for item in service.decisions.values()] == ["orphan"]


def test_the_whole_way_over_http(tmp_path: Path, control_plane: Any, decision: Make) -> None:
    control_plane.answer("POST /v1/decisions", {"stored": 2, "duplicates": 0, "rejected": []})
    with Spool(tmp_path) as spool, Shipper(spool, Client(control_plane.url, "kg_t")) as shipper:
        spool.append(decision(rows=(0,)), [np.array([1, 2], np.float16)])
        spool.append(decision(rows=(0,)), [np.array([3, 4], np.float16)])
        assert shipper.drain(30)
    bodies = control_plane.bodies("POST /v1/decisions")
    assert sorted(row for body in bodies for row in load(body)["vectors/0"].tolist()) == [[1, 2], [3, 4]]


def test_a_process_told_to_end_drains_its_spool_first(tmp_path: Path, control_plane: Any) -> None:
    control_plane.answer("POST /v1/decisions", {"stored": 1, "duplicates": 0, "rejected": []})
    code = textwrap.dedent("""
        import signal, sys, time
        from datetime import datetime, UTC
        from knowgate import Attempt, Decision, Role, new_id
        from knowgate._shipping.client import Client
        from knowgate._shipping.shipper import Shipper
        from knowgate._shipping.spool import Spool
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        with Spool(sys.argv[1]) as spool, Shipper(spool, Client(sys.argv[2]), linger_s=60):
            attempt = Attempt(tier=0, role=Role.SERVED, model="m")
            decision = Decision(id=new_id(), cascade="c", occurred_at=datetime.now(UTC), attempts=(attempt,))
            spool.append(decision)
            print(decision.id, flush=True)
            while True:
                time.sleep(1)
        """)
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), control_plane.url], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    appended = child.stdout.readline().strip()
    child.send_signal(signal.SIGTERM)
    child.stdout.read()
    child.stdout.close()
    assert child.wait() == 0
    (body,) = control_plane.bodies("POST /v1/decisions")
    assert [row["id"] for row in json.loads(body)["decisions"]] == [appended]
    assert list(tmp_path.iterdir()) == []
