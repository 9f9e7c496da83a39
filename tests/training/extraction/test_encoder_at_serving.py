"""A tier that shows no hidden states gets P(IK) at serving from its encoder: the state that
training read.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factories import Kept, make_assignment
from knowgate import Cascade
from knowgate._bundles.bundle import Bundle, BundleDocument, TierDocument, TierModels, write_bundle
from knowgate._bundles.pair import Pair
from knowgate._models.calibrator import Platt
from knowgate._models.features import Standardiser
from knowgate._models.probe import LinearProbe, ProbeKind
from knowgate._records.observation import Observation
from knowgate._records.records import Fingerprint
from knowgate.backends import Encoded, Reply, TransformersBackend, TransformersEncoder, encoders_of
from knowgate.backends.loading import adopt
from knowgate.errors import RecordInvalid
from knowgate.policy import Policy, PolicyKind
from knowgate.spec import CascadeSpec, TierSpec
from tests.training.reading import states_of
from training.extraction import Answerer, encoder_of

NOW = datetime(2026, 3, 2, tzinfo=UTC)
KEY = b"a key for tests, 32 bytes long.."
PLACES = np.arange(16.0)  # a norm makes the plain sum 0
QUESTION = [{"role": "user", "content": "abc def"}]


class BlackBox:
    """Gives a text and P(T), no hidden state."""

    def __init__(self, model: str, *, p_t: float = 0.9) -> None:
        self.model, self.p_t = model, p_t

    def ask(self, messages: Sequence[Any], *, timeout_s: float) -> Reply:
        return Reply(shown=Observation(answer=f"says {self.model}", p_t=self.p_t, tokens_in=7))

    async def ask_async(self, messages: Sequence[Any], *, timeout_s: float) -> Reply:
        return self.ask(messages, timeout_s=timeout_s)


def bert(tmp_path: Path, tokenizer: Any) -> Path:
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(3)
    shape = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=40, **shape)
    BertModel(config).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


@pytest.fixture(params=["llama", "gpt2", "bert", "chat"])
def folder(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    model_of: Callable[[str], Any],
    tokenizer_of_letters: Callable[..., Any],
) -> Path:
    tokenizer = tokenizer_of_letters("right")
    if request.param == "bert":
        return bert(tmp_path, tokenizer)
    if request.param == "chat":
        tokenizer.chat_template = "{% for m in messages %}q: {{ m['content'] }} a:{% endfor %}"
    model_of("llama" if request.param == "chat" else request.param).save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


@pytest.mark.parametrize("layer", [0, 2, 3])
def test_serving_reads_the_state_that_training_read(folder: Path, layer: int) -> None:
    encoder, trained = TransformersEncoder(folder), encoder_of(folder, layers=[layer])
    for prompt in ("abc def", "x"):
        encoded = encoder(prompt, layer=layer)
        assert encoded.fingerprint == trained.fingerprints[0]
        np.testing.assert_allclose(encoded.hidden, states_of(trained, [prompt]).hidden[0, 0], atol=5e-5)


def test_left_to_itself_it_reads_its_last_declared_layer(folder: Path) -> None:
    assert TransformersEncoder(folder, layers=(1, 2))("abc").fingerprint.layer == 2
    assert TransformersEncoder(folder)("abc").fingerprint.layer == 3
    with pytest.raises(RecordInvalid, match="layers 0 to 3"):
        TransformersEncoder(folder, layers=(9,))
    with pytest.raises(RecordInvalid, match="cuts none"):
        TransformersEncoder(folder)("a" * 500)
    with pytest.raises(RecordInvalid, match="could not be loaded"):
        TransformersEncoder(folder / "nothing")


def bundle_of(fingerprint: Fingerprint, *, weight: float) -> Bundle:
    """Two tiers; keeps what its probe, which adds up the state's numbers by their places, finds
    likely.
    """
    document = TierDocument(
        fingerprint=fingerprint,
        probe=ProbeKind.LINEAR,
        dimension=16,
        ik_calibrator=Platt(slope=1.0, intercept=0.0),
        ood=False,
    )
    models = TierModels(
        document=document,
        standardiser=Standardiser(mean=np.zeros(16), scale=np.ones(16)),
        probe=LinearProbe(weight=weight * PLACES, bias=0.0),
    )
    fields: dict[str, Any] = {
        "cascade": "facts",
        "models": ("black-box", "large"),
        "tiers": (document,),
        "policy": Policy.of(PolicyKind.P_IK, ({"p_ik": 0.5},)),
        "code_version": "0.1.0",
        "created_at": NOW,
    }
    return write_bundle(BundleDocument(**fields), (models,))


def pair_of(bundle: Bundle) -> Pair:
    assignment = make_assignment(cascade="facts", champion=bundle.id, exploration_rate=0.0, issued_at=NOW)
    return Pair(assignment=assignment, champion=bundle)


def spec_with(folder: Path) -> CascadeSpec:
    tiers = (
        TierSpec(name="small", model="black-box", parameters=1e9, encoder=str(folder), layers=(1, 3)),
        TierSpec(name="large", model="large", parameters=1e10),
    )
    return CascadeSpec(name="facts", tiers=tiers)


@pytest.mark.parametrize("event_loop", [False, True], ids=["blocking", "event loop"])
@pytest.mark.parametrize("layer", [1, 3])
def test_a_black_box_tier_is_decided_by_what_its_encoder_reads(folder: Path, layer: int, event_loop: bool) -> None:
    state = states_of(encoder_of(folder, layers=[layer]), ["abc def"])
    total = float(state.hidden[0, 0].astype(np.float16).astype(np.float64) @ PLACES)
    sign = float(np.sign(total))
    for weight, keeps in ((sign, True), (-sign, False)):
        kept = Kept()
        cascade = Cascade(
            "facts",
            pair_of(bundle_of(state.fingerprints[0], weight=weight)),
            hash_key=KEY,
            clock=lambda: NOW,
            spool=kept,
            backends=[BlackBox("black-box"), BlackBox("large")],
            encoders=encoders_of(spec_with(folder)),
        )
        with cascade:
            answer = asyncio.run(cascade.answer_async(QUESTION)) if event_loop else cascade.answer(QUESTION)
        assert answer.text == ("says black-box" if keeps else "says large")
        attempt = kept.rows[0][0].attempts[0]
        assert attempt.signals.p_ik == pytest.approx(1 / (1 + np.exp(-weight * total)), abs=1e-2)
        assert attempt.fingerprint == state.fingerprints[0]
        assert len(kept.rows[0][1]) == 1  # what it read is shipped, to learn from


def test_without_a_bundle_the_states_are_read_and_shipped_to_learn_from(folder: Path) -> None:
    kept = Kept()
    backends = [BlackBox("black-box"), BlackBox("large")]
    encoders = encoders_of(spec_with(folder))
    with Cascade("facts", hash_key=KEY, spool=kept, backends=backends, encoders=encoders) as cascade:
        assert cascade.answer(QUESTION).text == "says large"
    decision, vectors = kept.rows[0]
    assert decision.attempts[0].fingerprint == encoder_of(folder, layers=[3]).fingerprints[0]
    assert len(vectors) == 1


def test_an_encoder_that_fails_costs_the_signal_and_not_the_query(folder: Path) -> None:
    def broken(prompt: str, *, layer: int | None) -> Encoded:
        raise OSError("the disk is gone")

    kept = Kept()
    bundle = bundle_of(encoder_of(folder, layers=[1]).fingerprints[0], weight=1.0)
    options: dict[str, Any] = {"hash_key": KEY, "clock": lambda: NOW, "spool": kept}
    backends = [BlackBox("black-box"), BlackBox("large")]
    with Cascade("facts", pair_of(bundle), backends=backends, encoders={0: broken}, **options) as cascade:
        answer = cascade.answer(QUESTION)
    assert (answer.text, answer.rulings[0].verdict.reason) == ("says large", "missing_signal")
    assert "the disk is gone" in (kept.rows[0][0].attempts[0].note or "")


def test_another_encoder_than_the_probes_is_a_mismatch(folder: Path) -> None:
    def foreign(prompt: str, *, layer: int | None) -> Encoded:
        encoded = encoders_of(spec_with(folder))[0](prompt, layer=layer)
        return Encoded(hidden=encoded.hidden, fingerprint=encoder_of(folder, layers=[2]).fingerprints[0])

    bundle = bundle_of(encoder_of(folder, layers=[1]).fingerprints[0], weight=1.0)
    backends = [BlackBox("black-box"), BlackBox("large")]
    options: dict[str, Any] = {"hash_key": KEY, "clock": lambda: NOW}
    with Cascade("facts", pair_of(bundle), backends=backends, encoders={0: foreign}, **options) as cascade:
        assert cascade.answer(QUESTION).rulings[0].verdict.reason == "fingerprint_mismatch"


def test_an_encoder_for_the_last_tier_is_refused() -> None:
    def reads(prompt: str, *, layer: int | None) -> Encoded:
        raise AssertionError("never asked")

    with pytest.raises(RecordInvalid, match="encoders are for the tiers 0 to 0"):
        Cascade("facts", backends=[BlackBox("a"), BlackBox("b")], encoders={1: reads})


def test_layer_0_of_a_model_in_this_process_is_what_enters_its_first_block(
    model_of: Callable[[str], Any], tokenizer_of_letters: Callable[..., Any]
) -> None:
    tiny = adopt(model_of("gpt2"), tokenizer_of_letters(), model="tiny", revision="1")  # adds places to its tokens
    backend = TransformersBackend(
        tiny.network, tiny.tokenizer, model="tiny", fingerprint=tiny.fingerprint(0), max_new_tokens=1
    )
    reply = backend.ask([{"role": "user", "content": "abc"}], timeout_s=30.0)
    (expected,) = Answerer(tiny, layers=(0,)).answer(["abc"])
    assert reply.shown.hidden is not None and np.allclose(reply.shown.hidden, expected.hidden[0], atol=1e-5)
