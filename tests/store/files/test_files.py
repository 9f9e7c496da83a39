"""Users' files: text is text, a number a number, and what cannot be read as it stands is refused
with its line.
"""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from store.errors import FileRefused
from store.files import TableFile, Wanted, read_table_file

WANTED = Wanted(texts=("id", "note"), numbers=("p",), truths=("right",), times=("at",))
LOOK_ALIKES = (
    "12345678901234567890",
    "12345678901234567891",
    "2026-01-01T00:00:00+02:00",
    "2026-01-01",
    "007",
    "1e5",
    "1.0",
    "true",
    "None",
    "null",
    "NULL",
    "NA",
    "nan",
    "NaN",
    "-inf",
    "#N/A",
    " 7",
    "7 ",
    "7\u00a0",
    "cafe\u0301",
    "caf\u00e9",
    "\u200bx",
    "0x10",
    "1_000",
)


def write(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(folder: Path, content: str | bytes, name: str = "t.csv") -> str:
    with pytest.raises(FileRefused) as caught:
        read_table_file(write(folder, content, name), WANTED)
    return str(caught.value)


def cells(found: TableFile, name: str) -> list[Any]:
    return list(found.table.column(name).to_pylist())


def parquet(folder: Path, **columns: Any) -> Path:
    pyarrow.parquet.write_table(pa.table(columns), folder / "t.parquet")
    return folder / "t.parquet"


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_text_is_the_text_of_the_file_whatever_it_looks_like(tmp_path: Path, kind: str) -> None:
    if kind == "csv":
        path = write(tmp_path, "id\r\n" + "".join(f"{text}\r\n" for text in LOOK_ALIKES))
    elif kind == "jsonl":
        path = write(tmp_path, "".join(json.dumps({"id": text}) + "\n" for text in LOOK_ALIKES), "t.jsonl")
    else:
        path = parquet(tmp_path, id=pa.array(LOOK_ALIKES))
    assert cells(read_table_file(path, WANTED), "id") == list(LOOK_ALIKES)


def test_a_whole_json_number_in_a_column_of_texts_is_its_digits(tmp_path: Path) -> None:
    lines = '{"id": 12345678901234567890}\n{"id": 12345678901234567891}\n{"id": -7}\n{"id": "7"}\n'
    found = read_table_file(write(tmp_path, lines, "t.jsonl"), WANTED)
    assert cells(found, "id") == ["12345678901234567890", "12345678901234567891", "-7", "7"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": 1.0}', "line 2: column id, row 2 is 1.0: it has more than one spelling"),
        ('{"id": 1e5}', "line 2: column id, row 2 is 100000.0: it has more than one spelling"),
        ('{"id": -0}', "line 2: column id, row 2 is -0.0"),
        ('{"id": true}', "line 2: column id, row 2 is True: write it as text"),
        ('{"id": ["a"]}', "line 2: column id, row 2 is ['a']"),
        ('{"id": "a\\u0000b"}', "column id, row 2"),
        ('{"id": "\\ud83d"}', "half of a surrogate pair"),
        ('{"id": "a", "id": "b"}', "line 2 is no JSON (it names 'id' twice)"),
        ('{"id": "a", "other": {"x": 1, "x": 2}}', "line 2 is no JSON (it names 'x' twice)"),
        ('{"id": "a", "p": NaN}', "line 2 is no JSON (NaN is no number of JSON"),
        ('{"id": "a", "p": -Infinity}', "line 2 is no JSON (-Infinity"),
        ('{"id": "a", "p": "0.5"}', "line 2: column p, row 2 is '0.5': a number is expected"),
        ('{"id": "a", "p": true}', "line 2: column p, row 2 is True: a number is expected"),
        ('{"id": "a", "p": 9007199254740993}', "line 2: column p, row 2 is 9007199254740993: a number is expected"),
        ('{"id": "a", "right": "true"}', "column right, row 2 is 'true': a number, or true or false, is expected"),
        ('{"id": "a", "at": 1767225600}', "column at, row 2 is 1767225600: a time is expected"),
        ('{"id": "a"', "line 2 is no JSON"),
        ('["a"]', "line 2 is ['a']: write an object"),
        ("[" * 100_000, "line 2 is no JSON (it is nested too deeply)"),
        ('{"id": 007}', "line 2 is no JSON (Expecting ',' delimiter at character 9: '07}')"),
        ('{"id": "a"} {"id": "b"}', "line 2 is no JSON (Extra data at character 13:"),
        ('{"id": ' + "9" * 5000 + "}", "a number of 5000 digits is a text at most: write it in quotes"),
    ],
)
def test_a_json_line_that_cannot_be_read_as_it_stands_is_refused(tmp_path: Path, line: str, said: str) -> None:
    found = refusal(tmp_path, '{"id": "first"}\n' + line + "\n", "t.jsonl")
    assert said.rstrip(")") in found, found


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ('7,1,"oops\n8,0,x\n9,1,"y"\n', "line 2: its quotes do not match"),
        ('7,1,ok\n8,0,"never closed\n9,1,z\n', "line 3: its quotes do not match"),
        ('7,1,5" pipe\n', "line 2: its quotes do not match"),
        ('7,1,5" and 6"\n', "line 2: its quotes do not match"),
        ('7,1, "spaced"\n', "line 2: its quotes do not match"),
        ('7,1,"a\\"b"\n', "line 2: its quotes do not match"),
        ('7,1,"a"b\n', "line 2: its quotes do not match"),
        ('6,1,"two\nlines"\n7,1,x"y\n', "line 4: its quotes do not match"),
        ("7,1\n", "line 2 has 2 cells and the head 3: write every cell"),
        ("6,1,x\n7,1,a,b\n", "line 3 has 4 cells and the head 3: quote a text that holds a comma"),
        ('6,1,"x\ny"\n7,1,a,b\n', "line 4 has 4 cells and the head 3"),
        ("7,1,\0\n", "line 2 holds a NUL character"),
    ],
)
def test_a_csv_row_that_departs_from_its_form_is_refused(tmp_path: Path, rows: str, said: str) -> None:
    assert said in refusal(tmp_path, "id,right,note\n" + rows)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ('7,1,"oops\n8,0,x"\n9,1,y\n', "line 2 opens a quote that runs over line 3, which reads as a row of its own"),
        ('7,1,"oops\n8,0,x\n9,1,y"\n', "line 2 opens a quote that runs over line 3"),
        ('6,1,"a, b"\n7,1,"5 inch\n8,true,6 inch"\n', "line 3 opens a quote that runs over line 4"),
        ('7,1,"oops\r\nno row\r\n8,0,x"\r\n', "line 2 opens a quote that runs over line 4"),
        ('"7,1,x\n8",0,y\n', "line 2 opens a quote that runs over line 3"),
    ],
)
def test_two_stray_quotes_that_pair_swallow_no_row(tmp_path: Path, rows: str, said: str) -> None:
    assert said in refusal(tmp_path, "id,right,note\n" + rows)


