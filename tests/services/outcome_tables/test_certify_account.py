"""What an attempt of `knowgate certify` may spend, who counts the attempts, and what the ledger
keeps of them.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select, update
from typer.testing import CliRunner

from services.command_line import app, exit_code_of
from services.database import database
from services.settings import read_settings
from store.engine import reading, transaction
from store.ledger import ledger
from store.releases import certifications
from store.tables import CascadeVersionRow
from tests.services.conftest import CASCADE

N = 1500


@pytest.fixture
def outcomes(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    p_t = 1 - 0.6 * rng.random(N) ** 2
    path = tmp_path / "outcomes.parquet"
    pq.write_table(
        pa.table(
            {
                "query_id": [f"q{i}" for i in range(N)] * 2,
                "tier": [0] * N + [1] * N,
                "model": ["tiny"] * N + ["huge"] * N,
                "p_t": [*p_t.tolist(), *[None] * N],
                "correct": [*(rng.random(N) < p_t).astype(float), *(rng.random(N) < 0.93).astype(float)],
            }
        ),
        path,
    )
    return path


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh deployment with the cascade `trivia`, whose family has δ = 0.2."""
    monkeypatch.setenv("KNOWGATE_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "cascade.toml").write_text(f"{CASCADE}[targets]\ndelta = 0.2\n")
    assert CliRunner().invoke(app, ["cascade", "apply", str(tmp_path / "cascade.toml")]).exit_code == 0
    return tmp_path


def certify(outcomes: Path, *options: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, ["certify", str(outcomes), "--json", *options])
    return result.exit_code, json.loads(result.stdout)


def refused(outcomes: Path, *options: str) -> tuple[int | None, str]:
    result = CliRunner().invoke(app, ["certify", str(outcomes), "--json", *options])
    assert isinstance(result.exception, Exception)
    return exit_code_of(result.exception), str(result.exception)


def test_a_stated_attempt_spends_its_share(outcomes: Path) -> None:
    _, first = certify(outcomes, "--max-accuracy-drop", "0.05", "--attempt", "1")
    _, third = certify(outcomes, "--max-accuracy-drop", "0.05", "--attempt", "3")
    assert first["delta"] == pytest.approx(0.6 / math.pi**2)
    assert third["delta"] == pytest.approx(0.6 / (9 * math.pi**2))
    assert (third["attempt"], third["delta_family"]) == (3, 0.1)
    assert third["retained_share"] < first["retained_share"]
    _, alone = certify(outcomes, "--max-accuracy-drop", "0.05")
    assert (alone["attempt"], alone["delta"], alone["delta_family"]) == (None, 0.1, 0.1)


@pytest.mark.parametrize("attempt", ["0", "-2"])
def test_an_attempt_below_one_is_refused(outcomes: Path, attempt: str) -> None:
    assert refused(outcomes, "--attempt", attempt) == (
        2,
        f"--attempt is {attempt}: give the attempt's number, from 1, failed ones counted",
    )


@pytest.mark.usefixtures("deployment")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "δ = 0.1 is the chance that this attempt, taken for the only one, breaks the promise"),
        (("--attempt", "2"), "δ = 0.0152 is this attempt's share of 0.1: in no week of the season"),
        (("--cascade", "trivia"), "δ = 0.2 is this attempt's: in any given week the thresholds in force keep"),
    ],
)
def test_what_delta_is_the_chance_against_is_said_in_a_sentence(
    outcomes: Path, options: tuple[str, ...], sentence: str
) -> None:
    said = CliRunner().invoke(app, ["certify", str(outcomes), *options])
    assert sentence in said.stderr
    assert sentence not in CliRunner().invoke(app, ["certify", str(outcomes), "--json"]).stderr


@pytest.mark.slow
def test_a_seasons_delta_is_the_trainers_and_no_table_gets_a_share_of_it(outcomes: Path, deployment: Path) -> None:
    (deployment / "cascade.toml").write_text(f'{CASCADE}[targets]\npromise = "season"\n')
    assert CliRunner().invoke(app, ["cascade", "apply", str(deployment / "cascade.toml")]).exit_code == 0
    code, message = refused(outcomes, "--cascade", "trivia")
    assert code == 2
    assert message.startswith("--cascade trivia promises a season") and "--delta" in message
    with database(read_settings()) as engine, reading(engine) as session:
        assert certifications.certifications(session, "trivia") == ()


@pytest.mark.slow
@pytest.mark.usefixtures("deployment")
def test_a_cascades_account_counts_failed_attempts_too_and_the_ledger_lists_them(outcomes: Path) -> None:
    attempts = [
        certify(outcomes, "--cascade", "trivia", "--max-accuracy-drop", drop) for drop in ("0.05", "0.001", "0.05")
    ]
    assert [code for code, _ in attempts] == [0, 3, 0]
    assert [answer["attempt"] for _, answer in attempts] == [1, 2, 3]
    assert [answer["delta"] for _, answer in attempts] == [0.2, 0.2, 0.2]
    assert {answer["promise_kind"] for _, answer in attempts} == {"rolling"}
    with database(read_settings()) as engine, reading(engine) as session:
        kept = certifications.certifications(session, "trivia")
        leaves = [leaf for leaf in ledger.unsealed(session) if leaf.kind == "certification"]
    assert [row.status for row in kept] == [answer["status"] for _, answer in attempts]
    assert [row.delta_spent for row in kept] == pytest.approx([answer["delta"] for _, answer in attempts])
    assert {row.delta_family for row in kept} == {0.2}
    assert json.loads(kept[1].document)["labels_needed"] == attempts[1][1]["labels_needed"]
    assert len(leaves) == 3


