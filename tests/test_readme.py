"""The README's Python example runs as it is written, and the commands it names exist."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_example_of_the_runtime_runs() -> None:
    (example,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "ask the large model: no_bundle\n"), done.stderr


def test_every_command_it_names_exists() -> None:
    named = set(re.findall(r"knowgate ([a-z]+(?: [a-z]+)?)", README.read_text(encoding="utf-8")))
    told = subprocess.run([sys.executable, "-m", "services", "--help"], capture_output=True, text=True, check=True)
    commands = set(re.findall(r"^│ ([a-z]+) ", told.stdout, flags=re.MULTILINE))
    assert commands >= {"demo", "certify", "simulate", "serve", "scheduler", "audit"}
    first_words = {words.split()[0] for words in named}
    assert first_words & commands, named
    assert first_words - commands <= {"keeps", "serves", "command"}, "a word after `knowgate` that is no command"
