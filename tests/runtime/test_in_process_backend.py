"""The in-process back-end reads of a real model what training reads of it: text, P(T), hidden
state, fingerprint.
"""

import asyncio
import copy
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from demo.pair import SMALL
from knowgate._records.observation import Observation
from knowgate._records.records import PTKind
from knowgate.backends.blocks import blocks_of
from knowgate.backends.loading import LoadedModel, adopt
from knowgate.backends.protocol import Finish
from knowgate.backends.transformers import TransformersBackend
from knowgate.errors import BackendFailed, Failure, RecordInvalid
from training.extraction import Answerer, load_model

PROMPTS = ["", "the", "capital of Peru"]


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_model(SMALL, model="small")


def question(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize("layer", [0, 1, -1])
@pytest.mark.parametrize("tokens", [1, 4])
def test_it_gives_what_training_reads(loaded: LoadedModel, layer: int, tokens: int) -> None:
    layer = loaded.layers if layer < 0 else layer
    answerer = Answerer(loaded, layers=(layer,), max_new_tokens=tokens)
    fingerprint = loaded.fingerprint(layer)
    backend = TransformersBackend(
        loaded.network, loaded.tokenizer, model="small", fingerprint=fingerprint, max_new_tokens=tokens
    )
    for prompt in PROMPTS[1:]:
        (expected,) = answerer.answer([prompt])
        reply = backend.ask(question(prompt), timeout_s=30.0)
        assert (reply.text, reply.shown.tokens_in, reply.shown.tokens_out) == (
            expected.text,
            expected.tokens_in,
            expected.tokens_out,
        )
        assert reply.shown.p_t == pytest.approx(expected.p_t, abs=1e-5)
        assert reply.shown.entropy == pytest.approx(expected.entropy, abs=1e-4)
        assert reply.shown.hidden is not None and reply.shown.fingerprint == fingerprint
        assert np.allclose(reply.shown.hidden, expected.hidden[0], atol=1e-4)
    assert len(list(loaded.network.modules())) and not _hooks(loaded)


@pytest.mark.parametrize(("tokens", "finish", "enough"), [(1, Finish.LENGTH, True), (3, Finish.LENGTH, False)])
def test_it_says_why_it_stopped(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, tokens: int, finish: Finish, enough: bool
) -> None:
    backend = TransformersBackend(loaded.network, loaded.tokenizer, model="small", max_new_tokens=tokens)
    reply = backend.ask(question("the"), timeout_s=30.0)
    assert (reply.shown.tokens_out, reply.finish, reply.enough) == (tokens, finish, enough)
    written = loaded.tokenizer(reply.text, add_special_tokens=False)["input_ids"]
    monkeypatch.setattr(loaded.network.generation_config, "eos_token_id", [written[0]])
    ended = backend.ask(question("the"), timeout_s=30.0)
    assert (ended.shown.tokens_out, ended.finish) == (1, Finish.STOP)


def test_on_an_event_loop_it_gives_the_same(loaded: LoadedModel) -> None:
    backend = TransformersBackend(loaded.network, loaded.tokenizer, model="small", max_new_tokens=1)
    reply = asyncio.run(backend.ask_async(question("the"), timeout_s=30.0))
    assert reply.text == backend.ask(question("the"), timeout_s=30.0).text
    assert reply.shown.hidden is None


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": "bfloat16"},
        {"engine_version": "4.0"},
        {"chat_template_sha256": "1" * 64},
        {"engine": "vllm"},
        {"normed": True},
        {"layer": 99},
        {"position": "mean"},
    ],
)
def test_a_fingerprint_of_another_model_is_refused_when_it_is_made(
    loaded: LoadedModel, changes: dict[str, object]
) -> None:
    with pytest.raises(RecordInvalid, match="fingerprint"):
        TransformersBackend(
            loaded.network, loaded.tokenizer, model="small", fingerprint=replace(loaded.fingerprint(1), **changes)
        )


def test_a_prompt_longer_than_the_context_is_refused_and_a_model_out_of_time_gives_up(loaded: LoadedModel) -> None:
    backend = TransformersBackend(loaded.network, loaded.tokenizer, model="small", max_new_tokens=1)
    with pytest.raises(BackendFailed) as caught:
        backend.ask(question("the " * 5000), timeout_s=30.0)
    assert caught.value.failure is Failure.REFUSED
    with pytest.raises(BackendFailed) as caught:
        backend.ask(question("the"), timeout_s=1e-6)
    assert caught.value.failure is Failure.TIMEOUT


