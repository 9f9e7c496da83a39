"""What a bundle would have done with a window: routes, savings, and accuracy with what the labels
permit.
"""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from evidence.errors import InvalidInputError
from factories import make_fingerprint
from knowgate import LinearProbe, Platt, ProbeKind, Standardiser, TierDocument, TierModels, write_bundle
from knowgate._bundles.bundle_documents import BundleDocument
from knowgate._records.records import Reason
from knowgate.policy import Policy, PolicyKind
from monitoring.alarms.what_if import what_if


def of_policy(cast, kind, *gates, tiers=None):
    tiers = (None,) * len(gates) if tiers is None else tiers
    document = BundleDocument(
        cascade="cities",
        models=("small-model", *["middle-model"] * (len(gates) - 1), "large-model"),
        tiers=tuple(None if models is None else models.document for models in tiers),
        policy=Policy.of(kind, gates),
        code_version="test",
        created_at=cast.DAY,
    )
    return write_bundle(document, tiers)


def probing():
    """The models of a tier whose probe reads a hidden state."""
    document = TierDocument(
        fingerprint=make_fingerprint(model="small-model", layer=1),
        probe=ProbeKind.LINEAR,
        dimension=2,
        ik_calibrator=Platt(slope=1.0, intercept=0.0),
        ood=False,
    )
    plain = Standardiser(mean=np.zeros(2, dtype=np.float32), scale=np.ones(2, dtype=np.float32))
    probe = LinearProbe(weight=np.array([1, 0], dtype=np.float32), bias=0.0)
    return TierModels(document=document, standardiser=plain, probe=probe, ood=None)


def of_threshold(cast, threshold):
    return of_policy(cast, PolicyKind.P_T, {"p_t": threshold})


def traffic(cast, *, n=200, kept_from=0.8, wrong_below=0.5):
    """Kept from a P(T) on, and all explored: the small tier is wrong below another one."""
    for number in range(n):
        p_t = (number + 0.5) / n
        kept = p_t >= kept_from
        yield cast.Asked(
            at=cast.DAY + timedelta(days=number / n),
            reason=None if kept else Reason.P_T,
            explored=kept,
            p_t=p_t,
            small=float(p_t >= wrong_below),
            large=1.0,
        )


def test_routes_savings_and_accuracy_are_those_of_the_bundle(cast, cohort):
    seen = cohort(list(traffic(cast)))
    bold = what_if(seen, of_threshold(cast, 0.25))
    assert (bold.decisions, bold.compared) == (200, 200)
    assert (bold.kept_share, bold.would_keep_share) == (pytest.approx(0.2), pytest.approx(0.75))
    # A query costs 1 at the small tier and 10 at the large one.
    assert (bold.savings_usd, bold.would_save_usd) == (pytest.approx(0.1), pytest.approx(0.65))
    assert bold.changed == len(bold.routes) == 110
    assert {(route.served, route.would_serve) for route in bold.routes} == {(1, 0)}
    change = bold.accuracy_change  # right everywhere before; wrong from 0.25 to 0.5 now
    assert change.value == pytest.approx(-0.25) and change.known == 110
    assert change.lower is not None and change.upper is not None
    assert -0.35 < change.lower < -0.25 < change.upper < -0.15
    same = what_if(seen, of_threshold(cast, 0.8))
    assert (same.changed, same.accuracy_change.value, same.accuracy_change.lower) == (0, 0.0, 0.0)


def test_a_label_that_is_owed_counts_as_either(cast, cohort):
    asked = [replace(one, small=None) if at % 2 else one for at, one in enumerate(traffic(cast))]
    change = what_if(cohort(asked), of_threshold(cast, 0.25)).accuracy_change
    assert change.known == 55 and change.value == pytest.approx(-0.25, abs=0.02)
    assert change.lower is not None and change.upper is not None
    assert change.lower < -0.4 and change.upper > 0.1, "half of the 55 % that changed may be either"
    nothing = [replace(one, small=None, large=None) for one in traffic(cast)]
    change = what_if(cohort(nothing), of_threshold(cast, 0.25)).accuracy_change
    assert change.value is None and change.why_not is not None


@pytest.mark.slow
def test_a_coin_that_showed_some_rows_speaks_for_all(cast, cohort):
    rng = np.random.default_rng(5)
    asked = [
        one if one.reason is not None or rng.random() < 0.5 else replace(one, explored=False, large=None)
        for one in traffic(cast, n=2000, kept_from=0.2)
    ]
    cautious = what_if(cohort(asked), of_threshold(cast, 0.5)).accuracy_change
    # Wrong from 0.2 to 0.5 before, right now; half of these rows were explored.
    assert cautious.lower is not None and cautious.upper is not None and cautious.value is not None
    assert cautious.value == pytest.approx(0.3, abs=0.01) and cautious.lower < 0.3 <= cautious.upper + 1e-9
    assert 200 < cautious.known < 400


def test_routes_that_nobody_knows_are_left_out_and_counted(cast, cohort):
    seen = cohort(list(traffic(cast)))
    with pytest.raises(InvalidInputError, match="no decision of the window shows"):
        what_if(seen, of_policy(cast, PolicyKind.P_IK, {"p_ik": 0.5}, tiers=(probing(),)))
    with pytest.raises(InvalidInputError, match="another chain"):
        what_if(seen, of_policy(cast, PolicyKind.P_T, {"p_t": 0.5}, {"p_t": 0.5}))
    with pytest.raises(InvalidInputError, match="no decision in the window"):
        what_if(cohort([]), of_threshold(cast, 0.5))
