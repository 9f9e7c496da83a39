"""`knowgate report --month`: a file that says what was known of the month."""

from collections.abc import Callable
from pathlib import Path

from typer.testing import Result


def test_a_month_becomes_a_file(run: Callable[..., Result], trivia: str, tmp_path: Path) -> None:
    file = tmp_path / "month.html"
    run("report", "--cascade", trivia, "--month", "2025-01", "--out", str(file))
    html = file.read_text(encoding="utf-8")
    assert "trivia, January 2025" in html and "Nothing was watched in this month" in html
    run("report", "--cascade", trivia, "--month", "2025-00", "--out", str(file), code=2)
    run("report", "--cascade", trivia, "--month", "9999-01", "--out", str(file), code=2)
    run("report", "--cascade", "nobody", "--month", "2025-01", "--out", str(file), code=2)
