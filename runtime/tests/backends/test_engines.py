"""SGLang and vLLM give the state at the last prompt token, whatever else they do, or a note that
says why not.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

pytest.importorskip("httpx2")

from knowgate.backends import SGLangBackend, VLLMBackend
from knowgate.backends.states_file import StatesUnreadable, take_state
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
    assert reply.shown.hidden is not None
    assert reply.shown.hidden.tolist() == acts.state_of(0)
    assert (reply.text, reply.shown.tokens_out, reply.shown.fingerprint) == (
        "B because of Lima",
        4,
        of_sglang,
    )
    assert reply.shown.p_t == pytest.approx(0.95)
    first, second = engine.asked
    assert (first["max_tokens"], first["return_hidden_states"], first["logprobs"]) == (1, "last", True)
    assert second["max_tokens"] == 9
    assert "return_hidden_states" not in second


def test_an_answer_of_one_token_takes_one_request(start: Any, acts: Any, of_sglang: Any) -> None:
    engine = start(acts.sglang())

    async def asked() -> str:
        async with SGLangBackend(engine.url, "small", fingerprint=of_sglang, max_tokens=1) as backend:
            reply = await backend.ask_async(QUESTION, timeout_s=5.0)
            assert reply.shown.hidden is not None
            return reply.text

    assert asyncio.run(asked()) == "B"
    assert len(engine.asked) == 1


def test_without_a_fingerprint_no_state_is_asked_for(start: Any, acts: Any) -> None:
    engine = start(acts.sglang())
    with SGLangBackend(engine.url, "small", fingerprint=None) as backend:
        assert backend.ask(QUESTION, timeout_s=5.0).shown.hidden is None
    assert "return_hidden_states" not in engine.asked[0]


@pytest.mark.parametrize("states", [None, [], "text", [[1.0], [2.0]], {"a": 1}, [[[1.0]]]])
def test_sglangs_states_that_are_none_are_left_out_with_a_note(
    start: Any, acts: Any, of_sglang: Any, states: Any
) -> None:
    engine = start(acts.sglang(choice={"hidden_states": states}))
    with SGLangBackend(engine.url, "small", fingerprint=of_sglang, max_tokens=1) as backend:
        reply = backend.ask(QUESTION, timeout_s=5.0)
    assert (reply.text, reply.shown.hidden, reply.shown.fingerprint) == ("B", None, None)
    assert "hidden_states" in reply.shown.notes[0]


@pytest.mark.parametrize("locks", [True, False], ids=["locks", "no locks"])
def test_vllms_state_is_taken_at_the_last_prompt_token_and_the_file_is_gone(
    start: Any, acts: Any, of_vllm: Any, tmp_path: Path, locks: bool
) -> None:
    engine = start(acts.vllm(tmp_path, after_s=0.05, locks=locks))
    with VLLMBackend(engine.url, "small", fingerprint=of_vllm, folder=tmp_path, layers=(7, 12)) as backend:
        reply = backend.ask(QUESTION, timeout_s=5.0)
    assert reply.shown.notes == ()
    assert reply.shown.hidden is not None
    assert reply.shown.hidden.tolist() == acts.state_at(12, 19)
    assert (reply.text, reply.shown.fingerprint) == ("B", of_vllm)
    assert list(tmp_path.iterdir()) == []


def test_vllm_on_an_event_loop_gives_the_same(start: Any, acts: Any, of_vllm: Any, tmp_path: Path) -> None:
    engine = start(acts.vllm(tmp_path, after_s=0.05))

    async def asked() -> Any:
        backend = VLLMBackend(engine.url, "small", fingerprint=of_vllm, folder=tmp_path, layers=(12, 7))
        async with backend:
            return await backend.ask_async(QUESTION, timeout_s=5.0)

    reply = asyncio.run(asked())
    assert reply.shown.hidden.tolist() == acts.state_at(12, 19)


def test_a_residual_stream_kept_apart_is_added(start: Any, acts: Any, of_vllm: Any, tmp_path: Path) -> None:
    residual = np.full((20, 2, 24), 0.5, dtype=np.float32)
    engine = start(acts.vllm(tmp_path, residual=residual))
    with VLLMBackend(engine.url, "small", fingerprint=of_vllm, folder=tmp_path, layers=(12, 7)) as backend:
        reply = backend.ask(QUESTION, timeout_s=5.0)
    assert reply.shown.hidden is not None
    assert np.array_equal(reply.shown.hidden, np.float32(acts.state_at(12, 19)) + np.float32(0.5))


@pytest.mark.parametrize("configured", [(7, 12), (12, 7)])
@pytest.mark.parametrize("layer", [7, 12])
def test_vllms_layers_are_told_apart_in_whatever_order_they_were_named(
    start: Any, acts: Any, fingerprint: Make, tmp_path: Path, configured: tuple[int, ...], layer: int
) -> None:
    engine = start(acts.vllm(tmp_path, layers=(12, 7)))
    wanted = fingerprint(engine="vllm", layer=layer)
    with VLLMBackend(engine.url, "small", fingerprint=wanted, folder=tmp_path, layers=configured) as backend:
        reply = backend.ask(QUESTION, timeout_s=5.0)
    assert reply.shown.hidden is not None
    assert reply.shown.hidden.tolist() == acts.state_at(layer, 19)


def test_four_layers_in_any_order_are_each_their_own(start: Any, acts: Any, fingerprint: Make, tmp_path: Path) -> None:
    engine = start(acts.vllm(tmp_path, layers=(28, 2, 31, 9)))
    for layer in (2, 9, 28, 31):
        wanted = fingerprint(engine="vllm", layer=layer)
        with VLLMBackend(engine.url, "small", fingerprint=wanted, folder=tmp_path, layers=(31, 28, 2, 9)) as backend:
            reply = backend.ask(QUESTION, timeout_s=5.0)
        assert reply.shown.hidden is not None
        assert reply.shown.hidden.tolist() == acts.state_at(layer, 19)


@pytest.mark.parametrize(
    ("written", "note"),
    [
        ({"rows": 5}, "holds 5 tokens, the prompt has 20: is prefix caching on?"),
        ({"rows": 1}, "holds 1 tokens, the prompt has 20"),
        ({"rows": 23}, "holds 23 tokens, the prompt has 20: the last is not the prompt's last"),
        ({"rows": 20, "tokens": 23}, "holds 20 tokens, token_ids names 23"),
        ({"rows": 23, "tokens": 20}, "holds 23 tokens, token_ids names 20"),
        ({"token_ids": None}, "token_ids is missing"),
        ({"token_ids": np.zeros((20, 1), dtype=np.int64)}, "token_ids is I64 [20, 1]"),
        ({"token_ids": np.zeros(20, dtype=np.float32)}, "token_ids is F32 [20]"),
        ({"answers": {"usage": None}}, "does not say how many tokens the prompt has"),
        ({"answers": {"usage": {"prompt_tokens": "20"}}}, "does not say how many tokens the prompt has"),
        ({"answers": {"usage": {"prompt_tokens": 19}}}, "holds 20 tokens, the prompt has 19"),
    ],
)
def test_no_state_is_taken_unless_rows_token_ids_and_the_prompts_tokens_agree(
    start: Any, acts: Any, of_vllm: Any, tmp_path: Path, written: dict[str, Any], note: str
) -> None:
    engine = start(acts.vllm(tmp_path, **written))
    with VLLMBackend(engine.url, "small", fingerprint=of_vllm, folder=tmp_path, layers=(12, 7)) as backend:
        reply = backend.ask(QUESTION, timeout_s=5.0)
    assert (reply.text, reply.shown.hidden, reply.shown.fingerprint) == ("B", None, None)
    assert note in reply.shown.notes[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("layer", [0, 1])
def test_a_state_that_is_not_finite_is_none(start: Any, acts: Any, of_vllm: Any, tmp_path: Path, layer: int) -> None:
    states = np.ones((20, 2, 24), dtype=np.float32)
    states[19, layer, 3] = np.nan
    engine = start(acts.vllm(tmp_path, hidden_states=states))
    with VLLMBackend(engine.url, "small", fingerprint=of_vllm, folder=tmp_path, layers=(12, 7)) as backend:
        reply = backend.ask(QUESTION, timeout_s=5.0)
    assert (reply.shown.hidden is None) == (layer == 1)  # the probe's layer is the second in ascending order
    assert layer == 0 or "not finite" in reply.shown.notes[0]


def test_other_layers_than_configured_are_a_note_and_never_the_wrong_layer(
    start: Any, acts: Any, of_vllm: Any, tmp_path: Path
) -> None:
    engine = start(acts.vllm(tmp_path))
    with VLLMBackend(engine.url, "small", fingerprint=of_vllm, folder=tmp_path, layers=(12,)) as backend:
        reply = backend.ask(QUESTION, timeout_s=5.0)
    assert reply.shown.hidden is None
    assert "2 layers" in reply.shown.notes[0]


@pytest.mark.parametrize("path", [None, 7, "", "/etc/passwd", "..", "a\0b.safetensors", "missing.safetensors"])
def test_a_file_that_is_not_there_or_not_ones_own_is_a_note(
    start: Any, acts: Any, of_vllm: Any, tmp_path: Path, path: Any
) -> None:
    engine = start(acts.answer(acts.completion("B", kv_transfer_params={"hidden_states_path": path})))
    backend = VLLMBackend(engine.url, "small", fingerprint=of_vllm, folder=tmp_path, layers=(12,), file_wait_s=0.05)
    with backend:
        reply = backend.ask(QUESTION, timeout_s=5.0)
    assert (reply.text, reply.shown.hidden) == ("B", None)
    assert len(reply.shown.notes) == 1


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
        assert backend.ask(QUESTION, timeout_s=5.0).shown.hidden is None
    assert outside.exists()


def test_files_nobody_took_can_be_removed(of_vllm: Any, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"")
    (tmp_path / "a.safetensors.lock").write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"")
    with VLLMBackend("http://127.0.0.1:9/v1", "small", fingerprint=of_vllm, folder=tmp_path, layers=(12,)) as backend:
        assert backend.remove_left_overs(older_than_s=3600) == 0
        assert backend.remove_left_overs(older_than_s=-1) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_files_are_deleted_where_nobody_wants_states(start: Any, acts: Any, tmp_path: Path) -> None:
    said = acts.completion("B", kv_transfer_params={"hidden_states_path": "/in/the/container/chatcmpl-1.safetensors"})

    def write_and_answer(handler: Any, body: Any) -> None:
        save_file({"hidden_states": np.zeros((1, 1, 1), dtype=np.float32)}, tmp_path / "chatcmpl-1.safetensors")
        (tmp_path / "chatcmpl-1.safetensors.lock").touch()
        acts.answer(said)(handler, body)

    engine = start(write_and_answer)
    with VLLMBackend(engine.url, "small", fingerprint=None, folder=tmp_path) as backend:
        for _ in range(3):
            reply = backend.ask(QUESTION, timeout_s=5.0)
            assert (reply.text, reply.shown.hidden, reply.shown.notes, list(tmp_path.iterdir())) == (
                "B",
                None,
                (),
                [],
            )


def test_without_a_folder_that_files_pile_up_is_said_once(
    start: Any, acts: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = start(acts.vllm(tmp_path, locks=False))
    with VLLMBackend(engine.url, "small", fingerprint=None) as backend:
        for _ in range(3):
            backend.ask(QUESTION, timeout_s=5.0)
    (record,) = caplog.records
    assert "writes hidden states that nobody reads" in record.getMessage()


def test_a_file_whose_answer_is_no_completion_is_deleted(start: Any, acts: Any, of_vllm: Any, tmp_path: Path) -> None:
    (tmp_path / "chatcmpl-7.safetensors").write_bytes(b"states")
    engine = start(acts.answer({"kv_transfer_params": {"hidden_states_path": "/in/chatcmpl-7.safetensors"}}))
    backend = VLLMBackend(engine.url, "small", fingerprint=of_vllm, folder=tmp_path, layers=(12, 7))
    with backend, pytest.raises(BackendFailed, match="no chat completion"):
        backend.ask(QUESTION, timeout_s=5.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("with_fingerprint", [True, False])
def test_what_queries_left_that_ran_out_of_time_is_swept_when_the_tier_is_next_asked(
    start: Any, acts: Any, of_vllm: Any, tmp_path: Path, with_fingerprint: bool
) -> None:
    for name in ("chatcmpl-1", "chatcmpl-2"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"cut off")
        (tmp_path / f"{name}.safetensors.lock").write_bytes(b"")
        for suffix in (".safetensors", ".safetensors.lock"):
            os.utime(tmp_path / f"{name}{suffix}", (1.0, 1.0))
    save_file({"hidden_states": np.zeros((1, 1, 1), dtype=np.float32)}, tmp_path / "renamed.safetensors")
    save_file({"lm_head.weight": np.zeros((1, 1), dtype=np.float32)}, tmp_path / "model.safetensors")
    (tmp_path / "chatcmpl-3.safetensors").write_bytes(b"of a query that is under way")
    for name in ("renamed", "model"):
        os.utime(tmp_path / f"{name}.safetensors", (1.0, 1.0))
    engine = start(acts.answer(acts.completion("B")))
    backend = VLLMBackend(
        engine.url,
        "small",
        fingerprint=of_vllm if with_fingerprint else None,
        folder=tmp_path,
        layers=(12,),
    )
    with backend:
        backend.ask(QUESTION, timeout_s=5.0)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["chatcmpl-3.safetensors", "model.safetensors"]  # weights in a folder named by mistake stay


def test_a_query_that_ran_out_of_time_sweeps_all_the_same(start: Any, acts: Any, of_vllm: Any, tmp_path: Path) -> None:
    (tmp_path / "chatcmpl-1.safetensors").write_bytes(b"cut off")
    os.utime(tmp_path / "chatcmpl-1.safetensors", (1.0, 1.0))
    engine = start(acts.silent)
    backend = VLLMBackend(engine.url, "small", fingerprint=of_vllm, folder=tmp_path, layers=(12,))
    with backend, pytest.raises(BackendFailed):
        backend.ask(QUESTION, timeout_s=0.05)
    assert list(tmp_path.iterdir()) == []


@contextmanager
def another_user() -> Iterator[None]:
    """The process as a user who may read its own files alone; where it is such a one already,
    nothing changes.
    """
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may write in."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


def test_states_that_another_user_wrote_are_refused_at_the_start_with_the_cure(of_vllm: Any, open_folder: Path) -> None:
    path = open_folder / "chatcmpl-1.safetensors"
    path.write_bytes(b"states")
    path.chmod(0o600 if os.geteuid() == 0 else 0o000)
    with another_user(), pytest.raises(RecordInvalid, match=r"with mode 0[06]00.*as one user"):
        VLLMBackend("http://127.0.0.1:9/v1", "small", fingerprint=of_vllm, folder=open_folder, layers=(12,))


def test_states_that_another_user_writes_are_a_note_with_the_cure(open_folder: Path) -> None:
    path = open_folder / "chatcmpl-1.safetensors"
    save_file({"hidden_states": np.zeros((1, 1, 1), dtype=np.float32)}, path)
    path.chmod(0o600 if os.geteuid() == 0 else 0o000)
    with another_user(), pytest.raises(StatesUnreadable, match=r"with mode 0[06]00.*as one user"):
        take_state(path, prompt_tokens=1, layer=0, layers=1, deadline=0.0)


def test_a_folder_in_which_nothing_can_be_deleted_is_refused(of_vllm: Any, open_folder: Path) -> None:
    open_folder.chmod(0o555)
    with another_user(), pytest.raises(RecordInvalid, match=r"states that are read are deleted.*as one user"):
        VLLMBackend("http://127.0.0.1:9/v1", "small", fingerprint=of_vllm, folder=open_folder, layers=(12,))
    open_folder.chmod(0o777)
    (open_folder / "file").write_bytes(b"")
    with pytest.raises(RecordInvalid, match="it is no folder"):
        VLLMBackend("http://127.0.0.1:9/v1", "small", fingerprint=None, folder=open_folder / "file")


def test_a_layer_named_twice_is_refused(of_vllm: Any, tmp_path: Path) -> None:
    with pytest.raises(RecordInvalid, match="name every layer once"):
        VLLMBackend("http://127.0.0.1:9/v1", "small", fingerprint=of_vllm, folder=tmp_path, layers=(12, 7, 12))


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


def no(_: Any) -> bool:
    return False


def test_sglang_is_asked_for_no_answer_where_the_prompts_state_says_no(start: Any, acts: Any, of_sglang: Any) -> None:
    engine, shown = start(acts.sglang()), []
    with SGLangBackend(engine.url, "small", fingerprint=of_sglang, max_tokens=9) as backend:
        assert backend.early
        reply = backend.ask(QUESTION, timeout_s=5.0, may_answer=lambda prompt: bool(shown.append(prompt)))
    (prompt,) = shown
    assert prompt.hidden.tolist() == acts.state_of(0) and prompt.p_t is None
    assert (reply.skipped, reply.text, reply.shown.p_t) == (True, "", None)
    assert (reply.shown.tokens_in, reply.shown.tokens_out) == (20, 1)
    assert reply.shown.hidden is prompt.hidden
    assert [body["max_tokens"] for body in engine.asked] == [1]


def test_vllm_reads_the_prompt_with_one_token_and_answers_only_where_it_may(
    start: Any, acts: Any, of_vllm: Any, tmp_path: Path
) -> None:
    engine = start(acts.vllm(tmp_path, after_s=0.02))
    with VLLMBackend(engine.url, "small", fingerprint=of_vllm, folder=tmp_path, layers=(7, 12)) as backend:
        skipped = backend.ask(QUESTION, timeout_s=5.0, may_answer=no)
        answered = backend.ask(QUESTION, timeout_s=5.0, may_answer=lambda prompt: prompt.tokens_in == 20)
    assert (skipped.skipped, skipped.text, answered.skipped) == (True, "", False)
    for reply in (skipped, answered):
        assert reply.shown.hidden is not None and reply.shown.hidden.tolist() == acts.state_at(12, 19)
    assert [body["max_tokens"] for body in engine.asked][:2] == [1, 1]
    assert list(tmp_path.iterdir()) == []


def test_vllms_second_request_brings_the_answer_and_its_file_goes_too(
    start: Any, acts: Any, of_vllm: Any, tmp_path: Path
) -> None:
    cut_off = {"choices": acts.completion("B", choice={"finish_reason": "length"})["choices"]}
    engine = start(acts.vllm(tmp_path, answers=cut_off))
    with VLLMBackend(engine.url, "small", fingerprint=of_vllm, folder=tmp_path, layers=(7, 12)) as backend:
        reply = backend.ask(QUESTION, timeout_s=5.0, may_answer=lambda _: True)
    assert (reply.skipped, reply.text) == (False, "B")
    assert [body["max_tokens"] for body in engine.asked] == [1, 256]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", [{"max_completion_tokens": 300, "max_tokens": None}, {"max_tokens": 300}])
def test_reading_takes_one_token_whatever_the_parameters_ask_for(
    start: Any, acts: Any, of_vllm: Any, tmp_path: Path, given: dict[str, Any]
) -> None:
    engine = start(acts.vllm(tmp_path))
    parameters = given | {"min_tokens": 5}
    with VLLMBackend(
        engine.url, "small", fingerprint=of_vllm, folder=tmp_path, layers=(7, 12), parameters=parameters
    ) as backend:
        backend.ask(QUESTION, timeout_s=5.0, may_answer=no)
    (body,) = engine.asked
    assert 1 in (body.get("max_tokens"), body.get("max_completion_tokens")) and 300 not in body.values()
    assert "min_tokens" not in body


def test_where_one_token_is_the_whole_answer_nothing_is_read_before(
    start: Any, acts: Any, of_vllm: Any, of_sglang: Any, tmp_path: Path
) -> None:
    engine, other = start(acts.vllm(tmp_path)), start(acts.sglang())
    vllm = VLLMBackend(engine.url, "s", fingerprint=of_vllm, folder=tmp_path, layers=(7, 12), max_tokens=1)
    with vllm, SGLangBackend(other.url, "s", fingerprint=of_sglang, max_tokens=1) as sglang:
        for backend in (vllm, sglang):
            assert not backend.early
            assert not backend.ask(QUESTION, timeout_s=5.0, may_answer=no).skipped


def test_without_a_state_nothing_ends_the_tier_and_it_answers(
    start: Any, acts: Any, of_vllm: Any, tmp_path: Path
) -> None:
    engine = start(acts.vllm(tmp_path, rows=19))  # not the prompt's twenty tokens
    with VLLMBackend(engine.url, "small", fingerprint=of_vllm, folder=tmp_path, layers=(7, 12)) as backend:
        reply = backend.ask(QUESTION, timeout_s=5.0, may_answer=lambda prompt: prompt.hidden is None)
    assert (reply.skipped, reply.text, reply.shown.hidden) == (False, "B", None)
    assert "the hidden state is missing" in reply.shown.notes[0]
