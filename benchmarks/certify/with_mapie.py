"""MAPIE's risk control over stored resamples; run by the Python of an environment that has MAPIE
and nothing of ours.

    PYTHON benchmarks/certify/with_mapie.py SAMPLES.npz

prints a JSON list of thresholds, null where none is controlled.

SAMPLES holds scores [reps, n], harm [reps, n] (1 = the answer kept would be wrong and the last
tier's right), thresholds [reps, m], epsilon and delta. MAPIE controls a risk of 0s and 1s, so it is
asked for P(retained and harmful) ≤ ε: stricter than the drop, whose gains (small right, last wrong)
it cannot count.
"""

# mypy: ignore-errors
import json
import sys

import numpy as np
from mapie.risk_control import BinaryClassificationController, BinaryRisk


def everywhere(truth, predicted):
    return np.ones(len(truth), dtype=bool)


HARM = BinaryRisk(lambda truth, predicted: (truth == 1) & (predicted == 1), everywhere, higher_is_better=False)
RETAINED = BinaryRisk(lambda truth, predicted: predicted == 1, everywhere, higher_is_better=True)


def chosen(scores, harm, thresholds, epsilon, delta):
    controller = BinaryClassificationController(
        lambda x: np.column_stack([1.0 - x[:, 0], x[:, 0]]),
        HARM,
        target_level=epsilon,
        confidence_level=1.0 - delta,
        best_predict_param_choice=RETAINED,
        list_predict_params=thresholds,
        fwer_method="fixed_sequence",
    )
    controller.calibrate(scores.reshape(-1, 1), harm)
    best = controller.best_predict_param
    return None if best is None else float(best)


def main(path):
    arrays = np.load(path)
    controlled = [
        chosen(scores, harm, np.unique(thresholds)[::-1], float(arrays["epsilon"]), float(arrays["delta"]))
        for scores, harm, thresholds in zip(arrays["scores"], arrays["harm"], arrays["thresholds"], strict=True)
    ]
    sys.stdout.write(json.dumps(controlled) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
