"""`knowgate certify`: what it certifies, and the input it refuses. Bad input is never a
certificate.
"""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from services.command_line import app, exit_code_of

N = 3000
Columns = dict[str, Any]


@pytest.fixture
def columns() -> Columns:
    """A healthy table of two tiers, as columns; a test spoils what it is about."""
    return healthy(tiers=2)


def healthy(tiers: int, seed: int = 1) -> Columns:
    rng = np.random.default_rng(seed)
    p_t = 1 - 0.6 * rng.random((N, tiers - 1)) ** 2
    correct = np.column_stack([rng.random((N, tiers - 1)) < p_t, rng.random(N) < 0.93]).astype(float)
    return {
        "query_id": [f"q{i}" for i in range(N)] * tiers,
        "tier": np.repeat(np.arange(tiers), N).tolist(),
        "model": np.repeat([f"m{tier}" for tier in range(tiers)], N).tolist(),
        "p_t": [*p_t.T.ravel().tolist(), *[None] * N],
        "p_ik": [*np.clip(p_t.T.ravel() + 0.1 * rng.standard_normal(p_t.size), 0, 1).tolist(), *[None] * N],
        "correct": correct.T.ravel().tolist(),
    }


def run(tmp_path: Path, columns: Columns, *options: str) -> tuple[int, Result]:
    path = tmp_path / "outcomes.parquet"
    pq.write_table(pa.table(columns), path)
    result = CliRunner().invoke(app, ["certify", str(path), "--json", *options])
    code: int | None = result.exit_code
    if isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit):
        code = exit_code_of(result.exception)
        assert code is not None, result.exception
    assert code is not None
    return code, result


@pytest.mark.parametrize(
    ("parameters", "code", "status"), [("1e9,13e9,70e9", 0, "certified"), ("60e9,69e9,70e9", 3, "saves_nothing")]
)
def test_a_chain_is_chosen_by_what_it_saves_and_refused_by_name_where_it_saves_nothing(
    tmp_path: Path, parameters: str, code: int, status: str
) -> None:
    ended, result = run(tmp_path, healthy(3), "--max-accuracy-drop", "0.05", "--parameters", parameters)
    answer = json.loads(result.stdout)
    assert (ended, answer["status"]) == (code, status)
    assert (answer["savings"] > 0) == (code == 0)
    assert any(answer["thresholds"]) == (code == 0)


def test_recorded_costs_choose_a_chain_too_and_without_any_no_savings_are_stated(tmp_path: Path) -> None:
    chain = healthy(3)
    costs = np.repeat([1.0, 13.0, 70.0], N).tolist()
    _, stated = run(tmp_path, chain, "--max-accuracy-drop", "0.05", "--parameters", "1e9,13e9,70e9")
    _, recorded = run(tmp_path, chain | {"cost_usd": costs}, "--max-accuracy-drop", "0.05")
    assert json.loads(recorded.stdout)["savings"] == pytest.approx(json.loads(stated.stdout)["savings"])
    _, without = run(tmp_path, chain, "--max-accuracy-drop", "0.05")
    assert json.loads(without.stdout)["savings"] is None


def refusal(tmp_path: Path, columns: Columns, *options: str) -> str:
    """Why no certificate was given: the error's message, or the status printed."""
    code, result = run(tmp_path, columns, *options)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        assert code == 2, result.exception  # the table or the question is at fault
        return str(result.exception)
    assert code == 3, result.output
    answer = json.loads(result.stdout)
    assert answer["status"] in ("infeasible", "insufficient_evidence")
    assert answer["retained_share"] == 0.0
    return str(answer["status"])


