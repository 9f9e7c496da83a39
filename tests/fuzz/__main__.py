"""`python -m tests.fuzz`: every reader of strangers' bytes under Atheris, and the API and the
gateway under Schemathesis with every role; how many inputs there were, and what was found.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.shape import result
from tests.fuzz.doors import ask_all
from tests.fuzz.targets import TARGETS

SEEDS = Path(__file__).with_name("seeds")  # inputs that found something, by target
LONGEST_S = 3600
_DONE = re.compile(r"Done (\d+) runs|stat::number_of_executed_units: (\d+)")


def fuzz(name: str, runs: int, seed: int, findings: Path) -> tuple[int, int]:
    """How many inputs a target was given, and how many findings there are; they lie in
    `findings`.
    """
    with tempfile.TemporaryDirectory(prefix="kg-corpus-") as folder:
        for number, content in enumerate(TARGETS[name].takes()):
            Path(folder, f"taken-{number}").write_bytes(content)
        for known in sorted((SEEDS / name).glob("*")):
            shutil.copy(known, folder)
        prefix = f"-artifact_prefix={findings}/{name}-"
        options = [f"-runs={runs}", f"-seed={seed}", "-max_len=8192", "-timeout=10", prefix, "-print_final_stats=1"]
        command = [sys.executable, "-m", "tests.fuzz.fuzzing", name, folder, *options]
        done = subprocess.run(
            command,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LONGEST_S,
            check=False,
        )
    counted = [int(one or other) for one, other in _DONE.findall(done.stderr)]
    assert counted, done.stderr[-3000:]
    found = len(list(findings.glob(f"{name}-*")))
    if found:
        sys.stderr.write(done.stderr[-3000:])
    return max(counted), found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--runs", type=int, default=140_000, help="inputs of each target")
    parser.add_argument("--examples", type=int, default=100, help="of Schemathesis, for each operation and role")
    parser.add_argument("--seed", type=int, default=20260305)
    parser.add_argument("--findings", type=Path, default=Path("var/fuzz"), help="a folder for what finds something")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    options.findings.mkdir(parents=True, exist_ok=True)
    figures: dict[str, float | int | str | None] = {"seed": options.seed}
    total = faults = 0
    for name in TARGETS:
        if not options.runs:
            break
        began = time.monotonic()
        inputs, found = fuzz(name, options.runs, options.seed, options.findings.absolute())
        figures |= {f"{name}.inputs": inputs, f"{name}.findings": found}
        total, faults = total + inputs, faults + found
        _say(f"{name}: {inputs} inputs in {time.monotonic() - began:.0f} s, {found} findings")
    if options.examples:
        for door, (inputs, found) in ask_all(options.examples, options.seed, options.findings, _say).items():
            figures |= {f"{door}.inputs": inputs, f"{door}.findings": found}
            total, faults = total + inputs, faults + found
    figures |= {"inputs": total, "findings": faults}
    _say(f"{total} inputs, {faults} findings")
    if options.json is not None:
        document = asdict(result("fuzz", figures, quick=total < 10**6))
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 1 if faults else 0


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