@pytest.mark.parametrize(
    ("rows", "note"),
    [
        ('7,1,"Dear all\nyes, no, maybe"\n', "Dear all\nyes, no, maybe"),  # as many commas as a row, and no number
        ('"7\n8",1,x\n', "x"),  # a line break within the first cell
        ('7,1,"a\n1,2,3,4"\n', "a\n1,2,3,4"),
    ],
)
def test_a_quoted_text_whose_lines_are_no_rows_is_one_text(tmp_path: Path, rows: str, note: str) -> None:
    assert cells(read_table_file(write(tmp_path, "id,right,note\n" + rows), WANTED), "note") == [note]


def test_quoted_texts_with_breaks_commas_and_quotes_are_read(tmp_path: Path) -> None:
    text = 'id,note,p\n\n1,"two\nlines, ""quoted""\n",0.5\n2,"",\n\n"3",""" ""","1"\n'
    found = read_table_file(write(tmp_path, text), WANTED)
    assert cells(found, "note") == ['two\nlines, "quoted"\n', None, '" "']
    assert cells(found, "p") == [0.5, None, 1.0]
    assert (found.rows, found.lines) == (3, 8)
    assert [found.line(row) for row in range(3)] == [3, 6, 8]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_lines_of_json_end_as_on_any_system(tmp_path: Path, ends: str, mark: bytes) -> None:
    content = mark + ends.join(('{"id": "7"}', '{"id": "a\u2028b"}')).encode()
    found = read_table_file(write(tmp_path, content, "t.jsonl"), WANTED)
    assert (cells(found, "id"), found.lines) == (["7", "a\u2028b"], 2)


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_a_byte_order_mark_change_no_text(tmp_path: Path, ends: str, mark: bytes) -> None:
    content = mark + ends.join(("id,note", "7,a", "8,b")).encode()
    found = read_table_file(write(tmp_path, content), WANTED)
    assert (found.names, cells(found, "note"), found.lines) == (("id", "note"), ["a", "b"], 3)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("id,note\n7,a\n".encode("utf-16"), "line 1 holds the byte 0xff, which is not UTF-8"),
        ("id,note\n7,a\n".encode("utf-16-le"), "line 1 holds a NUL character: save the file as text in UTF-8"),
        (b"id,not\xe9\n7,a\n", "line 1 holds the byte 0xe9, which is not UTF-8"),
        (b"id,note\n7,a\n8,caf\xe9\n", "line 3 holds the byte 0xe9"),
        (b"id;note\n7;a\n", "separated by semicolons"),
        (b"id\tnote\n7\ta\n", "separated by tabs"),
        (b'"id";"note"\n"7";"a"\n', "separated by semicolons"),
        (b'\xef\xbb\xbf"id"\t"note"\r\n"7"\t"a"\r\n', "separated by tabs"),
        (b"id|note\n7|a\n", "separated by bars"),
        (b"sep=,\nid,note\n7,a\n", "line 1 is 'sep=,', which only spreadsheets read: remove that line"),
        (b"sep=;\nid;note\n7;a\n", "line 1 is 'sep=;'"),
        (b"id,id\n7,8\n", "names a column twice (id, id)"),
        (b"id,,\n7,,\n", "names a column twice (id, '', '')"),
        (b"id,note\n", "has no rows"),
        (b"", "has no rows"),
        (b'"id,note\n7,a\n', "line 1: its quotes do not match"),
    ],
)
def test_a_file_of_another_kind_is_told_what_is_odd(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in refusal(tmp_path, content)


@pytest.mark.parametrize("cell", ["yes", "0,5", "1_000", "0x1p3", "nan", "inf", "1e", "--1", "5 %", "\uff11"])
def test_a_csv_cell_that_is_not_spelled_like_a_number_is_none(tmp_path: Path, cell: str) -> None:
    found = refusal(tmp_path, f'id,p\na,0.5\nb,"{cell}"\n')
    assert f"line 3: column p, row 2 is {cell!r}: a number is expected" in found


def test_empty_lines_before_the_head_are_none(tmp_path: Path) -> None:
    found = read_table_file(write(tmp_path, "\n\r\nid,note\n7,a\n"), WANTED)
    assert (found.names, cells(found, "note"), found.line(0)) == (("id", "note"), ["a"], 4)


def test_numbers_are_read_by_their_spelling_and_truths_where_they_may_stand(tmp_path: Path) -> None:
    text = "id,p,right\na, 0.5 ,true\nb,1e-3,FALSE\nc,.5,1\nd,-2.,0.25\ne,null,None\nf,,\n"
    found = read_table_file(write(tmp_path, text), WANTED)
    assert cells(found, "p") == [0.5, 0.001, 0.5, -2.0, None, None]
    assert cells(found, "right") == [1.0, 0.0, 1.0, 0.25, None, None]
    assert "column p, row 1 is 'true': a number is expected" in refusal(tmp_path, "id,p\na,true\n")


def test_parquet_columns_of_texts_are_texts_or_whole_numbers(tmp_path: Path) -> None:
    texts = ["a", None, "null"]
    for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())):
        path = parquet(tmp_path, id=pa.array(texts, pa.string()).cast(kind))
        assert cells(read_table_file(path, WANTED), "id") == texts
    whole = [12345678901234567890, 1, None]
    exact = [None if number is None else Decimal(number) for number in whole]
    for numbers in (pa.array(whole, pa.uint64()), pa.array(exact, pa.decimal128(38, 0))):
        assert cells(read_table_file(parquet(tmp_path, id=numbers), WANTED), "id") == [
            "12345678901234567890",
            "1",
            None,
        ]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1.0]),
        pa.array([True]),
        pa.array([b"a"]),
        pa.array([datetime(2026, 1, 1, tzinfo=UTC)]),
        pa.array([date(2026, 1, 1)]),
        pa.array([Decimal("1.50")]),
        pa.array([["a"]]),
        pa.array([1.5]).dictionary_encode(),
    ],
)
def test_other_parquet_kinds_are_no_texts(tmp_path: Path, column: pa.Array) -> None:
    with pytest.raises(FileRefused, match=r"column id holds .*, which has more than one spelling: write it as text"):
        read_table_file(parquet(tmp_path, id=column), WANTED)


