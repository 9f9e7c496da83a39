"""An outcome table is read whole into arrays, or refused by column, row, value and cure."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from services.errors import InputInvalid, TableInvalid
from services.outcome_tables.outcomes import KNOWN, OutcomeTable, read_outcomes, write_outcomes

HEAD = "query_id,tier,model,p_t,correct"
ROWS = ("q1,0,small,0.9,true", "q1,1,large,0.8,true", "q0,0,small,0.4,false", "q0,1,large,,true")


def csv_file(folder: Path, *rows: str, head: str = HEAD) -> Path:
    path = folder / "outcomes.csv"
    path.write_text("\n".join((head, *rows)) + "\n", encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(TableInvalid) as caught:
        read_outcomes(path)
    return str(caught.value)


def same(one: OutcomeTable, other: OutcomeTable) -> bool:
    names = [name for name in KNOWN if name not in ("query_id", "tier")] + ["query_ids", "ran"]
    pairs = [(getattr(one, name), getattr(other, name)) for name in names]
    return all(bool(((a == b) | ((a != a) & (b != b))).all()) for a, b in pairs)


def test_queries_keep_the_order_of_their_first_row(tmp_path: Path) -> None:
    table = read_outcomes(csv_file(tmp_path, *ROWS))
    assert list(table.query_ids) == ["q1", "q0"]
    assert table.models == ("small", "large")
    np.testing.assert_array_equal(table.correct, [[1, 1], [0, 1]])
    np.testing.assert_array_equal(table.p_t, [[0.9, 0.8], [0.4, np.nan]])
    assert table.complete.all()


def test_an_id_that_looks_like_a_number_stays_text(tmp_path: Path) -> None:
    table = read_outcomes(csv_file(tmp_path, "007,0,a,0.5,1", "007,1,b,0.5,0.5"))
    assert list(table.query_ids) == ["007"]
    assert table.correct[0, 1] == 0.5


def test_a_tier_that_did_not_run_on_a_query_is_told_apart_from_an_unknown_label(tmp_path: Path) -> None:
    table = read_outcomes(csv_file(tmp_path, ROWS[0], ROWS[2], "q0,1,large,0.9,"))
    np.testing.assert_array_equal(table.ran, [[True, False], [True, True]])
    assert np.isnan(table.correct[:, 1]).all()
    np.testing.assert_array_equal(table.complete, [False, True])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((*ROWS, "q0,1,large,0.3,true"), "rows 4 and 5 are both query 'q0' on tier 1; keep one"),
        ((ROWS[0], ROWS[2]), "tier 0 alone"),
        ((ROWS[0], "q1,2,large,0.8,true"), "no row of tier 1 but some of tier 2"),
        ((*ROWS[:3], "q0,1,large,1.5,true"), "column p_t, row 4 is 1.5: a finite number at least 0 and at most 1"),
        ((*ROWS[:3], "q0,1,large,high,true"), "column p_t, row 4 is 'high': a number is expected"),
        ((*ROWS[:3], "q0,-1,large,0.5,true"), "column tier, row 4 is -1:"),
        ((*ROWS[:3], "q0,,large,0.5,true"), "column tier, row 4 is empty"),
        ((*ROWS[:3], "q0,1.5,large,0.5,true"), "column tier, row 4 is 1.5: a whole number"),
        ((*ROWS[:3], ",1,large,0.5,true"), "column query_id, row 4 is empty"),
        ((*ROWS[:3], "q0,1,,0.5,true"), "column model, row 4 is empty"),
        ((*ROWS[:3], "q0,1,large,0.5,2"), "column correct, row 1"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, rows: tuple[str, ...], message: str) -> None:
    if message.startswith("column correct"):
        # A column of words and a number is no column of truth values: the first word is named.
        rows = tuple(row.replace("true", "yes").replace("false", "no") for row in rows)
    assert message in refusal(csv_file(tmp_path, *rows))


@pytest.mark.parametrize("column", ["run_propensity", "label_propensity"])
@pytest.mark.parametrize("value", ["0", "1.01", "-0.1", "inf"])
def test_a_propensity_lies_above_0_and_at_most_at_1(tmp_path: Path, column: str, value: str) -> None:
    path = csv_file(tmp_path, f"{ROWS[0]},0.5", f"{ROWS[1]},{value}", head=f"{HEAD},{column}")
    assert f"column {column}, row 2" in refusal(path)


def test_an_unknown_propensity_is_left_unknown(tmp_path: Path) -> None:
    table = read_outcomes(csv_file(tmp_path, f"{ROWS[0]},0.5", f"{ROWS[1]},", head=f"{HEAD},run_propensity"))
    np.testing.assert_array_equal(table.run_propensity, [[0.5, np.nan]])


def test_a_nan_is_not_a_null(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.parquet"
    columns = {"query_id": ["a", "a"], "tier": [0, 1], "model": ["s", "l"], "correct": [True, None]}
    pyarrow.parquet.write_table(pa.table(columns | {"p_t": pa.array([0.5, float("nan")])}), path)
    assert "column p_t, row 2 is nan: write null" in refusal(path)
    pyarrow.parquet.write_table(pa.table(columns | {"p_t": pa.array([0.5, None])}), path)
    assert np.isnan(read_outcomes(path).p_t[0, 1])


def test_a_missing_column_is_named_beside_those_there_are(tmp_path: Path) -> None:
    assert "has no column model; it has query_id, tier, name" in refusal(
        csv_file(tmp_path, "a,0,x", "a,1,y", head="query_id,tier,name")
    )


def test_a_query_has_one_slice(tmp_path: Path) -> None:
    path = csv_file(tmp_path, f"{ROWS[0]},law", f"{ROWS[1]},physics", head=f"{HEAD},slice")
    assert "column slice, row 2 is 'physics': the query's other rows say 'law'" in refusal(path)


def test_a_label_source_is_one_of_four(tmp_path: Path) -> None:
    path = csv_file(tmp_path, f"{ROWS[0]},gold", f"{ROWS[1]},mum", head=f"{HEAD},label_source")
    assert "column label_source, row 2 is 'mum': use one of gold, human, judge, feedback" in refusal(path)


def test_a_naive_time_is_refused_unless_its_zone_is_told(tmp_path: Path) -> None:
    path = csv_file(
        tmp_path, f"{ROWS[0]},2026-07-01T12:00:00", f"{ROWS[1]},2026-07-01T12:00:05", head=f"{HEAD},occurred_at"
    )
    assert "column occurred_at, row 1" in refusal(path) and "--timezone" in refusal(path)
    table = read_outcomes(path, timezone="Europe/Paris")
    assert table.occurred_at[0] == np.datetime64("2026-07-01T10:00:00")
    with pytest.raises(InputInvalid, match="Mars"):
        read_outcomes(path, timezone="Mars/Olympus")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_time_with_an_offset_is_read_as_utc(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"outcomes{suffix}"
    if suffix == ".csv":
        path = csv_file(tmp_path, f"{ROWS[0]},2026-07-01T12:00:00+02:00", f"{ROWS[1]},", head=f"{HEAD},occurred_at")
    else:
        row = '{"query_id": "q", "tier": %d, "model": "m", "occurred_at": "2026-07-01T12:00:00+02:00"}\n'
        path.write_text(row % 0 + row % 1)
    assert read_outcomes(path).occurred_at[0] == np.datetime64("2026-07-01T10:00:00")


def test_what_no_one_reads_is_told(tmp_path: Path) -> None:
    path = csv_file(tmp_path, f"{ROWS[0]},x", f"{ROWS[1]},y", head=f"{HEAD},labeled_at")
    assert read_outcomes(path).ignored == ("labeled_at",)


@pytest.mark.parametrize("name", ["outcomes.xlsx", "nowhere.csv"])
def test_a_file_that_is_no_table_or_not_there_is_named(tmp_path: Path, name: str) -> None:
    assert name in refusal(tmp_path / name)


def test_a_file_that_lies_about_its_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "fake.parquet").write_text("no parquet")
    (tmp_path / "fake.jsonl").write_text('{"query_id": ')
    assert "cannot be read" in refusal(tmp_path / "fake.parquet")
    assert "fake.jsonl: line 1 is no JSON (Expecting value at its end): correct the line" in refusal(
        tmp_path / "fake.jsonl"
    )


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_a_table_written_out_is_read_back_the_same(tmp_path: Path, suffix: str) -> None:
    head = f"{HEAD},slice,prompt,tokens_in,occurred_at,labelled_at,run_propensity,label_source,role"
    rows = (
        'q1,0,small,0.9,1,law,"Is it, or not?",12,2026-01-01T00:00:00.25Z,2026-01-02T00:00:00Z,1,gold,superseded',
        "q1,1,large,0.8,,law,,13,,,1,,served",
        "q2,0,small,0.123456789012345,0.25,,,,2026-01-01T01:00:00Z,,1,judge,served",
        "q2,1,large,,,,,,,,0.05,,exploration",
    )
    table = read_outcomes(csv_file(tmp_path, *rows, head=head))
    path = tmp_path / f"again{suffix}"
    write_outcomes(table, path)
    assert same(read_outcomes(path), table)


@pytest.mark.slow
def test_a_million_rows_fit(tmp_path: Path) -> None:
    queries = 500_000
    ids = np.repeat(np.arange(queries), 2)
    rng = np.random.default_rng(7)
    path = tmp_path / "large.parquet"
    columns = {
        "query_id": pa.array(ids.astype(str)),
        "tier": pa.array(np.tile([0, 1], queries)),
        "model": pa.array(np.tile(["small", "large"], queries)),
        "p_t": pa.array(rng.random(2 * queries)),
        "correct": pa.array(rng.random(2 * queries) > 0.5),
    }
    pyarrow.parquet.write_table(pa.table(columns), path)
    table = read_outcomes(path)
    assert (table.queries, table.tiers) == (queries, 2)
    assert table.p_t.sum() == pytest.approx(np.asarray(columns["p_t"]).sum())


def test_a_run_of_absurd_tokens_counts_as_what_a_run_may_take(tmp_path: Path) -> None:
    head = "query_id,tier,model,tokens_in,tokens_out,cost_usd,latency_ms"
    rows = [f"q{i},{tier},m{tier},100,10,0.001,50" for i in range(30) for tier in (0, 1)]
    table = read_outcomes(csv_file(tmp_path, *rows, f"x,0,m0,{2**53},10,9007199254.7,50", "x,1,m1,,,,", head=head))
    bounded, cut = table.within_bounds()
    assert cut == 1
    assert bounded.tokens_in[30, 0] + bounded.tokens_out[30, 0] == 1100
    assert bounded.cost_usd[30, 0] == pytest.approx(0.0011)
    assert np.isnan(bounded.tokens_in[30, 1])
    assert (bounded.tokens_in[:30] == table.tokens_in[:30]).all()
    assert bounded.within_bounds()[1] == 0


def test_rates_of_a_query_that_differ_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.csv"
    path.write_text("query_id,tier,model,exploration_rate\na,0,s,0.2\na,1,l,0.3\n")
    with pytest.raises(TableInvalid, match=r"exploration_rate.*row 2.*0\.3.*other rows say 0\.2; make them one"):
        read_outcomes(path)