@pytest.mark.parametrize(
    ("rule", "gates"), [("p_t", ["p_t"]), ("p_ik", ["p_ik"]), ("gates", ["p_ik", "p_t"]), ("score", ["score"])]
)
@pytest.mark.parametrize("tiers", [2, 3, pytest.param(5, marks=pytest.mark.slow)])
def test_every_rule_certifies_a_chain_of_tiers(tmp_path: Path, rule: str, gates: list[str], tiers: int) -> None:
    code, result = run(tmp_path, healthy(tiers), "--rule", rule, "--max-accuracy-drop", "0.05")
    assert code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["status"] == "certified"
    assert [list(tier) for tier in answer["thresholds"]] == [gates] * (tiers - 1)
    assert answer["drop_upper_bound"] <= 0.05
    assert answer["retained_share"] > 0.1


def test_a_score_is_learned_on_other_queries_than_certify_it_and_it_says_so(tmp_path: Path, columns: Columns) -> None:
    _, result = run(tmp_path, columns, "--rule", "score", "--max-accuracy-drop", "0.05")
    answer = json.loads(result.stdout)
    assert answer["n"] + answer["learned_on"] == N
    assert 0.45 * N < answer["learned_on"] < 0.55 * N
    assert answer["score"][0]["w_p_t"] > 0
    _, plain = run(tmp_path, columns, "--rule", "p_t", "--max-accuracy-drop", "0.05")
    assert json.loads(plain.stdout)["learned_on"] == 0


def test_what_the_score_adds_to_p_t_stands_beside_its_thresholds(tmp_path: Path, columns: Columns) -> None:
    rng = np.random.default_rng(9)
    right = np.array(columns["correct"][:N])
    columns["p_ik"] = [*np.clip(0.5 + 0.3 * (right - 0.5) + 0.2 * rng.standard_normal(N), 0, 1).tolist(), *[None] * N]
    columns["entropy"] = [*(0.7 - 0.4 * right + 0.2 * rng.random(N)).tolist(), *[None] * N]
    columns["margin"] = [*(0.7 * rng.random(N) + 0.3 * right).tolist(), *[None] * N]
    _, result = run(tmp_path, columns, "--rule", "score", "--max-accuracy-drop", "0.05")
    answer = json.loads(result.stdout)
    (gain,) = answer["gains"]
    assert (gain["tier"], gain["signal"], gain["at_share"]) == (0, "score", answer["retained_share"])
    assert gain["n"] == answer["n"] and gain["within_slices"] is None
    assert 0 < gain["auroc_low"] < gain["auroc"] < gain["auroc_high"]
    assert gain["accuracy_low"] <= gain["accuracy"] <= gain["accuracy_high"]
    assert gain["share_low"] <= gain["share"] <= gain["share_high"]
    assert answer["score"][0]["w_entropy"] < 0
    assert answer["score"][0]["w_margin"] > 0
    columns["margin"] = [*rng.random(N).tolist(), *[None] * N]  # tells nothing
    _, result = run(tmp_path, columns, "--rule", "score", "--max-accuracy-drop", "0.05")
    assert json.loads(result.stdout)["score"][0]["w_margin"] == 0
    _, gates = run(tmp_path, columns, "--rule", "gates", "--max-accuracy-drop", "0.05")
    assert [one["signal"] for one in json.loads(gates.stdout)["gains"]] == ["p_ik"]
    _, plain = run(tmp_path, columns, "--rule", "p_t", "--max-accuracy-drop", "0.05")
    assert json.loads(plain.stdout)["gains"] == []


@pytest.mark.parametrize("rule", ["p_t", "gates", "score"])
def test_p_t_of_several_kinds_is_refused(tmp_path: Path, columns: Columns, rule: str) -> None:
    columns["p_t_kind"] = ["mean"] * N + [None] * N
    assert run(tmp_path, columns, "--rule", rule, "--max-accuracy-drop", "0.05")[0] == 0
    columns["p_t_kind"][7] = "option"
    assert "p_t_kind of tier 0 is mean and option" in refusal(tmp_path, columns, "--rule", rule)
    columns["p_t_kind"][7] = None
    assert "p_t_kind of tier 0 is mean and none said" in refusal(tmp_path, columns, "--rule", rule)


