"""A P(T) of another kind than the thresholds are for is kept as seen, compared with nothing, and
escalates.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from factories import Kept
from knowgate._bundles.bundle import Bundle, read_bundle, read_document, write_bundle
from knowgate._records.observation import Observation
from knowgate._records.records import Attempt, Decision, PTKind, Reason, Signals
from knowgate._serving.cascade import Cascade
from knowgate._wire import codec
from knowgate.errors import BundleRefused, RecordInvalid
from knowgate.policy import Policy, PolicyKind, decide

Make = Callable[..., Any]
MISMATCH = Reason.P_T_KIND_MISMATCH


@pytest.fixture
def cascade_of(tier_models: Make, bundle_document: Make, pair: Make, key: bytes, now: Any) -> Make:
    def made(policy: Policy, *, probe: bool = True, **options: Any) -> Cascade:
        tiers = (tier_models() if probe else None,)
        bundle = write_bundle(bundle_document(tiers, policy=policy, p_t_kinds=(PTKind.MEAN,)), tiers)
        return Cascade("questions", pair(bundle), hash_key=key, clock=lambda: now, **options)

    return made


P_T = Policy.of(PolicyKind.P_T, ({"p_t": 0.5},))
GATES = Policy.of(PolicyKind.GATES, ({"p_ik": 0.0, "p_t": 0.5, "ood": 1.0},), fallback=P_T)


@pytest.mark.parametrize("kind", [PTKind.MEAN, "mean", None])
def test_the_bundles_kind_and_none_said_are_compared(cascade_of: Make, kind: Any) -> None:
    ruling = cascade_of(P_T).decide(Observation(p_t=0.9, p_t_kind=kind))
    assert (ruling.retained, ruling.fault) == (True, None)


@pytest.mark.parametrize("policy", [P_T, GATES], ids=["p_t", "gates"])
@pytest.mark.parametrize("probe", [True, False], ids=["probe", "no probe"])
def test_another_kind_escalates_with_its_reason(cascade_of: Make, policy: Policy, probe: bool) -> None:
    policy = policy if probe else P_T
    ruling = cascade_of(policy, probe=probe).decide(Observation(p_t=0.99, p_t_kind=PTKind.FIRST_TOKEN))
    assert (ruling.retained, ruling.verdict.reason, ruling.fault) == (False, MISMATCH, MISMATCH)
    assert ruling.signals.p_t == 0.99  # as seen
    assert all(gate.value is None for gate in ruling.verdict.gates if gate.gate is Reason.P_T)
    assert "first_token: the bundle's thresholds are for mean" in (ruling.note or "")


def test_gates_that_do_not_look_at_p_t_go_on(cascade_of: Make, hidden: Make, fingerprint: Make) -> None:
    cascade = cascade_of(Policy.of(PolicyKind.P_IK, ({"p_ik": 0.0},)))
    ruling = cascade.decide(
        Observation(p_t=0.1, p_t_kind="option", hidden=hidden(), fingerprint=fingerprint(), tokens_in=9)
    )
    assert (ruling.retained, ruling.fault) == (True, MISMATCH)
    assert ruling.signals.score is None  # it would have looked at P(T)


def test_a_kind_that_is_none_leaves_p_t_out(cascade_of: Make) -> None:
    ruling = cascade_of(P_T).decide(Observation(p_t=0.99, p_t_kind="median"))
    assert (ruling.signals.p_t, ruling.verdict.reason) == (None, Reason.MISSING_SIGNAL)
    assert "'median'" in (ruling.note or "")


def test_both_mismatches_take_their_own_signals_away(cascade_of: Make, hidden: Make, fingerprint: Make) -> None:
    foreign = fingerprint(model="another")
    ruling = cascade_of(GATES).decide(Observation(p_t=0.99, p_t_kind="option", hidden=hidden(), fingerprint=foreign))
    assert (ruling.retained, ruling.fault, ruling.signals.p_ik) == (False, MISMATCH, None)


def test_the_attempt_carries_kind_and_value_and_replays(cascade_of: Make) -> None:
    kept = Kept()
    cascade = cascade_of(P_T, spool=kept)
    with cascade.open() as query:
        query.attempt(Observation(p_t=0.99, p_t_kind="first_token", entropy=0.2, margin=0.9))
        query.attempt(Observation(p_t=0.8))
    first, last = kept.attempts
    assert (first.p_t_kind, first.signals.p_t, first.margin, last.p_t_kind) == (PTKind.FIRST_TOKEN, 0.99, 0.9, None)
    assert codec.decode(Decision, codec.parse(codec.canonical(kept.rows[0][0]))) == kept.rows[0][0]
    assert decide(P_T, first.signals, fault=first.fault) == first.verdict


def test_a_mismatch_before_any_bundle_is_no_mismatch() -> None:
    assert Cascade("questions").decide(Observation(p_t=0.9, p_t_kind="mean")).fault is Reason.NO_BUNDLE


def test_a_bundle_names_a_kind_per_tier(bundle: Bundle, bundle_document: Make) -> None:
    assert bundle.document.p_t_kinds == (PTKind.FIRST_TOKEN,) * 2
    with pytest.raises(RecordInvalid, match="p_t_kinds is 1"):
        bundle_document((None, None), p_t_kinds=(PTKind.MEAN,), policy=Policy.of(PolicyKind.P_T, (None, None)))


def test_an_attempt_of_before_is_read_without_a_kind() -> None:
    document = codec.encode(Attempt(tier=0, role="served", model="m", signals=Signals(p_t=0.5)))
    del document["p_t_kind"]
    assert codec.decode(Attempt, document).p_t_kind is None


def test_a_bundle_file_of_the_version_before_is_read_as_of_the_first_token(bundle: Bundle) -> None:
    from safetensors.numpy import load, save

    document = codec.encode(bundle.document)
    for name in ("p_t_kinds", "comparison"):
        del document[name]
    document["schema"] = "knowgate.bundle.v1"
    text = codec.canonical(document).decode()
    old = read_bundle(save(load(bundle.content), metadata={"document": text}))
    assert old.document == replace(bundle.document) == read_document(text)
    with pytest.raises(BundleRefused, match="newer than this runtime"):
        read_document(codec.canonical(document | {"schema": "knowgate.bundle.v1.9"}))
