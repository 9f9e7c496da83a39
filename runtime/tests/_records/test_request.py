"""What a tier's model is given with every request is part of which model it is."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from knowgate._records.observation import Observation
from knowgate._records.records import PTKind, Reason
from knowgate._records.request import body_of, named_model, of_request, request_digest, template_of
from knowgate._serving.cascade import Cascade
from knowgate._wire import codec
from knowgate.errors import RecordInvalid
from knowgate.policy import Policy, PolicyKind
from knowgate.spec import TierSpec

Make = Callable[..., Any]
THINKS = {"chat_template_kwargs": {"enable_thinking": True}}
URL = "http://127.0.0.1:9/v1"


def tier(**changes: Any) -> TierSpec:
    fields = {"name": "small", "model": "m", "parameters": 8e9, "backend": "vllm", "endpoint": URL}
    return TierSpec(**fields | changes)


def test_a_model_without_parameters_keeps_its_name_and_its_fingerprint() -> None:
    assert (named_model("m", {}), of_request("0" * 64, {})) == ("m", "0" * 64)
    assert tier().declares("m") and not tier(request={"top_k": 1}).declares("m")


@pytest.mark.parametrize(
    "other", [{"top_k": 2}, {"top_k": 1, "seed": 3}, THINKS, {"top_k": 1.5}, {"top_k": "1"}, {"extra_body": {"a": 1}}]
)
def test_other_parameters_make_another_model_and_another_fingerprint(other: dict[str, Any]) -> None:
    one = tier(request={"top_k": 1})
    changed = replace(one, request=other)
    assert one.named_model != changed.named_model
    assert not one.declares(changed.named_model) and changed.declares(changed.named_model)
    assert of_request("0" * 64, one.request) != of_request("0" * 64, other)


def test_the_same_parameters_in_another_order_or_in_extra_body_are_the_same() -> None:
    one = {"top_k": 1, "chat_template_kwargs": {"enable_thinking": False, "a": 1}}
    other = {"extra_body": {"chat_template_kwargs": {"a": 1, "enable_thinking": False}, "top_k": 1}}
    assert request_digest(one) == request_digest(other)
    assert body_of(other) == one and template_of(other) == one["chat_template_kwargs"]


@pytest.mark.parametrize(
    ("backend", "request_", "field"),
    [
        ("external", {"top_k": 1}, "request"),
        ("openai", {"model": "x"}, "request.model"),
        ("openai", {"messages": []}, "request.messages"),
        ("openai", {"stream": True}, "request.stream"),
        ("openai", {"n": 2}, "request.n"),
        ("openai", {"logprobs": True}, "request.logprobs"),
        ("openai", {"logprobs": 0}, "request.logprobs"),
        ("transformers", {"logprobs": False}, "request.logprobs"),
        ("openai", {"tools": []}, "request.tools"),
        ("openai", {"max_tokens": 7}, "request.max_tokens"),
        ("openai", {"extra_body": {"n": 2}}, "request.n"),
        ("openai", {"extra_body": 2}, "request.extra_body"),
        ("openai", {"extra_body": {"extra_body": {"n": 2}}}, "request.extra_body"),
        ("openai", {"top_k": 1, "extra_body": {"top_k": 2}}, "request.top_k"),
        ("openai", {"timeout": 5}, "request.timeout"),
        ("openai", {"extra_headers": {"a": "b"}}, "request.extra_headers"),
        ("openai", {"a": json.loads("[" * 30 + "]" * 30)}, "request"),
        ("sglang", {"return_hidden_states": "last"}, "request.return_hidden_states"),
        ("vllm", {"chat_template_kwargs": "x"}, "request.chat_template_kwargs"),
        ("transformers", {"top_k": 1}, "request.top_k"),
        ("transformers", {"chat_template_kwargs": {"tokenize": True}}, "request.chat_template_kwargs.tokenize"),
    ],
)
def test_what_a_back_end_cannot_be_given_is_refused_by_name(backend: str, request_: dict[str, Any], field: str) -> None:
    with pytest.raises(RecordInvalid) as caught:
        tier(backend=backend, request=request_)
    assert caught.value.field == field


def test_a_declaration_with_parameters_and_a_time_limit_comes_back_from_its_json() -> None:
    one = tier(request={"top_k": 1, "stop": ["a", "b"], "x": {"y": True, "z": 0.5}}, timeout=timedelta(seconds=7))
    assert codec.decode(TierSpec, codec.parse(codec.canonical(one))) == one
    document = codec.encode(tier())
    del document["request"], document["timeout"]
    assert codec.decode(TierSpec, document) == tier()  # as it was stored before there were such fields


@pytest.mark.parametrize("value", [None, [None], {"a": None}, float("nan"), 2**70, "half \ud800", {"nul\0": 1}])
def test_parameters_that_no_store_can_hold_are_refused(value: Any) -> None:
    with pytest.raises(RecordInvalid, match=r"request"):
        codec.decode(TierSpec, codec.encode(tier()) | {"request": {"a": value}})


def test_a_time_limit_is_above_nothing() -> None:
    with pytest.raises(RecordInvalid, match="timeout"):
        tier(timeout=timedelta())


@pytest.mark.parametrize(
    ("running", "certified", "retained"),
    [
        (("m", "n"), ("m", "n"), True),
        (("m?request=aaaaaaaaaaaa", "n"), ("m?request=aaaaaaaaaaaa", "n"), True),
        (("m?request=aaaaaaaaaaaa", "n"), ("m", "n"), False),
        (("m", "n"), ("m?request=aaaaaaaaaaaa", "n"), False),
        (("m?request=aaaaaaaaaaaa", "n"), ("m?request=bbbbbbbbbbbb", "n"), False),
        (("another", "n"), ("m", "n"), False),
        (("m", "another"), ("m", "n"), False),  # what the promise is measured against
        ((), ("m?request=aaaaaaaaaaaa", "n"), True),  # nobody said what runs here
    ],
)
def test_a_bundle_decides_nothing_for_other_models_or_parameters_than_it_is_certified_for(
    small_bundle: Make,
    pair: Make,
    now: datetime,
    running: tuple[str, ...],
    certified: tuple[str, ...],
    retained: bool,
) -> None:
    policy = Policy.of(PolicyKind.P_T, ({"p_t": 0.9},))
    in_force = pair(
        small_bundle(policy=policy, models=certified, p_t_kinds=(PTKind.FIRST_TOKEN,)), exploration_rate=0.0
    )
    with Cascade("questions", in_force, clock=lambda: now, models=running) as cascade, cascade.open() as query:
        ruling = query.attempt(Observation(p_t=0.99))
        if not ruling.retained:
            query.attempt(Observation(p_t=0.99))
        decided = cascade.decide(Observation(p_t=0.99))
    assert (ruling.retained, decided.retained) == (retained, retained)
    assert query.decision is not None
    first = query.decision.attempts[0]
    if not retained:
        assert (ruling.verdict.reason, first.model) == (Reason.NO_BUNDLE, running[0])
        assert f"the bundle is certified for {', '.join(certified)}" in (first.note or "")
    else:
        assert first.model == certified[0]