def test_the_certificate_does_not_depend_on_the_order_of_the_file(tmp_path: Path, columns: Columns) -> None:
    _, first = run(tmp_path, columns, "--rule", "score", "--max-accuracy-drop", "0.05")
    order = np.argsort(columns["correct"], kind="stable")
    shuffled = {name: [values[i] for i in order] for name, values in columns.items()}
    _, second = run(tmp_path, shuffled, "--rule", "score", "--max-accuracy-drop", "0.05")
    one, other = json.loads(first.stdout), json.loads(second.stdout)
    assert one["retained_share"] == other["retained_share"]
    assert one["thresholds"][0]["score"] == pytest.approx(other["thresholds"][0]["score"], abs=1e-9)


def test_a_retained_accuracy_is_certified(tmp_path: Path, columns: Columns) -> None:
    code, result = run(tmp_path, columns, "--retained-accuracy", "0.9")
    assert code == 0
    assert json.loads(result.stdout)["retained_accuracy_lower_bound"] >= 0.9


@pytest.mark.parametrize("rule", ["p_t", "gates", "score"])
def test_a_nan_is_refused(tmp_path: Path, columns: Columns, rule: str) -> None:
    columns["p_t"][7] = float("nan")
    assert "p_t, row 8 is nan" in refusal(tmp_path, columns, "--rule", rule)


@pytest.mark.parametrize("rule", ["p_t", "gates", "score"])
def test_a_constant_signal_is_refused(tmp_path: Path, columns: Columns, rule: str) -> None:
    columns["p_t"] = [0.9] * N + [None] * N
    assert "a constant tells no query from another" in refusal(tmp_path, columns, "--rule", rule)


@pytest.mark.parametrize("rule", ["p_t", "gates", "score"])
@pytest.mark.parametrize(("value", "verdict"), [(1.0, "right"), (0.0, "wrong")])
def test_all_right_or_all_wrong_is_refused(
    tmp_path: Path, columns: Columns, rule: str, value: float, verdict: str
) -> None:
    columns["correct"] = [value] * (2 * N)
    assert f"of tier 0 are {verdict}: one class" in refusal(tmp_path, columns, "--rule", rule)


def test_one_class_in_the_small_tier_alone_is_refused(tmp_path: Path, columns: Columns) -> None:
    columns["correct"][:N] = [1.0] * N
    assert "one class" in refusal(tmp_path, columns)


def test_a_last_tier_that_is_always_wrong_is_refused(tmp_path: Path, columns: Columns) -> None:
    """Against it nothing can be lost, so everything would be certified."""
    columns["correct"][N:] = [0.0] * N
    assert "the last, are wrong" in refusal(tmp_path, columns)


def test_labels_that_say_whether_an_answer_agrees_with_the_last_tier_are_certified(
    tmp_path: Path, columns: Columns
) -> None:
    columns["correct"][N:] = [1.0] * N
    code, result = run(tmp_path, columns, "--max-accuracy-drop", "0.05")
    assert code == 0
    assert json.loads(result.stdout)["status"] == "certified"


@pytest.mark.parametrize("tier", [0, 1])
def test_two_models_in_one_tier_are_refused(tmp_path: Path, columns: Columns, tier: int) -> None:
    columns["model"][tier * N : tier * N + 40] = ["another"] * 40
    assert f"model of tier {tier} is not one: m{tier} on 2960 queries, another on 40" in refusal(tmp_path, columns)


def test_a_slice_of_one_model_is_certified_out_of_a_mixed_table(tmp_path: Path, columns: Columns) -> None:
    columns["model"][:1000] = ["another"] * 1000
    columns["slice"] = [*["a"] * 1000, *["b"] * (N - 1000)] * 2
    assert "is not one" in refusal(tmp_path, columns)
    code, _ = run(tmp_path, columns, "--slice", "b", "--max-accuracy-drop", "0.05")
    assert code == 0


