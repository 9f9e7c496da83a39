"""The libraries that users call a gateway with, LiteLLM's proxy among them, in an environment of
their own: made once, with pip, in the machine's temporary folder.
"""

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "services" / "gateway" / "clients" / "requirements.txt"


class LibrariesMissing(Exception):
    """The libraries cannot be installed here; says pip's words."""


def clients_python() -> Path:
    """The interpreter of the libraries' environment. Raises LibrariesMissing."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"knowgate-clients-{digest}"
    interpreter, done = folder / "bin" / "python", folder / "done"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(interpreter), "-m", "pip", "install", "--quiet", "--no-deps", "--requirement", str(REQUIREMENTS)]
        installed = subprocess.run(pip, capture_output=True, text=True, check=False)
        if installed.returncode:
            raise LibrariesMissing(f"the client libraries cannot be installed: {installed.stderr.strip()[-300:]}")
        done.touch()
    return interpreter
