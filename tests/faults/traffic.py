"""Who uses the world while it burns, and writes down what was promised: a client that sends
decisions with vectors and labels, and callers of the gateway.
"""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import numpy as np
import numpy.typing as npt

from factories import make_decision, make_fingerprint, make_label
from knowgate import Attempt, Client, Decision, Label, Role, ServiceUnreachable, Signals, decide, escalate_all, new_id
from knowgate._records.records import Reason
from knowgate._shipping.client import Receipt
from tests.vector_cast import Held

CASCADE, ASKED = "killed", "trivia"  # what is sent, what is asked through the gateway
DIMENSION = 16
BATCH = 40
FINGERPRINT = make_fingerprint(model="tiny", revision="1", dtype="float32")


@dataclass
class Acknowledged:
    """What the API said it has."""

    decisions: dict[UUID, Decision] = field(default_factory=dict)
    labels: dict[tuple[UUID, int], float] = field(default_factory=dict)
    vectors: list[Held] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a client sends: how long it waits between two batches, in seconds and as a multiple of
    what the last took; the share of labels that comes late, and by how many seconds at most; and
    the share of batches of which all is written down, the others being counted.
    """

    pause_s: float = 0.2
    idle: float = 0.0
    late_share: float = 0.0
    late_s: float = 0.0
    kept: float = 1.0


STEADY = Manner()


class Traffic(threading.Thread):
    """Sends batches until it is stopped; what was not acknowledged is sent again, as a spool
    would.
    """

    def __init__(self, url: str, seed: int, manner: Manner = STEADY) -> None:
        super().__init__(name="traffic", daemon=True)
        self.acknowledged = Acknowledged()
        self.stopping = threading.Event()
        self.error: BaseException | None = None
        self.unanswered = 0  # batches that had to be sent again
        self.late_labels = 0
        self.sent = self.labels_sent = 0  # acknowledged, written down or not
        self._manner = manner
        self._waiting: list[tuple[float, Label]] = []  # until when, on the monotonic clock
        self._client = Client(url, timeout_s=20)
        self._rng = np.random.default_rng(seed)

    def run(self) -> None:
        try:
            while not self.stopping.is_set():
                began = time.monotonic()
                self._send_batch()
                took = time.monotonic() - began
                self.stopping.wait(self._manner.pause_s + self._manner.idle * took)
        except BaseException as error:  # noqa: BLE001 (handed to the test, which fails on it)
            self.error = error

    def _send_batch(self) -> None:
        hidden = self._rng.standard_normal((BATCH, DIMENSION)).astype(np.float16)
        made = [self._decision(row, hidden[row]) for row in range(BATCH)]
        batch = [decision for decision, _ in made]
        if not self._insist(lambda: self._client.send_decisions(batch, {0: hidden})):
            return
        self.sent += len(batch)
        if self._rng.random() < self._manner.kept:
            self.acknowledged.decisions |= {decision.id: decision for decision in batch}
            self.acknowledged.vectors += [Held(id=one.id, values=row) for one, row in zip(batch, hidden, strict=True)]
        said = self._due([label for _, pair in made for label in pair])
        if self._insist(lambda: self._client.send_labels(said)):
            self.labels_sent += len(said)
            for label in said:
                assert label.decision_id is not None and label.tier is not None
                if label.decision_id in self.acknowledged.decisions:
                    self.acknowledged.labels[label.decision_id, label.tier] = label.correct

    def _due(self, made: list[Label]) -> list[Label]:
        """Those that are said now: of the new ones, and of those that waited."""
        if self._manner.late_share == 0.0:
            return made
        now = time.monotonic()
        for label in made:
            late = self._rng.random() < self._manner.late_share
            self._waiting.append((now + (self._rng.uniform(0.0, self._manner.late_s) if late else 0.0), label))
            self.late_labels += late
        due = [label for at, label in self._waiting if at <= now]
        self._waiting = [one for one in self._waiting if one[0] > now]
        return due

    def _insist(self, send: Callable[[], Receipt]) -> bool:
        """Send until it is acknowledged; False when the test ends first."""
        while not self.stopping.is_set():
            try:
                receipt = send()
            except ServiceUnreachable:
                self.unanswered += 1
                self.stopping.wait(0.1)
                continue
            assert receipt.rejected == (), receipt.rejected
            return True
        return False

    def _decision(self, row: int, hidden: npt.NDArray[np.float16]) -> tuple[Decision, list[Label]]:
        now = datetime.now(UTC)
        decision_id = new_id(now)
        right = bool(hidden[0] + 0.5 * self._rng.standard_normal() > -0.5)
        p_t = float(np.clip(0.6 + 0.15 * hidden[0] + 0.1 * self._rng.standard_normal(), 0.01, 0.99))
        small = Attempt(
            tier=0,
            role=Role.SUPERSEDED,
            model="tiny",
            signals=Signals(p_t=p_t),
            verdict=decide(escalate_all(2), Signals(p_t=p_t), fault=Reason.NO_BUNDLE),
            fingerprint=FINGERPRINT,
            fault=Reason.NO_BUNDLE,
            entropy=0.5,
            run_propensity=1.0,
            tokens_in=12,
            tokens_out=1,
            vector=row,
        )
        large = Attempt(tier=1, role=Role.SERVED, model="huge", run_propensity=1.0, tokens_in=12, tokens_out=1)
        decision = make_decision(
            now,
            id=decision_id,
            cascade=CASCADE,
            attempts=(small, large),
            external_id=str(decision_id),
            prompt_hash=f"{self._rng.integers(2**62):x}",
        )
        said = [
            make_label(
                cascade=CASCADE,
                correct=correct,
                labelled_at=now,
                decision_id=decision_id,
                tier=tier,
                label_propensity=1.0,
            )
            for tier, correct in ((0, float(right)), (1, float(self._rng.random() < 0.95)))
        ]
        return decision, said


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to the gateway that got no answer, and when, on the monotonic clock."""

    began: float
    ended: float
    why: str


class Asking(threading.Thread):
    """Asks the gateway one question after another until it is stopped."""

    def __init__(self, url: str, *, pause_s: float = 0.1) -> None:
        super().__init__(name="asking", daemon=True)
        self.answered: dict[UUID, str] = {}  # the external id by the decision's
        self.failed: list[Asked] = []
        self.stopping = threading.Event()
        self._url, self._pause_s = url, pause_s

    def run(self) -> None:
        number = 0
        while not self.stopping.is_set():
            number += 1
            began = time.monotonic()
            try:
                self._ask(f"asked-{number}")
            except (OSError, ValueError, KeyError) as error:
                self.failed.append(Asked(began, time.monotonic(), f"{type(error).__name__}: {error}"))
            self.stopping.wait(self._pause_s)

    def newest(self, number: int) -> list[str]:
        """The external ids of the last answers, but for those of the last moment."""
        return list(self.answered.values())[-number:]

    def _ask(self, external_id: str) -> None:
        messages = [{"role": "user", "content": f"Which city is number {external_id}?"}]
        body = json.dumps({"model": ASKED, "messages": messages}).encode()
        head = {"Content-Type": "application/json", "Knowgate-External-Id": external_id}
        request = urllib.request.Request(f"{self._url}/v1/chat/completions", body, head)
        with urllib.request.urlopen(request, timeout=30) as answer:
            said = json.load(answer)["choices"][0]["message"]["content"]
            if said not in ("Lima", "Quito"):
                raise ValueError(f"what no tier said: {said!r}")
            self.answered[UUID(answer.headers["Knowgate-Decision"])] = external_id
