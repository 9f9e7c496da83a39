"""Commands run as a user runs them, in a deployment of the test's own."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from services.command_line import app, exit_code_of


@pytest.fixture
def run(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs a command; `code` is how it is to end, `stdin` what it reads."""
    monkeypatch.setenv("KNOWGATE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("KNOWGATE_DATABASE_URL", database_url)
    monkeypatch.setenv("KNOWGATE_HASH_KEY", "a hash key for tests")
    monkeypatch.setenv("KNOWGATE_OPERATOR", "ada")

    def start(*arguments: str, code: int = 0, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(app, arguments, input=stdin)
        ended: int | None = result.exit_code
        if isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit):
            ended = exit_code_of(result.exception)
            assert ended is not None, result.exception
        assert ended == code, (result.output, result.exception)
        return result

    return start
