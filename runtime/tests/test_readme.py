"""Every example of the runtime's README runs, and prints what the README says."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(autouse=True)
def sigterm() -> Iterator[None]:
    """An example installs a handler of its own."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_runs(example: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(example, "README.md", "exec"), {})
    printed = capsys.readouterr().out.strip()
    if printed:
        assert f"This prints `{printed}`" in README


@pytest.mark.slow
def test_there_are_examples_to_run() -> None:
    assert len(EXAMPLES) >= 2
