"""The trainer as a process is used: its arguments, its exit status, its last line."""

import faulthandler
import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from sqlalchemy import Engine

from knowgate._records.records import Window
from knowgate._wire import codec
from knowgate.backends.loading import adopt
from knowgate.spec import CascadeSpec, TierSpec
from store.engine import reading, transaction
from store.jobs.job_runs import claim, job_runs
from store.releases.cascades import apply_cascade
from tests.training.reading import extracted
from training.__main__ import CLAIM_LOST, DONE, main, options_of
from training.commands.engine_options import chosen_cluster
from training.engines import RaySettings
from training.engines.extract_file import extract_file
from training.errors import ExtractionRefused, TrainingRefused
from training.extraction import Answerer
from training.heartbeat import kept_alive

NOW = datetime(2026, 3, 1, tzinfo=UTC)
WINDOW = Window(start=NOW - timedelta(days=7), end=NOW)
SPEC = CascadeSpec(
    name="facts",
    tiers=(TierSpec(name="s", model="small", parameters=1e9), TierSpec(name="l", model="large", parameters=1e10)),
)
RUN = ["run", "--cascade=facts", f"--start={WINDOW.start.isoformat()}", f"--end={NOW.isoformat()}"]
EXTRACT = ["extract", "--model=m", "--prompts=p.csv", "--out=o.npz"]
RUN += [f"--as-of={NOW.isoformat()}", f"--now={NOW.isoformat()}"]


@pytest.fixture
def applied(sqlite_engine: Engine) -> Engine:
    with transaction(sqlite_engine) as session:
        apply_cascade(session, SPEC, now=WINDOW.start)
    return sqlite_engine


