"""`knowgate certify` with a grader's labels: forecasts that gold labels correct, or the truth only
where one says so.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from typer.testing import CliRunner, Result

from services.command_line import app, exit_code_of

N = 3000
RATE = 0.25
Columns = dict[str, Any]


def judged(*, up: float = 0.15, rate: float = RATE) -> Columns:
    """Two tiers; every answer is judged, gold labels are drawn by coin."""
    rng = np.random.default_rng(5)
    p_t, drawn = rng.random(N), rng.random(N) < rate
    truth = np.concatenate([rng.random(N) < 0.75 + 0.24 * p_t, rng.random(N) < 0.95])
    verdict = truth | (rng.random(2 * N) < up)
    both = np.tile(drawn, 2)
    return {
        "query_id": [f"q{i}" for i in range(N)] * 2,
        "tier": np.repeat([0, 1], N).tolist(),
        "model": np.repeat(["small", "large"], N).tolist(),
        "p_t": [*p_t.tolist(), *[None] * N],
        "correct": [float(right) if one else None for right, one in zip(truth, both, strict=True)],
        "label_propensity": [rate if one else None for one in both],
        "label_source": ["gold" if one else None for one in both],
        "forecast": verdict.astype(float).tolist(),
        "slice": (["a", "b"] * N),
    }


def at_odds() -> Columns:
    """The same shape, but where one tier is right the other mostly is not: there forecasts are
    worth a bet.
    """
    rng, columns = np.random.default_rng(7), judged(rate=0.1)
    small = rng.random(N) < np.array(columns["p_t"][:N])
    truth = np.concatenate([small, np.where(rng.random(N) < 0.8, ~small, small)])
    drawn = [one is not None for one in columns["correct"]]
    return columns | {
        "correct": [float(right) if one else None for right, one in zip(truth, drawn, strict=True)],
        "forecast": (truth | (rng.random(2 * N) < 0.03)).astype(float).tolist(),
    }


def run(tmp_path: Path, columns: Columns, *options: str) -> tuple[int, Result]:
    path = tmp_path / "outcomes.parquet"
    pq.write_table(pa.table(columns), path)
    result = CliRunner().invoke(app, ["certify", str(path), "--json", "--max-accuracy-drop", "0.06", *options])
    code: int | None = result.exit_code
    if isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit):
        code = exit_code_of(result.exception)
    assert code is not None, result.exception
    return code, result


def in_force(columns: Columns) -> Columns:
    """One label per answer: gold where it was drawn, the grader's elsewhere."""
    known = [one is not None for one in columns["correct"]]
    pairs = zip(columns["correct"], columns["forecast"], strict=True)
    changed = columns | {
        "correct": [verdict if gold is None else gold for gold, verdict in pairs],
        "label_source": ["gold" if one else "judge" for one in known],
    }
    del changed["forecast"]
    return changed


def test_a_certificate_counts_its_labels_and_says_what_it_promises(tmp_path: Path) -> None:
    code, result = run(tmp_path, judged())
    answer = json.loads(result.stdout)
    assert (code, answer["status"]) == (0, "certified")
    basis = answer["label_basis"]
    assert basis["trusted"] == ["gold", "human"]
    assert basis["forecasts"] == {"judge": 2 * N}
    assert 0 < basis["labels"]["gold"] < N
    assert answer["promise"] == "being right, as gold and human labels tell"
    drawn = sum(one is not None for one in judged()["correct"]) // 2
    assert (answer["test"], answer["n"], basis["rows_forecast"]) == ("thinned_exact_unconditional_score", drawn, 0)


def test_a_certificate_by_corrected_forecasts_counts_the_rows_it_looked_at(tmp_path: Path) -> None:
    columns = at_odds()
    code, result = run(tmp_path, columns)
    answer = json.loads(result.stdout)
    assert (code, answer["status"], answer["test"]) == (0, "certified", "betting_corrected_forecasts")
    drawn = sum(one is not None for one in columns["correct"]) // 2
    basis = answer["label_basis"]
    assert (answer["n"], answer["retained_share"], basis["rows_forecast"]) == (N, 1.0, N - drawn)
    assert 0.5 < basis["forecast_share"] <= 1.0


def test_a_slice_is_certified_with_its_forecasts_alone(tmp_path: Path) -> None:
    code, result = run(tmp_path, judged(rate=0.5), "--slice", "a")
    answer = json.loads(result.stdout)
    assert answer["label_basis"]["forecasts"] == {"judge": N}
    assert (code, answer["status"]) == (0, "certified")


def test_a_grader_alone_certifies_nothing_unless_it_is_trusted(tmp_path: Path) -> None:
    columns = judged()
    columns |= {"correct": columns["forecast"], "label_source": ["judge"] * 2 * N, "label_propensity": [None] * 2 * N}
    del columns["forecast"]
    code, result = run(tmp_path, columns)
    assert code == 3
    assert "not identified" in str(result.exception)
    code, result = run(tmp_path, columns, "--trust", "judge")
    answer = json.loads(result.stdout)
    assert (code, answer["status"]) == (0, "certified")
    assert answer["promise"].startswith("agreement with the grader")
    assert answer["label_basis"]["labels"] == {"judge": 2 * N}
    assert "agreement with the grader" in result.stderr


def test_verdicts_that_stand_only_where_gold_does_not_are_refused(tmp_path: Path) -> None:
    code, result = run(tmp_path, in_force(judged()))
    assert code == 3
    assert "assess all rows" in str(result.exception)


def test_gold_labels_of_an_unknown_propensity_correct_nothing(tmp_path: Path) -> None:
    columns = judged() | {"label_propensity": [None] * 2 * N}
    code, result = run(tmp_path, columns)
    answer = json.loads(result.stdout)
    assert (code, answer["status"]) == (0, "certified")
    assert (
        0.05 <= answer["retained_share"] < 0.08
    )  # every row without a gold label is the worst case: hardly any can be kept
    assert answer["label_basis"]["rows_forecast"] == 0
    assert "not identified" in answer["label_basis"]["forecasts_left_out"]
    assert "not identified" in result.stderr
    assert answer["rows_assumed_wrong"] > 0
