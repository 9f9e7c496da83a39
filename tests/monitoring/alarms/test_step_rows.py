"""What a step of a rollout is judged by: in the shadow all decisions, then those of its own."""

from dataclasses import replace
from datetime import timedelta

import pytest

from evidence.certification.step import StepDemand
from knowgate import write_bundle
from knowgate._bundles.bundle_documents import BundleDocument
from knowgate._records.records import Reason, Window
from knowgate.policy import Policy, PolicyKind
from knowgate.spec import TargetKind, Targets
from monitoring.alarms.step_looks import StepLook, look_is_due
from monitoring.alarms.step_rows import look_at_step

DROP = Targets(kind=TargetKind.MAX_ACCURACY_DROP, value=0.05, delta=0.1)
RETAINED = Targets(kind=TargetKind.RETAINED_ACCURACY, value=0.9, delta=0.1)


def of_threshold(cast, threshold):
    document = BundleDocument(
        cascade="cities",
        models=("small-model", "large-model"),
        tiers=(None,),
        policy=Policy.of(PolicyKind.P_T, ({"p_t": threshold},)),
        code_version="test",
        created_at=cast.DAY,
    )
    return write_bundle(document, (None,))


def traffic(cast, n, **changes):
    """Every query went to the last tier; the small one is wrong where its P(T) is below 0.5."""
    for number in range(n):
        p_t = (number + 0.5) / n
        asked = cast.Asked(
            at=cast.DAY + timedelta(minutes=number), reason=Reason.P_T, p_t=p_t, small=float(p_t >= 0.5), large=1.0
        )
        yield replace(asked, **changes)


def look(cast, cohort, bundle, *, decides=False, level=0.05):
    return look_at_step(cohort, bundle, decides=decides, look=1, level=level, at=cast.DAY)


def test_in_the_shadow_its_own_policy_is_asked_again(cast, cohort):
    seen = cohort(list(traffic(cast, 200)), targets=DROP)
    good, harmful = look(cast, seen, of_threshold(cast, 0.5)), look(cast, seen, of_threshold(cast, 0.1))
    assert (good.n, good.estimate, good.keeps, good.broken) == (200, 0.0, True, False)
    assert (harmful.estimate, harmful.keeps, harmful.broken) == (pytest.approx(0.4), False, True)


@pytest.mark.parametrize("targets", [DROP, RETAINED])
def test_where_it_decides_a_share_only_what_it_decided_counts_as_it_decided_it(cast, cohort, targets):
    challenger, champion = of_threshold(cast, 0.0), of_threshold(cast, 0.5)
    own = list(traffic(cast, 100, reason=None, explored=True, run_propensity=1.0, bundle=challenger.id, small=0.5))
    others = [replace(asked, bundle=champion.id, reason=Reason.P_T) for asked in traffic(cast, 300)]
    seen = look(cast, cohort([*own, *others], targets=targets), challenger, decides=True)
    assert (seen.decisions, seen.n) == (100, 100)
    assert seen.estimate == pytest.approx(0.5) or targets is RETAINED
    assert not seen.keeps and seen.broken
    assert look(cast, cohort(others, targets=targets), challenger, decides=True).n == 0


def test_what_nobody_labelled_neither_lets_it_on_nor_accuses_it(cast, cohort):
    challenger = of_threshold(cast, 0.0)
    kept = {"reason": None, "explored": True, "run_propensity": 1.0, "bundle": challenger.id}
    labelled = list(traffic(cast, 20, small=1.0, **kept))
    unlabelled = [replace(one, small=None, large=None) for one in traffic(cast, 80, **kept)]
    seen = look(cast, cohort([*labelled, *unlabelled], targets=DROP), challenger, decides=True)
    assert (seen.n, seen.keeps, seen.broken) == (100, False, False)
    assert seen.estimate == pytest.approx(0.8)


def test_a_bundle_of_another_chain_and_decisions_without_any_label_show_nothing(cast, cohort):
    longer = BundleDocument(
        cascade="cities",
        models=("small-model", "middle", "large-model"),
        tiers=(None, None),
        policy=Policy.of(PolicyKind.P_T, ({"p_t": 0.5}, {"p_t": 0.5})),
        code_version="test",
        created_at=cast.DAY,
    )
    seen = cohort(list(traffic(cast, 50)), targets=DROP)
    assert look(cast, seen, write_bundle(longer, (None, None))).n == 0
    unlabelled = cohort([replace(one, small=None, large=None) for one in traffic(cast, 50)], targets=DROP)
    assert look(cast, unlabelled, of_threshold(cast, 0.5)).estimate is None


def test_a_look_is_due_when_there_is_more_to_see_and_when_time_is_up(cast):
    demand = StepDemand(least=200, lasts_until=cast.DAY + timedelta(days=1), deadline=cast.DAY + timedelta(days=7))
    seen = StepLook(
        at=cast.DAY,
        window=Window(start=cast.DAY, end=cast.DAY + timedelta(days=1)),
        decisions=100,
        look=1,
        level=0.1,
        n=50,
    )

    def due(decisions, hours=1.0):
        return look_is_due(seen, decisions, demand, now=cast.DAY + timedelta(hours=hours))

    assert not due(100, 200) and not due(199) and due(200)
    assert due(101, 24) and due(101, 7 * 24), "the step's time, or its deadline, is over"
    nearly = replace(seen, n=190)
    assert look_is_due(nearly, 106, demand, now=cast.DAY + timedelta(hours=1)), "as many as it needs, by its rate"
