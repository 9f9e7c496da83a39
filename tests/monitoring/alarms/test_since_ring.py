"""What a bundle would have lost on decisions that something else made: its own verdicts,
certification's test.
"""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from knowgate import write_bundle
from knowgate._bundles.bundle_documents import BundleDocument
from knowgate._records.records import PTKind, Reason
from knowgate.policy import Policy, PolicyKind
from knowgate.spec import TargetKind, Targets
from monitoring.alarms.looks import SinceRing, next_look, next_window
from monitoring.alarms.since_ring import look_since_ring

DROP = Targets(kind=TargetKind.MAX_ACCURACY_DROP, value=0.05, delta=0.1)


def of_threshold(cast, threshold, **changes):
    document = BundleDocument(
        cascade="cities",
        models=("small-model", "large-model"),
        tiers=(None,),
        policy=Policy.of(PolicyKind.P_T, ({"p_t": threshold},)),
        code_version="test",
        created_at=cast.DAY,
    )
    return write_bundle(replace(document, **changes), (None,))


def stopped_traffic(cast, *, n=400, wrong_between=(0.5, 0.7)):
    """Every query escalated, so both tiers ran; the small one is wrong where its P(T) lies in the
    middle.
    """
    for number in range(n):
        p_t = (number + 0.5) / n
        yield cast.Asked(
            at=cast.DAY + timedelta(minutes=number),
            reason=Reason.ESCALATE_ALL,
            p_t=p_t,
            small=0.0 if wrong_between[0] <= p_t < wrong_between[1] else 1.0,
            large=1.0,
        )


def look(cast, cohort, bundle, level=0.1):
    return look_since_ring(cohort, bundle, rang_at=cast.DAY, look=1, level=level)


def test_a_bundle_is_judged_on_what_it_would_have_kept(cast, cohort):
    seen = cohort(list(stopped_traffic(cast)), targets=DROP)
    bold, cautious = look(cast, seen, of_threshold(cast, 0.5)), look(cast, seen, of_threshold(cast, 0.7))
    assert (bold.n, bold.estimate, bold.shown, bold.broken) == (400, pytest.approx(0.2), False, True)
    assert (cautious.estimate, cautious.shown, cautious.broken) == (0.0, True, False)


@pytest.mark.parametrize("place", [0, 10, 19])
def test_nothing_is_estimated_without_one_verdict_on_the_last_tier(cast, cohort, place):
    asked = [
        cast.Asked(at=cast.DAY + timedelta(minutes=number), reason=Reason.ESCALATE_ALL, p_t=0.9, small=1.0)
        for number in range(20)
    ]
    bundle = of_threshold(cast, 0.5)
    without = look(cast, cohort(asked, targets=DROP), bundle)
    assert (without.decisions, without.n, without.estimate, without.shown) == (20, 0, None, False)
    assert look(cast, cohort([], targets=DROP), bundle).estimate is None
    asked[place] = replace(asked[place], large=1.0)
    assert look(cast, cohort(asked, targets=DROP), bundle).estimate is not None


def test_an_estimate_below_the_target_shows_nothing_on_few_decisions(cast, cohort):
    few = look(cast, cohort(list(stopped_traffic(cast, n=20)), targets=DROP), of_threshold(cast, 0.7))
    assert (few.estimate, few.shown, few.broken) == (0.0, False, False)


def test_what_nobody_labelled_counts_as_wrong(cast, cohort):
    asked = [replace(one, small=None, large=None) if n % 4 else one for n, one in enumerate(stopped_traffic(cast))]
    seen = look(cast, cohort(asked, targets=DROP), of_threshold(cast, 0.7))
    assert seen.estimate == pytest.approx(0.3 * 0.75, abs=0.01) and seen.broken


def test_explored_rows_count_by_their_coin(cast, cohort):
    rng = np.random.default_rng(3)
    asked = [
        replace(one, reason=None, explored=bool(rng.random() < 0.5), large=1.0)
        for one in stopped_traffic(cast, n=1200, wrong_between=(0.8, 1.0))
    ]
    asked = [one if one.explored else replace(one, large=None) for one in asked]
    seen = look(cast, cohort(asked, targets=DROP), of_threshold(cast, 0.6))
    assert seen.estimate == pytest.approx(0.2, abs=0.04) and seen.broken and 500 < seen.n < 700


