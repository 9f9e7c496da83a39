"""A killed extraction goes on where it was, computes no vector twice, and never mixes two jobs."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from safetensors.numpy import load_file
from transformers import BertConfig, BertForMaskedLM

from tests.training.reading import states_of
from training.engines.extract_file import extract_file
from training.errors import ExtractionRefused, TrainingError
from training.extraction import FIRST, Answerer, load_model
from training.extraction.extract_parts import PartFolder, Parts, write_whole
from training.extraction.loading import chosen_device
from training.extraction.progress import Progress

COUNT = 150


@pytest.fixture(name="folder")
def folder_fixture(tmp_path: Path, model_of: Any, tokenizer_of_letters: Any) -> Path:
    model_of("llama").save_pretrained(tmp_path / "model")
    tokenizer_of_letters().save_pretrained(tmp_path / "model")
    rows = [{"query_id": f"q{at}", "prompt": "abcdefghij"[: 1 + at % 10] + ":"} for at in range(COUNT)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def answerer_of(folder: Path, layers: tuple[int, ...] = (2,)) -> Answerer:
    return Answerer(load_model(folder / "model"), layers=layers, batch=1)


def rows_read(answerer: Answerer) -> list[int]:
    """Fills with the number of prompts of each real pass (what a model is tried with has 6 tokens
    of its own).
    """
    seen: list[int] = []
    states_of(answerer, ["ab"])  # tried now
    answerer.loaded.network.get_input_embeddings().register_forward_hook(
        lambda _, given, __: seen.append(given[0].shape[0])
    )
    return seen


@pytest.mark.slow
def test_a_killed_run_goes_on_and_computes_no_vector_twice(folder: Path) -> None:
    command = [sys.executable, "-m", "training", "extract", "--model", str(folder / "model"), "--layers", "2"]
    command += ["--prompts", str(folder / "prompts.jsonl"), "--out", str(folder / "out.safetensors")]
    command += ["--batch", "1", "--part-prompts", "1", "--states-only", "--device", "cpu"]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    parts = folder / ".out.safetensors.parts"
    while len(list(parts.glob("part-*"))) < 3 and running.poll() is None:
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    _, said = running.communicate()
    done = len(list(parts.glob("part-*")))
    assert running.returncode == -signal.SIGKILL and 3 <= done < COUNT, said
    assert not (folder / "out.safetensors").exists()

    answerer = answerer_of(folder)
    seen, said_now = rows_read(answerer), io.StringIO()
    (parts / ".part-00000099.safetensors.tmp").write_bytes(b"half a part")  # what a kill may leave
    written = extract_file(
        answerer, folder / "prompts.jsonl", folder / "out.safetensors", states_only=True, stream=said_now
    )
    assert written.resumed == done and sum(seen) == COUNT - done
    assert f"{COUNT}/{COUNT} prompts" in said_now.getvalue() and "left" in said_now.getvalue()
    whole = extract_file(answerer_of(folder), folder / "prompts.jsonl", folder / "whole.safetensors", states_only=True)
    assert whole.resumed == 0
    resumed, at_once = (load_file(folder / f"{name}.safetensors") for name in ("out", "whole"))
    assert set(resumed) == set(at_once) == {"hidden", "tier"}
    np.testing.assert_array_equal(resumed["hidden"], at_once["hidden"])
    assert list(folder.glob(".*")) == []

    before = len(seen)
    again = extract_file(answerer, folder / "prompts.jsonl", folder / "out.safetensors", states_only=True)
    assert again.resumed == COUNT and len(seen) == before  # a complete file is not computed again


def test_parts_of_another_job_and_a_file_in_work_are_refused(folder: Path) -> None:
    out = folder / "out.npz"
    other = Parts(out, "a" * 64)
    with other.open(), pytest.raises(ExtractionRefused, match="another process"):
        other.folder.write({"rows": np.array([0])})
        extract_file(answerer_of(folder), folder / "prompts.jsonl", out)
    with pytest.raises(ExtractionRefused, match="another extraction"):
        extract_file(answerer_of(folder), folder / "prompts.jsonl", out)


def test_what_two_workers_did_counts_once_and_another_jobs_part_never(folder: Path) -> None:
    parts = Parts(folder / "out.npz", "a" * 64)
    other = PartFolder(url=parts.folder.url, job="b" * 64)
    with parts.open():
        for writer, rows in ((parts.folder, [4, 1]), (parts.folder, [4, 1]), (parts.folder, [1, 2]), (other, [3])):
            writer.write({"rows": np.array(rows), "hidden": np.array(rows, dtype=np.float16)[:, None]})
        rows_read = parts.folder.read()
    assert rows_read is not None and rows_read["rows"].tolist() == rows_read["hidden"][:, 0].tolist() == [1, 2, 4]
    assert len(list((folder / ".out.npz.parts").glob("part-*"))) == 3  # the same prompts are the same file


def test_parts_may_lie_under_any_url_that_fsspec_knows(folder: Path) -> None:
    url = f"memory://{folder.name}/parts"
    other = Parts(folder / "out.npz", "a" * 64, url)
    with other.open(), pytest.raises(ExtractionRefused, match="another process"):
        other.folder.write({"rows": np.array([0])})
        extract_file(answerer_of(folder), folder / "prompts.jsonl", folder / "out.npz", parts_url=url)
    with pytest.raises(ExtractionRefused, match="cannot be kept under nowhere://x"):
        extract_file(answerer_of(folder), folder / "prompts.jsonl", folder / "out.npz", parts_url="nowhere://x")
    done = extract_file(answerer_of(folder), folder / "prompts.jsonl", folder / "out.npz", parts_url=url)
    assert done.queries == COUNT and done.resumed == 0
    kept = fsspec.url_to_fs(url)[0].find(url)  # jobs share a prefix: none reads or removes another's
    assert sorted(path.rpartition("/")[0] for path in kept) == [f"/{folder.name}/parts/knowgate-parts-{'a' * 16}"] * 2
    assert list(folder.glob(".out*")) == []


def test_of_a_folder_for_parts_only_what_the_job_wrote_is_removed(folder: Path) -> None:
    shared = folder / "shared"
    own = shared / f"knowgate-parts-{'a' * 16}"
    parts = Parts(shared / "out.npz", "a" * 64, f"{shared}/")
    (shared / "others").mkdir(parents=True)
    (shared / "labels.csv").write_text("of somebody")
    with parts.open():
        parts.folder.write({"rows": np.array([0])})
        (own / f".part-{'a' * 16}-9.safetensors.0.tmp").write_bytes(b"half a part")  # what a kill may leave
        (own / "notes.txt").write_text("of somebody")
        parts.remove()
    assert {str(path.relative_to(shared)) for path in shared.rglob("*")} == {
        *("others", "labels.csv", own.name, f"{own.name}/notes.txt")
    }
    (own / "notes.txt").unlink()
    own.rmdir()
    parts.remove()  # all is gone already
    done = extract_file(answerer_of(folder), folder / "prompts.jsonl", shared / "out.npz", parts_url=str(shared))
    assert done.queries == COUNT and {path.name for path in shared.iterdir()} == {"others", "labels.csv", "out.npz"}


@pytest.mark.slow
def test_what_is_done_before_the_disk_is_full_is_not_done_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts, out = folder / "prompts.jsonl", folder / "out.npz"
    sync, left = os.fsync, iter(range(8))  # the job's name and three parts, each with its folder

    def four_files(descriptor: int) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    def parts_alone(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        if name.startswith(".out.npz.") and name.endswith(".tmp"):  # the result, not the folder of its parts
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", four_files)
        with pytest.raises(
            ExtractionRefused, match=r"parts cannot be written under .*No space left.*what is done is kept"
        ):
            extract_file(answerer_of(folder), prompts, out, part_prompts=10)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", parts_alone)
        with pytest.raises(ExtractionRefused, match=r"out is .*cannot be written \(.*No space left.*start the same"):
            extract_file(answerer_of(folder), prompts, out)
    assert extract_file(answerer_of(folder), prompts, out).resumed == COUNT
    assert list(folder.glob(".*")) == []


def test_half_a_file_is_not_left_on_a_full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_whole(folder / "out.npz", b"content")
    assert list(folder.glob("*out.npz*")) == []


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("kept", [0, 100, -20])
def test_a_damaged_result_is_told_as_one_and_left_as_it_is(folder: Path, suffix: str, kept: int) -> None:
    out = folder / f"out{suffix}"
    extract_file(answerer_of(folder), folder / "prompts.jsonl", out, states_only=True)
    torn = out.read_bytes()[:kept]
    out.write_bytes(torn)
    with pytest.raises(ExtractionRefused, match=r"out is .*cannot be read as a result .*remove it or name another"):
        extract_file(answerer_of(folder), folder / "prompts.jsonl", out, states_only=True)
    assert out.read_bytes() == torn


def test_a_flipped_byte_in_a_result_is_noticed(folder: Path) -> None:
    out = folder / "out.npz"
    extract_file(answerer_of(folder), folder / "prompts.jsonl", out)
    content = bytearray(out.read_bytes())
    content[content.index(b"entropy.npy") + 200] ^= 1
    out.write_bytes(content)
    with pytest.raises(ExtractionRefused, match=r"cannot be read as a result \(Bad CRC-32"):
        extract_file(answerer_of(folder), folder / "prompts.jsonl", out)


def test_a_part_that_the_disk_lost_is_asked_again(folder: Path) -> None:
    parts = Parts(folder / "out.npz", "a" * 64)
    with parts.open():
        for row in (0, 2):
            parts.folder.write({"rows": np.array([row]), "hidden": np.ones((1, 4), dtype=np.float16)})
        whole = set((folder / ".out.npz.parts").glob("part-*"))
        parts.folder.write({"rows": np.array([1]), "hidden": np.ones((1, 4), dtype=np.float16)})
        (torn,) = set((folder / ".out.npz.parts").glob("part-*")) - whole
        torn.write_bytes(b"torn")
        rows_read = parts.folder.read()
    assert rows_read is not None and rows_read["rows"].tolist() == [0, 2]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_complete_file_of_another_layer_is_left_as_it_is(folder: Path, suffix: str) -> None:
    out = folder / f"out{suffix}"
    first = extract_file(answerer_of(folder), folder / "prompts.jsonl", out)
    assert extract_file(answerer_of(folder), folder / "prompts.jsonl", out).resumed == COUNT
    before = out.read_bytes()
    with pytest.raises(ExtractionRefused, match="it exists, from other prompts or options"):
        extract_file(answerer_of(folder, (1, 2)), folder / "prompts.jsonl", out)
    assert first.resumed == 0 and out.read_bytes() == before


def test_a_saved_encoder_is_loaded_bare_and_its_states_are_read(folder: Path, tokenizer_of_letters: Any) -> None:
    network = BertForMaskedLM(
        BertConfig(vocab_size=36, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    ).eval()
    network.save_pretrained(folder / "bert")
    tokenizer_of_letters().save_pretrained(folder / "bert")
    answerer = Answerer(load_model(folder / "bert"), layers=[2], positions=[FIRST])
    ids = answerer.loaded.tokenizer("abc", return_tensors="pt")["input_ids"]
    expected = network.bert(ids).last_hidden_state[0, 0].detach().numpy()
    np.testing.assert_allclose(states_of(answerer, ["abc", "a"]).hidden[0, 0], expected, atol=1e-5)
    with pytest.raises(TrainingError, match="encoder"):
        extract_file(answerer, folder / "prompts.jsonl", folder / "out.npz")
    written = extract_file(answerer, folder / "prompts.jsonl", folder / "states.npz", states_only=True)
    assert written.positions == (FIRST,)


def test_progress_tells_rate_and_time_left_in_tokens() -> None:
    stream, now = io.StringIO(), [0.0]
    progress = Progress(stream, prompts=4, tokens=400, before=2, clock=lambda: now[0])
    now[0] = 1.0
    progress.add(1, 100)  # too soon for another line in a log
    now[0] = 20.0
    progress.add(1, 100)
    now[0] = 21.0
    progress.add(2, 200)
    assert stream.getvalue().splitlines() == [
        "4/6 prompts, 0.1 prompts/s, 10 tokens/s, 0:20 left",
        "6/6 prompts, 0.2 prompts/s, 19 tokens/s, 0:00 left",
    ]


def test_what_cannot_be_done_is_refused_before_any_work(folder: Path) -> None:
    prompts, out = folder / "prompts.jsonl", folder / "out.npz"
    with pytest.raises(ExtractionRefused, match="tier is -1: give at least 0"):
        extract_file(answerer_of(folder), prompts, out, tier=-1)
    with pytest.raises(ExtractionRefused, match="part_prompts is 0: give at least 1"):
        extract_file(answerer_of(folder), prompts, out, part_prompts=0)
    for nowhere in ("", " ", "s3://"):
        with pytest.raises(ExtractionRefused, match=f"parts_url is '{nowhere}': name a folder or an fsspec URL"):
            extract_file(answerer_of(folder), prompts, out, parts_url=nowhere)
    with pytest.raises(ExtractionRefused, match="max_new_tokens is 0"):
        Answerer(answerer_of(folder).loaded, max_new_tokens=0)
    with pytest.raises(ExtractionRefused, match="device is 'abacus': use auto, cpu or cuda"):
        chosen_device("abacus")
    out.write_bytes(b"labels that somebody filled in")
    with pytest.raises(ExtractionRefused, match="cannot be read as a result"):
        extract_file(answerer_of(folder), prompts, out)
    assert out.read_bytes() == b"labels that somebody filled in"
