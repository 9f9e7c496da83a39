"""What a bundle's document may say, and at which number it may not any more."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from factories import make_certificate, make_comparison
from knowgate._bundles.bundle_documents import (
    BundleDocument,
)
from knowgate._records.records import PTKind
from knowgate.errors import BundleRefused, RecordInvalid
from knowgate.policy import Policy, PolicyKind

DAY = datetime(2026, 3, 2, tzinfo=UTC)
INFINITE = (float("inf"), float("-inf"), float("nan"))
CERTIFICATE = make_certificate(n=0)
COMPARISON = make_comparison("a" * 64)
DOCUMENT = BundleDocument(
    cascade="quiz",
    models=("tiny", "huge"),
    tiers=(None,),
    policy=Policy.of(PolicyKind.P_T, ({"p_t": 0.5},)),
    code_version="1",
    created_at=DAY,
)


def require_refused(record: Any, name: str, value: object, said: str, field: str | None = None) -> None:
    with pytest.raises(RecordInvalid) as caught:
        replace(record, **{name: value})
    assert (caught.value.field, caught.value.cure) == (field or name, said)


@pytest.mark.parametrize("name", ["target_value", "delta", "delta_family"])
def test_levels_and_targets_lie_strictly_between_0_and_1(name: str) -> None:
    for value in (1e-12, 1.0 - 1e-12):
        assert getattr(replace(CERTIFICATE, **{name: value}), name) == value
    for value in (0.0, 1.0, -0.1, float("nan")):
        require_refused(CERTIFICATE, name, value, "lies strictly between 0 and 1")


def test_attempts_count_from_1_and_rows_from_0() -> None:
    said = "attempts count from 1, rows from 0"
    require_refused(CERTIFICATE, "attempt", 0, said)
    require_refused(CERTIFICATE, "n", -1, said)
    with pytest.raises(RecordInvalid, match="attempt is 0"):
        replace(CERTIFICATE, attempt=0, n=-1)


@pytest.mark.parametrize("name", ["estimated_drop", "drop_upper_bound", "savings", "savings_low", "savings_high"])
@pytest.mark.parametrize("value", INFINITE)
def test_a_figure_of_a_certificate_is_finite(name: str, value: float) -> None:
    assert getattr(replace(CERTIFICATE, **{name: -2.0}), name) == -2.0
    require_refused(CERTIFICATE, name, value, "a finite number is expected; leave it out when unknown")


@pytest.mark.parametrize("name", ["retained_share", "probe_auroc", "p_t_auroc", "score_auroc"])
def test_a_share_of_a_certificate_lies_in_0_to_1(name: str) -> None:
    assert [getattr(replace(CERTIFICATE, **{name: value}), name) for value in (0.0, 1.0, None)] == [0.0, 1.0, None]
    for value in (-0.01, 1.01, float("nan")):
        with pytest.raises(RecordInvalid, match=f"{name} is {value}"):
            replace(CERTIFICATE, **{name: value})


@pytest.mark.parametrize("name", ["estimated_drop", "drop_upper_bound", "savings_gain"])
@pytest.mark.parametrize("value", INFINITE)
def test_a_figure_of_a_comparison_is_finite(name: str, value: float) -> None:
    assert getattr(replace(COMPARISON, **{name: -0.5}), name) == -0.5
    require_refused(COMPARISON, name, value, "a finite number is expected; leave it out when unknown")


def test_a_document_fits_its_tiers() -> None:
    assert DOCUMENT.p_t_kinds == (PTKind.FIRST_TOKEN,)
    require_refused(DOCUMENT, "models", ("tiny",), "a cascade has at least two tiers")
    require_refused(DOCUMENT, "tiers", (None, None), "2 models have 1 non-last tiers")
    require_refused(DOCUMENT, "p_t_kinds", (PTKind.MEAN,) * 2, "give one for each of 1 non-last tiers")
    two = Policy.of(PolicyKind.P_T, ({"p_t": 0.5}, {"p_t": 0.5}))
    require_refused(DOCUMENT, "policy", two, "give the gates (or null) for each of 1 tiers", field="policy.rules")


def test_a_document_is_of_this_schema_has_a_cascade_and_a_time_with_an_offset() -> None:
    require_refused(DOCUMENT, "schema", "other", f"this runtime writes {DOCUMENT.schema}")
    require_refused(DOCUMENT, "cascade", "", "name the cascade")
    naive = DAY.replace(tzinfo=None)
    require_refused(DOCUMENT, "created_at", naive, "the time is naive; add its offset, e.g. Z")


def test_a_challenger_of_another_chain_does_not_stand_beside_a_champion(
    small_bundle: Callable[..., Any], pair: Callable[..., Any], bundle: Any
) -> None:
    champion = small_bundle()
    assert len(champion.document.tiers) == 1 and len(bundle.document.tiers) == 2
    with pytest.raises(BundleRefused, match="the challenger decides 2 tiers, the champion 1: train it anew"):
        pair(champion, bundle)