def test_a_prompt_without_tokens_is_refused(loaded: LoadedModel) -> None:
    backend = TransformersBackend(loaded.network, loaded.tokenizer, model="small", max_new_tokens=1)
    with pytest.raises(BackendFailed, match="no tokens"):
        backend.ask(question(""), timeout_s=30.0)


TEMPLATE = (
    "{% for message in messages %}{{ message.content }}{% endfor %}"
    "{% if enable_thinking is not defined or enable_thinking %} the think{% endif %}{% if persona %} of{% endif %}"
)


@pytest.fixture
def thinking(loaded: LoadedModel) -> LoadedModel:
    """A model whose template lets it think unless it is asked not to."""
    tokenizer = copy.deepcopy(loaded.tokenizer)
    tokenizer.chat_template = TEMPLATE
    return adopt(loaded.network, tokenizer, model="small", revision="r")


def test_thinking_is_off_where_the_template_knows_it_and_nobody_says_otherwise(thinking: LoadedModel) -> None:
    plain = thinking.tokenizer(PROMPTS[2], add_special_tokens=False)["input_ids"]
    silent, thinks, persona = (
        TransformersBackend(
            thinking.network, thinking.tokenizer, model="small", max_new_tokens=1, chat_template_kwargs=declared
        ).ask(question(PROMPTS[2]), timeout_s=30.0)
        for declared in (None, {"enable_thinking": True}, {"persona": "clerk"})
    )
    assert silent.shown.tokens_in == len(plain)
    assert thinks.shown.tokens_in is not None and thinks.shown.tokens_in > len(plain)
    assert persona.shown.tokens_in is not None and len(plain) < persona.shown.tokens_in < thinks.shown.tokens_in


@pytest.mark.parametrize("declared", [{}, {"enable_thinking": True}, {"persona": "clerk"}])
def test_training_and_serving_read_the_same_through_a_template_that_is_given_something(
    thinking: LoadedModel, declared: dict[str, object]
) -> None:
    trained = replace(thinking, template=declared)
    (expected,) = Answerer(trained, layers=(1,), max_new_tokens=1).answer([PROMPTS[2]])
    backend = TransformersBackend(
        thinking.network,
        thinking.tokenizer,
        model="small",
        fingerprint=trained.fingerprint(1),
        max_new_tokens=1,
        chat_template_kwargs=declared,
    )
    reply = backend.ask(question(PROMPTS[2]), timeout_s=30.0)
    assert reply.shown.tokens_in == expected.tokens_in
    assert reply.shown.hidden is not None and np.allclose(reply.shown.hidden, expected.hidden[0], atol=1e-4)


def test_states_of_another_template_setting_are_of_another_fingerprint(
    thinking: LoadedModel, loaded: LoadedModel
) -> None:
    settings: list[dict[str, object]] = [{}, {"enable_thinking": True}, {"persona": "clerk"}]
    digests = {replace(thinking, template=declared).fingerprint(1).chat_template_sha256 for declared in settings}
    assert len(digests) == 3
    said = replace(thinking, template={"enable_thinking": False})
    assert said.fingerprint(1) == thinking.fingerprint(1)  # what is the default may be said
    with pytest.raises(RecordInvalid, match="chat_template_sha256"):
        TransformersBackend(
            thinking.network,
            thinking.tokenizer,
            model="small",
            fingerprint=thinking.fingerprint(1),
            chat_template_kwargs={"enable_thinking": True},
        )


def _hooks(loaded: LoadedModel) -> bool:
    return any(module._forward_hooks for module in loaded.network.modules())


def with_marker(folder: Path, token: int, marker: str) -> LoadedModel:
    """The small model, whose `token` is a special one that its tokenizer shows as `marker`."""
    shutil.copytree(SMALL, folder)
    file = folder / "tokenizer.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    (added,) = [one for one in document["added_tokens"] if one["id"] == token]
    vocabulary = document["model"]["vocab"]
    vocabulary[marker] = vocabulary.pop(added["content"], token)
    added |= {"content": marker, "special": True}
    file.write_text(json.dumps(document), encoding="utf-8")
    return load_model(folder, model="small")


ASKED, WRITTEN = "Paris country of", "VenezuelaBrazilBrazil{}BrazilUnited States"
BENIN = 89
THOUGHT = [289, 94, 94, BENIN]  # up to its end; behind it come 94 and 285


