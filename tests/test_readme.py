"""The README's Python example runs as it is written, and the commands it names exist."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(language: str) -> list[str]:
    return [code for named, code in FENCE.findall(README.read_text(encoding="utf-8")) if named == language]


def test_the_example_of_the_runtime_runs() -> None:
    (example,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "ask the large model: no_bundle\n"), done.stderr


def test_every_command_it_names_exists() -> None:
    prose = FENCE.sub("", README.read_text(encoding="utf-8"))
    spans = re.findall(r"`([^`\n]+)`", prose)
    named = {word for code in [*blocks(""), *spans] for word in re.findall(r"\bknowgate ([a-z]+)", code)}
    shown = subprocess.run([sys.executable, "-m", "services", "--help"], capture_output=True, text=True, check=True)
    commands = set(re.findall(r"^│ ([a-z]+) ", shown.stdout, flags=re.MULTILINE))
    assert named >= {"advise", "certify", "simulate", "serve", "scheduler", "audit"}
    assert named <= commands, named - commands
