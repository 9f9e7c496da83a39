"""Whatever the models of a bundle raise costs the signals, and the query goes to the next tier."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from knowgate._bundles.bundle import write_bundle
from knowgate._records.observation import Observation
from knowgate._records.records import Action, Reason
from knowgate._serving.cascade import Cascade
from knowgate.policy import Policy, PolicyKind

Make = Callable[..., Any]


class Broken:
    """A calibrator that cannot do its sum."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def probability(self, logit: float) -> float:
        raise self.error


@pytest.mark.parametrize(
    "error", [OverflowError("too large"), ZeroDivisionError("by zero"), FloatingPointError("inexact"), ValueError("no")]
)
@pytest.mark.parametrize(
    "thresholds", [{"p_ik": 0.0, "p_t": 0.0, "ood": 1.0}, {"p_ik": 0.0}], ids=["all gates", "the probe alone"]
)
def test_an_arithmetic_error_of_the_models_escalates_and_is_noted(
    bundle_document: Make,
    tier_models: Make,
    pair: Make,
    hidden: Make,
    fingerprint: Make,
    now: datetime,
    error: Exception,
    thresholds: dict[str, float],
) -> None:
    models = tier_models()
    kind = PolicyKind.P_IK if len(thresholds) == 1 else PolicyKind.GATES
    bundle = write_bundle(bundle_document((models,), policy=Policy.of(kind, (thresholds,))), (models,))
    seen = {"p_t": 0.99, "hidden": hidden(), "fingerprint": fingerprint(), "tokens_in": 20}
    assert Cascade("questions", pair(bundle), clock=lambda: now).decide(Observation(**seen)).retained
    poisoned = replace(models, document=replace(models.document))
    object.__setattr__(poisoned.document, "ik_calibrator", Broken(error))  # no document would take it
    ruling = Cascade("questions", pair(replace(bundle, tiers=(poisoned,))), clock=lambda: now)
    made = ruling.decide(Observation(**seen))
    assert (made.verdict.action, made.verdict.reason) == (Action.ESCALATE, Reason.MISSING_SIGNAL)
    assert made.signals.p_t == 0.99 and made.signals.p_ik is None
    assert f"the signals could not be computed: {error}" in (made.note or "")