@pytest.mark.parametrize("kind", [PTKind.FIRST_TOKEN, PTKind.MEAN])
def test_thoughts_between_special_tokens_are_no_answer(loaded: LoadedModel, tmp_path: Path, kind: PTKind) -> None:
    """A tokenizer leaves special tokens out of a text, those that close a thought too."""
    thinking = with_marker(tmp_path / "model", BENIN, "</think>")
    plain = TransformersBackend(loaded.network, loaded.tokenizer, model="small", max_new_tokens=6, p_t_kind=kind)
    backend = TransformersBackend(thinking.network, thinking.tokenizer, model="small", max_new_tokens=6, p_t_kind=kind)
    assert plain.ask(question(ASKED), timeout_s=30.0).text == WRITTEN.format("Benin")
    reply = backend.ask(question(ASKED), timeout_s=30.0)
    assert reply.text == WRITTEN.format("</think>")
    (answered,) = Answerer(thinking, layers=(0,), max_new_tokens=6, p_t_kind=kind).answer([ASKED])
    assert (answered.text, answered.p_t) == (reply.text, pytest.approx(reply.shown.p_t, abs=1e-5))
    own = [
        float(logits_behind(thinking, ASKED, THOUGHT)[94]),
        float(logits_behind(thinking, ASKED, [*THOUGHT, 94])[285]),
    ]
    expected = math.exp(own[0]) if kind is PTKind.FIRST_TOKEN else math.exp(sum(own) / 2)
    assert reply.shown.p_t == pytest.approx(expected, abs=1e-5)


def logits_behind(loaded: LoadedModel, prompt: str, ids: list[int]) -> Any:
    given = [*loaded.tokenizer(prompt)["input_ids"], *ids]
    with torch.inference_mode():
        return loaded.network(input_ids=torch.tensor([given])).logits[0, -1].log_softmax(-1)


def test_what_is_written_in_a_thought_that_the_prompt_opened_is_no_answer(tmp_path: Path) -> None:
    thinking = with_marker(tmp_path / "model", BENIN, "<think>")
    backend = TransformersBackend(thinking.network, thinking.tokenizer, model="small", max_new_tokens=2)
    reply = backend.ask(question("Lima<think>"), timeout_s=30.0)
    assert reply.text and reply.shown.p_t is None
    assert reply.shown.notes == ("where the model's thoughts end and its answer begins is not clear: p_t is missing",)
    (answered,) = Answerer(thinking, layers=(0,), max_new_tokens=2).answer(["Lima<think>"])
    assert answered.text == reply.text and math.isnan(answered.p_t)


def test_a_model_that_may_not_answer_stops_behind_the_layer_that_is_read(loaded: LoadedModel) -> None:
    fingerprint = loaded.fingerprint(1)
    backend = TransformersBackend(
        loaded.network, loaded.tokenizer, model="small", fingerprint=fingerprint, max_new_tokens=4
    )
    whole = backend.ask(question("capital of Peru"), timeout_s=30.0)
    later: list[int] = []
    watched = blocks_of(loaded.network)[1].register_forward_hook(lambda *_: later.append(1))
    try:
        reply = backend.ask(question("capital of Peru"), timeout_s=30.0, may_answer=lambda _: False)
        assert later == []
        goes_on = backend.ask(question("capital of Peru"), timeout_s=30.0, may_answer=lambda _: True)
        assert len(later) == goes_on.shown.tokens_out
    finally:
        watched.remove()
    assert (reply.skipped, reply.text, reply.shown.tokens_out) == (True, "", 0)
    assert (reply.shown.tokens_in, reply.shown.fingerprint) == (whole.shown.tokens_in, fingerprint)
    assert np.array_equal(reply.shown.hidden, whole.shown.hidden)
    assert (goes_on.text, goes_on.shown.p_t, goes_on.skipped) == (whole.text, whole.shown.p_t, False)
    assert not _hooks(loaded)


def test_on_an_event_loop_it_may_be_stopped_too(loaded: LoadedModel) -> None:
    backend = TransformersBackend(
        loaded.network, loaded.tokenizer, model="small", fingerprint=loaded.fingerprint(1), max_new_tokens=4
    )
    shown: list[Observation] = []
    reply = asyncio.run(
        backend.ask_async(question("the"), timeout_s=30.0, may_answer=lambda prompt: bool(shown.append(prompt)))
    )
    assert reply.skipped and reply.shown.hidden is shown[0].hidden and backend.early
