"""Whose labels a certificate rests on, counted on the rows that were tested."""

from collections import Counter
from collections.abc import Collection

from evidence.certification.known_outcomes import forecasts_left_out
from knowgate._bundles.bundle import LabelBasis
from knowgate._records.records import LabelSource
from training.certification.certify import Certified
from training.certification.outcomes import logged_rows
from training.rows.dataset import CascadeRows, Texts


def label_basis(certified: Certified, trusted: Collection[LabelSource]) -> LabelBasis:
    """What the certificate says of its labels."""
    rows, found = certified.rows, certified.certification
    return LabelBasis(
        trusted=tuple(source for source in LabelSource if source in trusted),
        labels=_counted(rows, [tier.sources for tier in rows.tiers]),
        forecasts=_counted(rows, [tier.forecast_sources for tier in rows.tiers]),
        rows_forecast=found.rows_forecast,
        forecast_share=found.forecast_share,
        forecasts_left_out=forecasts_left_out(logged_rows(rows)),
    )


def _counted(rows: CascadeRows, sources: list[Texts]) -> dict[str, int]:
    """Labels per source over all tiers of the rows."""
    counted = Counter(source for tier in sources for source in tier if source is not None)
    return {source.value: counted[source.value] for source in LabelSource if counted[source.value]}