def test_columns_that_nobody_reads_are_named(tmp_path: Path, columns: Columns) -> None:
    """A misspelt propensity is no propensity: it has to show."""
    columns["label_propensty"] = [0.5] * (2 * N)
    _, result = run(tmp_path, columns, "--max-accuracy-drop", "0.05")
    assert json.loads(result.stdout)["unread_columns"] == ["label_propensty"]
    assert "columns that nobody reads: label_propensty" in result.stderr


def test_a_prompt_asked_twice_teaches_or_certifies_and_never_both(tmp_path: Path, columns: Columns) -> None:
    columns["prompt"] = [f"prompt {i // 3}" for i in range(N)] * 2
    code, result = run(tmp_path, columns, "--rule", "score", "--max-accuracy-drop", "0.05")
    assert code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["learned_on"] % 3 == 0
    assert 0.4 * N < answer["learned_on"] < 0.6 * N
    assert answer["n"] + answer["learned_on"] == N


def test_a_query_given_twice_is_refused(tmp_path: Path, columns: Columns) -> None:
    columns["query_id"][5] = "q4"
    assert "are both query 'q4' on tier 0" in refusal(tmp_path, columns)


@pytest.mark.parametrize("name", ["run_propensity", "label_propensity"])
def test_a_propensity_of_zero_is_refused(tmp_path: Path, columns: Columns, name: str) -> None:
    columns[name] = [0.5] * (2 * N)
    columns[name][3] = 0.0
    assert f"{name}, row 4 is 0.0" in refusal(tmp_path, columns)


@pytest.mark.parametrize("name", ["run_propensity", "label_propensity"])
def test_a_propensity_that_is_null_among_others_is_refused(tmp_path: Path, columns: Columns, name: str) -> None:
    columns[name] = [0.5] * (2 * N)
    columns[name][3] = None
    assert f"{name} of query 'q3'" in refusal(tmp_path, columns)


@pytest.mark.parametrize("name", ["labelled_at", "occurred_at"])
def test_a_time_in_the_future_is_refused(tmp_path: Path, columns: Columns, name: str) -> None:
    columns[name] = [datetime(2026, 1, 1, tzinfo=UTC)] * (2 * N)
    columns[name][N - 1] = columns[name][-1] = datetime.now(UTC) + timedelta(days=1)
    assert f"{name} of query 'q{N - 1}'" in refusal(tmp_path, columns)


def test_a_tier_missing_by_an_unlogged_choice_is_refused(tmp_path: Path, columns: Columns) -> None:
    spoiled = {name: values[:-10] for name, values in columns.items()}
    assert "tier 1 did not run on 10 of 3000 queries" in refusal(tmp_path, spoiled)


def test_a_single_query_is_refused(tmp_path: Path, columns: Columns) -> None:
    one = {name: [values[0], values[N]] for name, values in columns.items()}
    assert "constant" in refusal(tmp_path, one)


def test_a_slice_of_one_is_refused(tmp_path: Path, columns: Columns) -> None:
    columns["slice"] = [*["rare"], *["common"] * (N - 1)] * 2
    assert "slice 'rare' holds 1 query" in refusal(tmp_path, columns, "--slice", "rare")
    assert "there is no slice 'absent'" in refusal(tmp_path, columns, "--slice", "absent")


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["p_t", "p_ik", "gates", "score"])
@pytest.mark.parametrize("kind", ["drop", "accuracy"])
def test_no_rule_and_no_target_certifies_spoiled_tables(tmp_path: Path, rule: str, kind: str) -> None:
    target = ["--max-accuracy-drop", "0.3"] if kind == "drop" else ["--retained-accuracy", "0.3"]
    too_few = "give more labels" if rule == "score" else "insufficient_evidence"
    for spoil, fault in ((_constant_signals, "constant"), (_one_query, "constant"), (_noise_of_a_few, too_few)):
        columns = healthy(2)
        spoil(columns)
        assert fault in refusal(tmp_path, columns, "--rule", rule, *target)


