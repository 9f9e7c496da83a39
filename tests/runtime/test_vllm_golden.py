"""Files that vLLM itself wrote are read as the states that transformers computes for the same
prompts.
"""

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from demo.pair import LARGE
from factories import NOW, Kept, make_assignment, make_fingerprint
from knowgate import (
    Bundle,
    BundleDocument,
    Cascade,
    Fingerprint,
    Observation,
    Policy,
    PolicyKind,
    Role,
    write_bundle,
)
from knowgate._bundles.bundle_documents import TierDocument
from knowgate._bundles.pair import Pair
from knowgate._bundles.tensor_file import require_tensor_file
from knowgate._bundles.tier_models import TierModels
from knowgate._models.calibrator import Platt
from knowgate._models.features import Standardiser
from knowgate._models.probe import LinearProbe, ProbeKind
from knowgate._records.arrays import FloatArray
from knowgate.backends import Reply, VLLMBackend
from knowgate.backends.states_file import StatesUnreadable, take_state
from training.extraction import Answerer, load_model

GOLDEN = Path(__file__).with_name("golden")
LAYERS = (2, 4)
CITIES = ("lima", "nagoya", "paris")


@pytest.fixture(scope="module")
def answerer() -> Answerer:
    return Answerer(load_model(LARGE, model="large"), layers=LAYERS, max_new_tokens=1)


@pytest.mark.parametrize("city", CITIES)
def test_each_layer_of_a_real_file_is_that_layers_state_at_the_last_prompt_token(
    answerer: Answerer, city: str, tmp_path: Path
) -> None:
    (expected,) = answerer.answer([f"country of {city}:"])
    for place, (layer, other) in enumerate(zip(LAYERS, reversed(LAYERS), strict=True)):
        path = tmp_path / "chatcmpl-1.safetensors"
        shutil.copy(GOLDEN / f"vllm_0.32_country_of_{city}.safetensors", path)
        state = take_state(
            path, prompt_tokens=expected.tokens_in, layer=place, layers=len(LAYERS), deadline=time.monotonic()
        )
        assert np.allclose(state, expected.hidden[LAYERS.index(layer)], atol=1e-5)
        assert not np.allclose(state, expected.hidden[LAYERS.index(other)], atol=0.1)
        assert not path.exists()


@pytest.mark.parametrize("counted", [None, 5, 7])
def test_a_real_file_of_another_number_of_tokens_than_the_prompts_gives_no_state(
    tmp_path: Path, counted: int | None
) -> None:
    path = tmp_path / "chatcmpl-1.safetensors"
    shutil.copy(GOLDEN / "vllm_0.32_country_of_lima.safetensors", path)
    with pytest.raises(StatesUnreadable, match="holds 6 tokens"):
        take_state(path, prompt_tokens=counted, layer=0, layers=2, deadline=time.monotonic())
    assert not path.exists()


@pytest.mark.parametrize("city", CITIES)
def test_a_real_files_header_passes_the_checks_that_bundles_pass(city: str) -> None:
    header = require_tensor_file((GOLDEN / f"vllm_0.32_country_of_{city}.safetensors").read_bytes())
    assert set(header.entries) == {"hidden_states", "token_ids"}


class _Engine(BaseHTTPRequestHandler):
    """Answers as vLLM 0.32 does, and writes for each request the file that vLLM itself wrote."""

    golden: Path
    folder: Path
    asked: list[int]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body["max_tokens"])
        path = self.folder / f"chatcmpl-{len(self.asked)}.safetensors"
        shutil.copy(self.golden, path)
        path.chmod(0o600)
        listed = {"token": " Peru", "logprob": -0.1, "bytes": list(b" Peru")}
        other = {"token": " Chile", "logprob": -2.5, "bytes": list(b" Chile")}
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": " Peru"},
            "logprobs": {"content": [listed | {"top_logprobs": [listed, other]}]},
            "finish_reason": "length" if body["max_tokens"] == 1 else "stop",
        }
        said = {
            "choices": [choice],
            "usage": {"prompt_tokens": 6, "completion_tokens": 1, "total_tokens": 7},
            "kv_transfer_params": {"hidden_states_path": f"/dev/shm/states/{path.name}"},
        }
        content = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""


class _Last:
    """The last tier."""

    model = "huge"

    def ask(self, messages: Sequence[Any], *, timeout_s: float) -> Reply:
        return Reply(shown=Observation(answer=" Peru", tokens_in=6, tokens_out=1))

    async def ask_async(self, messages: Sequence[Any], *, timeout_s: float) -> Reply:
        return self.ask(messages, timeout_s=timeout_s)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[tuple[str, Path, list[int]]]:
    asked: list[int] = []
    folder = tmp_path / "states"
    folder.mkdir()
    golden = GOLDEN / "vllm_0.32_country_of_lima.safetensors"
    handler = type("Engine", (_Engine,), {"golden": golden, "folder": folder, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1", folder, asked
    server.shutdown()
    server.server_close()
    thread.join()


def _bundle(state: FloatArray, fingerprint: Fingerprint, sign: float) -> Bundle:
    """A probe that is sure of this very state (sign 1), or sure against it (−1)."""
    dimension = len(state)
    document = TierDocument(
        fingerprint=fingerprint,
        probe=ProbeKind.LINEAR,
        dimension=dimension,
        ik_calibrator=Platt(slope=1.0, intercept=0.0),
        ood=False,
    )
    models = TierModels(
        document=document,
        standardiser=Standardiser(mean=np.zeros(dimension), scale=np.ones(dimension)),
        probe=LinearProbe(weight=sign * 5.0 * state / (state @ state), bias=0.0),
    )
    policy = Policy.of(PolicyKind.GATES, ({"p_ik": 0.5, "p_t": 0.5},))
    named = {"cascade": "trivia", "models": ("tiny", "huge"), "code_version": "0.1.0", "created_at": NOW, "rows": {}}
    return write_bundle(BundleDocument(tiers=(document,), policy=policy, **named), (models,))  # type: ignore[arg-type]


@pytest.mark.parametrize(("sign", "asked"), [(-1.0, [1]), (1.0, [1, 256])], ids=["below the gate", "above it"])
def test_a_real_state_ends_the_tier_before_it_answers_or_lets_it(
    answerer: Answerer, engine: tuple[str, Path, list[int]], sign: float, asked: list[int]
) -> None:
    url, folder, seen = engine
    (expected,) = answerer.answer(["country of lima:"])
    fingerprint = make_fingerprint(engine="vllm", layer=LAYERS[0])
    bundle = _bundle(np.asarray(expected.hidden[0], dtype=np.float64), fingerprint, sign)
    assignment = make_assignment(cascade="trivia", champion=bundle.id, exploration_rate=0.0, issued_at=NOW)
    kept = Kept()
    with VLLMBackend(url, "tiny", fingerprint=fingerprint, folder=folder, layers=LAYERS) as small:
        cascade = Cascade(
            "trivia",
            Pair(assignment=assignment, champion=bundle),
            hash_key=b"a hash key for tests",
            clock=lambda: NOW,
            spool=kept,
            backends=(small, _Last()),
            early=(0,),
        )
        answer = cascade.answer([{"role": "user", "content": "country of lima:"}])
    first = kept.attempts[0]
    assert (answer.tier, first.role) == ((1, Role.SKIPPED) if sign < 0 else (0, Role.SERVED))
    assert (first.tokens_in, seen) == (6, asked)
    assert first.signals.p_ik == pytest.approx(1 / (1 + np.exp(-sign * 5.0)), abs=1e-3)
    assert (first.signals.p_t is None) == (sign < 0)
    assert list(folder.iterdir()) == []