def test_a_table_that_is_refused_spends_nothing(outcomes: Path, deployment: Path) -> None:
    assert refused(outcomes, "--cascade", "trivia", "--rule", "p_ik")[0] == 2
    _, answer = certify(outcomes, "--cascade", "trivia", "--max-accuracy-drop", "0.05")
    assert answer["attempt"] == 1


def test_an_unknown_cascade_and_a_second_delta_are_refused(outcomes: Path, deployment: Path) -> None:
    code, message = refused(outcomes, "--cascade", "absent")
    assert code == 2
    assert "absent" in message
    for option in (("--delta", "0.1"), ("--attempt", "2")):
        code, message = refused(outcomes, "--cascade", "trivia", *option)
        assert code == 2
        other = "--attempt" if option[0] == "--delta" else "--delta"
        assert message.startswith(f"{option[0]} is {option[1]}, and --cascade counts")
        assert message.endswith(f"leave out {option[0]}") and other not in message


def test_attempts_are_dated_by_the_queries_where_the_table_says_when(outcomes: Path, deployment: Path) -> None:
    table = pq.read_table(outcomes)
    times = pa.array(np.tile(np.arange(N) * 60_000_000 + 1_767_225_600_000_000, 2), pa.int64())
    dated = table.append_column("occurred_at", times.cast(pa.timestamp("us", "UTC")))
    pq.write_table(dated, outcomes)
    certify(outcomes, "--cascade", "trivia")
    with database(read_settings()) as engine, reading(engine) as session:
        window = certifications.certifications(session, "trivia")[0].window
    assert window.start.isoformat() == "2026-01-01T00:00:00+00:00"
    assert window.length.total_seconds() == pytest.approx(60 * (N - 1), abs=1e-3)


def respelt(outcomes: Path, **columns: list[Any]) -> None:
    table = pq.read_table(outcomes).to_pydict() | columns
    pq.write_table(pa.table(table), outcomes)


def attempts() -> int:
    with database(read_settings()) as engine, reading(engine) as session:
        return len(certifications.certifications(session, "trivia"))


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ({"model": ["tiny"] * N + ["other"] * N}, "model of tier 1 is 'other', and cascade 'trivia' declares 'huge'"),
        (
            {"p_t_kind": ["mean"] * N + [None] * N},
            "p_t_kind of query 'q0' on tier 0 is 'mean', and cascade 'trivia' declares 'first_token'",
        ),
        (
            {"p_t_kind": [None] * (N - 1) + ["option"] + [None] * N},
            f"p_t_kind of query 'q{N - 1}' on tier 0 is 'option'",
        ),
    ],
)
def test_a_table_that_is_not_the_cascades_spends_nothing(
    outcomes: Path, deployment: Path, columns: dict[str, list[Any]], fault: str
) -> None:
    respelt(outcomes, **columns)
    code, message = refused(outcomes, "--cascade", "trivia")
    assert code == 2
    assert fault in message
    assert attempts() == 0


def test_a_table_of_another_number_of_tiers_spends_nothing(outcomes: Path, deployment: Path) -> None:
    table = pq.read_table(outcomes)
    third = table.slice(N).set_column(1, "tier", pa.array([2] * N))
    pq.write_table(pa.concat_tables([table, third]), outcomes)
    code, message = refused(outcomes, "--cascade", "trivia")
    assert code == 2
    assert "tier goes from 0 to 2 in the table, and cascade 'trivia' has 2 tiers" in message
    assert attempts() == 0


def test_an_empty_kind_of_p_t_is_the_one_that_the_cascade_declares(outcomes: Path, deployment: Path) -> None:
    respelt(outcomes, p_t_kind=[None, "first_token"] * (N // 2) + [None] * N)
    code, answer = certify(outcomes, "--cascade", "trivia", "--max-accuracy-drop", "0.05")
    assert (code, answer["status"]) == (0, "certified")


def test_a_mistyped_cascade_makes_no_database(outcomes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KNOWGATE_DATA_DIR", str(tmp_path / "nowhere"))
    code, message = refused(outcomes, "--cascade", "trivai")
    assert code == 2
    assert "is not there: run `knowgate cascade apply` first, or set KNOWGATE_DATA_DIR" in message
    assert not (tmp_path / "nowhere").exists()


def test_a_stored_delta_that_is_refused_by_now_can_be_mended(deployment: Path) -> None:
    with database(read_settings()) as engine, transaction(engine) as session:
        spec = session.scalars(select(CascadeVersionRow.spec)).one()
        statement = update(CascadeVersionRow).values(spec=spec | {"targets": spec["targets"] | {"delta": 0.7}})
        session.execute(statement, execution_options={"noted": False})
    assert CliRunner().invoke(app, ["cascade", "apply", str(deployment / "cascade.toml")]).exit_code == 0
    assert CliRunner().invoke(app, ["cascade", "show", "trivia"]).exit_code == 0
