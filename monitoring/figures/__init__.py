"""Named figures of a cohort, with intervals."""
