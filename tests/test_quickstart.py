"""docs/quickstart.md runs word for word, against two real llama.cpp servers, and ends in a
certificate. Only the addresses of its first block are put in, as its reader would.
"""

import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from knowgate import CertificateStatus, read_bundle
from services.declaration.cascade_file import read_cascade_file
from services.promotion.bundle_files import all_bundles, bundle_bytes
from store.engine import closing_engine, reading
from store.releases import assignments
from tests.llama_cpp import MISSING, model_file
from tests.open_book import open_book
from tests.servers import end_group, free_port, llama_cpp_server

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def script(addresses: dict[str, str]) -> str:
    """All that is to be typed, with one's own addresses in the first block."""
    own, *blocks = [code for language, code in BLOCK.findall(PAGE) if language == "bash"]
    for name, value in addresses.items():
        own, put = re.subn(rf"^(export {name}=)\S+", rf"\g<1>{value}", own, flags=re.MULTILINE)
        assert put == 1, name
    return "\n".join(("set -euo pipefail", own, *blocks))


def files() -> dict[str, str]:
    """The programs that the page shows, by the name in their first line."""
    shown = [code for language, code in BLOCK.findall(PAGE) if language == "python"]
    return {code.partition("\n")[0].removeprefix("# "): code for code in shown}


def run_all(folder: Path, addresses: dict[str, str]) -> str:
    """What is printed; all that is started ends with it."""
    (folder / "docs").symlink_to(ROOT / "docs")
    for name, code in files().items():
        (folder / name).write_text(code, encoding="utf-8")
    own = {name: value for name, value in os.environ.items() if not name.startswith("KNOWGATE_")}
    environment = own | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'runtime'}",
        "NO_PROXY": "127.0.0.1",
    }
    log = folder / "log"
    with log.open("wb") as output:
        bash = subprocess.Popen(
            ["bash", "-c", script(addresses)],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            ended = bash.wait(timeout=1500)
        finally:
            end_group(bash)
    printed = log.read_text(encoding="utf-8")
    assert ended == 0, printed[-6000:]
    return printed


def test_its_programs_have_names_and_its_blocks_are_commands() -> None:
    assert set(files()) == {"ask.py", "label.py"}
    assert {language for language, _ in BLOCK.findall(PAGE)} == {"bash", "python"}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.xdist_group("llama_cpp")
def test_the_page_ends_in_a_certificate(tmp_path: Path) -> None:
    if model_file() is None:
        pytest.skip(MISSING)
    ports = {"KNOWGATE_PORT": str(free_port()), "GATEWAY_PORT": str(free_port())}
    with ExitStack() as stack:
        for name in ("small", "large"):
            (tmp_path / name).mkdir()
        small = stack.enter_context(llama_cpp_server(tmp_path / "small"))
        large = stack.enter_context(llama_cpp_server(tmp_path / "large"))
        large = stack.enter_context(open_book(large, ROOT / "docs" / "quickstart" / "questions.csv"))
        printed = run_all(tmp_path, {"SMALL": small, "LARGE": large} | ports)

    assert "{'observe': 250}" in printed and "`{'observe': 250}`" in PAGE
    fewest, likely = re.search(r"takes (\d+) labelled decisions .* about (\d+) where", printed).groups()
    assert f"{fewest} labelled decisions are the fewest" in PAGE and f"about\n{likely} where" in PAGE
    assert "2 labels sent, 0 refused" in printed
    assert re.search(r"certified, bundle \w+: retains [\d.]+ %, drop at most 0\.0", printed)
    later = printed.splitlines()[-40:]
    assert any(line.startswith("{") and "'retained'" in line and "observe" not in line for line in later)

    spec = read_cascade_file(tmp_path / "cascade.toml")
    with closing_engine(f"sqlite:///{tmp_path / 'var' / 'knowgate.db'}") as engine, reading(engine) as session:
        (stored,) = all_bundles(session)
        certificate = read_bundle(bundle_bytes(session, stored.id)[1]).document.certificate
        in_force = assignments.assignment(session, "support")
    assert certificate.status is CertificateStatus.CERTIFIED
    assert certificate.drop_upper_bound is not None and certificate.drop_upper_bound <= spec.targets.value
    assert certificate.retained_share >= spec.targets.min_retained_share
    assert in_force is not None and in_force.champion == stored.id
