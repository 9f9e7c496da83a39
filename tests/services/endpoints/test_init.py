"""`knowgate init` says what endpoints can do and writes a cascade.toml that is taken as it is."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from knowgate.policy import PolicyKind
from services.command_line import app, exit_code_of
from services.declaration.cascade_file import read_cascade_file
from tests.services.endpoints.cast import LLAMA, SGLANG, VLLM, Engine, models, serving


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "cascade.toml"


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    ended = result.exit_code
    if isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit):
        known = exit_code_of(result.exception)
        assert known is not None, result.exception
        ended = known
    assert ended == code, (result.output, result.exception)
    return result


def init(toml: Path, *engines: Engine, more: tuple[object, ...] = (), code: int = 0) -> str:
    """What is printed, or the message of the error."""
    with ExitStack() as stack:
        urls = [stack.enter_context(serving(engine)) for engine in engines]
        result = run("init", "support", *urls, "--out", toml, *more, code=code)
    return result.output if code == 0 else str(result.exception)


def test_the_file_declares_what_the_endpoints_said(toml: Path) -> None:
    small, large = Engine(LLAMA), Engine(VLLM)
    said = init(toml, small, large)
    spec = read_cascade_file(toml)
    assert [tier.name for tier in spec.tiers] == ["small", "large"]
    assert [tier.model for tier in spec.tiers] == ["tiny.gguf", "Qwen/Qwen3-8B"]
    assert [tier.backend for tier in spec.tiers] == ["openai", "vllm"]
    assert [tier.endpoint for tier in spec.tiers] == [small.url, large.url]
    assert spec.tiers[0].parameters == pytest.approx(134515008, rel=1e-5)  # the engine says it
    assert spec.tiers[1].parameters == 8e9  # its name says it
    assert (spec.targets.rule, spec.targets.value, spec.targets.delta) == (PolicyKind.P_T, 0.02, 0.1)
    assert spec.tiers[0].max_tokens == 256
    assert "engine: llama.cpp b6000-abc, context of 512 tokens" in said
    assert "log-probabilities: yes (the first token of a test answer had 0.600)" in said
    assert 'rule = "p_t" decides by it' in said
    assert "no P(IK): this engine hands no hidden states out" in said
    assert "takes 114 labelled decisions where not one speaks against it" in said
    assert f"knowgate cascade apply {toml}" in said


def test_nothing_is_sent_that_the_protocol_does_not_know(toml: Path) -> None:
    engine = Engine(LLAMA)
    init(toml, engine, Engine(VLLM))
    known = {"model", "messages", "temperature", "max_tokens", "logprobs", "top_logprobs"}
    assert all(set(body) <= known for body in engine.bodies)
    assert len(engine.bodies) == 2


def test_options_are_looked_for_among_the_tokens_that_may_come_first(toml: Path) -> None:
    engine = Engine(LLAMA, listed=(" yes", "no", "y"))
    said = init(toml, engine, engine, more=("--option", "yes", "--option", "no", "--option", "perhaps"))
    assert "options of one token: yes, no\n  not seen as one: perhaps" in said
    spec = read_cascade_file(toml)
    assert spec.tiers[0].options == ("yes", "no", "perhaps")
    assert spec.tiers[0].p_t_kind.value == "option"


def test_a_first_tier_without_probabilities_is_said_to_keep_nothing(toml: Path) -> None:
    silent = Engine(LLAMA, refuses=lambda body: "logprobs are not offered" if "logprobs" in body else None)
    said = init(toml, silent, Engine(VLLM))
    assert "log-probabilities: no (it refuses to be asked, and `request` says so" in said
    assert "Without P(T) nothing is ever kept" in said
    assert dict(read_cascade_file(toml).tiers[0].request) == {"logprobs": False}


def test_sampled_probabilities_are_none(toml: Path) -> None:
    choice = {"logprobs": {"content": [{"token": "Paris", "logprob": 0.0, "top_logprobs": [
        {"token": "Paris", "logprob": 0.0}, {"token": "London", "logprob": -9999.0}]}]}}  # fmt: skip
    said = init(toml, Engine(VLLM, of_choice=choice), Engine(VLLM))
    assert "small: Qwen/Qwen3-8B" in said
    assert "log-probabilities: no (" in said


def test_what_an_endpoint_wants_to_be_told_in_newer_words_is_declared(toml: Path) -> None:
    def refuses(body: dict[str, Any]) -> str | None:
        if "max_tokens" in body:
            return "use max_completion_tokens"
        return "temperature is 1" if body["temperature"] != 1 else None

    said = init(toml, Engine(VLLM), Engine(models_of("large-70b"), refuses=refuses))
    assert dict(read_cascade_file(toml).tiers[1].request) == {"max_completion_tokens": 256, "temperature": 1}
    assert "the same question twice, the same answer: no" in said


def models_of(*names: str) -> dict[str, Any]:
    return {"/v1/models": models(*names)}


def test_an_engine_that_answers_in_two_ways_is_said_not_to_repeat_itself(toml: Path) -> None:
    said = init(toml, Engine(LLAMA, texts=("Paris", "London")), Engine(VLLM))
    assert said.count("the same answer: no") == 1


@pytest.mark.parametrize(
    "engine",
    [
        Engine(VLLM, extra={"kv_transfer_params": {"hidden_states_path": "/tmp/x.safetensors"}}),
        Engine(SGLANG, of_choice={"hidden_states": [[0.0, 1.0]]}),
    ],
    ids=["vllm", "sglang"],
)
def test_hidden_states_are_found_and_the_file_says_where_to_name_layers(toml: Path, engine: Engine) -> None:
    said = init(toml, engine, Engine(LLAMA))
    assert "hidden states: yes" in said
    assert "P(IK) can be had too" in said
    assert "the first tier is as large as the last" in said
    assert "# layers = [20]" in toml.read_text()
    read_cascade_file(toml)


def test_one_endpoint_may_serve_both_models(toml: Path) -> None:
    engine = Engine(models_of("m-7b", "m-70b", "other"))
    init(toml, engine, more=("--model", "m-7b", "--model", "m-70b"))
    assert [tier.model for tier in read_cascade_file(toml).tiers] == ["m-7b", "m-70b"]
    assert {body["model"] for body in engine.bodies} == {"m-7b", "m-70b"}


def test_a_key_is_shown_to_the_endpoint_and_never_written(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARGE_KEY", "sk-secret")
    named = ("--key-variable", "", "--key-variable", "LARGE_KEY")
    said = init(toml, Engine(LLAMA), Engine(VLLM, key="sk-secret"), more=named)
    assert read_cascade_file(toml).tiers[1].api_key_variable == "LARGE_KEY"
    assert "sk-secret" not in toml.read_text() + said


@pytest.mark.parametrize(
    ("documents", "more", "code", "message"),
    [
        ({}, (), 1, "/models lists no model"),
        (models_of("a", "b"), (), 2, "lists 2 models: name one with --model: a, b"),
        (models_of("a", "b"), ("--model", "c", "--model", "a"), 2, "--model is 'c'"),
        (models_of("nameless"), (), 2, "'nameless' does not say how many parameters it has"),
        (models_of("m-7b"), ("--parameters", "1e9"), 2, "--parameters is given 1 times"),
        (models_of("m-7b"), ("--key-variable", "NOT_THERE", "--key-variable", ""), 2, "set NOT_THERE"),
    ],
)
def test_what_cannot_be_is_refused_with_the_cure_and_nothing_is_written(
    toml: Path, documents: dict[str, Any], more: tuple[str, ...], code: int, message: str
) -> None:
    engine = Engine(documents)
    assert message in init(toml, engine, engine, more=more, code=code)
    assert not toml.exists()


def test_a_file_that_is_there_is_not_overwritten(toml: Path) -> None:
    toml.write_text("mine")
    assert "that file is there" in init(toml, Engine(LLAMA), Engine(VLLM), code=2)
    assert toml.read_text() == "mine"


def test_a_name_that_no_cascade_has_is_refused(toml: Path) -> None:
    with serving(Engine(LLAMA)) as url:
        result = run("init", "My Cascade", url, url, "--out", toml, code=2)
    assert "use 1 to 63 of a-z" in str(result.exception)


def test_a_server_that_is_not_there_is_named(toml: Path) -> None:
    with serving(Engine(LLAMA)) as url:
        pass
    assert "gave no answer" in str(run("init", "support", url, url, "--out", toml, code=1).exception)


def test_an_address_with_a_password_is_not_shown(toml: Path) -> None:
    result = run("init", "support", "http://me:pw@127.0.0.1/v1", "http://127.0.0.1/v1", "--out", toml, code=2)
    assert "pw" not in str(result.exception)


def test_a_real_engine_is_asked(toml: Path, llama_cpp: str) -> None:
    result = run("init", "support", llama_cpp, llama_cpp, "--out", toml)
    spec = read_cascade_file(toml)
    assert 1.2e8 < spec.tiers[0].parameters < 1.5e8
    assert "engine: llama.cpp" in result.output
    assert "log-probabilities: yes" in result.output
    assert result.output.count("the same answer: yes") == 2
