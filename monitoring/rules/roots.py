"""Which alert may be the cause of which others: one cause must not give five messages.

What is named here is what usually follows from what, most fundamental first: a model that nobody
declared moves signals, signals that moved cost money and accuracy. It is a likely reading, not a
proof; every alert keeps its own cause and its own page.
"""

from collections.abc import Collection, Mapping

from monitoring.names import Rule

_ACCURACY = frozenset({Rule.MISCALIBRATED, Rule.OVERCONFIDENT, Rule.PROMISE_AT_RISK, Rule.RISK})
_COST = frozenset({Rule.SAVINGS, Rule.DEARER_THAN_LAST})
_SIGNALS = frozenset({Rule.CONSTANT_SIGNAL, Rule.MISSING_SIGNAL, Rule.DRIFT, Rule.OOD_CONSERVATIVENESS})

# In this order: of several that explain an alert the first is its root.
FOLLOWS_FROM: Mapping[Rule, frozenset[Rule]] = {
    Rule.UNDECLARED_MODEL: _SIGNALS | _ACCURACY | _COST,
    Rule.CONSTANT_SIGNAL: frozenset({Rule.DRIFT, Rule.OOD_CONSERVATIVENESS}) | _ACCURACY | _COST,
    Rule.MISSING_SIGNAL: frozenset({Rule.DRIFT}) | _COST,
    Rule.JUDGE_DRIFT: _ACCURACY,
    Rule.DRIFT: frozenset({Rule.OOD_CONSERVATIVENESS}) | _ACCURACY | _COST,
    Rule.OOD_CONSERVATIVENESS: _COST,
    Rule.OVERDUE_LABELS: frozenset({Rule.LABEL_STARVATION}),
    Rule.SILENT_RUNTIME: frozenset({Rule.STALE_RUNTIME, Rule.LATE_DECISIONS}),
    Rule.JOB_BEHIND: frozenset({Rule.UNDELIVERED}),
    Rule.RISK: frozenset({Rule.PROMISE_AT_RISK, Rule.OVERCONFIDENT}),
    Rule.MISCALIBRATED: frozenset({Rule.OVERCONFIDENT}),
    Rule.SAVINGS: frozenset({Rule.DEARER_THAN_LAST}),
}


def root_of(rule: Rule, present: Collection[Rule]) -> Rule | None:
    """The most fundamental of the present rules that explains `rule`; None where none does.

    >>> root_of(Rule.SAVINGS, {Rule.MISSING_SIGNAL, Rule.DRIFT, Rule.SAVINGS}).value
    'missing_signal'
    >>> root_of(Rule.MISSING_SIGNAL, {Rule.MISSING_SIGNAL, Rule.DRIFT}) is None
    True
    """
    return next((root for root, others in FOLLOWS_FROM.items() if rule in others and root in present), None)
