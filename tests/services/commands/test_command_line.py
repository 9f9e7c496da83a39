"""The command line: exit codes, messages, and a whole small deployment run by commands alone."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from knowgate import Bundle, CascadeSpec, Decision, SigningUnavailable, Window
from knowgate._bundles import signing
from knowgate.errors import RecordInvalid
from knowgate.policy import PolicyKind
from services.command_line import app, exit_code_of
from services.errors import InputInvalid, Refused, ServicesError
from services.labelling.queue import label_coin
from services.outcome_tables.outcomes import read_outcomes
from services.settings import read_settings
from services.simulation.of_table import Wanted, prepared
from store.engine import reading, transaction
from store.errors import CascadeUnknown
from store.jobs import job_runs
from store.ledger import ledger
from store.sealing.sealed_rows import sealed_row
from store.shards.shards import read_rows, write_shard
from store.traffic import decisions, labels, vectors
from store.traffic.decisions import add_decisions
from store.traffic.vectors import VectorRow, add_shard
from tests.services.history.logs import lines, litellm

Run = Callable[..., Result]
HEAVY = {"mlflow", "evidently", "torch", "pandas", "sqlalchemy", "fastapi", "pyarrow", "scipy", "lightning"}


def printed(result: Result) -> Any:
    return json.loads(result.stdout)


@pytest.fixture
def cascade_toml(tmp_path: Path) -> Path:
    path = tmp_path / "cascade.toml"
    path.write_text(
        'name = "trivia"\n'
        '[[tiers]]\nname = "small"\nmodel = "tiny"\nparameters = 1e9\n'
        '[[tiers]]\nname = "large"\nmodel = "huge"\nparameters = 1e10\n'
    )
    return path


@pytest.fixture
def outcomes_csv(tmp_path: Path) -> Path:
    path = tmp_path / "outcomes.csv"
    rows = "".join(f"q{index},{tier},m{tier},0.5,{index % 2}\n" for index in range(20) for tier in (0, 1))
    path.write_text("query_id,tier,model,p_t,correct\n" + rows)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "command", "loaded"),
    [(["--help"], "certify", set()), (["token", "--help"], "revoke", {"sqlalchemy"})],
)
def test_a_command_loads_no_more_than_it_needs(arguments: list[str], command: str, loaded: set[str]) -> None:
    code = (
        "import sys; from services.command_line import app;"
        f" app({arguments}, standalone_mode=False); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert command in done.stdout
    assert HEAVY & set(done.stdout.splitlines()[-1].split()) == loaded


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ServicesError("x"), 1),
        (InputInvalid("x"), 2),
        (Refused("x"), 3),
        (RecordInvalid("x", 1, "y"), 2),
        (SigningUnavailable(), 1),
        (CascadeUnknown("x", ()), 2),
        (KeyError("x"), None),
    ],
)
def test_an_error_of_ours_ends_with_its_code_and_a_fault_with_its_traceback(error: Exception, code: int | None) -> None:
    assert exit_code_of(error) == code


@pytest.mark.slow
def test_the_installed_command_tells_a_mistake_in_one_message(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from services.command_line import main; main()",
        "cascade",
        "apply",
        "nowhere.toml",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env=_environment(tmp_path)
    )
    assert done.returncode == 2
    assert done.stderr.startswith("knowgate: nowhere.toml: it cannot be read")
    assert "Traceback" not in done.stderr


def _environment(folder: Path) -> dict[str, str]:
    root = Path(__file__).parents[3]
    return {"PYTHONPATH": f"{root}:{root / 'runtime'}", "KNOWGATE_DATA_DIR": str(folder), "PATH": "/usr/bin:/bin"}


def test_a_cascade_is_applied_once_and_shown_as_it_was_written(run: Run, cascade_toml: Path, tmp_path: Path) -> None:
    assert printed(run("cascade", "apply", str(cascade_toml), "--json")) == {
        "cascade": "trivia",
        "version": 1,
        "changed": True,
    }
    assert "unchanged" in run("cascade", "apply", str(cascade_toml)).stdout
    again = tmp_path / "again.toml"
    again.write_text(run("cascade", "show", "trivia").stdout)
    assert "unchanged, at version 1" in run("cascade", "apply", str(again)).stdout
    assert printed(run("cascade", "show", "--json")) == {"cascades": ["trivia"]}
    run("cascade", "show", "unheard-of", code=2)


def test_a_bad_cascade_file_is_bad_usage(run: Run, cascade_toml: Path) -> None:
    cascade_toml.write_text("name = 3")
    refused = run("cascade", "apply", str(cascade_toml), code=2)
    assert "name is 3" in str(refused.exception)
    assert "tiers" in str(refused.exception)  # all faults at once
    run("cascade", "show", "trivia", code=2)  # and nothing was stored


def test_history_goes_in_and_comes_out(run: Run, cascade_toml: Path, outcomes_csv: Path, tmp_path: Path) -> None:
    run("cascade", "apply", str(cascade_toml))
    when = ("--start", "2026-02-01", "--end", "2026-02-11T00:00:00+00:00")
    done = printed(run("import", str(outcomes_csv), "--cascade", "trivia", *when, "--json"))
    assert (done["decisions"], done["labels"]) == (20, 40)
    run("export", str(tmp_path / "out.parquet"), "--cascade", "trivia")
    given, exported = read_outcomes(outcomes_csv), read_outcomes(tmp_path / "out.parquet")
    np.testing.assert_array_equal(given.query_ids, exported.query_ids)
    np.testing.assert_array_equal(given.correct, exported.correct)
    again = printed(run("import", str(tmp_path / "out.parquet"), "--cascade", "trivia", "--json"))
    assert (again["decisions"], again["duplicates"], again["labels"]) == (0, 20, 0)


def test_an_outcome_table_of_other_names_is_mapped(
    run: Run, cascade_toml: Path, outcomes_csv: Path, tmp_path: Path
) -> None:
    run("cascade", "apply", str(cascade_toml))
    path = tmp_path / "ours.csv"
    path.write_text(outcomes_csv.read_text().replace("query_id", "id", 1).replace("correct", "is_right", 1))
    when = ("--cascade", "trivia", "--start", "2026-02-01", "--end", "2026-02-11")
    assert "--map query_id=COLUMN" in str(run("import", str(path), *when, code=2).exception)
    assert "no column nr" in str(run("import", str(path), *when, "--map", "query_id=nr", code=2).exception)
    assert "--map 'tier='" in str(run("import", str(path), *when, "--map", "tier=", code=2).exception)
    names = ("--map", "query_id=id,correct=is_right", "--json")
    done = printed(run("import", str(path), *when, *names))
    assert (done["decisions"], done["labels"]) == (20, 40)
    for command in ("certify", "advise", "simulate"):
        assert "--map query_id=COLUMN" in str(run(command, str(path), code=2).exception)
        assert "has no column" not in str(run(command, str(path), *names, code=2).exception)  # of a constant p_t


def test_logs_of_another_system_are_imported_and_what_was_left_out_is_told(
    run: Run, cascade_toml: Path, tmp_path: Path
) -> None:
    run("cascade", "apply", str(cascade_toml))
    path = lines(tmp_path / "log.jsonl", [litellm("q", "tiny", "Lima"), litellm("q", "other", "Lima", model_group="x")])
    logs = ("import", str(path), "--cascade", "trivia", "--from", "litellm")
    assert "--tier is not given" in str(run(*logs, code=2).exception)
    assert "--start goes with" in str(
        run(*logs, "--tier", "tiny=0", "--start", "2026-02-01", "--end", "2026-02-02", code=2).exception
    )
    result = run(*logs, "--tier", "tiny=0", "--json")
    done = json.loads(result.stdout)
    assert (done["rows_read"], done["decisions"], done["complete"]) == (2, 1, False)
    assert done["left_out"] == [{"reason": "model other", "calls": 1}]
    assert "calls left out: 1 × model other" in result.stderr
    assert "--from" in str(run("import", str(path), str(path), "--cascade", "trivia", code=2).exception)


def test_history_without_times_or_of_an_unknown_cascade_is_told(
    run: Run, cascade_toml: Path, outcomes_csv: Path
) -> None:
    def refused(*arguments: str) -> str:
        return str(run(*arguments, "--cascade", "trivia", code=2).exception)

    before = outcomes_csv.read_bytes()
    assert "trivia" in refused("import", str(outcomes_csv), "--start", "2026-02-01", "--end", "2026-02-02")
    run("cascade", "apply", str(cascade_toml))
    assert "--start and --end" in refused("import", str(outcomes_csv))
    assert "--end is not given" in refused("import", str(outcomes_csv), "--start", "2026-02-01")
    assert "no decision" in refused("export", str(outcomes_csv))
    assert outcomes_csv.read_bytes() == before


def test_labels_are_imported_with_a_mapping(
    run: Run, engine: Engine, trivia: str, decision: Callable[..., Decision], tmp_path: Path
) -> None:
    sent = decision()
    with transaction(engine) as session:
        add_decisions(session, [sent], received_at=sent.occurred_at)
    path = tmp_path / "labels.csv"
    path.write_text("id,is_right,when\nq0,1,2026-03-10 12:00:00\nq9,0,2026-03-10 12:00:00\n")
    mapping = ("--map", "correct=is_right,external_id=id,labelled_at=when", "--source", "gold")
    run("labels", "import", str(path), "--cascade", trivia, *mapping, code=2)
    done = printed(
        run("labels", "import", str(path), "--cascade", trivia, *mapping, "--timezone", "Europe/Paris", "--json")
    )
    assert (done["stored"], done["waiting"]) == (1, 1)
    with reading(engine) as session:
        (label,) = labels.labels_of(session, sent.id)
    assert label.labelled_at == datetime(2026, 3, 10, 11, tzinfo=UTC)
    run("labels", "import", str(path), "--cascade", "unheard-of", *mapping, "--timezone", "UTC", code=2)


def test_labels_by_an_external_id_that_several_decisions_share_are_told(
    run: Run, engine: Engine, trivia: str, decision: Callable[..., Decision], tmp_path: Path
) -> None:
    made = [_at(decision(index, cascade=trivia), datetime.now(UTC) - timedelta(hours=3 - index)) for index in range(3)]
    shared = [replace(one, external_id="ticket-1") for one in made]
    with transaction(engine) as session:
        add_decisions(session, shared, received_at=datetime.now(UTC))
    path = tmp_path / "labels.csv"
    path.write_text("external_id,correct\nticket-1,1\n")
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")
    imported = run(
        "labels", "import", str(path), "--cascade", trivia, "--source", "gold", "--labelled-at", at, "--json"
    )
    done = printed(imported)
    assert (done["stored"], done["ambiguous"]) == (1, 1)
    assert f"labels.csv: external_id 'ticket-1' is that of 3 decisions of {trivia}" in imported.stderr
    assert str(shared[2].id) in imported.stderr


@pytest.fixture
def traffic(engine: Engine, trivia: str, decision: Callable[..., Decision]) -> tuple[Decision, ...]:
    """Two hundred decisions of the last hours."""
    now = datetime.now(UTC) - timedelta(hours=1)
    made = []
    for index in range(200):
        one = decision(index, cascade=trivia)
        shifted = now + timedelta(seconds=index)
        made.append(_at(one, shifted))
    with transaction(engine) as session:
        add_decisions(session, made, received_at=made[-1].occurred_at)
    return tuple(made)


def _at(decision: Decision, when: datetime) -> Decision:
    from knowgate import new_id

    return replace(decision, id=new_id(when), occurred_at=when)


def test_the_queue_draws_by_a_fixed_coin_and_leaves_out_what_is_labelled(
    run: Run, traffic: tuple[Decision, ...], tmp_path: Path
) -> None:
    queue = ("labels", "queue", "--cascade", "trivia", "--aim", "accuracy", "--json", "--rate")
    rows = printed(run(*queue, "0.3"))["answers"]
    drawn = {row["decision_id"] for row in rows}
    expected = {str(one.id) for one in traffic if label_coin(b"a hash key for tests", one.id) < 0.3}
    assert drawn == expected and 20 < len(drawn) < 110
    assert len(rows) == 2 * len(drawn)
    assert {row["label_propensity"] for row in rows} == {0.3}
    assert drawn < {row["decision_id"] for row in printed(run(*queue, "0.6"))["answers"]}

    out = tmp_path / "queue.csv"
    run("labels", "queue", "--cascade", "trivia", "--aim", "accuracy", "--rate", "0.3", "--out", str(out))
    filled = out.read_text().replace(",,0.3", ",1,0.3")
    out.write_text(filled)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    done = printed(
        run("labels", "import", str(out), "--cascade", "trivia", "--source", "human", "--labelled-at", now, "--json")
    )
    assert done["stored"] == len(rows)
    assert printed(run(*queue, "0.3"))["answers"] == []
    run("labels", "queue", "--cascade", "trivia", "--rate", "0", code=2)


def test_tokens_are_made_listed_and_revoked(run: Run) -> None:
    token = run("token", "create", "gateway", "--role", "ingest").stdout.strip()
    assert token.startswith("kg_")
    run("token", "create", "gateway", "--role", "read", code=1)
    listed = run("token", "list", "--json")
    assert token not in listed.stdout
    assert [(row["name"], row["role"]) for row in printed(listed)["tokens"]] == [("gateway", "ingest")]
    run("token", "revoke", "gateway")
    run("token", "revoke", "gateway", code=2)
    run("token", "create", "x", "--role", "king", code=2)


def test_a_bundle_is_shown_verified_and_compared(run: Run, promoted: Bundle, tmp_path: Path) -> None:
    assert printed(run("bundle", "show", "--json"))["bundles"][0]["id"] == promoted.id
    document = printed(run("bundle", "show", promoted.id[:8], "--json"))["document"]
    assert document["policy"]["kind"] == "gates"
    assert printed(run("bundle", "verify", promoted.id[:8], "--json"))["signed"] is None
    path = tmp_path / "one.safetensors"
    path.write_bytes(promoted.content)
    assert printed(run("bundle", "diff", promoted.id, str(path), "--json")) == {"differences": []}
    run("bundle", "show", "ffff", code=2)

    pair = signing.new_key_pair()
    run("bundle", "verify", str(path), "--public-key", pair.public_key, code=3)
    signature = signing.sign_bundle(pair.private_key, promoted.id)
    run("bundle", "verify", str(path), "--public-key", pair.public_key, "--signature", signature)
    path.write_bytes(promoted.content[:-1])
    run("bundle", "verify", str(path), code=3)


def test_bundles_that_differ_are_told_apart_key_by_key(run: Run, promoted: Bundle, tmp_path: Path) -> None:
    from dataclasses import replace

    from knowgate import Policy, PolicyKind, write_bundle

    policy = Policy.of(PolicyKind.GATES, ({"p_ik": 0.7, "p_t": 0.8},))
    other = write_bundle(replace(promoted.document, policy=policy), promoted.tiers)
    path = tmp_path / "other.safetensors"
    path.write_bytes(other.content)
    found = {
        row["where"]: row for row in printed(run("bundle", "diff", promoted.id, str(path), "--json"))["differences"]
    }
    assert found["policy.rules[0][0].threshold"]["first"] == "0.6"
    assert found["policy.rules[0][0].threshold"]["second"] == "0.7"


def test_an_erased_decision_leaves_its_figures_and_nothing_personal(
    run: Run, engine: Engine, traffic: tuple[Decision, ...], tmp_path: Path
) -> None:
    target, neighbour = traffic[0], traffic[1]
    base = str((tmp_path / "data" / "shards").absolute())
    shard = write_shard(base, np.ones((2, 4)), [f"{one.id}/0" for one in (target, neighbour)])
    with transaction(engine) as session:
        rows = [
            VectorRow(decision_id=one.id, tier=0, row=row, sha256=shard.row_sha256[row])
            for row, one in enumerate((target, neighbour))
        ]
        add_shard(session, "trivia", shard.url, shard.sha256, rows, dimension=4, now=target.occurred_at)
    run("erase", "q0", "--cascade", "trivia", stdin="n\n", code=1)
    done = printed(run("erase", "q0", "--cascade", "trivia", "--by", "grace", "--yes", "--json"))
    assert (done["decision"], done["vectors"]) == (str(target.id), 1)
    with reading(engine) as session:
        kept = decisions.decision(session, target.id)
        places = vectors.vector_rows(session, "trivia", 0, [target.id, neighbour.id])
        leaves, row = ledger.leaves_of(session, str(target.id)), sealed_row(session, str(target.id))
    assert kept.external_id is None and kept.prompt_hash is None
    assert kept.attempts[0].signals == target.attempts[0].signals
    assert set(places) == {neighbour.id}
    assert not Path(shard.url).exists()
    np.testing.assert_array_equal(read_rows(places[neighbour.id].url, [0, 1]), [[0] * 4, [1] * 4])
    assert [leaf.version for leaf in leaves if leaf.kind == "decision"] == [3, 2]
    assert row is not None and row.salt is None
    assert "erased as grace asked" in run("audit", "explain", str(target.id), code=3).stdout
    run("erase", "no-id", code=2)
    run("erase", "q0", "--cascade", "trivia", "--yes", code=2)


def test_the_doctor_names_what_is_wrong(
    run: Run, promoted: Bundle, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    found = printed(run("doctor", "--json"))["findings"]
    assert {row["check"]: row["state"] for row in found}["database"] == "ok"
    assert not [row for row in found if row["state"] == "bad"]
    monkeypatch.setenv("KNOWGATE_DATABSE_URL", "x")
    noted = printed(run("doctor", "--json"))["findings"]
    assert any("KNOWGATE_DATABSE_URL" in row["found"] for row in noted if row["state"] == "note")
    monkeypatch.setenv("KNOWGATE_SHARDS_URL", "/proc/nowhere")
    bad = [row for row in printed(run("doctor", "--json", code=1))["findings"] if row["state"] == "bad"]
    assert [row["check"] for row in bad] == ["shards"] and bad[0]["cure"]


def test_a_fresh_folder_and_a_stopped_deployment_are_not_broken(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fresh = tmp_path / "fresh"
    monkeypatch.setenv("KNOWGATE_DATA_DIR", str(fresh))
    monkeypatch.delenv("KNOWGATE_DATABASE_URL")
    states = {row["check"]: row["state"] for row in printed(run("doctor", "--json"))["findings"]}
    assert states["database"] == "note" and "bad" not in states.values()
    assert not fresh.exists()  # looking makes nothing
    fresh.mkdir()
    (fresh / "knowgate.db").write_bytes(b"no database at all" * 100)
    bad = [row for row in printed(run("doctor", "--json", code=1))["findings"] if row["state"] == "bad"]
    assert [row["check"] for row in bad] == ["database"] and "not a database" in bad[0]["found"]
    assert "or the file is a database" in str(run("cascade", "show", code=2).exception)


def watched(engine: Engine, cascade: str, until: datetime) -> None:
    """One finished window of the monitor job."""
    window = Window(start=until - timedelta(hours=1), end=until)
    with transaction(engine) as session:
        claimed = job_runs.claim(
            session, "monitor", cascade, window, owner="test", lease=timedelta(minutes=1), now=until
        )
        assert claimed is not None
        job_runs.finish(session, claimed, "watched", now=until)


def test_a_scheduler_that_stands_still_is_a_note_without_traffic_and_bad_with_it(
    run: Run, engine: Engine, trivia: str, decision: Callable[..., Decision]
) -> None:
    newest = decision()
    watched(engine, trivia, newest.occurred_at - timedelta(days=1))
    notes = [row for row in printed(run("doctor", "--json"))["findings"] if row["check"] == trivia]
    assert [row["state"] for row in notes][-1] == "note" and "not running" in notes[-1]["found"]
    with transaction(engine) as session:
        add_decisions(session, [newest], received_at=newest.occurred_at)
    bad = [row for row in printed(run("doctor", "--json", code=1))["findings"] if row["state"] == "bad"]
    assert "decisions come until" in bad[0]["found"] and "knowgate scheduler" in bad[0]["cure"]


def test_a_job_that_failed_at_its_last_try_is_bad_until_a_later_window_is_done(
    run: Run, engine: Engine, trivia: str
) -> None:
    now = datetime.now(UTC)
    window = Window(start=now - timedelta(hours=2), end=now - timedelta(hours=1))
    with transaction(engine) as session:
        claimed = job_runs.claim(session, "monitor", trivia, window, owner="t", lease=timedelta(minutes=1), now=now)
        assert claimed is not None
        job_runs.release(session, claimed, error="OSError: disk is full", retry_at=now, now=now)
    bad = [row for row in printed(run("doctor", "--json", code=1))["findings"] if row["state"] == "bad"]
    assert "disk is full" in bad[0]["found"] and "monitor until" in bad[0]["found"]
    watched(engine, trivia, now)
    run("doctor", "--json")


def test_a_port_that_is_taken_is_told_before_a_token_is_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("KNOWGATE_PORT", str(port))
        result = run("serve", code=1)
    assert str(result.exception).startswith(f"KNOWGATE_PORT is {port}: something listens there already")
    assert "kg_" not in result.output and not printed(run("token", "list", "--json"))["tokens"]
    monkeypatch.setenv("KNOWGATE_HOST", "no.such.host.invalid")
    assert "KNOWGATE_HOST is no.such.host.invalid: this machine knows" in str(run("serve", code=1).exception)


def test_a_file_to_write_in_a_folder_that_is_not_there_is_refused_before_any_work(
    run: Run, trivia: str, tmp_path: Path
) -> None:
    nowhere = tmp_path / "no" / "such"
    for command in (
        ("report", "--cascade", trivia, "--out", str(nowhere / "report.html")),
        ("export", str(nowhere / "outcomes.csv"), "--cascade", trivia),
        ("labels", "queue", "--cascade", trivia, "--rate", "1", "--out", str(nowhere / "queue.csv")),
    ):
        message = str(run(*command, code=2).exception)
        assert f"the folder {nowhere} is not there; make it" in message
    assert not nowhere.parent.exists()
    assert "that is a folder" in str(run("report", "--cascade", trivia, "--out", str(tmp_path), code=2).exception)


@pytest.mark.parametrize(
    ("cells", "options", "message"),
    [
        ("0.5,{odd}", (), "p_t is 0.5 in every row of tier 0"),
        ("0.{row},1", (), "all 20 labelled answers of tier 0 are right"),
        ("0.{row},{odd}", ("--days", "nan"), "--days is nan"),
        ("0.{row},{odd}", ("--days", "1e300"), "--days is 1e+300"),
        ("0.{row},{odd}", ("--seed", "-1"), "--seed is -1"),
        ("0.{row},{odd}", ("--rule", "gates"), "--rule is gates"),
        ("0.{row},{odd}", ("--exploration", "0"), "exploration_rate is 0.0"),
        ("0.{row},{odd}", ("--label-share", "0"), "--label-share is 0"),
    ],
)
def test_a_simulation_that_would_show_nothing_is_refused_before_it_begins(
    run: Run, tmp_path: Path, cells: str, options: tuple[str, ...], message: str
) -> None:
    rows = "".join(
        f"q{row},{tier},m{tier}-1b,{cells.format(row=row + 10, odd=(row + tier) % 2)}\n"
        for row in range(20)
        for tier in (0, 1)
    )
    path = tmp_path / "played.csv"
    path.write_text("query_id,tier,model,p_t,correct\n" + rows)
    assert message in str(run("simulate", str(path), *options, code=2).exception)
    assert not (tmp_path / "data" / "simulate").exists()


def test_a_simulation_lies_in_the_data_folder_unless_another_is_named(tmp_path: Path) -> None:
    settings = read_settings({"KNOWGATE_DATA_DIR": str(tmp_path / "data")})
    path = tmp_path / "played.csv"
    path.write_text(
        "query_id,tier,model,p_t,correct\n"
        + "".join(f"q{row},{tier},m{tier}-1b,0.{row + 10},{row % 2}\n" for row in range(9) for tier in (0, 1))
    )
    wanted = Wanted(
        directory=None,
        max_accuracy_drop=0.02,
        delta=0.1,
        kind=PolicyKind.P_T,
        days=1,
        exploration_rate=0.1,
        label_share=1.0,
        label_delay_hours=1,
        parameters=None,
        seed=0,
    )
    setting = prepared(read_outcomes(path), wanted, settings)
    assert setting.directory.parent == tmp_path / "data" / "simulate" and setting.directory.is_dir()
    with pytest.raises(InputInvalid, match="is not there; make it"):
        prepared(read_outcomes(path), replace(wanted, directory=tmp_path / "no" / "such"), settings)


def test_an_import_of_undeclared_models_is_stored_and_said(run: Run, trivia: str, outcomes_csv: Path) -> None:
    result = run("import", str(outcomes_csv), "--cascade", trivia, "--start", "2026-01-01", "--end", "2026-01-02")
    assert "40 attempts are of undeclared models" in result.stderr and "knowgate cascade show trivia" in result.stderr


def test_the_schema_is_checked_and_brought_up(run: Run, engine: Engine) -> None:
    from store import schema

    assert "the schema is the code's" in run("db", "check").stdout
    schema.downgrade(engine, "-1")
    run("db", "check", code=1)
    assert "was" in run("db", "upgrade").stdout
    run("db", "check")


def test_postgresql_is_never_upgraded_behind_its_owners_back(run: Run, engine: Engine) -> None:
    from store import schema

    schema.downgrade(engine, "-1")
    if engine.dialect.name == "postgresql":
        result = run("cascade", "show", code=2)
        assert "knowgate db upgrade" in str(result.exception)
    else:
        run("cascade", "show")
        run("db", "check")


def test_a_record_is_printed_for_people_too(run: Run, cascade_toml: Path, trivia: str) -> None:
    assert "trivia" in run("cascade", "show").stdout
    assert "state" in run("doctor").stdout
    assert "name" in run("token", "list").stdout
    assert CascadeSpec.__name__ not in run("cascade", "show", trivia).stdout


@pytest.mark.parametrize("command", [("db", "upgrade"), ("db", "check"), ("token", "list")])
def test_a_database_that_does_not_answer_is_told_in_one_message(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KNOWGATE_DATABASE_URL", "postgresql+psycopg://me:hunter2@127.0.0.1:9/knowgate")
    result = CliRunner().invoke(app, [*command])
    assert isinstance(result.exception, InputInvalid)
    assert "***@127.0.0.1:9/knowgate does not answer" in str(result.exception)
    assert "hunter2" not in str(result.exception)
