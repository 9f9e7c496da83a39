"""What a gateway adds to a request, beside LiteLLM's proxy and a proxy of a few lines.

All stand before one upstream that takes no time, each a process of its own on this machine, with
one worker. They are asked in turn, a moment each, by 1, 16 and 64 clients that ask one request
after the other; a figure is the median over the rounds, and what is *added* is the difference to
the upstream asked directly in the same round (`_direct`: how fast that and the clients are at all).
At 16 and 64 clients every proxy is saturated: what is added there is mostly waiting for the others,
clients / requests per second.

Nearly all requests are kept by the small tier, so that each way asks the upstream once; the gateway
asks for log-probabilities, reads them, decides, and has the decision on the disk before it answers:
of what is added, `fsync_ms` is the disk's. Of the others only `plain_logged` keeps anything: a line
and an fsync for each answer. LiteLLM keeps nothing without a database. `cpu_ms_per_request` is the
processor time of a way's process over all the rounds, idle moments and the shipping of decisions
included; the control plane is another process.

`ttft_added_ms` is of a stream that the last tier writes, a token each 5 ms, and that every way
passes on: of the gateway a request that no certificate covers. `_kept` and `_escalated` are
conversations that the cascade answers, the small tier having 20 tokens to write first; `_observe`
is one while the cascade is only observed.
Memory is that of a gateway of its own, at its start and after so many requests.
"""

import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.gateway.load import Answers, Ask, ask_for
from benchmarks.gateway.servers import CASCADE, Target, gateway, targets, wait_until_shipped
from benchmarks.gateway.upstream import Marks
from benchmarks.shape import Figures
from knowgate import Mode
from tests.client_libraries import LibrariesMissing, clients_python

