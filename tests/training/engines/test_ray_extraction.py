"""On a cluster an extraction writes the same file, loses nothing when an actor or driver dies,
refuses alike.
"""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file
from transformers import T5Config, T5Model

from training.engines.choice import RaySettings
from training.engines.extract_file import extract_file
from training.engines.extraction import Work
from training.engines.local import LocalExtraction
from training.engines.ray_extraction import PartReader, RayExtraction, item_of
from training.errors import EngineUnavailable, ExtractionRefused
from training.extraction.extract_parts import PartFolder, Parts
from training.extraction.progress import Progress
from training.extraction.recipe import AnswererRecipe
from training.extraction.tokens import token_ids

COUNT, BEGUN = 240, 20
PARTS = ".out.safetensors.parts"
slow = pytest.mark.slow
together = pytest.mark.xdist_group("ray")


@pytest.fixture(name="folder")
def folder_fixture(tmp_path: Path, model_of: Any, tokenizer_of_letters: Any) -> Path:
    model_of("llama").save_pretrained(tmp_path / "model")
    tokenizer_of_letters().save_pretrained(tmp_path / "model")
    rows = [{"query_id": f"q{at}", "prompt": "abcdefghijklmno"[: 1 + at % 13] + ":"} for at in range(COUNT)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.fixture(name="recipe")
def recipe_fixture(folder: Path) -> AnswererRecipe:
    return AnswererRecipe(source=str(folder / "model"), device="cpu", layers=(2,), batch=1)


def command(folder: Path, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "training", "extract", "--model", str(folder / "model"), "--layers", "2"),
        *("--prompts", str(folder / "prompts.jsonl"), "--out", str(folder / "out.safetensors")),
        *("--batch", "1", "--part-prompts", "1", "--device", "cpu", *more),
    ]


def started(folder: Path, *more: str) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command(folder, *more), stdout=pipe, stderr=pipe, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


def writers(parts: Path, known: set[Path]) -> Iterator[tuple[Path, int]]:
    """Parts that are not known yet, with the process that wrote each; they are known then."""
    for part in set(parts.glob("part-*")) - known:
        try:
            with safe_open(part, "np") as file:
                yield part, int(file.metadata()["writer"].split()[1])
        except (SafetensorError, OSError):
            continue  # the folder was removed meanwhile
        known.add(part)


def wait_for_parts(running: "subprocess.Popen[str]", parts: Path, count: int) -> None:
    while len(list(parts.glob("part-*"))) < count and running.poll() is None:
        time.sleep(0.002)


def same_as_local(folder: Path, recipe: AnswererRecipe) -> None:
    whole = extract_file(recipe.make(), folder / "prompts.jsonl", folder / "whole.safetensors", stream=io.StringIO())
    assert whole.resumed == 0
    ours, expected = (load_file(folder / f"{name}.safetensors") for name in ("out", "whole"))
    assert set(ours) == set(expected) == {"hidden", "p_t", "entropy", "tier"}
    for name, tensor in expected.items():
        np.testing.assert_array_equal(ours[name], tensor, err_msg=name)
    with safe_open(folder / "out.safetensors", "np") as one, safe_open(folder / "whole.safetensors", "np") as other:
        assert one.metadata() == other.metadata()
    assert list(folder.glob(".*")) == []


@slow
@together
def test_what_one_process_began_a_cluster_finishes_though_an_actor_is_killed(
    folder: Path, recipe: AnswererRecipe, ray_address: str
) -> None:
    begun = subprocess.run(command(folder), capture_output=True, text=True, check=True)  # names the job
    assert json.loads(begun.stdout)["queries"] == COUNT
    with safe_open(folder / "out.safetensors", "np") as file:
        job = file.metadata()["job"]
    (folder / "out.safetensors").unlink()
    answerer, parts = recipe.make(), Parts(folder / "out.safetensors", job)
    texts = [json.loads(line)["prompt"] for line in (folder / "prompts.jsonl").read_text().splitlines()]
    work = Work(prompts=token_ids(answerer.loaded, texts), rows=range(BEGUN), states_only=False, part_prompts=1)
    with parts.open():
        LocalExtraction().write_parts(
            answerer, work, parts.folder, Progress(io.StringIO(), prompts=BEGUN, tokens=work.tokens_of(range(BEGUN)))
        )
    known = set((folder / PARTS).glob("part-*"))
    assert len(known) == BEGUN

    running = started(folder, "--engine", "ray", "--ray-address", ray_address, "--workers", "2")
    killed: int | None = None
    seen: set[int] = set()
    while running.poll() is None:
        for _, writer in writers(folder / PARTS, known):
            seen.add(writer)
        if killed is None and len(known) >= BEGUN + 6:
            killed = max(seen)
            os.kill(killed, signal.SIGKILL)
            at_the_kill = len(known)
        time.sleep(0.002)
    said, complained = running.communicate()
    assert running.returncode == 0, complained
    assert killed is not None and at_the_kill < COUNT and os.getpid() not in seen
    assert len(seen - {killed}) >= 1 and "Traceback" not in complained
    assert json.loads(said)["resumed"] == BEGUN and f"{COUNT}/{COUNT} prompts" in complained
    same_as_local(folder, recipe)