def _constant_signals(columns: Columns) -> None:
    columns["p_t"][:N] = [0.7] * N
    columns["p_ik"][:N] = [0.7] * N


def _one_query(columns: Columns) -> None:
    for name in columns:
        columns[name] = [columns[name][0], columns[name][N]]


def _noise_of_a_few(columns: Columns) -> None:
    """Three queries, one of them wrong: whatever the rule, too little to show anything."""
    for name in columns:
        columns[name] = [*columns[name][:3], *columns[name][N : N + 3]]
    columns["correct"] = [1.0, 0.0, 1.0, 1.0, 1.0, 1.0]


def test_a_slice_is_certified_alone(tmp_path: Path, columns: Columns) -> None:
    columns["slice"] = [*["a"] * 1000, *["b"] * (N - 1000)] * 2
    code, result = run(tmp_path, columns, "--slice", "b", "--max-accuracy-drop", "0.05")
    assert code == 0
    assert json.loads(result.stdout)["n"] == N - 1000


def test_labels_that_are_missing_count_as_the_worst_case_and_are_counted(tmp_path: Path, columns: Columns) -> None:
    _, full = run(tmp_path, columns, "--max-accuracy-drop", "0.05")
    columns["correct"][N : N + 60] = [None] * 60
    _, result = run(tmp_path, columns, "--max-accuracy-drop", "0.05")
    answer = json.loads(result.stdout)
    assert answer["rows_assumed_wrong"] > 0
    assert answer["retained_share"] < json.loads(full.stdout)["retained_share"]
    columns["correct"][N:] = [None] * N
    assert "correct is empty for tier 1, the last" in refusal(tmp_path, columns)


def test_explored_rows_are_weighed_by_their_coin(tmp_path: Path) -> None:
    """The last tier ran on half of what is sure and on all of the rest: thinned, the exact test
    holds.
    """
    columns = healthy(2)
    chance = np.where(np.array(columns["p_t"][:N]) > 0.9, 0.5, 1.0)
    ran = np.random.default_rng(3).random(N) < chance
    columns["run_propensity"] = [*[1.0] * N, *chance.tolist()]
    keep = [*range(N), *(N + np.flatnonzero(ran)).tolist()]
    explored = {name: [values[i] for i in keep] for name, values in columns.items()}
    code, result = run(tmp_path, explored, "--max-accuracy-drop", "0.08")
    answer = json.loads(result.stdout)
    assert code == 0
    assert answer["test"] == "thinned_exact_unconditional_score"
    assert 0.45 * N < answer["n"] < 0.55 * N


def test_what_the_first_tier_keeps_is_tested_where_the_middle_tier_never_ran(tmp_path: Path) -> None:
    """Of what the first tier kept, only the last one is run to explore: no row of it has all three
    tiers.
    """
    columns = healthy(3)
    p_t, right = np.array(columns["p_t"][:N]), np.array(columns["correct"])
    kept = p_t > 0.8
    explored = np.random.default_rng(3).random(N) < 0.5
    columns["run_propensity"] = [*[1.0] * 2 * N, *np.where(kept, 0.5, 1.0).tolist()]
    ran = np.concatenate([np.ones(N, dtype=bool), ~kept, ~kept | explored])
    right[:N][kept] = 0.0  # whatever it kept was wrong
    columns["correct"] = right.tolist()
    logged = {name: [values[i] for i in np.flatnonzero(ran)] for name, values in columns.items()}
    assert refusal(tmp_path, logged, "--max-accuracy-drop", "0.05") in ("infeasible", "insufficient_evidence")


def test_a_last_tier_that_no_coin_could_run_is_the_worst_case(tmp_path: Path) -> None:
    """Every run had a chance of 1, so what did not run had none, and nobody knows what was lost
    there.
    """
    columns = healthy(2)
    columns["run_propensity"] = [1.0] * (2 * N)
    ran = [*range(N), *(N + np.flatnonzero(np.array(columns["p_t"][:N]) < 0.9)).tolist()]
    logged = {name: [values[i] for i in ran] for name, values in columns.items()}
    assert refusal(tmp_path, logged, "--max-accuracy-drop", "0.05") in ("infeasible", "insufficient_evidence")


