"""Of alerts that are there together the most fundamental is the root of the others."""

import pytest

from monitoring.names import Rule
from monitoring.rules.roots import FOLLOWS_FROM, root_of


@pytest.mark.parametrize(
    ("rule", "present", "root"),
    [
        (Rule.SAVINGS, {Rule.DRIFT, Rule.OOD_CONSERVATIVENESS}, Rule.DRIFT),
        (Rule.SAVINGS, {Rule.OVERDUE_LABELS}, None),
        (Rule.RISK, {Rule.UNDECLARED_MODEL, Rule.DRIFT}, Rule.UNDECLARED_MODEL),
        (Rule.RISK, {Rule.MISSING_SIGNAL}, None),  # what is missing escalates: it costs money alone
        (Rule.DRIFT, {Rule.DRIFT, Rule.RISK, Rule.SAVINGS}, None),
        (Rule.LABEL_STARVATION, {Rule.OVERDUE_LABELS}, Rule.OVERDUE_LABELS),
    ],
)
def test_the_most_fundamental_explains_the_others(rule, present, root):
    assert root_of(rule, present) is root


def test_nothing_is_its_own_cause_in_however_many_steps():
    order = list(FOLLOWS_FROM)
    for root, others in FOLLOWS_FROM.items():
        assert all(order.index(root) < order.index(rule) for rule in others if rule in FOLLOWS_FROM), root


def test_every_root_is_a_root_of_all_that_follow():
    """A root that is there has no root beside it whose other consequences it would hide."""
    for rule in Rule:
        root = root_of(rule, set(Rule))
        assert root is None or root_of(root, set(Rule)) is None
