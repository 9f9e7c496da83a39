"""`knowgate train --now` and `knowgate jobs`: what a person may ask for, and what is said of it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine
from typer.testing import Result

from knowgate import Window
from store.engine import transaction
from store.jobs import job_runs
from store.jobs.occasions import Occasion, TrainingReason

Run = Callable[..., Result]


@pytest.mark.usefixtures("trivia")
@pytest.mark.parametrize("options", [("--now",), ("--reason", "why"), ("--insist",), ("--by", "ada")])
def test_who_asks_says_why(run: Run, options: tuple[str, ...]) -> None:
    result = run("train", "--cascade", "trivia", *options, code=2)
    assert "--now and --reason go together" in str(result.exception)


@pytest.mark.usefixtures("trivia")
def test_an_attempt_that_could_show_nothing_ends_with_3_and_says_how_many_labels_are_missing(run: Run) -> None:
    result = run("train", "--cascade", "trivia", "--now", "--reason", "a new market", code=3)
    assert "0 decisions are old enough and labelled" in str(result.exception) and "--insist" in str(result.exception)
    assert json.loads(run("jobs", "--cascade", "trivia", "--json").stdout) == {"runs": []}
    run("train", "--cascade", "unheard-of", "--now", "--reason", "a new market", code=2)
    run("jobs", "--cascade", "unheard-of", code=2)


@pytest.mark.slow
@pytest.mark.usefixtures("trivia")
def test_who_insists_gets_an_attempt_and_hears_what_came_of_it(run: Run) -> None:
    result = run("train", "--cascade", "trivia", "--now", "--reason", "a new market", "--insist", code=3)
    assert "no attempt was made: not one decision's outcomes are known" in str(result.exception)
    (made,) = json.loads(run("jobs", "--job", "train", "--json").stdout)["runs"]
    assert (made["reason"], made["why"], made["asked_by"]) == ("insisted", "a new market", "ada")
    assert made["outcome"] == "no_data"


def test_jobs_are_listed_newest_first_with_what_they_were_made_for(run: Run, engine: Engine, trivia: str) -> None:
    now, hour = datetime.now(UTC), timedelta(hours=1)
    drift = Occasion(reason=TrainingReason.DRIFT, why="drift alert: p_t moved", key="ring:1")
    with transaction(engine) as session:
        for job, back, occasion in (("monitor", 1, None), ("train", 2, drift), ("monitor", 3, None)):
            window = Window(start=now - (back + 1) * hour, end=now - back * hour)
            claimed = job_runs.claim(session, job, trivia, window, owner="t", lease=hour, now=now, occasion=occasion)
            assert claimed is not None
    assert [one["job"] for one in json.loads(run("jobs", "--json").stdout)["runs"]] == ["monitor", "train", "monitor"]
    assert len(json.loads(run("jobs", "--limit", "1", "--json").stdout)["runs"]) == 1
    text = run("jobs", "--job", "train").stdout
    assert "drift alert: p_t moved" in text and "monitor" not in text