@slow
@together
def test_what_a_killed_driver_left_one_process_finishes(folder: Path, recipe: AnswererRecipe, ray_address: str) -> None:
    running = started(folder, "--engine", "ray", "--ray-address", ray_address, "--workers", "2")
    wait_for_parts(running, folder / PARTS, 5)
    running.send_signal(signal.SIGKILL)
    _, complained = running.communicate()
    assert running.returncode == -signal.SIGKILL, complained
    done = extract_file(recipe.make(), folder / "prompts.jsonl", folder / "out.safetensors", stream=io.StringIO())
    assert 5 <= done.resumed < COUNT
    same_as_local(folder, recipe)


@slow
@together
def test_a_state_that_is_not_finite_is_the_same_refusal_from_an_actor(
    folder: Path, recipe: AnswererRecipe, ray_address: str
) -> None:
    weights = load_file(folder / "model" / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"][:] = np.nan
    save_file(weights, folder / "model" / "model.safetensors", metadata={"format": "pt"})
    engine = RayExtraction(recipe, RaySettings(address=ray_address))
    out = folder / "out.safetensors"
    with pytest.raises(ExtractionRefused, match=r"prompt \d+ has nan in its hidden state of layer 2") as refused:
        extract_file(engine.planned(), folder / "prompts.jsonl", out, engine=engine, stream=io.StringIO())
    assert "Traceback" not in str(refused.value)
    with pytest.raises(ExtractionRefused, match="has nan") as alone:
        extract_file(recipe.make(), folder / "prompts.jsonl", out, stream=io.StringIO())
    assert str(refused.value) == str(alone.value)


def test_the_plan_of_a_model_refuses_what_the_model_would(folder: Path, recipe: AnswererRecipe) -> None:
    engine = RayExtraction(recipe, RaySettings())
    plan, made = engine.planned(), recipe.make()
    assert plan.fingerprints == made.fingerprints and plan.loaded.network.device.type == "meta"
    (folder / "long.jsonl").write_text(json.dumps({"query_id": "q", "prompt": "a" * 100}) + "\n")
    with pytest.raises(ExtractionRefused, match=r"100 tokens, the context of .* holds 64"):
        extract_file(plan, folder / "long.jsonl", folder / "out.npz", engine=engine)
    with pytest.raises(ExtractionRefused, match="layer is 9"):
        RayExtraction(replace(recipe, layers=(9,)), RaySettings()).planned()
    T5Model(T5Config(vocab_size=36, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)).save_pretrained(
        folder / "model"
    )
    with pytest.raises(ExtractionRefused, match="one list of 2 blocks"):
        engine.planned()


def receipt(recipe: AnswererRecipe, folder: PartFolder, **changes: Any) -> dict[str, Any]:
    """What an actor answers to three prompts; it is the class that Ray runs, without Ray."""
    plan = recipe.plan()
    prompts = token_ids(plan.loaded, ["abc", "a", "ab"])
    work = Work(prompts=prompts, rows=range(3), states_only=True, part_prompts=3)
    part = list(plan.batches(prompts, states_only=True))
    fingerprints = tuple(replace(one, **changes) for one in plan.fingerprints)
    reader = PartReader(recipe=recipe, fingerprints=fingerprints, folder=folder, states_only=True)
    (said,) = reader(pa.concat_tables([item_of(part, work)])).to_pylist()
    return said


def test_an_actor_refuses_another_model_and_a_folder_that_it_does_not_see(folder: Path, recipe: AnswererRecipe) -> None:
    parts = PartFolder(url=str(folder / "parts"), job="a" * 64)
    unseen = receipt(recipe, parts)
    assert unseen["kind"] == "ExtractionRefused" and "does not see the parts" in unseen["refusal"]
    parts.claim()
    other = receipt(recipe, parts, engine_version="1.0")
    assert "another engine_version" in other["refusal"] and "'1.0'" in other["refusal"]
    done = receipt(recipe, parts)
    assert (done["prompts"], done["tokens"], done["refusal"]) == (3, 6, None)


def test_a_task_that_is_done_again_computes_nothing_twice(folder: Path, recipe: AnswererRecipe) -> None:
    parts = PartFolder(url=str(folder / "parts"), job="a" * 64)
    parts.claim()
    first = receipt(recipe, parts)
    (part,) = (folder / "parts").glob("part-*")
    before = part.stat().st_mtime_ns
    assert receipt(recipe, parts) == first and part.stat().st_mtime_ns == before
    rows_read = parts.read()
    assert rows_read is not None and rows_read["rows"].tolist() == [0, 1, 2]


def test_a_cluster_that_is_not_there_is_told_with_its_cure(folder: Path, recipe: AnswererRecipe) -> None:
    engine = RayExtraction(recipe, RaySettings(address="127.0.0.1:1"))
    with pytest.raises(EngineUnavailable, match=r"no Ray cluster is reached at '127.0.0.1:1' .*ray start --head"):
        extract_file(engine.planned(), folder / "prompts.jsonl", folder / "out.npz", engine=engine)


@pytest.mark.slow
def test_a_missing_extra_is_told_with_its_cure(folder: Path) -> None:
    script = "import sys; sys.modules['ray'] = None; from training.__main__ import main; sys.exit(main(sys.argv[1:]))"
    asked = [sys.executable, "-c", script, *command(folder, "--engine", "ray")[3:]]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "knowgate-control[ray]" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_one_process_needs_no_ray(folder: Path) -> None:
    script = "import sys; from training.__main__ import main; main(sys.argv[1:]); print('ray' in sys.modules)"
    asked = [sys.executable, "-c", script, *command(folder)[3:]]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