def test_parquet_numbers_are_numbers(tmp_path: Path) -> None:
    found = read_table_file(parquet(tmp_path, p=pa.array([1, None]), right=pa.array([True, None])), WANTED)
    assert (cells(found, "p"), cells(found, "right"), found.lines) == ([1.0, None], [1.0, None], None)
    with pytest.raises(FileRefused, match=r"column p, row 2 is '0\.5': a number is expected, .* holds string"):
        read_table_file(parquet(tmp_path, p=pa.array([None, "0.5"])), WANTED)
    with pytest.raises(FileRefused, match="column p, row 2 is 9007199254740993"):
        read_table_file(parquet(tmp_path, p=pa.array([1, 2**53 + 1])), WANTED)
    with pytest.raises(FileRefused, match="column p, row 1 is True"):
        read_table_file(parquet(tmp_path, p=pa.array([True])), WANTED)


def test_names_and_texts_of_parquet_that_are_no_utf8_are_told(tmp_path: Path) -> None:
    path = parquet(tmp_path, id=pa.array(["qqqq"]), zzzz=pa.array(["x"]))
    plain = pa.table({"id": ["qqqq"], "zzzz": ["x"]})
    pyarrow.parquet.write_table(plain, path, store_schema=False, compression="none", use_dictionary=False)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"zzzz", b"z\xff\xfez"))
    with pytest.raises(FileRefused, match=r"the name of a column is .*, which is not UTF-8; rename it"):
        read_table_file(path, WANTED)
    path.write_bytes(whole.replace(b"qqqq", b"q\xff\xfeq"))
    with pytest.raises(FileRefused, match="column id holds a text that is not UTF-8"):
        read_table_file(path, WANTED)


def test_a_file_longer_than_a_run_keeps_its_rows_and_lines(tmp_path: Path) -> None:
    rows = 40_000
    for kind in ("csv", "jsonl"):
        lines = [f'{row},"a\nb"' if kind == "csv" else json.dumps({"id": str(row)}) + "\n" for row in range(rows)]
        path = write(tmp_path, ("id,note\n" if kind == "csv" else "") + "\n".join(lines) + "\n", f"t.{kind}")
        found = read_table_file(path, WANTED)
        assert cells(found, "id") == [str(row) for row in range(rows)]
        assert found.line(rows - 1) == (2 * rows if kind == "csv" else 2 * rows - 1)
