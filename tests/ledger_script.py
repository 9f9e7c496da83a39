"""What outsiders verify a ledger with, run as they run it: by the standard library alone."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "deploy" / "audit" / "verify_ledger.py"


def verified(*arguments: object) -> tuple[int, str]:
    """The script's exit code, and what it printed."""
    command = [sys.executable, "-I", "-S", str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout
