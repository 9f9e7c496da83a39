"""Back-ends as a cascade declares them: built whole or refused by the tier's name; served over real
sockets.
"""

import asyncio
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx2")

from knowgate import Cascade, Client
from knowgate._records.records import PTKind
from knowgate._wire import codec
from knowgate.backends import OpenAIBackend, SGLangBackend, VLLMBackend, backends_of, from_spec
from knowgate.backends.factory import patience_of
from knowgate.backends.tries import Patience
from knowgate.errors import RecordInvalid, ServiceUnreachable
from knowgate.policy import Policy, PolicyKind
from knowgate.spec import CascadeSpec, TierSpec

Make = Callable[..., Any]
QUESTION = [{"role": "user", "content": "Capital of Peru?"}]
URL = "http://127.0.0.1:9/v1"


def tier(**changes: Any) -> TierSpec:
    fields = {"name": "small", "model": "small-8b", "parameters": 8e9, "backend": "openai", "endpoint": URL}
    return TierSpec(**fields | changes)


def spec_of(*tiers: TierSpec) -> CascadeSpec:
    return CascadeSpec(name="questions", tiers=tiers)


def test_each_kind_gives_its_back_end_as_declared(fingerprint: Make, tmp_path: Path) -> None:
    plain = from_spec(tier(options=("A", "B"), p_t_kind=PTKind.OPTION, max_tokens=3))
    assert isinstance(plain, OpenAIBackend)
    assert (plain.model, plain.max_tokens, plain.options, plain.p_t_kind) == ("small-8b", 3, ("A", "B"), PTKind.OPTION)
    of_sglang, of_vllm = fingerprint(engine="sglang", normed=True), fingerprint(engine="vllm")
    sglang = from_spec(tier(backend="sglang", p_t_kind=PTKind.MEAN), fingerprint=of_sglang)
    assert isinstance(sglang, SGLangBackend)
    assert (sglang.fingerprint, sglang.p_t_kind) == (of_sglang, PTKind.MEAN)
    vllm = from_spec(tier(backend="vllm", layers=(7, 12)), fingerprint=of_vllm, folder=tmp_path)
    assert isinstance(vllm, VLLMBackend)
    assert (vllm.fingerprint, vllm.layers) == (of_vllm, (7, 12))
    assert from_spec(tier(backend="vllm", layers=(12,))).fingerprint is None  # nobody said what its states are


@pytest.mark.parametrize(
    ("changes", "named", "message"),
    [
        ({"backend": "external"}, {}, "tiers.small.backend is 'external': your own gateway runs it"),
        ({"backend": "llama.cpp"}, {}, "tiers.small.backend is 'llama.cpp': it is not known"),
        ({"endpoint": None}, {}, "tiers.small.endpoint is None: give the API's root"),
        ({"endpoint": "host:8000"}, {}, "tiers.small.url is 'host:8000': give the API's root"),
        ({"api_key_variable": "SMALL_KEY"}, {}, "tiers.small.api_key_variable is 'SMALL_KEY': set SMALL_KEY"),
        ({"api_key_variable": "K"}, {"environment": {"K_FILE": "/nowhere/key"}}, "K_FILE is '/nowhere/key'"),
    ],
)
def test_what_is_missing_is_named_with_its_tier(changes: Any, named: Any, message: str) -> None:
    with pytest.raises(RecordInvalid, match=re.escape(message)):
        from_spec(tier(**changes), **{"environment": {}} | named)


def test_a_fingerprint_where_it_does_not_belong_is_refused(fingerprint: Make) -> None:
    with pytest.raises(RecordInvalid, match="openai endpoints give no hidden states"):
        from_spec(tier(), fingerprint=fingerprint())
    with pytest.raises(RecordInvalid, match=re.escape("tiers.small.folder is None")):
        from_spec(tier(backend="vllm", layers=(12,)), fingerprint=fingerprint(engine="vllm"))
    with pytest.raises(RecordInvalid, match="use one of small, large"):
        backends_of(spec_of(tier(), tier(name="large")), fingerprints={"smal": fingerprint()})


WITHOUT_EXTRA = """
import sys
sys.modules["httpx2"] = None  # as where it is not installed
from knowgate.backends import from_spec
from knowgate.spec import TierSpec
from_spec(TierSpec(name="small", model="m", parameters=1.0, backend="vllm", endpoint="http://127.0.0.1:9/v1"))
"""


def test_a_missing_extra_is_named() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_EXTRA], capture_output=True, text=True, check=False)
    assert "tiers.small.backend is 'vllm': its extra is not installed" in done.stderr
    assert "pip install 'knowgate[vllm]'" in done.stderr


def test_a_declaration_holds_no_key() -> None:
    with pytest.raises(RecordInvalid, match="the key itself has no place here") as caught:
        tier(api_key_variable="sk-secret-123")
    assert "sk-secret" not in str(caught.value)
    with pytest.raises(RecordInvalid, match="p_t_kind is 'option'"):
        tier(p_t_kind=PTKind.OPTION)
    with pytest.raises(RecordInvalid, match="at least two answers"):
        tier(options=("A",))


def test_the_key_comes_from_the_environment_or_a_file(start: Any, acts: Any, tmp_path: Path) -> None:
    engine = start(acts.answer(acts.completion("B")))
    file = tmp_path / "key"
    file.write_text("sk-file\n")
    declared = tier(endpoint=engine.url, api_key_variable="SMALL_KEY")
    for environment in ({"SMALL_KEY": "sk-env"}, {"SMALL_KEY_FILE": str(file)}):
        backend = from_spec(declared, environment=environment)
        backend.ask(QUESTION, timeout_s=5.0)
        backend.close()
    assert [headers["authorization"] for headers in engine.headers] == ["Bearer sk-env", "Bearer sk-file"]


