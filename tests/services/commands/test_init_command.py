"""What `knowgate init` writes, `knowgate cascade apply` takes as it is."""

from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

from tests.services.endpoints.cast import LLAMA, VLLM, Engine, serving


def test_what_init_writes_is_put_in_force_as_it_is(run: Callable[..., Result], tmp_path: Path) -> None:
    toml = tmp_path / "cascade.toml"
    with serving(Engine(LLAMA)) as small, serving(Engine(VLLM)) as large:
        run("init", "support", small, large, "--out", str(toml))
    assert "cascade support is now at version 1" in run("cascade", "apply", str(toml)).output
    assert 'model = "tiny.gguf"' in run("cascade", "show", "support").output