def test_the_scheduler_hands_over_its_claim_and_the_trainer_ends_it(
    applied: Engine, sqlite_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KNOWGATE_DATABASE_URL", sqlite_url)
    with transaction(applied) as session:
        claimed = claim(session, "train", "facts", WINDOW, owner="scheduler", lease=timedelta(minutes=5), now=NOW)
    assert claimed is not None
    handed = f"--claim={codec.canonical(claimed).decode()}"
    assert main([*RUN, handed]) == DONE
    assert json.loads(capsys.readouterr().out)["status"] == "no_data"
    with reading(applied) as session:
        (run,) = job_runs(session, "facts")
    assert run.outcome == "no_data"
    assert main([*RUN, handed]) == CLAIM_LOST  # a second process for a window that is done
    assert "no longer held" in capsys.readouterr().err


def test_a_training_ends_itself_at_its_limit_unless_it_has_ended_before(
    applied: Engine, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit itself ends a process, in tests/services/jobs/test_job_limits.py."""
    alarms: list[tuple[float, bool] | None] = []
    monkeypatch.setattr(faulthandler, "dump_traceback_later", lambda after, exit: alarms.append((after, exit)))
    monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", lambda: alarms.append(None))
    assert main([*RUN, f"--database-url={sqlite_url}", "--limit=90"]) == DONE
    assert alarms == [(90.0, True), None]


def test_what_is_missing_or_naive_is_named(
    applied: Engine, sqlite_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KNOWGATE_DATABASE_URL", "./knowgate.db")
    monkeypatch.setenv("KNOWGATE_MLFLOW_URL", "./mlruns")
    assert main(["drain-mlflow", f"--database-url={sqlite_url}"]) == 2
    errors = capsys.readouterr().err
    assert "KNOWGATE_DATABASE_URL is '(not shown)': an SQLAlchemy URL" in errors and "KNOWGATE_MLFLOW_URL is" in errors
    with pytest.raises(SystemExit) as usage:
        main([*RUN[:-1], "--now=2026-03-01T00:00:00"])
    assert usage.value.code == 2
    assert "naive" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "extract"])
def test_what_a_command_is_not_given_comes_from_the_settings(tmp_path: Path, command: str) -> None:
    (tmp_path / "url").write_text("sqlite:///a.db\n", encoding="utf-8")
    given = {"KNOWGATE_DATABASE_URL_FILE": str(tmp_path / "url"), "KNOWGATE_RAY_WORKERS": "3"}
    options = options_of(RUN if command == "run" else EXTRACT, given)
    assert options.database_url == "sqlite:///a.db" and options.mlflow_url == "sqlite:///var/mlflow.db"
    assert (options.engine, options.workers, options.cpus_per_worker) == ("local", 3, 1)
    assert options_of([*RUN, "--database-url=sqlite:///b.db"], given).database_url == "sqlite:///b.db"


def test_the_engine_is_local_unless_an_option_or_the_settings_name_a_cluster() -> None:
    def cluster(named: dict[str, str], *given: str) -> RaySettings | None:
        return chosen_cluster(options_of([*EXTRACT, *given], named))

    assert cluster({}) is None and cluster({"KNOWGATE_TRAINING_ENGINE": "ray"}, "--engine=local") is None
    named = {"KNOWGATE_RAY_ADDRESS": "head:6379", "KNOWGATE_RAY_WORKERS": "3", "KNOWGATE_RAY_GPUS_PER_WORKER": "0.5"}
    assert cluster(named) is None
    assert cluster(named, "--engine=ray") == RaySettings(address="head:6379", workers=3, gpus=0.5)
    more = cluster(named, "--engine=ray", "--workers=5", "--gpus-per-worker=0")
    assert more == RaySettings(address="head:6379", workers=5)


@pytest.mark.parametrize(
    ("environment", "given", "said"),
    [
        ({}, ["--workers=0"], "workers is 0"),
        ({"KNOWGATE_RAY_ADDRESS": "ray://head:10001"}, [], "a machine that belongs to the cluster"),
        ({"KNOWGATE_RAY_CPUS_PER_WORKER": "0"}, [], "0.0 CPUs and 0 GPUs"),
        ({}, ["--gpus-per-worker=-1"], "-1.0 GPUs"),
    ],
)
def test_an_engine_that_cannot_be_is_refused(environment: dict[str, str], given: list[str], said: str) -> None:
    options = options_of([*EXTRACT, *given], {"KNOWGATE_TRAINING_ENGINE": "ray"} | environment)
    with pytest.raises(TrainingRefused, match=said):
        chosen_cluster(options)


@pytest.mark.parametrize(
    ("option", "choices"), [("--engine", "local, ray"), ("--p-t-kind", "option, first_token, mean")]
)
def test_choices_are_listed_as_they_are_typed(option: str, choices: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as usage:
        main([*EXTRACT, option, "foo"])
    errors = capsys.readouterr().err.replace("'", "")
    assert usage.value.code == 2 and f"invalid choice: foo (choose from {choices})" in errors and "<" not in errors


@pytest.mark.slow
def test_draining_an_outbox_loads_no_torch() -> None:
    script = "import sys, training.__main__, training.publishing.mlflow_outbox; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_claim_is_kept_alive_while_its_run_works(applied: Engine) -> None:
    with transaction(applied) as session:
        claimed = claim(session, "train", "facts", WINDOW, owner="a", lease=timedelta(seconds=0.06), now=NOW)
    later = NOW + timedelta(minutes=1)
    with kept_alive(applied, claimed, lease=timedelta(seconds=0.06), clock=lambda: later):
        until = time.monotonic() + 60  # it ends at once; threads of a busy machine may wait for their turn
        while time.monotonic() < until:
            with reading(applied) as session:
                (run,) = job_runs(session, "facts")
            if run.heartbeat_at == later:
                break
            time.sleep(0.01)
    assert run.lease_until == later + timedelta(seconds=0.06)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_file_of_prompts_becomes_a_file_of_states(
    tmp_path: Path, model_of: Any, tokenizer_of_letters: Any, suffix: str
) -> None:
    table = pa.table({"query_id": ["q1", "q1", "q2"], "tier": [0, 1, 0], "prompt": ["who?", "who?", "where is that:"]})
    parquet.write_table(table, tmp_path / "prompts.parquet")
    answerer = Answerer(adopt(model_of("llama"), tokenizer_of_letters(), model="tiny", revision="1"), layers=[2])
    written = extract_file(answerer, tmp_path / "prompts.parquet", tmp_path / f"out{suffix}")
    assert (written.queries, written.layers, written.dimension) == (2, (2,), 16)
    if suffix == ".npz":
        with np.load(written.path) as arrays:
            hidden, ids = arrays["hidden"], arrays["query_id"].tolist()
    else:
        from safetensors import safe_open

        with safe_open(written.path, "np") as file:
            hidden, ids = file.get_tensor("hidden"), json.loads(file.metadata()["query_id"])
    assert ids == ["q1", "q2"] and hidden.dtype == np.float16
    np.testing.assert_allclose(hidden, extracted(answerer, ["who?", "where is that:"]).hidden[:, 0], rtol=1e-3)
    assert [file.name for file in tmp_path.glob(".out*")] == []


def test_a_file_without_prompts_is_refused_by_column(tmp_path: Path, model_of: Any, tokenizer_of_letters: Any) -> None:
    parquet.write_table(pa.table({"query_id": ["q1"]}), tmp_path / "bare.parquet")
    answerer = Answerer(adopt(model_of("llama"), tokenizer_of_letters(), model="tiny", revision="1"))
    with pytest.raises(ExtractionRefused, match="'prompt'"):
        extract_file(answerer, tmp_path / "bare.parquet", tmp_path / "out.npz")
    with pytest.raises(ExtractionRefused, match=r"\.npz"):
        extract_file(answerer, tmp_path / "bare.parquet", tmp_path / "out.txt")


@pytest.mark.parametrize(
    "given",
    [["--layers", "0", "--layers", "1", "2"], ["--layers", "0", "1", "2"], ["--layers=0", "--layers=1", "--layers=2"]],
)
def test_an_option_of_several_values_takes_all_of_them_however_they_are_given(
    tmp_path: Path, model_of: Any, tokenizer_of_letters: Any, given: list[str]
) -> None:
    model_of("llama").save_pretrained(tmp_path / "model")
    tokenizer_of_letters().save_pretrained(tmp_path / "model")
    (tmp_path / "p.csv").write_text("query_id,prompt\nq1,abc:\n")
    command = ["extract", "--model", str(tmp_path / "model"), "--prompts", str(tmp_path / "p.csv"), "--device", "cpu"]
    command += ["--out", str(tmp_path / "out.npz"), "--states-only", *given]
    command += ["--positions", "first_token", "--positions", "last_prompt_token"]
    assert main(command) == 0
    with np.load(tmp_path / "out.npz") as arrays:
        assert arrays["hidden"].shape == (1, 6, 16)