def test_answers_that_are_the_same_and_graded_apart_are_refused(tmp_path: Path, columns: Columns) -> None:
    """Else a column that means something else would say that nothing is ever lost."""
    columns["same_answer"] = [1.0] * (2 * N)
    message = refusal(tmp_path, columns, "--max-accuracy-drop", "0.05")
    assert "same_answer of tier 0 is 1 on 3000 queries with both labels" in message
    same = np.array(columns["correct"][:N]) == np.array(columns["correct"][N:])
    columns["same_answer"] = [*same.astype(float).tolist(), *[None] * N]
    assert run(tmp_path, columns, "--max-accuracy-drop", "0.05")[0] == 0


def test_too_few_labels_for_a_score_are_refused(tmp_path: Path, columns: Columns) -> None:
    few = [*range(60), *range(N, N + 60)]
    small = {name: [values[i] for i in few] for name, values in columns.items()}
    assert "30 are needed" in refusal(tmp_path, small, "--rule", "score")


def test_a_label_made_before_its_question_was_asked_is_refused(tmp_path: Path, columns: Columns) -> None:
    asked = datetime(2026, 1, 1, tzinfo=UTC)
    columns["occurred_at"] = [asked] * (2 * N)
    columns["labelled_at"] = [asked] * (2 * N)
    assert run(tmp_path, columns, "--max-accuracy-drop", "0.05")[0] == 0
    columns["labelled_at"][N + 4] = asked - timedelta(seconds=1)
    message = refusal(tmp_path, columns)
    assert "labelled_at of query 'q4' on tier 1 is 2025-12-31T23:59:59" in message
    assert "before the query was asked (occurred_at 2026-01-01T00:00:00" in message


@pytest.mark.parametrize(("name", "happened"), [("label_propensity", "is labelled"), ("run_propensity", "ran")])
def test_a_coin_that_never_fell_against_a_row_is_refused(
    tmp_path: Path, columns: Columns, name: str, happened: str
) -> None:
    columns[name] = [0.5] * (2 * N)
    message = refusal(tmp_path, columns)
    assert f"{name} of tier 0 is 0.5 at the least, yet every one of its {N} queries {happened}" in message
    assert "leave the column out if there was no coin" in message
    columns[name] = [1.0] * (2 * N)
    assert run(tmp_path, columns, "--max-accuracy-drop", "0.05")[0] == 0
    columns[name] = [0.9999] * (2 * N)  # all of them by a chance of 0.74
    assert run(tmp_path, columns, "--max-accuracy-drop", "0.05")[0] == 0


def test_a_coin_that_fell_against_a_row_is_believed(tmp_path: Path, columns: Columns) -> None:
    columns["label_propensity"] = [0.99] * (2 * N)
    columns["correct"][7] = columns["correct"][N + 7] = None
    assert run(tmp_path, columns, "--max-accuracy-drop", "0.1")[0] == 0


def test_a_query_that_was_served_twice_is_refused(tmp_path: Path, columns: Columns) -> None:
    columns["role"] = ["superseded"] * N + ["served"] * N
    assert run(tmp_path, columns, "--max-accuracy-drop", "0.05")[0] == 0
    columns["role"][3] = "served"
    assert "role of query 'q3' is 'served' on tiers 0 and 1" in refusal(tmp_path, columns)


@pytest.mark.parametrize("rule", ["xx", "escalate_all"])
def test_a_rule_that_certifies_nothing_is_told_those_that_do(tmp_path: Path, columns: Columns, rule: str) -> None:
    assert refusal(tmp_path, columns, "--rule", rule) == f"--rule is '{rule}': use one of p_t, p_ik, gates, score"
