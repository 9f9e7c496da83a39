"""A user's own file of labels is mapped onto ours, or refused by column, row, value and cure."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from knowgate import LabelSource
from services.errors import InputInvalid, TableInvalid
from services.labelling.files import LabelDefaults, label_mapping, read_labels

DEFAULTS = LabelDefaults(cascade="trivia", source=LabelSource.HUMAN)
ID = "019b76da-a800-7000-8000-000000000000"


def write(folder: Path, text: str, name: str = "labels.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def refusal(path: Path, defaults: LabelDefaults = DEFAULTS, **options: str) -> str:
    with pytest.raises(TableInvalid) as caught:
        read_labels(path, defaults, mapping=label_mapping(options.pop("mapping", None)), **options)
    return str(caught.value)


def test_columns_go_by_their_own_names_or_by_mapped_ones(tmp_path: Path) -> None:
    path = write(tmp_path, "id,is_right,when,p\n007,yes,2026-02-01T10:00:00Z,0.5\n".replace("yes", "true"))
    mapping = label_mapping("correct=is_right, external_id=id, labelled_at=when, label_propensity=p")
    (label,) = read_labels(path, DEFAULTS, mapping=mapping).labels
    assert (label.external_id, label.correct, label.label_propensity) == ("007", 1.0, 0.5)
    assert label.source is LabelSource.HUMAN
    assert label.labelled_at == datetime(2026, 2, 1, 10, tzinfo=UTC)
    assert label.tier is None


@pytest.mark.parametrize("name", ["labels.csv", "labels.jsonl"])
def test_every_field_may_have_its_column(tmp_path: Path, name: str) -> None:
    if name.endswith("csv"):
        text = f"decision_id,tier,source,correct,labelled_at\n{ID},1,judge,0.25,2026-02-01T10:00:00+02:00\n"
    else:
        text = f'{{"decision_id": "{ID}", "tier": 1, "source": "judge", "correct": 0.25, '
        text += '"labelled_at": "2026-02-01T10:00:00+02:00"}\n'
    (label,) = read_labels(write(tmp_path, text, name), DEFAULTS, mapping={}).labels
    assert (str(label.decision_id), label.tier, label.source, label.correct) == (ID, 1, LabelSource.JUDGE, 0.25)
    assert label.labelled_at == datetime(2026, 2, 1, 8, tzinfo=UTC)


def test_a_naive_time_is_refused_unless_its_zone_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "external_id,correct,labelled_at\nq,1,2026-07-01 12:00:00\n")
    assert "column labelled_at, row 1" in refusal(path) and "--timezone" in refusal(path)
    (label,) = read_labels(path, DEFAULTS, mapping={}, timezone="America/New_York").labels
    assert label.labelled_at == datetime(2026, 7, 1, 16, tzinfo=UTC)


def test_a_time_that_the_clocks_went_through_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "external_id,correct,labelled_at\nq,1,2026-10-25 02:30:00\n")
    assert "set back" in refusal(path, timezone="Europe/Paris")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("q,1.5,2026-02-01T00:00:00Z", "column correct, row 1 is 1.5"),
        ("q,,2026-02-01T00:00:00Z\nr,1,2026-02-01T00:00:00Z", "column correct, row 1 is empty: a label says"),
        (",1,2026-02-01T00:00:00Z", "column external_id, row 1 is empty: give either"),
        ("q,1,", "column labelled_at, row 1 is empty: map a column of times"),
        ("q,1,yesterday", "column labelled_at, row 1 is 'yesterday'"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, rows: str, message: str) -> None:
    assert message in refusal(write(tmp_path, f"external_id,correct,labelled_at\n{rows}\n"))


def test_a_source_is_told_once_for_all_or_by_a_column(tmp_path: Path) -> None:
    path = write(tmp_path, "external_id,correct,labelled_at\nq,1,2026-02-01T00:00:00Z\n")
    assert "--source" in refusal(path, LabelDefaults(cascade="trivia"))
    path = write(tmp_path, "external_id,correct,labelled_at,source\nq,1,2026-02-01T00:00:00Z,mum\n")
    assert "column source, row 1 is 'mum': use one of gold" in refusal(path)


def test_a_mapped_column_must_be_there(tmp_path: Path) -> None:
    path = write(tmp_path, "external_id,correct,labelled_at\nq,1,2026-02-01T00:00:00Z\n")
    assert "no column is_right; it has external_id, correct" in refusal(path, mapping="correct=is_right")


@pytest.mark.parametrize("text", ["correct", "right=is_right", "correct=", "correct=a,correct=b"])
def test_a_mapping_that_is_none_is_told(text: str) -> None:
    with pytest.raises(InputInvalid, match="--map"):
        label_mapping(text)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("external_id,right", "has no column correct; it has external_id, right: say with --map correct=COLUMN"),
        ("correct,id", "has no column decision_id or external_id; it has correct, id: say with --map"),
        ("external_id,correct", "has no column labelled_at; it has external_id, correct: map a column of times"),
    ],
)
def test_a_column_that_is_not_there_is_not_told_as_an_empty_cell(tmp_path: Path, head: str, message: str) -> None:
    assert message in refusal(write(tmp_path, f"{head}\n1,1\n"))


def test_a_zone_that_is_none_is_refused_also_where_no_time_needs_it(tmp_path: Path) -> None:
    path = write(tmp_path, "external_id,correct,labelled_at\na,1,2026-01-01T00:00:00Z\n")
    assert len(read_labels(path, DEFAULTS, mapping={}, timezone="Europe/Paris").labels) == 1
    with pytest.raises(InputInvalid, match="--timezone is 'Mars/Olympus'"):
        read_labels(path, DEFAULTS, mapping={}, timezone="Mars/Olympus")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"external_id;correct\na;1\n", "its columns are separated by semicolons"),
        (b"external_id\tcorrect\na\t1\n", "its columns are separated by tabs"),
        ("external_id,correct\ncaf\u00e9,1\n".encode("latin-1"), "line 2 holds the byte 0xe9, which is not UTF-8"),
        ("external_id,correct\na,1\n".encode("utf-16"), "line 1 holds the byte 0xff, which is not UTF-8"),
    ],
)
def test_a_file_that_a_spreadsheet_wrote_its_own_way_is_told_what_is_odd(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    assert message in refusal(path)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "dates"])
def test_a_date_alone_is_the_end_of_that_day_where_it_was_written(tmp_path: Path, kind: str) -> None:
    if kind == "csv":
        path = write(tmp_path, "external_id,correct,labelled_at\nq,1,2026-10-25\n")
    elif kind == "jsonl":
        path = write(tmp_path, '{"external_id": "q", "correct": 1, "labelled_at": "2026-10-25"}\n', "labels.jsonl")
    else:
        day = pa.array(["2026-10-25"]) if kind == "parquet" else pa.array([date(2026, 10, 25)])
        path = tmp_path / "labels.parquet"
        pyarrow.parquet.write_table(pa.table({"external_id": ["q"], "correct": [1], "labelled_at": day}), path)
    assert "row 1 is '2026-10-25': a date alone is a whole day" in refusal(path)
    (label,) = read_labels(path, DEFAULTS, mapping={}, timezone="Europe/Paris").labels
    assert label.labelled_at == datetime(2026, 10, 25, 22, 59, 59, 999999, tzinfo=UTC)  # a day of 25 hours
    now = datetime(2026, 10, 25, 9, 30, tzinfo=UTC)
    (label,) = read_labels(path, DEFAULTS, mapping={}, timezone="Europe/Paris", now=now).labels
    assert label.labelled_at == now


def test_a_day_that_begins_with_a_gap_ends_the_one_before_it(tmp_path: Path) -> None:
    path = write(tmp_path, "external_id,correct,labelled_at\nq,1,2018-11-03\n")
    (label,) = read_labels(path, DEFAULTS, mapping={}, timezone="America/Sao_Paulo").labels
    assert label.labelled_at == datetime(2018, 11, 4, 2, 59, 59, 999999, tzinfo=UTC)


def test_times_with_and_without_offset_and_dates_may_stand_in_one_column(tmp_path: Path) -> None:
    cells = ("2026-07-01T12:00:00.123456789+02:00", "2026-07-01 12:00", "2026-07-01", "2026-07-01T10:00:00Z", "")
    rows = "".join(f"q{row},1,{cell}\n" for row, cell in enumerate(cells))
    path = write(tmp_path, "external_id,correct,labelled_at\n" + rows)
    assert "line 3: column labelled_at, row 2 is '2026-07-01 12:00:00': the time is naive" in refusal(path)
    defaults = LabelDefaults(cascade="trivia", source=LabelSource.HUMAN, labelled_at=datetime(2026, 7, 2, tzinfo=UTC))
    labels = read_labels(path, defaults, mapping={}, timezone="Europe/Paris").labels
    assert [label.labelled_at for label in labels] == [
        datetime(2026, 7, 1, 10, 0, 0, 123456, tzinfo=UTC),
        datetime(2026, 7, 1, 10, tzinfo=UTC),
        datetime(2026, 7, 1, 21, 59, 59, 999999, tzinfo=UTC),
        datetime(2026, 7, 1, 10, tzinfo=UTC),
        datetime(2026, 7, 2, tzinfo=UTC),
    ]


@pytest.mark.parametrize("cell", ["2026-02-30", "2026-13-01T00:00:00Z", "1767225600", "01/02/2026", "2026-1-1", "noon"])
def test_what_is_no_time_is_refused_by_its_line(tmp_path: Path, cell: str) -> None:
    path = write(tmp_path, f"external_id,correct,labelled_at\na,1,2026-01-01T00:00:00Z\nq,1,{cell}\n")
    message = refusal(path, timezone="Europe/Paris")
    assert f"line 3: column labelled_at, row 2 is {cell!r}: an ISO 8601 time is expected" in message


@pytest.mark.parametrize(
    ("cell", "message"),
    [("2026-10-25 02:30:00", "comes twice in Europe/Paris"), ("2026-03-29 02:30:00", "is skipped in Europe/Paris")],
)
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_time_that_the_clocks_skipped_or_repeated_is_refused_in_every_format(
    tmp_path: Path, cell: str, message: str, kind: str
) -> None:
    cells = ["2026-07-01 12:00:00", cell]
    path = tmp_path / f"labels.{kind}"
    if kind == "csv":
        write(tmp_path, "external_id,correct,labelled_at\n" + "".join(f"q,1,{time}\n" for time in cells))
    elif kind == "jsonl":
        rows = [json.dumps({"external_id": "q", "correct": 1, "labelled_at": time}) for time in cells]
        write(tmp_path, "\n".join(rows), path.name)
    else:
        times = pa.array([datetime.fromisoformat(time) for time in cells])
        columns = {"external_id": ["q", "q"], "correct": [1, 1], "labelled_at": times}
        pyarrow.parquet.write_table(pa.table(columns), path)
    found = refusal(path, timezone="Europe/Paris")
    assert f"column labelled_at, row 2 is {cell!r}" in found and message in found


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("7,1,,\n7,0,,\n", "row 1 (line 2) and row 2 (line 3) contradict each other"),
        ("7,1,,anna\n8,1,,\n7,0,,bert\n", "row 1 (line 2) and row 3 (line 4) contradict each other"),
        ("7,1,0.5,\n7,1,0.25,\n", "say correct 1 (label_propensity 0.5) and correct 1 (label_propensity 0.25)"),
        ("7,1,,\n7,1,,\n7,0.5,,\n", "row 1 (line 2) and row 3 (line 4) contradict"),
    ],
)
def test_two_rows_that_contradict_each_other_are_refused_by_their_lines(
    tmp_path: Path, rows: str, message: str
) -> None:
    path = write(tmp_path, "external_id,correct,label_propensity,grader\n" + rows)
    defaults = LabelDefaults(cascade="trivia", source=LabelSource.HUMAN, labelled_at=datetime(2026, 7, 2, tzinfo=UTC))
    assert message in refusal(path, defaults)


def test_rows_that_repeat_or_add_to_each_other_are_taken(tmp_path: Path) -> None:
    rows = "7,1,,,0\n7,1,0.5,,0\n7,1,,anna,0\n7,0,,,1\n8,0,,,0\n"
    path = write(tmp_path, "external_id,correct,label_propensity,grader,tier\n" + rows)
    defaults = LabelDefaults(cascade="trivia", source=LabelSource.HUMAN, labelled_at=datetime(2026, 7, 2, tzinfo=UTC))
    assert len(read_labels(path, defaults, mapping={}).labels) == 5


@pytest.mark.parametrize("name", ["None", "null", "NA", "nan", "1.23457E+15", " 7", "7\u00a0", "cafe\u0301"])
def test_no_id_is_taken_for_another_or_for_none(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, f"external_id,correct,labelled_at\n{name},1,2026-02-01T00:00:00Z\n")
    assert [label.external_id for label in read_labels(path, DEFAULTS, mapping={}).labels] == [name]


def test_a_column_that_goes_by_a_fields_name_and_means_something_else_can_be_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, "external_id,correct,labelled_at,source\nq,1,2026-02-01T00:00:00Z,web\n")
    assert "leave the column out with --map source= and say --source" in refusal(path)
    (label,) = read_labels(path, DEFAULTS, mapping=label_mapping("source=")).labels
    assert label.source is LabelSource.HUMAN


def test_a_file_says_how_many_lines_its_labels_are_read_from(tmp_path: Path) -> None:
    path = write(tmp_path, 'external_id,correct,labelled_at,note\nq,1,2026-02-01T00:00:00Z,"two\nlines"\n')
    found = read_labels(path, DEFAULTS, mapping={})
    assert (len(found.labels), found.places, found.lines_in_file) == (1, ("row 1 (line 2)",), 3)


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("9999-12-31T23:59:59Z", None),
        ("1969-12-31T23:59:59Z", None),
        ("1600-01-01 00:00:00", "UTC"),
        ("0001-01-01", "Europe/Paris"),
        ("9999-12-31", "Europe/Paris"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_time_that_no_column_can_hold_is_told_by_its_range(
    tmp_path: Path, kind: str, text: str, zone: str | None
) -> None:
    if kind == "csv":
        path = write(tmp_path, f"external_id,correct,labelled_at\nq,1,{text}\n")
    else:
        row = {"external_id": "q", "correct": 1, "labelled_at": text}
        path = write(tmp_path, json.dumps(row) + "\n", "labels.jsonl")
    assert f"row 1 is {text!r}: a time from 1970 to 2261 is expected" in refusal(path, timezone=zone)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [2**62, -(2**62), -62_167_219_200_000_000])
def test_a_time_of_parquet_beyond_all_calendars_is_refused_by_its_row(tmp_path: Path, number: int) -> None:
    for kind in (pa.timestamp("us", "UTC"), pa.timestamp("us")):
        times = pa.array([0, number], kind)
        table = pa.table({"external_id": ["p", "q"], "correct": [1.0, 1.0], "labelled_at": times})
        pyarrow.parquet.write_table(table, tmp_path / "labels.parquet")
        message = refusal(tmp_path / "labels.parquet", timezone="UTC")
        assert "column labelled_at, row 2" in message and "a time from 1970 to 2261 is expected" in message


def test_a_day_that_the_clocks_skipped_is_none(tmp_path: Path) -> None:
    path = write(tmp_path, "external_id,correct,labelled_at\nq,1,2011-12-30\n")
    assert "the clocks of Pacific/Apia skipped that day" in refusal(path, timezone="Pacific/Apia")


@pytest.mark.parametrize("name", ["labels.csv", "labels.jsonl"])
def test_an_empty_text_is_no_id(tmp_path: Path, name: str) -> None:
    line = '"",1,2026-02-01T00:00:00Z'
    text = f"external_id,correct,labelled_at\n{line}\n"
    if name.endswith("jsonl"):
        text = '{"external_id": "", "correct": 1, "labelled_at": "2026-02-01T00:00:00Z"}\n'
    assert "column external_id, row 1 is empty: give either decision_id or external_id" in refusal(
        write(tmp_path, text, name)
    )


def test_another_systems_column_of_decision_ids_can_be_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, "decision_id,external_id,correct,labelled_at\nabc,q,1,2026-02-01T00:00:00Z\n")
    assert "a UUID is expected" in refusal(path)
    (label,) = read_labels(path, DEFAULTS, mapping=label_mapping("decision_id=")).labels
    assert (label.decision_id, label.external_id) == (None, "q")
    assert "has no column for a decision's id" in refusal(path, mapping="decision_id=,external_id=")


def test_a_name_that_would_not_be_seen_as_it_is_stands_in_quotes(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, "external_id\u200b, correct\nq,1\n"))
    assert r"it has 'external_id\u200b', ' correct'" in message


def test_a_chance_that_no_estimate_can_weigh_by_is_refused_by_its_row(tmp_path: Path) -> None:
    path = write(tmp_path, "external_id,correct,labelled_at,label_propensity\nq,1,2026-02-01T00:00:00Z,1e-320\n")
    assert "column label_propensity, row 1 is 1e-320: a finite number at least 1e-09 and at most 1" in refusal(path)
