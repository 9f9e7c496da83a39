"""Rivals that want an environment of their own; run by the Python of one that has them and nothing
of ours.

    PYTHON benchmarks/alarms/elsewhere.py river|nannyml

reads a line per stream, the path of an .npz with `at` [n] (days since the first, in order), `value`
[n] and `healthy_days`, and answers each with a JSON list of the days at which it rings.
"""

# mypy: ignore-errors
import json
import os
import sys
import warnings

import numpy as np


def by_river(at, value, healthy_days):
    """Page–Hinkley with its defaults, on single values."""
    from river.drift import PageHinkley

    detector, rings = PageHinkley(mode="up"), []
    for when, one in zip(at.tolist(), value.tolist(), strict=True):
        detector.update(one)
        if detector.drift_detected:
            rings.append(when)
    return rings


def by_nannyml(at, value, healthy_days):
    """Ends of the days whose mean lies above NannyML's default threshold, three standard deviations
    of the healthy days' means.
    """
    os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"  # it reports its use otherwise
    import nannyml
    import pandas as pd

    first = pd.Timestamp("2026-03-02")
    table = pd.DataFrame({"at": first + pd.to_timedelta(at, unit="D"), "value": value})
    means = nannyml.SummaryStatsAvgCalculator(column_names=["value"], timestamp_column_name="at", chunk_period="D")
    means.fit(table[at < healthy_days])
    days = means.calculate(table[at >= healthy_days]).filter(period="analysis").to_df()
    beyond = days[("value", "value")] > days[("value", "upper_threshold")]
    starts = pd.to_datetime(days.loc[beyond, ("chunk", "start_date")])
    return [float((start.normalize() - first).days + 1) for start in starts]


def main(rival):
    warnings.simplefilter("ignore")
    ring = {"river": by_river, "nannyml": by_nannyml}[rival]
    for line in sys.stdin:
        with np.load(line.strip()) as stream:
            rings = ring(stream["at"], stream["value"], int(stream["healthy_days"]))
        sys.stdout.write(json.dumps(rings) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
