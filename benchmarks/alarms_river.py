"""river's Page–Hinkley over stored streams; run by the Python of an environment that has river and
nothing of ours.

    PYTHON benchmarks/alarms_river.py FOLDER      prints a JSON list of lists of rows that ring

FOLDER holds 0.npy, 1.npy …, values [n] in order of time.
"""

# mypy: ignore-errors
import json
import sys
from pathlib import Path

import numpy as np
from river.drift import PageHinkley


def rings(values):
    detector, rung = PageHinkley(mode="up"), []
    for row, value in enumerate(values.tolist()):
        detector.update(value)
        if detector.drift_detected:
            rung.append(row)
    return rung


def main(folder):
    files = sorted(Path(folder).glob("*.npy"), key=lambda file: int(file.stem))
    sys.stdout.write(json.dumps([rings(np.load(file)) for file in files]) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