def test_labels_drawn_by_a_coin_weigh_and_the_rest_is_left_out(cast, cohort):
    rng = np.random.default_rng(4)
    asked = [
        replace(one, label_propensity=0.5) if rng.random() < 0.5 else replace(one, small=None, large=None)
        for one in stopped_traffic(cast, n=1200)
    ]
    seen = look(cast, cohort(asked, targets=DROP), of_threshold(cast, 0.7))
    assert seen.shown and seen.estimate == 0.0 and 500 < seen.n < 700


def test_a_p_t_of_another_kind_is_none_of_its_own_so_it_would_have_kept_nothing(cast, cohort):
    seen = cohort(list(stopped_traffic(cast)), targets=DROP)
    other = look(cast, seen, of_threshold(cast, 0.5, p_t_kinds=(PTKind.MEAN,)))
    assert (other.estimate, other.shown) == (0.0, True)


def test_retained_accuracy_is_tested_as_it_is_certified(cast, cohort):
    targets = Targets(kind=TargetKind.RETAINED_ACCURACY, value=0.9, delta=0.1)
    seen = cohort(list(stopped_traffic(cast)), targets=targets)
    bold, cautious = look(cast, seen, of_threshold(cast, 0.5)), look(cast, seen, of_threshold(cast, 0.7))
    assert (bold.estimate, bold.shown, bold.broken) == (pytest.approx(0.6), False, True)
    assert (cautious.estimate, cautious.shown, cautious.broken) == (1.0, True, False)


def test_a_bundle_of_another_chain_is_never_shown(cast, cohort):
    policy = Policy.of(PolicyKind.P_T, ({"p_t": 0.7}, {"p_t": 0.7}))
    bundle = write_bundle(
        replace(
            of_threshold(cast, 0.7).document, models=("a", "b", "c"), tiers=(None, None), policy=policy, p_t_kinds=()
        ),
        (None, None),
    )
    seen = look(cast, cohort(list(stopped_traffic(cast)), targets=DROP), bundle)
    assert (seen.estimate, seen.shown, seen.broken) == (None, False, False)


def test_answers_of_a_model_that_is_not_declared_tell_nothing(cast, cohort):
    spec = cast.spec_of()
    tiers = (replace(spec.tiers[0], model="another"), spec.tiers[1])
    seen = look(cast, cohort(list(stopped_traffic(cast)), targets=DROP, tiers=tiers), of_threshold(cast, 0.7))
    assert (seen.n, seen.estimate, seen.shown) == (0, None, False)
    tiers = (spec.tiers[0], replace(spec.tiers[1], model="another"))
    seen = look(cast, cohort(list(stopped_traffic(cast)), targets=DROP, tiers=tiers), of_threshold(cast, 0.7))
    assert not seen.shown


def a_look(cast, *, estimate, decisions=100, number=1):
    return SinceRing(
        rang_at=cast.DAY,
        window=replace(a_window(cast), end=cast.DAY + timedelta(hours=5)),
        decisions=decisions,
        look=number,
        level=0.01,
        target=TargetKind.MAX_ACCURACY_DROP,
        target_value=0.05,
        n=decisions,
        estimate=estimate,
    )


def a_window(cast):
    window = next_window(cast.DAY, None, cast.DAY + timedelta(hours=5))
    assert window is not None
    return window


def test_a_look_that_shows_too_little_is_followed_by_one_on_twice_as_many(cast):
    last = a_look(cast, estimate=0.01)
    window = next_window(cast.DAY, last, cast.DAY + timedelta(hours=6))
    assert window is not None and window.start == cast.DAY
    assert next_look(last, 199, 0.1) is None
    number, level = next_look(last, 200, 0.1)
    assert number == 2 and level == pytest.approx(6 * 0.1 / (np.pi**2 * 4))


def test_a_look_that_shows_the_promise_broken_is_where_the_next_begins(cast):
    last = a_look(cast, estimate=0.3, decisions=5000)
    assert next_window(cast.DAY, last, last.window.end + timedelta(hours=23)) is None
    window = next_window(cast.DAY, last, last.window.end + timedelta(hours=25))
    assert window is not None and window.start == last.window.end
    assert next_look(last, 99, 0.1) is None and next_look(last, 100, 0.1) is not None


def test_nothing_is_old_enough_right_after_the_ring(cast):
    assert next_window(cast.DAY, None, cast.DAY) is None
