"""The cast of the runtime's tests: small real models, and a bundle of them."""

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from factories import NOW, make_assignment, make_decision, make_fingerprint
from knowgate._bundles import signing
from knowgate._bundles.assignment import Assignment
from knowgate._bundles.bundle import Bundle, BundleDocument, TierDocument, TierModels, write_bundle
from knowgate._bundles.folder import BundleFile, keep_assignment, keep_bundle
from knowgate._bundles.pair import Pair
from knowgate._models.calibrator import Isotonic, Platt
from knowgate._models.features import Float16Array, Standardiser
from knowgate._models.ood import OodStatistics
from knowgate._models.probe import LinearProbe, MlpProbe, ProbeKind
from knowgate._models.resampled import ResampledScores
from knowgate._models.score import ScoreModel
from knowgate._records.records import Attempt, Decision, Fingerprint, Role, Signals
from knowgate._wire import codec
from knowgate.policy import Policy, PolicyKind

DIMENSION = 24

# No test here depends on how fast the machine is.
settings.register_profile("knowgate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("knowgate")


def probed_fingerprint(**changes: Any) -> Fingerprint:
    """Of the states that the cast's probe reads."""
    return make_fingerprint(**{"revision": "abc", "layer": 12} | changes)


def make_tier_models(
    kind: ProbeKind = ProbeKind.LINEAR, *, ood: bool = True, dimension: int = DIMENSION, resampled: bool = False
) -> TierModels:
    random = np.random.default_rng(7)
    score_model = ScoreModel(
        w_p_t=0.8,
        w_p_ik=0.6,
        w_entropy=-0.3,
        intercept=0.1,
        slices={"history": -0.4, "law": 0.2},
        calibrator=Isotonic(knots=(-4.0, -1.0, 0.0, 1.5, 5.0), values=(0.05, 0.3, 0.4, 0.8, 0.97)),
    )
    document = TierDocument(
        fingerprint=probed_fingerprint(),
        probe=kind,
        dimension=dimension,
        ik_calibrator=Platt(slope=0.9, intercept=-0.2),
        score_model=score_model,
        ood=ood,
        resampled=resampled,
        validation_auroc=0.7,
    )
    linear = LinearProbe(weight=random.normal(size=dimension) / 5, bias=0.3)
    hidden_layer = MlpProbe(
        w1=random.normal(size=(6, dimension)) / 5, b1=random.normal(size=6), w2=random.normal(size=6), b2=-0.1
    )
    components = np.linalg.qr(random.normal(size=(dimension, 4)))[0].T
    return TierModels(
        document=document,
        standardiser=Standardiser(mean=random.normal(size=dimension), scale=random.uniform(0.5, 2, size=dimension)),
        probe=linear if kind is ProbeKind.LINEAR else hidden_layer,
        ood=OodStatistics(
            mean=random.normal(size=dimension) / 10,
            components=components,
            variances=np.array([4.0, 3.0, 2.0, 1.5]),
            residual_variance=0.8,
            length_slope=0.15,
            length_intercept=2.5,
            reference=np.linspace(-1.0, 1.5, 21),
        )
        if ood
        else None,
        resampled=ResampledScores(at=np.float32([0.2, 0.8]), refits=np.float32([[0.3, 0.7], [0.1, 0.9]]))
        if resampled
        else None,
    )


def make_document(tiers: tuple[TierModels | None, ...], **changes: Any) -> BundleDocument:
    gates = {"p_ik": 0.5, "p_t": 0.9, "ood": 0.99}
    fields: dict[str, Any] = {
        "cascade": "questions",
        "models": (*(f"model-{index}" for index in range(len(tiers))), "largest"),
        "tiers": tuple(None if models is None else models.document for models in tiers),
        "policy": Policy.of(
            PolicyKind.GATES,
            tuple(None if models is None else gates for models in tiers),
            fallback=Policy.of(PolicyKind.P_T, tuple({"p_t": 0.97} for _ in tiers)),
        ),
        "code_version": "0.1.0",
        "created_at": datetime(2026, 3, 1, tzinfo=UTC),
        "rows": {"train": 800, "certify": 400},
    }
    return BundleDocument(**fields | changes)


@pytest.fixture
def tier_models() -> Callable[..., TierModels]:
    return make_tier_models


@pytest.fixture
def bundle_document() -> Callable[..., BundleDocument]:
    return make_document


@pytest.fixture
def fingerprint() -> Callable[..., Fingerprint]:
    return probed_fingerprint


@pytest.fixture
def bundle() -> Bundle:
    """A bundle of three tiers: a linear probe, a tier without a probe, and the last one."""
    tiers = (make_tier_models(), None)
    return write_bundle(make_document(tiers), tiers)


KEY = b"a key for tests, 32 bytes long.."


def make_small_bundle(*, p_t: float = 0.9, policy: Policy | None = None, **changes: Any) -> Bundle:
    """Two tiers; retains what is above `p_t` and whose hidden state fits the probe, whatever it
    says.
    """
    tiers = (make_tier_models(),)
    policy = policy or Policy.of(
        PolicyKind.GATES,
        ({"p_ik": 0.0, "p_t": p_t, "ood": 1.0},),
        fallback=Policy.of(PolicyKind.P_T, ({"p_t": 0.97},)),
    )
    return write_bundle(make_document(tiers, policy=policy, **changes), tiers)


def assignment_of(champion: Bundle | None, challenger: Bundle | None = None, **changes: Any) -> Assignment:
    ids = {name: bundle and bundle.id for name, bundle in (("champion", champion), ("challenger", challenger))}
    return make_assignment(**ids | changes)


def make_pair(champion: Bundle | None = None, challenger: Bundle | None = None, **changes: Any) -> Pair:
    champion = make_small_bundle() if champion is None else champion
    return Pair(assignment=assignment_of(champion, challenger, **changes), champion=champion, challenger=challenger)


def put_pair(
    folder: Path, assignment: Assignment, bundles: Iterable[Bundle], *, private_key: str | None = None
) -> None:
    """Publishes a pair to a folder that runtimes load or watch; with `private_key` it is signed."""
    for bundle in bundles:
        signature = None if private_key is None else signing.sign_bundle(private_key, bundle.id)
        keep_bundle(folder, bundle.id, BundleFile(content=bundle.content, signature=signature))
    if private_key is not None:
        assignment = signing.sign_assignment(private_key, assignment)
    keep_assignment(folder, codec.canonical(assignment))


@pytest.fixture
def write_pair() -> Callable[..., None]:
    return put_pair


def make_hidden(seed: int = 0, dimension: int = DIMENSION) -> Float16Array:
    return np.random.default_rng(seed).normal(size=dimension).astype(np.float16)


def decision_with_vectors(*, rows: tuple[int | None, ...] = (None,), **changes: Any) -> Decision:
    """A decision of one attempt per entry of `rows`, which are the attempts' `vector`; the last one
    is served.
    """
    attempts = tuple(
        Attempt(
            tier=tier,
            role=Role.SERVED if tier == len(rows) - 1 else Role.SUPERSEDED,
            model=f"model-{tier}",
            signals=Signals(p_t=0.5),
            vector=row,
        )
        for tier, row in enumerate(rows)
    )
    return make_decision(**{"attempts": attempts} | changes)


@dataclass
class ControlPlane:
    """A real HTTP server on loopback that answers as it is set, and remembers what it
    was asked.
    """

    url: str
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)  # "GET /path" -> answer
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def answer(self, request: str, body: bytes | object, *, status: int = 200, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[request] = (status, named, content)

    def bodies(self, request: str) -> list[bytes]:
        return [body for asked, _, body in self.asked if asked == request]

    def respond(self, request: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        self.asked.append((request, headers, body))
        status, answered, content = self.answers.get(request, (404, {}, b'{"error": {"message": "not here"}}'))
        if "ETag" in answered and headers.get("If-None-Match") == answered["ETag"]:
            return 304, answered, b""
        return status, answered, content


@pytest.fixture
def control_plane() -> Iterator[ControlPlane]:
    class Handler(BaseHTTPRequestHandler):
        def serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, content = plane.respond(f"{self.command} {self.path}", dict(self.headers), body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = serve  # noqa: N815  http.server calls them so

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    plane = ControlPlane(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield plane
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def small_bundle() -> Callable[..., Bundle]:
    return make_small_bundle


@pytest.fixture
def assignment() -> Callable[..., Assignment]:
    return assignment_of


@pytest.fixture
def pair() -> Callable[..., Pair]:
    return make_pair


@pytest.fixture
def hidden() -> Callable[..., Float16Array]:
    return make_hidden


@pytest.fixture
def decision() -> Callable[..., Decision]:
    return decision_with_vectors


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def key() -> bytes:
    return KEY


@pytest.fixture(scope="module")
def shared_bundle() -> Bundle:
    """One bundle for all examples of a property; bundles are immutable."""
    tiers = (make_tier_models(), None)
    return write_bundle(make_document(tiers), tiers)
