"""`knowgate fingerprint` says what an engine's hidden states are states of, and what it does not
cover.
"""

import hashlib
import json
from pathlib import Path

import pytest

from knowgate import Fingerprint
from knowgate._wire import codec
from tests.services.endpoints.cast import LLAMA, SGLANG, VLLM, Engine, serving
from tests.services.endpoints.test_init import run


def test_what_vllm_says_and_what_its_owner_says_make_the_fingerprint(tmp_path: Path) -> None:
    template = tmp_path / "template.jinja"
    template.write_text("{{ messages }}\n")
    options = ("--layer", 20, "--revision", "7" * 40, "--dtype", "bfloat16", "--chat-template", template)
    with serving(Engine(VLLM)) as url:
        result = run("fingerprint", url, *options)
    assert codec.decode(Fingerprint, json.loads(result.stdout)) == Fingerprint(
        model="Qwen/Qwen3-8B",
        revision="7" * 40,
        dtype="bfloat16",
        engine="vllm",
        engine_version="0.24.0",
        chat_template_sha256=hashlib.sha256(b"{{ messages }}\n").hexdigest(),
        layer=20,
        position="last_prompt_token",
        normed=False,
    )
    assert "asked of the engine: model, engine, engine_version\n" in result.stderr
    assert "said by you: layer, revision, dtype, chat_template_sha256\n" in result.stderr
    assert "not covered" not in result.stderr
    assert "never covered: quantisation" in result.stderr


@pytest.mark.parametrize("path", ["/server_info", "/get_server_info"])  # as it is called now, and was before
def test_what_nobody_says_is_unknown_and_named(path: str) -> None:
    documents = {path if old == "/get_server_info" else old: document for old, document in SGLANG.items()}
    with serving(Engine(documents)) as url:
        result = run("fingerprint", url, "--layer", 36)
    made = json.loads(result.stdout)
    assert (made["engine"], made["engine_version"], made["normed"]) == ("sglang", "0.5.17", True)
    assert (made["revision"], made["dtype"], made["chat_template_sha256"]) == ("9" * 40, "bfloat16", "unknown")
    assert "not covered: chat_template_sha256: a change there goes unseen" in result.stderr
    assert "say it with --chat-template" in result.stderr


def test_an_engine_without_hidden_states_needs_none() -> None:
    with serving(Engine(LLAMA)) as url:
        result = run("fingerprint", url, "--layer", 3, code=3)
    assert "llama.cpp hands no hidden states out" in str(result.exception)
    assert result.stdout == ""


def test_the_layer_has_to_be_said() -> None:
    with serving(Engine(VLLM)) as url:
        result = run("fingerprint", url, code=2)
    assert "--layer is missing: vllm does not say it" in str(result.exception)


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_template_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "template.jinja"
    if content is not None:
        path.write_bytes(content)
    with serving(Engine(VLLM)) as url:
        result = run("fingerprint", url, "--layer", 1, "--chat-template", path, code=2)
    assert "--chat-template is" in str(result.exception)
