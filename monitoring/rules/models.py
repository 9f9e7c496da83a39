"""Whether the models that ran are those that the cascade declares: a count per tier and model, put
to the rule.

Figures and the two alarms count such attempts like any other, since they speak of what was served.
What is taught and certified speaks of the declared models, and leaves them out.
"""

from collections import Counter

from monitoring.figures.tier_figures import undeclared_attempts
from monitoring.rows.cohorts import Cohort
from monitoring.rules.rules import Assessment
from monitoring.rules.service_rules import assess_models


def assess_cohort_models(cohort: Cohort) -> Assessment:
    """The assessment of one window's attempts."""
    tiers = cohort.spec.tiers
    undeclared = cohort.attempts[undeclared_attempts(cohort.spec, cohort.attempts)]
    counts: Counter[tuple[str, str, str]] = Counter()
    for tier, model, revision in zip(undeclared["tier"], undeclared["model"], undeclared["revision"], strict=True):
        declared = tiers[tier]
        same = model == declared.named_model
        key = (
            declared.name,
            f"{model}@{revision}" if same else str(model),
            f"{declared.named_model}@{declared.revision}" if same else declared.named_model,
        )
        counts[key] += 1
    return assess_models(len(cohort.attempts), counts)
