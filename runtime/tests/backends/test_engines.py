"""SGLang and vLLM give the state at the last prompt token, whatever else they do, or a note that says why not."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("openai")

from knowgate.backends import SGLangBackend, VLLMBackend
from knowgate.errors import BackendFailed, RecordInvalid

QUESTION = [{"role": "user", "content": "Capital of Peru?"}]
Make = Callable[..., Any]


@pytest.fixture
def of_sglang(fingerprint: Make) -> Any:
    return fingerprint(engine="sglang", normed=True)


@pytest.fixture
def of_vllm(fingerprint: Make) -> Any:
    return fingerprint(engine="vllm")


def test_sglangs_state_is_the_prompts_though_the_answer_is_long(start: Any, acts: Any, of_sglang: Any) -> None:
    engine = start(acts.sglang())
    with SGLangBackend(engine.url, "small", fingerprint=of_sglang, max_tokens=9) as backend:
        reply = backend.ask(QUESTION, timeout_s=5.0)
    assert reply.hidden is not None
    assert reply.hidden.tolist() == acts.state_of(0)
    assert (reply.text, reply.tokens_out, reply.fingerprint) == ("B because of Lima", 4, of_sglang)
    assert reply.p_t == pytest.approx(0.95)
    first, second = engine.asked
    assert (first["max_tokens"], first["return_hidden_states"], first["logprobs"]) == (1, "last", True)
    assert second["max_tokens"] == 9
    assert "return_hidden_states" not in second


def test_an_answer_of_one_token_takes_one_request(start: Any, acts: Any, of_sglang: Any) -> None:
    engine = start(acts.sglang())

    async def asked() -> str:
        async with SGLangBackend(engine.url, "small", fingerprint=of_sglang, max_tokens=1) as backend:
            reply = await backend.ask_async(QUESTION, timeout_s=5.0)
            assert reply.hidden is not None
            return reply.text

    assert asyncio.run(asked()) == "B"
    assert len(engine.asked) == 1


def test_without_a_fingerprint_no_state_is_asked_for(start: Any, acts: Any) -> None:
    engine = start(acts.sglang())
    with SGLangBackend(engine.url, "small", fingerprint=None) as backend:
        assert backend.ask(QUESTION, timeout_s=5.0).hidden is None
    assert "return_hidden_states" not in engine.asked[0]


@pytest.mark.parametrize("states", [None, [], "text", [[1.0], [2.0]], {"a": 1}, [[[1.0]]]])
def test_sglangs_states_that_are_none_are_left_out_with_a_note(
    start: Any, acts: Any, of_sglang: Any, states: Any
) -> None:
    engine = start(acts.sglang(choice={"hidden_states": states}))
    with SGLangBackend(engine.url, "small", fingerprint=of_sglang, max_tokens=1) as backend:
        reply = backend.ask(QUESTION, timeout_s=5.0)
    assert (reply.text, reply.hidden, reply.fingerprint) == ("B", None, None)
    assert "hidden_states" in reply.notes[0]


@pytest.mark.parametrize("locks", [True, False], ids=["locks", "no locks"])
def test_vllms_state_is_taken_at_the_last_prompt_token_and_the_file_is_gone(
    start: Any, acts: Any, of_vllm: Any, tmp_path: Path, locks: bool
) -> None:
    engine = start(
        acts.vllm(tmp_path, after_s=0.05, locks=locks, rows=23)
    )  # three answer tokens beyond the prompt's 20
    with VLLMBackend(engine.url, "small", fingerprint=of_vllm, folder=tmp_path, layers=(7, 12)) as backend:
        reply = backend.ask(QUESTION, timeout_s=5.0)
    assert reply.notes == ()
    assert reply.hidden is not None
    assert reply.hidden.tolist() == acts.state_of(19 + 500)
    assert (reply.text, reply.fingerprint) == ("B", of_vllm)
    assert list(tmp_path.iterdir()) == []


def test_vllm_on_an_event_loop_gives_the_same(start: Any, acts: Any, of_vllm: Any, tmp_path: Path) -> None:
    engine = start(acts.vllm(tmp_path, after_s=0.05))

    async def asked() -> Any:
        backend = VLLMBackend(engine.url, "small", fingerprint=of_vllm, folder=tmp_path, layers=(12, 7))
        async with backend:
            return await backend.ask_async(QUESTION, timeout_s=5.0)

    reply = asyncio.run(asked())
    assert reply.hidden.tolist() == acts.state_of(19)


def test_a_residual_stream_kept_apart_is_added(start: Any, acts: Any, of_vllm: Any, tmp_path: Path) -> None:
    residual = np.full((20, 2, 24), 0.5, dtype=np.float32)
    engine = start(acts.vllm(tmp_path, residual=residual))
    with VLLMBackend(engine.url, "small", fingerprint=of_vllm, folder=tmp_path, layers=(12, 7)) as backend:
        reply = backend.ask(QUESTION, timeout_s=5.0)
    assert reply.hidden is not None
    assert np.array_equal(reply.hidden, np.float32(acts.state_of(19)) + np.float32(0.5))


def test_a_prompt_longer_than_the_file_is_a_note(start: Any, acts: Any, of_vllm: Any, tmp_path: Path) -> None:
    engine = start(acts.vllm(tmp_path, rows=5))
    with VLLMBackend(engine.url, "small", fingerprint=of_vllm, folder=tmp_path, layers=(12, 7)) as backend:
        reply = backend.ask(QUESTION, timeout_s=5.0)
    assert (reply.text, reply.hidden) == ("B", None)
    assert "holds 5 tokens" in reply.notes[0]
    assert list(tmp_path.iterdir()) == []


def test_other_layers_than_configured_are_a_note_and_never_the_wrong_layer(
    start: Any, acts: Any, of_vllm: Any, tmp_path: Path
) -> None:
    engine = start(acts.vllm(tmp_path))
    with VLLMBackend(engine.url, "small", fingerprint=of_vllm, folder=tmp_path, layers=(12,)) as backend:
        reply = backend.ask(QUESTION, timeout_s=5.0)
    assert reply.hidden is None
    assert "2 layers" in reply.notes[0]


@pytest.mark.parametrize("path", [None, 7, "", "/etc/passwd", "..", "a\0b.safetensors", "missing.safetensors"])
def test_a_file_that_is_not_there_or_not_ones_own_is_a_note(
    start: Any, acts: Any, of_vllm: Any, tmp_path: Path, path: Any
) -> None:
    engine = start(acts.answer(acts.completion("B", kv_transfer_params={"hidden_states_path": path})))
    backend = VLLMBackend(engine.url, "small", fingerprint=of_vllm, folder=tmp_path, layers=(12,), file_wait_s=0.05)
    with backend:
        reply = backend.ask(QUESTION, timeout_s=5.0)
    assert (reply.text, reply.hidden) == ("B", None)
    assert len(reply.notes) == 1


def test_a_path_out_of_the_folder_is_read_in_the_folder_alone(
    start: Any, acts: Any, of_vllm: Any, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.safetensors"
    outside.write_bytes(b"not for anyone")
    (tmp_path / "shared").mkdir()
    engine = start(acts.answer(acts.completion("B", kv_transfer_params={"hidden_states_path": str(outside)})))
    backend = VLLMBackend(
        engine.url, "small", fingerprint=of_vllm, folder=tmp_path / "shared", layers=(12,), file_wait_s=0.01
    )
    with backend:
        assert backend.ask(QUESTION, timeout_s=5.0).hidden is None
    assert outside.exists()


def test_files_nobody_took_can_be_removed(of_vllm: Any, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"")
    (tmp_path / "a.safetensors.lock").write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"")
    with VLLMBackend("http://127.0.0.1:9/v1", "small", fingerprint=of_vllm, folder=tmp_path, layers=(12,)) as backend:
        assert backend.remove_left_overs(older_than_s=3600) == 0
        assert backend.remove_left_overs(older_than_s=-1) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_fingerprint_that_the_engine_cannot_have_is_refused(of_sglang: Any, of_vllm: Any, tmp_path: Path) -> None:
    url = "http://127.0.0.1:9/v1"
    for wrong in (of_vllm, replace(of_sglang, normed=False), replace(of_sglang, position="mean")):
        with pytest.raises(RecordInvalid, match="fingerprint"):
            SGLangBackend(url, "small", fingerprint=wrong)
    with pytest.raises(RecordInvalid, match="does not write layer 12"):
        VLLMBackend(url, "small", fingerprint=of_vllm, folder=tmp_path, layers=(1, 2))
    with pytest.raises(RecordInvalid, match="shared_storage_path"):
        VLLMBackend(url, "small", fingerprint=of_vllm, layers=(12,))


def test_a_failing_second_request_fails_the_try(start: Any, acts: Any, of_sglang: Any) -> None:
    engine = start(acts.sglang(), acts.failing(500))
    with (
        SGLangBackend(engine.url, "small", fingerprint=of_sglang) as backend,
        pytest.raises(BackendFailed, match="500"),
    ):
        backend.ask(QUESTION, timeout_s=5.0)