CLIENTS = (1, 16, 64)
WARM_UP = 200  # requests
KEPT = Ask(model=CASCADE)
STREAMS = {
    "": Ask(model=CASCADE, stream=True, temperature=0.7, marks=(Marks.PACED,)),
    "_kept": Ask(model=CASCADE, stream=True, marks=(Marks.PACED,)),
    "_escalated": Ask(model=CASCADE, stream=True, marks=(Marks.PACED, Marks.UNSURE)),
    "_observe": Ask(model=CASCADE, stream=True, marks=(Marks.PACED,)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How long is measured."""

    rounds: int
    seconds: float  # of one way at one number of clients
    streams: int  # in one round
    memory_after: tuple[int, ...]  # requests


FULL = Size(rounds=7, seconds=1.2, streams=8, memory_after=(10_000, 100_000))
QUICK = Size(rounds=2, seconds=0.5, streams=5, memory_after=(1000,))


@dataclass(slots=True, kw_only=True)
class Seen:
    """What one way came to, round by round."""

    p50_ms: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))  # by clients
    p99_ms: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    per_s: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    first_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # by the kind of stream
    cpu_s: float = 0.0
    requests: int = 0

    def add(self, clients: int, answers: Answers) -> None:
        """One way's answers to so many clients."""
        ms = np.array(answers.whole_s) * 1e3
        self.p50_ms[clients].append(float(np.percentile(ms, 50)))
        self.p99_ms[clients].append(float(np.percentile(ms, 99)))
        self.per_s[clients].append(len(ms) / answers.took_s)
        self.requests += len(ms)


def measure(quick: bool) -> Figures:
    """All figures."""
    size = QUICK if quick else FULL
    figures: dict[str, float | int | str | None] = {"rounds": size.rounds, "seconds": size.seconds}
    try:
        clients_python()
    except LibrariesMissing as missing:
        figures["litellm"] = str(missing)
    with (
        tempfile.TemporaryDirectory(prefix="knowgate-gateway-") as folder,
        targets(Path(folder), litellm="litellm" not in figures) as ways,
    ):
        figures["fsync_ms"] = fsync_ms(Path(folder))
        seen = {way.name: Seen() for way in ways}
        ask_all(ways, seen, size)
        with gateway(Path(folder) / "observing", ways[0].url, mode=Mode.OBSERVE) as observing:
            stream_all(ways, observing, seen, size)
        figures |= figures_of_direct(seen["direct"])
        for way in ways[1:]:
            figures |= figures_of(seen[way.name], seen["direct"], "" if way.name == "gateway" else f"_{way.name}")
        with gateway(Path(folder) / "alone", ways[0].url) as alone:
            figures |= memory(alone, size.memory_after)
    return figures


def ask_all(ways: Sequence[Target], seen: Mapping[str, Seen], size: Size) -> None:
    """Asks all ways in turn, by all numbers of clients."""
    shipped = 0
    for way in ways:
        shipped += _shipped_by(way, _asked(way, KEPT, clients=4, requests=WARM_UP), shipped)
    for way in ways:
        seen[way.name].cpu_s = -way.cpu_s()
    for number in range(size.rounds):
        for clients in CLIENTS:
            for way in _turned(ways, number):
                answers = ask_for(way.url, KEPT, clients=clients, seconds=size.seconds)
                seen[way.name].add(clients, answers)
                shipped += _shipped_by(way, answers, shipped)
    for way in ways:
        seen[way.name].cpu_s += way.cpu_s()


def stream_all(ways: Sequence[Target], observing: Target, seen: Mapping[str, Seen], size: Size) -> None:
    """Asks for every kind of stream, of whom it can be asked."""
    direct, ours = ways[:2]
    for number in range(size.rounds):
        for kind, ask in STREAMS.items():
            others = (direct, observing if kind == "_observe" else ours)
            for way in _turned(ways if not kind else others, number):
                firsts = _asked(way, ask, clients=1, requests=size.streams).first_s
                seen[way.name].first_ms[kind].append(statistics.median(firsts) * 1e3)


def figures_of_direct(seen: Seen) -> dict[str, float]:
    """What the upstream and the clients do by themselves."""
    figures: dict[str, float] = {}
    for clients in CLIENTS:
        figures[f"p50_ms_{clients}_direct"] = statistics.median(seen.p50_ms[clients])
        figures[f"requests_per_s_{clients}_direct"] = statistics.median(seen.per_s[clients])
    return figures


def figures_of(seen: Seen, direct: Seen, name: str) -> dict[str, float]:
    """What one way adds to the upstream asked directly, in the same rounds."""
    figures: dict[str, float] = {}
    for clients in CLIENTS:
        for kind, mine, other in (("p50", seen.p50_ms, direct.p50_ms), ("p99", seen.p99_ms, direct.p99_ms)):
            figures[f"added_{kind}_ms_{clients}{name}"] = _added(mine[clients], other[clients])
        figures[f"requests_per_s_{clients}{name}"] = statistics.median(seen.per_s[clients])
    figures[f"requests_per_s{name}"] = max(figures[f"requests_per_s_{clients}{name}"] for clients in CLIENTS)
    figures[f"cpu_ms_per_request{name}"] = seen.cpu_s / seen.requests * 1e3
    for kind, first in seen.first_ms.items():
        figures[f"ttft_added_ms{kind}{name}"] = _added(first, direct.first_ms[kind])
    return figures


def memory(alone: Target, after: Sequence[int]) -> dict[str, float]:
    """Megabytes of a gateway at its start, and after so many requests in all."""
    figures, asked = {"memory_mb_start": alone.resident_mb()}, 0
    for requests in after:
        _asked(alone, KEPT, clients=16, requests=requests - asked)
        asked = requests
        wait_until_shipped(alone, asked)
        figures[f"memory_mb_{requests}"] = alone.resident_mb()
    return figures


def fsync_ms(folder: Path) -> float:
    """What the disk takes to keep a row, by itself: the median."""
    taken = []
    with (folder / "fsync").open("ab", buffering=0) as file:
        for _ in range(100):
            file.write(bytes(600))
            began = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1e3


def _asked(way: Target, ask: Ask, *, clients: int, requests: int) -> Answers:
    return ask_for(way.url, ask, clients=clients, requests=requests)


def _added(mine: Sequence[float], other: Sequence[float]) -> float:
    return statistics.median(one - two for one, two in zip(mine, other, strict=True))


def _turned(ways: Sequence[Target], number: int) -> list[Target]:
    """The ways, another one first in every round."""
    at = number % len(ways)
    return [*ways[at:], *ways[:at]]


def _shipped_by(way: Target, answers: Answers, before: int) -> int:
    """How many decisions that were, once they are shipped."""
    if way.name != "gateway":
        return 0
    made = len(answers.whole_s)
    wait_until_shipped(way, before + made)
    return made
