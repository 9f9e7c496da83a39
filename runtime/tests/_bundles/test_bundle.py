"""A bundle is written once, named by its content, and refused unless everything in it is as it must
be.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from factories import make_certificate
from knowgate._bundles.bundle import (
    SIZE_LIMIT,
    Bundle,
    BundleDocument,
    TierModels,
    read_bundle,
    write_bundle,
)
from knowgate._models.probe import ProbeKind
from knowgate._records.records import Window
from knowgate._wire import codec
from knowgate.errors import BundleRefused, RecordInvalid
from knowgate.policy import Policy, PolicyKind

Tensors = dict[str, np.ndarray]
Json = dict[str, Any]


def parts(bundle: Bundle) -> tuple[Tensors, Json]:
    """The tensors and the document of a bundle, to be spoilt."""
    return dict(load(bundle.content)), codec.encode(bundle.document)


def file_of(tensors: Tensors, document: object) -> bytes:
    text = document if isinstance(document, str) else json.dumps(document, sort_keys=True, separators=(",", ":"))
    return save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, metadata={"document": text})


def test_a_bundle_comes_back_as_it_was_written(bundle: Bundle) -> None:
    again = read_bundle(bundle.content, expected_id=bundle.id)
    assert again.document == bundle.document
    assert again.id == hashlib.sha256(bundle.content).hexdigest()
    assert again.tiers[1] is None
    hidden = np.random.default_rng(1).normal(size=24).astype(np.float16)
    (first, _), (second, _) = bundle.tiers, again.tiers
    assert first is not None
    assert second is not None
    asked = {"p_t": 0.9, "hidden": hidden, "tokens_in": 40, "entropy": 0.3, "slice": "law"}
    assert second.signals(**asked) == first.signals(**asked)


@pytest.mark.parametrize("kind", list(ProbeKind))
@pytest.mark.parametrize("ood", [True, False])
def test_models_from_the_file_are_bit_for_bit_those_that_were_written(
    tier_models: Callable[..., TierModels], bundle_document: Callable[..., BundleDocument], kind: ProbeKind, ood: bool
) -> None:
    models = tier_models(kind, ood=ood)
    policy = Policy.of(PolicyKind.SCORE, ({"score": 0.8},))
    read = write_bundle(bundle_document((models,), policy=policy), (models,)).tiers[0]
    assert read is not None
    hidden = np.random.default_rng(2).normal(size=(20, 24)).astype(np.float16)
    for row in hidden:
        asked = {"p_t": 0.7, "hidden": row, "tokens_in": 12, "entropy": 0.1}
        assert read.signals(**asked) == models.signals(**asked)


def test_refits_of_the_score_travel_with_it_and_change_no_signal(
    tier_models: Callable[..., TierModels], bundle_document: Callable[..., BundleDocument]
) -> None:
    with_refits, without = tier_models(resampled=True), tier_models()
    (read,) = write_bundle(bundle_document((with_refits,)), (with_refits,)).tiers
    assert read is not None and read.resampled is not None and with_refits.resampled is not None
    np.testing.assert_array_equal(read.resampled.refits, with_refits.resampled.refits)
    asked = {"p_t": 0.7, "hidden": np.ones(24, dtype=np.float16), "tokens_in": 12, "entropy": 0.1}
    assert read.signals(**asked) == without.signals(**asked)
    tensors, document = parts(write_bundle(bundle_document((with_refits,)), (with_refits,)))
    with pytest.raises(BundleRefused, match="tier/0/resampled/at is missing"):
        read_bundle(file_of({name: t for name, t in tensors.items() if name != "tier/0/resampled/at"}, document))
    with pytest.raises(RecordInvalid, match="there is no score"):
        replace(with_refits.document, score_model=None)
    with pytest.raises(RecordInvalid, match="the tier's document says"):
        replace(without, document=with_refits.document)


def test_equal_input_gives_equal_bytes(
    tier_models: Callable[..., TierModels], bundle_document: Callable[..., BundleDocument]
) -> None:
    first, second = ((tier_models(), tier_models(ProbeKind.MLP)) for _ in range(2))
    assert write_bundle(bundle_document(first), first).content == write_bundle(bundle_document(second), second).content


def test_every_part_of_the_document_survives(
    tier_models: Callable[..., TierModels], bundle_document: Callable[..., BundleDocument]
) -> None:
    start = datetime(2026, 2, 1, tzinfo=UTC)
    window = Window(start=start, end=start + timedelta(days=7))
    certificate = make_certificate(
        delta=0.0608,
        cohort=window,
        estimated_drop=0.004,
        drop_upper_bound=0.018,
        retained_share=0.44,
        savings=0.36,
        savings_low=0.31,
        savings_high=0.4,
        probe_auroc=0.7,
        p_t_auroc=0.72,
        score_auroc=0.77,
    )
    models = (tier_models(),)
    document = bundle_document(
        models, certificate=certificate, training_window=window, mlflow_run="run", parent="f" * 64, rows={"train": 3}
    )
    assert read_bundle(write_bundle(document, models).content).document == document


def test_a_bundle_of_p_t_alone_holds_no_tensors(bundle_document: Callable[..., BundleDocument]) -> None:
    document = bundle_document((None,), policy=Policy.of(PolicyKind.P_T, ({"p_t": 0.9},)))
    written = write_bundle(document, (None,))
    assert load(written.content) == {}
    assert read_bundle(written.content).document == document


def test_models_that_are_not_the_documents_are_not_written(
    tier_models: Callable[..., TierModels], bundle_document: Callable[..., BundleDocument]
) -> None:
    models = tier_models()
    for wrong in ((), (None,), (models, models), (tier_models(ProbeKind.MLP),)):
        with pytest.raises(BundleRefused, match="do not belong"):
            write_bundle(bundle_document((models,)), wrong)


def test_another_hash_is_refused(bundle: Bundle) -> None:
    with pytest.raises(BundleRefused, match=f"{bundle.id}, not {'0' * 64}: fetch it again"):
        read_bundle(bundle.content, expected_id="0" * 64)


def test_a_file_over_the_size_limit_is_refused_unread() -> None:
    with pytest.raises(BundleRefused, match=f"at most {SIZE_LIMIT}"):
        read_bundle(bytes(SIZE_LIMIT + 1))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        b"\x00" * 100,
        b"\xff" * 100,
        b"not a bundle but a longer text of some kind",
        b"\x02\0\0\0\0\0\0\0{}",
    ],
)
def test_what_is_not_safetensors_is_refused(content: bytes) -> None:
    with pytest.raises(BundleRefused):
        read_bundle(content)


def test_a_truncated_file_is_refused_wherever_it_ends(bundle: Bundle) -> None:
    for length in range(0, len(bundle.content), 37):
        with pytest.raises(BundleRefused):
            read_bundle(bundle.content[:length])


def test_a_file_with_something_behind_it_is_refused(bundle: Bundle) -> None:
    with pytest.raises(BundleRefused):
        read_bundle(bundle.content + b"\x00")


def test_safetensors_without_a_document_are_refused(bundle: Bundle) -> None:
    tensors, document = parts(bundle)
    for metadata in (None, {}, {"format": "np"}, {"document": json.dumps(document), "more": "x"}):
        with pytest.raises(BundleRefused, match="__metadata__"):
            read_bundle(save(tensors, metadata=metadata))


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("knowgate.bundle.v2", "reads major version 1"),
        ("knowgate.bundle.v0", "reads major version 1"),
        ("knowgate.bundle.v1.2", "newer than this runtime"),
        ("knowgate.assignment.v1", "not a bundle"),
        (None, "not a bundle"),
        (1, "not a bundle"),
        ("", "not a bundle"),
    ],
)
def test_a_version_this_runtime_does_not_read_is_refused_by_name(bundle: Bundle, schema: object, message: str) -> None:
    tensors, document = parts(bundle)
    with pytest.raises(BundleRefused, match=message) as refusal:
        read_bundle(file_of(tensors, document | {"schema": schema}))
    assert repr(schema) in str(refusal.value)


@pytest.mark.parametrize("name", ["standardiser/mean", "probe/weight", "probe/bias", "ood/components", "ood/length"])
def test_a_missing_tensor_is_refused(bundle: Bundle, name: str) -> None:
    tensors, document = parts(bundle)
    del tensors[f"tier/0/{name}"]
    with pytest.raises(BundleRefused, match=f"tensor tier/0/{name} is missing"):
        read_bundle(file_of(tensors, document))


@pytest.mark.parametrize("name", ["tier/0/probe/w1", "tier/1/probe/weight", "tier/2/probe/weight", "other"])
def test_an_extra_tensor_is_refused(bundle: Bundle, name: str) -> None:
    tensors, document = parts(bundle)
    with pytest.raises(BundleRefused, match=f"tensor {name} belongs to no tier"):
        read_bundle(file_of(tensors | {name: np.ones(24, dtype=np.float32)}, document))


@pytest.mark.parametrize("kind", [np.float16, np.float64, np.int32])
def test_a_tensor_of_another_type_is_refused(bundle: Bundle, kind: type) -> None:
    tensors, document = parts(bundle)
    tensors["tier/0/probe/weight"] = tensors["tier/0/probe/weight"].astype(kind)
    with pytest.raises(BundleRefused, match=r"tensor tier/0/probe/weight is of type .*: float32 is expected"):
        read_bundle(file_of(tensors, document))


def tensor_names() -> list[str]:
    names = ["standardiser/mean", "standardiser/scale", "probe/weight", "probe/bias", "ood/mean", "ood/components"]
    return [*names, "ood/variances", "ood/residual_variance", "ood/length", "ood/reference"]


@pytest.mark.parametrize("name", tensor_names())
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_refused_in_every_tensor(bundle: Bundle, name: str, value: float) -> None:
    tensors, document = parts(bundle)
    spoilt = tensors[f"tier/0/{name}"].copy()
    spoilt.flat[-1] = value
    with pytest.raises(BundleRefused, match="finite"):
        read_bundle(file_of(tensors | {f"tier/0/{name}": spoilt}, document))


@pytest.mark.parametrize("name", [name for name in tensor_names() if name != "ood/reference"])
def test_a_wrong_length_is_refused_in_every_tensor(bundle: Bundle, name: str) -> None:
    tensors, document = parts(bundle)
    tensor = tensors[f"tier/0/{name}"]
    shorter = tensor[..., :-1] if tensor.shape[-1] > 1 else np.concatenate([tensor, tensor])
    with pytest.raises(BundleRefused, match="tier 0"):
        read_bundle(file_of(tensors | {f"tier/0/{name}": shorter}, document))


@pytest.mark.parametrize("name", tensor_names())
def test_a_wrong_number_of_axes_is_refused_in_every_tensor(bundle: Bundle, name: str) -> None:
    tensors, document = parts(bundle)
    with pytest.raises(BundleRefused, match=r"tier 0: .*shape"):
        read_bundle(file_of(tensors | {f"tier/0/{name}": tensors[f"tier/0/{name}"][np.newaxis]}, document))


@pytest.mark.parametrize("name", tensor_names())
def test_an_empty_tensor_is_refused(bundle: Bundle, name: str) -> None:
    tensors, document = parts(bundle)
    with pytest.raises(BundleRefused):
        read_bundle(file_of(tensors | {f"tier/0/{name}": np.zeros((0,), dtype=np.float32)}, document))


@pytest.mark.parametrize("threshold", [-0.1, 1.1, None, "0.5", 10**400])
def test_a_threshold_outside_the_unit_interval_is_refused(bundle: Bundle, threshold: object) -> None:
    tensors, document = parts(bundle)
    document["policy"]["rules"][0][1]["threshold"] = threshold
    with pytest.raises(BundleRefused, match="threshold"):
        read_bundle(file_of(tensors, document))


def test_a_threshold_that_is_not_a_number_is_refused(bundle: Bundle) -> None:
    tensors, document = parts(bundle)
    document["policy"]["rules"][0][1]["threshold"] = float("nan")
    with pytest.raises(BundleRefused, match="JSON numbers are finite"):
        read_bundle(file_of(tensors, document))


def set_in(document: Json, path: tuple[str | int, ...], value: object) -> Json:
    target: Any = document
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    return document


CURVE = {"kind": "isotonic", "knots": [0.0, 1.0], "values": [0.2, 0.1]}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("models",), ["small", "large"], "tiers is 2: 2 models have 1 non-last tiers"),
        (("models",), ["small"], "at least two tiers"),
        (("tiers",), [None], "3 models have 2 non-last tiers"),
        (("policy", "rules"), [None], "fallback.rules|policy.rules"),
        (("policy", "fallback", "rules"), [None], "fallback.rules"),
        (
            ("policy", "rules", 1),
            [{"signal": "p_ik", "threshold": 0.5}, {"signal": "p_t", "threshold": 0.5}],
            "makes only p_t",
        ),
        (("policy", "rules", 0), [], "a gates policy holds"),
        (("policy", "kind"), "magic", "use one of"),
        (("tiers", 0, "ik_calibrator", "slope"), -1.0, "monotone"),
        (("tiers", 0, "ik_calibrator"), CURVE, "monotone"),
        (("tiers", 0, "score_model", "calibrator"), CURVE, "monotone"),
        (("tiers", 0, "score_model", "calibrator", "kind"), "spline", "use one of platt, isotonic"),
        (("tiers", 0, "dimension"), 23, "tier 0"),
        (("tiers", 0, "dimension"), 0, "at least one dimension"),
        (("tiers", 0, "probe"), "mlp", "is missing"),
        (("tiers", 0, "ood"), False, "makes only"),
        (("tiers", 0, "validation_auroc"), 1.5, "validation_auroc"),
        (("tiers", 0, "fingerprint", "layer"), "12", "layer"),
        (("cascade",), "", "name the cascade"),
        (("created_at",), "2026-03-01T00:00:00", "naive"),
        (("rows", "train"), -1, "at least 0"),
        (("surprise",), 1, "surprise"),
    ],
)
def test_a_document_whose_parts_do_not_hold_is_refused(
    bundle: Bundle, path: tuple[str | int, ...], value: object, message: str
) -> None:
    tensors, document = parts(bundle)
    with pytest.raises(BundleRefused, match=message):
        read_bundle(file_of(tensors, set_in(document, path, value)))


@pytest.mark.parametrize("field", ["cascade", "models", "tiers", "policy", "code_version", "created_at"])
def test_a_document_without_a_required_field_is_refused(bundle: Bundle, field: str) -> None:
    tensors, document = parts(bundle)
    del document[field]
    with pytest.raises(BundleRefused, match=f"{field} is 'missing'"):
        read_bundle(file_of(tensors, document))


def test_a_document_that_is_not_canonical_is_refused(bundle: Bundle) -> None:
    tensors, document = parts(bundle)
    twice = codec.canonical(document).decode().replace('{"cascade"', '{"cascade":"other","cascade"', 1)
    for text in (json.dumps(document), twice, "[]", "null", "{", "[" * 100_000, ""):
        with pytest.raises(BundleRefused):
            read_bundle(file_of(tensors, text))


def test_components_that_are_not_orthonormal_are_refused(bundle: Bundle) -> None:
    tensors, document = parts(bundle)
    tensors["tier/0/ood/components"] = tensors["tier/0/ood/components"] * np.float32(1.1)
    with pytest.raises(BundleRefused, match="orthonormal"):
        read_bundle(file_of(tensors, document))


def test_a_refusal_is_never_shown_as_an_invalid_record(bundle: Bundle) -> None:
    tensors, document = parts(bundle)
    tensors["tier/0/standardiser/scale"] = np.zeros(24, dtype=np.float32)
    with pytest.raises(BundleRefused, match="above 0") as refusal:
        read_bundle(file_of(tensors, document))
    assert isinstance(refusal.value.__cause__, RecordInvalid)


def test_a_policy_asks_only_for_signals_that_its_tier_makes(
    tier_models: Callable[..., TierModels], bundle_document: Callable[..., BundleDocument]
) -> None:
    plain = tier_models(ood=False)
    blind = replace(plain, document=replace(plain.document, score_model=None))
    for models, policy in [
        (plain, Policy.of(PolicyKind.GATES, ({"p_ik": 0.5, "p_t": 0.5, "ood": 0.9},))),
        (blind, Policy.of(PolicyKind.SCORE, ({"score": 0.5},))),
        (None, Policy.of(PolicyKind.P_IK, ({"p_ik": 0.5},))),
    ]:
        with pytest.raises(RecordInvalid, match="tier 0 makes only"):
            bundle_document((models,), policy=policy)
        fallback = replace(policy, fallback=None)
        escalating = Policy(kind=PolicyKind.ESCALATE_ALL, rules=(None,), fallback=fallback)
        with pytest.raises(RecordInvalid, match=r"policy\.fallback"):
            bundle_document((models,), policy=escalating)


@settings(max_examples=400)
@given(st.data())
def test_flipped_bytes_are_refused_or_read_identically(shared_bundle: Bundle, data: st.DataObject) -> None:
    content = bytearray(shared_bundle.content)
    header = int.from_bytes(content[:8], "little") + 8
    # Half the flips land in the header and document, where they do more than change a number.
    places = st.integers(0, header - 1) | st.integers(0, len(content) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=4)):
        content[place] ^= data.draw(st.integers(1, 255))
    spoilt = bytes(content)
    if spoilt != shared_bundle.content:
        with pytest.raises(BundleRefused):
            read_bundle(spoilt, expected_id=shared_bundle.id)
    try:
        read = read_bundle(spoilt)
    except BundleRefused as refusal:
        assert str(refusal)
    else:
        assert read.id == hashlib.sha256(spoilt).hexdigest()
        assert write_bundle(read.document, read.tiers).id == read.id


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(BundleRefused):
        read_bundle(content)
    with pytest.raises(BundleRefused):
        read_bundle(len(content).to_bytes(8, "little") + content)


@pytest.mark.parametrize("spelling", [b"2026-03-01 00:00:00+00:00", b"2026-03-01T00:00:00-00:00"])
def test_a_time_in_another_spelling_is_refused(bundle: Bundle, spelling: bytes) -> None:
    spoilt = bundle.content.replace(b"2026-03-01T00:00:00+00:00", spelling)
    assert spoilt != bundle.content
    with pytest.raises(BundleRefused, match="created_at"):
        read_bundle(spoilt)
