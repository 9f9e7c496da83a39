"""Labels said in code reach the service at least once, or lie in rejected.jsonl with the reason."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from knowgate import Labels, RecordInvalid, Shipper, Spool, SpoolRefused, new_id
from knowgate._records.receipts import Rejected
from knowgate._records.records import Decision, Label, LabelSource
from knowgate._shipping import segment
from knowgate._shipping.client import Receipt

Make = Callable[..., Any]
THEN = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass
class Service:
    """A service in memory that keeps batches as they came, and rejects labels of these ids."""

    batches: list[list[Decision | Label]] = field(default_factory=list)
    unwanted: frozenset[str] = frozenset()

    def send_decisions(self, decisions: Sequence[Decision], vectors: object = None) -> Receipt:
        self.batches.append(list(decisions))
        return Receipt(stored=len(decisions), duplicates=0)

    def send_labels(self, labels: Sequence[Label]) -> Receipt:
        self.batches.append(list(labels))
        shared = tuple(label.external_id for label in labels if label.external_id == "shared")
        rejected = tuple(
            Rejected(index=at, field="tier", value="7", cure="that tier did not run")
            for at, label in enumerate(labels)
            if label.external_id in self.unwanted
        )
        return Receipt(stored=len(labels) - len(rejected), duplicates=0, rejected=rejected, ambiguous=shared)


def ship_all(shipper: Shipper) -> None:
    while shipper.ship_batch():
        pass


def test_a_label_travels_with_all_that_was_said(tmp_path: Path) -> None:
    service, decision_id = Service(), new_id()
    with Spool(tmp_path) as spool:
        labels = Labels(spool, "trivia", source="judge", grader="strict@2")
        said = [
            labels.add(True, external_id="q-1", labelled_at=THEN, label_propensity=0.5),
            labels.add(0.25, decision_id=str(decision_id), tier=1, labelled_at=THEN),
        ]
        shipper = Shipper(spool, service)
        ship_all(shipper)
    assert service.batches == [said]
    assert said[0] == Label(
        cascade="trivia",
        source=LabelSource.JUDGE,
        correct=1.0,
        labelled_at=THEN,
        external_id="q-1",
        label_propensity=0.5,
        grader="strict@2",
    )
    assert (said[1].decision_id, said[1].tier, said[1].correct) == (decision_id, 1, 0.25)
    assert (shipper.shipped, shipper.rejected) == (2, 0)


def test_a_label_without_a_time_was_said_now(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        label = Labels(spool, "trivia", source="human").add(False, external_id="q")
    assert abs(label.labelled_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert label.labelled_at.tzinfo is not None


def test_decisions_and_labels_of_one_spool_go_apart_however_they_alternate(tmp_path: Path, decision: Make) -> None:
    service = Service()
    with Spool(tmp_path) as spool:
        labels = Labels(spool, "trivia", source="gold")
        for number in range(4):
            if number < 2:
                spool.append(decision())
            labels.add(True, external_id=f"q-{number}")
        shipper = Shipper(spool, service)
        ship_all(shipper)
        assert spool.unshipped_bytes == 0
    kinds = [[type(record).__name__ for record in batch] for batch in service.batches]
    assert kinds == [["Decision"] * 2, ["Label"] * 4]
    assert [label.external_id for label in service.batches[1] if isinstance(label, Label)] == [
        f"q-{number}" for number in range(4)
    ]
    assert shipper.shipped == 6


def test_a_label_outlives_the_process_that_said_it(tmp_path: Path) -> None:
    script = f"""
        import os, signal
        from knowgate import Labels, Spool
        Labels(Spool({str(tmp_path)!r}), "trivia", source="gold").add(True, external_id="q-1")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False).returncode == -9
    service = Service()
    with Spool(tmp_path) as spool:
        ship_all(Shipper(spool, service))
    assert [label.external_id for batch in service.batches for label in batch] == ["q-1"]


def test_a_label_behind_a_damaged_one_is_shipped(tmp_path: Path) -> None:
    label = Label(cascade="trivia", source=LabelSource.GOLD, correct=1.0, labelled_at=THEN, external_id="q")
    frames = [segment.framed(label) for _ in range(3)]
    content = bytearray(b"".join(frames))
    content[len(frames[0]) + 30] ^= 1
    assert segment.next_entry(bytes(content), len(frames[0]) + 1) == 2 * len(frames[0])


def test_a_label_that_the_service_refuses_is_kept_with_the_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service(unwanted=frozenset({"wrong"}))
    with Spool(tmp_path) as spool:
        labels = Labels(spool, "trivia", source="gold")
        for name in ("right", "wrong", "shared"):
            labels.add(True, external_id=name)
        shipper = Shipper(spool, service)
        ship_all(shipper)
    (row,) = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text().splitlines()]
    assert row["label"]["external_id"] == "wrong"
    assert row["reason"] == "tier is 7: that tier did not run"
    assert (shipper.shipped, shipper.rejected) == (2, 1)
    assert "several decisions share the external id shared" in caplog.text


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"correct": 1.5, "external_id": "q"}, "correct is 1.5: a label's correctness lies in [0, 1]"),
        ({"correct": "yes", "external_id": "q"}, "correct is 'yes': give True, False or a number from 0 to 1"),
        ({"correct": True}, "decision_id is None: give either decision_id or external_id"),
        ({"correct": True, "decision_id": "q-17"}, "name it by your own id with external_id"),
        ({"correct": True, "external_id": "q", "labelled_at": datetime(2026, 3, 1)}, "labelled_at"),  # noqa: DTZ001
    ],
)
def test_a_label_that_cannot_be_is_refused_with_the_cure(tmp_path: Path, given: dict[str, Any], fault: str) -> None:
    with Spool(tmp_path) as spool:
        with pytest.raises(RecordInvalid) as refused:
            Labels(spool, "trivia", source="gold").add(given.pop("correct"), **given)
        assert spool.unshipped_bytes == 0
    assert fault in str(refused.value)


def test_an_unknown_source_is_refused(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool, pytest.raises(RecordInvalid, match="use one of gold, human, judge, feedback"):
        Labels(spool, "trivia", source="oracle")


def test_a_closed_spool_takes_no_label(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    labels = Labels(spool, "trivia", source="gold")
    spool.close()
    with pytest.raises(SpoolRefused, match="the spool is closed"):
        labels.add(True, external_id="q")
