"""The gateway's `/metrics`: what the documentation says, in the form that Prometheus asks for."""

import shutil
import subprocess

import httpx2
import pytest

from tests.services.gateway.cast import KEY, World, asked
from tests.services.metric_tables import documented, exposed


def metrics_page(world: World) -> str:
    return httpx2.get(f"{world.url}/metrics", headers={"Authorization": f"Bearer {KEY}"}).text


def test_the_documentation_tells_every_metric_with_its_kind_and_labels(world: World) -> None:
    assert asked(world).status_code == 200
    assert documented("The gateway's") == exposed(metrics_page(world))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian's package prometheus)")
def test_promtool_finds_no_fault(world: World) -> None:
    assert asked(world).status_code == 200
    command = ["promtool", "check", "metrics"]
    checked = subprocess.run(command, input=metrics_page(world).encode(), capture_output=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