def test_a_cascade_runs_the_tiers_that_its_control_plane_declares(
    start: Any,
    acts: Any,
    control_plane: Any,
    bundle_document: Make,
    small_bundle: Make,
    pair: Make,
    key: bytes,
    now: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small, large = start(acts.answer(acts.completion("B", p_t=0.6))), start(acts.answer(acts.completion("LIMA")))
    monkeypatch.setenv("LARGE_KEY", "sk-large")
    spec = spec_of(
        tier(endpoint=small.url, p_t_kind=PTKind.MEAN),
        tier(name="large", model="large-70b", endpoint=large.url, api_key_variable="LARGE_KEY", max_tokens=5),
    )
    control_plane.answer("GET /v1/cascades/questions", {"summary": {}, "spec": codec.encode(spec), "runtimes": []})
    declared = Client(control_plane.url, "kg_t").cascade_spec("questions")
    assert declared == spec
    policy = Policy.of(PolicyKind.P_T, ({"p_t": 0.9},))
    models = tuple(each.named_model for each in spec.tiers)
    in_force = pair(small_bundle(policy=policy, models=models, p_t_kinds=(PTKind.MEAN,)), exploration_rate=0.0)
    with Cascade("questions", in_force, hash_key=key, clock=lambda: now) as cascade:
        with pytest.raises(RecordInvalid, match="run_tiers"):
            cascade.answer(QUESTION)
        cascade.run_tiers(declared)
        answer = cascade.answer(QUESTION)
        with pytest.raises(RecordInvalid, match="has its back-ends already"):
            cascade.run_tiers(declared)
    assert (answer.text, answer.tier, answer.rulings[0].verdict.reason) == ("LIMA", 1, "p_t")
    assert (large.asked[0]["max_tokens"], large.headers[0]["authorization"]) == (5, "Bearer sk-large")
    with Cascade("other", hash_key=key) as other, pytest.raises(RecordInvalid, match="this is cascade 'other'"):
        other.run_tiers(declared)


@pytest.mark.parametrize("blocking", [False, True])
def test_a_closed_cascade_has_closed_the_connections_of_both_ways_of_asking(
    start: Any, acts: Any, key: bytes, blocking: bool
) -> None:
    engine = start(acts.answer(acts.completion("LIMA")))
    spec = spec_of(tier(endpoint=engine.url), tier(name="large", model="large-70b", endpoint=engine.url))

    async def asked() -> None:
        cascade = Cascade("questions", hash_key=key)
        cascade.run_tiers(spec)
        cascade.answer(QUESTION)
        await cascade.answer_async(QUESTION)
        assert acts.connections_to(engine.url) == 4  # two tiers, asked with and without an event loop
        if blocking:
            cascade.close()
        else:
            await cascade.close_async()
        async with asyncio.timeout(30):
            while acts.connections_to(engine.url):
                await asyncio.sleep(0.01)

    asyncio.run(asked())


def test_a_tier_declared_to_send_another_kind_than_the_bundles_escalates(
    start: Any, acts: Any, small_bundle: Make, pair: Make, key: bytes, now: Any
) -> None:
    small, large = start(acts.answer(acts.completion("B", p_t=0.99))), start(acts.answer(acts.completion("LIMA")))
    spec = spec_of(tier(endpoint=small.url, p_t_kind=PTKind.MEAN), tier(name="large", endpoint=large.url))
    models = tuple(each.named_model for each in spec.tiers)
    in_force = pair(
        small_bundle(policy=Policy.of(PolicyKind.P_T, ({"p_t": 0.9},)), models=models), exploration_rate=0.0
    )
    with Cascade("questions", in_force, hash_key=key, clock=lambda: now) as cascade:
        cascade.run_tiers(spec)
        answer = cascade.answer(QUESTION)
    assert (answer.text, answer.rulings[0].verdict.reason) == ("LIMA", "p_t_kind_mismatch")


def test_a_declaration_that_cannot_be_read_says_so(control_plane: Any) -> None:
    for body in ({"summary": {}}, [], {"spec": {"name": "x"}}):
        control_plane.answer("GET /v1/cascades/questions", body)
        with pytest.raises(ServiceUnreachable, match="cannot be read"):
            Client(control_plane.url).cascade_spec("questions")


def test_the_spec_of_before_has_the_new_fields_defaults() -> None:
    document = codec.encode(spec_of(tier(), tier(name="large")))
    for each in document["tiers"]:
        for name in ("options", "max_tokens", "api_key_variable"):
            del each[name]
    assert codec.decode(CascadeSpec, document) == replace(spec_of(tier(), tier(name="large")))


def body_sent(start: Any, acts: Any, **changes: Any) -> dict[str, Any]:
    engine = start(acts.answer(acts.completion("B")))
    backend = from_spec(tier(endpoint=engine.url, **changes))
    backend.ask(QUESTION, timeout_s=5.0)
    backend.close()
    body: dict[str, Any] = engine.asked[0]
    return body


@pytest.mark.parametrize(
    ("changes", "sent"),
    [
        ({}, None),  # an API that does not know the word may refuse it
        ({"request": {"chat_template_kwargs": {"enable_thinking": False}}}, {"enable_thinking": False}),
        ({"backend": "vllm"}, {"enable_thinking": False}),
        ({"backend": "sglang"}, {"enable_thinking": False}),
        (
            {"backend": "vllm", "request": {"chat_template_kwargs": {"enable_thinking": True}}},
            {"enable_thinking": True},
        ),
        (
            {"backend": "vllm", "request": {"extra_body": {"chat_template_kwargs": {"persona": "clerk"}}}},
            {"enable_thinking": False, "persona": "clerk"},
        ),
    ],
)
def test_thinking_is_off_unless_declared_where_servers_know_the_word(
    start: Any, acts: Any, changes: dict[str, Any], sent: Any
) -> None:
    assert body_sent(start, acts, **changes).get("chat_template_kwargs") == sent


def test_what_a_tier_declares_is_sent_with_every_request(start: Any, acts: Any) -> None:
    request = {"top_k": 1, "reasoning_effort": "none", "extra_body": {"cache_salt": "x"}}
    body = body_sent(start, acts, request=request, max_tokens=9)
    assert (body["top_k"], body["reasoning_effort"], body["cache_salt"], body["max_tokens"]) == (1, "none", "x", 9)
    assert "extra_body" not in body
    silent = body_sent(start, acts, request={"logprobs": False})
    assert "logprobs" not in silent and "top_logprobs" not in silent
    newer = body_sent(start, acts, request={"max_completion_tokens": 90})
    assert newer["max_completion_tokens"] == 90 and "max_tokens" not in newer


def test_states_that_were_read_with_other_parameters_are_of_another_fingerprint(
    fingerprint: Make, tmp_path: Path
) -> None:
    given = fingerprint(engine="vllm")
    made = [
        from_spec(tier(backend="vllm", layers=(12,), request=request), fingerprint=given, folder=tmp_path)
        for request in ({}, {"top_k": 1}, {"top_k": 2})
    ]
    fingerprints = [backend.fingerprint for backend in made]  # type: ignore[attr-defined]
    assert fingerprints[0] == given
    assert len({one.chat_template_sha256 for one in fingerprints}) == 3


def test_each_tiers_time_limit_is_its_declared_one_and_the_rest_of_its_patience_is_kept() -> None:
    spec = spec_of(tier(timeout=timedelta(seconds=7)), tier(name="large"))
    assert patience_of(spec) == (Patience(timeout_s=7.0), Patience())
    assert patience_of(spec, Patience(timeout_s=3.0, tries=1)) == (
        Patience(timeout_s=7.0, tries=1),
        Patience(timeout_s=3.0, tries=1),
    )
    each = [Patience(tries=1), Patience(tries=2)]
    assert patience_of(spec, each) == (Patience(tries=1, timeout_s=7.0), Patience(tries=2))


def test_a_declared_time_limit_ends_the_waiting_and_escalates(start: Any, acts: Any, key: bytes, now: Any) -> None:
    small, large = start(acts.silent), start(acts.answer(acts.completion("LIMA")))
    spec = spec_of(
        tier(endpoint=small.url, timeout=timedelta(seconds=0.05)), tier(name="large", endpoint=large.url, model="l")
    )
    with Cascade("questions", hash_key=key, clock=lambda: now) as cascade:
        cascade.run_tiers(spec)
        answer = cascade.answer(QUESTION)
    assert answer.text == "LIMA" and (answer.rulings[0].note or "").startswith("timeout")


def test_attempts_are_of_the_model_with_its_declared_parameters(
    start: Any, acts: Any, small_bundle: Make, pair: Make, key: bytes, now: Any
) -> None:
    small, large = start(acts.answer(acts.completion("B", p_t=0.99))), start(acts.answer(acts.completion("LIMA")))
    spec = spec_of(tier(endpoint=small.url, request={"top_k": 1}), tier(name="large", endpoint=large.url))
    policy = Policy.of(PolicyKind.P_T, ({"p_t": 0.9},))
    small_model, large_model = (each.named_model for each in spec.tiers)
    known = ((("small-8b", large_model), "LIMA"), ((small_model, "another"), "LIMA"), ((small_model, large_model), "B"))
    for models, text in known:
        in_force = pair(small_bundle(policy=policy, models=models), exploration_rate=0.0)
        with Cascade("questions", in_force, hash_key=key, clock=lambda: now) as cascade:
            cascade.run_tiers(spec)
            assert cascade.answer(QUESTION).text == text
    assert small.asked[0]["model"] == "small-8b"  # the server knows it by its own name
