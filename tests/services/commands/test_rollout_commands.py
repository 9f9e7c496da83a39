"""`knowgate promote`, `approve`, `decline`, `rollback`, `cascade stop`, `resume`, `freeze`: what a
person may do, shown and recorded.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine
from typer.testing import Result

from factories import make_comparison
from knowgate.spec import Approval, Promotion
from monitoring.words import short
from services.clock import SystemClock
from services.declaration.cascade_file import parse_cascade
from services.promotion import rollout
from services.promotion.rollout_state import Why
from services.settings import operator, read_settings
from store.engine import transaction
from store.releases import cascades
from store.releases.promotions import Outcome
from tests.services.deployment_of_jobs import Deployment

Run = Callable[..., Result]


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> Deployment:
    """Two bundles put in force an hour ago, one after the other; the second decides."""
    made = Deployment(engine, read_settings({"KNOWGATE_DATA_DIR": str(tmp_path / "data")}))
    made.clock.set(SystemClock().now() - timedelta(hours=3))
    for name in ("first", "second"):
        made.later()
        bundle = made.certified(name, since=made.now)
        with transaction(engine) as session:
            rollout.promote(session, made.in_force, bundle, made.settings, Why(reason=name), now=made.now)
    return made


def test_a_rollback_says_what_decides_now_and_who_did_it(run: Run, world: Deployment) -> None:
    second, first = world.in_force.champion, world.history[0].bundle
    output = run("rollback", "--cascade", "quiz", "--reason", "slow").stdout
    assert output == f"quiz, generation 4: bundle {short(first)} decides; before: bundle {short(second)} decides\n"
    record = world.history[-1]
    assert (record.outcome, record.reason, record.decided_by) == (Outcome.ROLLED_BACK, "slow", "ada")
    assert "every query goes to the last tier" in run("rollback", "--cascade", "quiz", "--reason", "slower").stdout
    run("rollback", "--cascade", "quiz", "--reason", "slowest", code=3)
    run("rollback", "--cascade", "unheard-of", "--reason", "x", code=2)


def test_a_rollout_in_steps_is_told_where_the_cascade_is_shown_and_a_persons_word_skips_it(
    run: Run, world: Deployment
) -> None:
    assert json.loads(run("cascade", "show", "quiz", "--json").stdout)["state"]["rollout"] is None
    with transaction(world.engine) as session:
        spec = replace(cascades.cascade(session, "quiz"), promotion=Promotion(steps=(0.1, 0.5), least=70))
        cascades.apply_cascade(session, spec, now=world.now)
    bold = world.certified("bold", threshold=0.1, comparison=make_comparison(world.in_force.champion))
    assert json.loads(run("promote", short(bold), "--json").stdout)["passed"] is True
    shown = run("cascade", "show", "quiz").stdout
    assert f"# Step 1 of 3: bundle {short(bold)} decides 10.0 % of the queries since " in shown
    assert "0 of 70 rows count so far; it waits for 70 of 70 rows that count and the time until " in shown
    whole = parse_cascade(run("cascade", "show", "quiz", "--secrets").stdout)
    assert whole.promotion.steps == (0.1, 0.5), "what is said of the rollout is a comment of the file"
    run("promote", short(bold), "--reason", "sure of it")
    assert (world.in_force.champion, world.in_force.challenger) == (bold, None)
    assert "Step 1" not in run("cascade", "show", "quiz").stdout


def test_a_rollback_onto_a_condemned_bundle_ends_with_3_and_names_both_ways_on(run: Run, world: Deployment) -> None:
    second, first = str(world.in_force.champion), str(world.history[0].bundle)
    world.ring()
    world.later(0.1)
    world.tick()
    world.later(0.1)
    third = world.certified("third", since=world.now)
    world.tick()
    assert world.in_force.champion == third
    refused = run("rollback", "--cascade", "quiz", "--reason", "slow", code=3)
    for part in (short(second), "risk alarm", f"`--past-condemned` puts {short(first)} in force", "--despite-alarm"):
        assert part in str(refused.exception)
    run("rollback", "--cascade", "quiz", "--reason", "slow", "--to", second, code=3)
    run("rollback", "--cascade", "quiz", "--reason", "x", "--despite-alarm", "y", code=2)
    run("rollback", "--cascade", "quiz", "--reason", "x", "--to", second, "--past-condemned", code=2)
    assert world.in_force.champion == third
    ways = ("--to", second[:10], "--despite-alarm", "labels were wrong")
    assert f"bundle {short(second)} decides" in run("rollback", "--cascade", "quiz", "--reason", "slow", *ways).stdout
    assert world.history[-1].reason == "slow; despite alarm: labels were wrong"


def test_past_the_condemned_the_newest_that_is_not_comes_into_force(run: Run, world: Deployment) -> None:
    first = world.history[0].bundle
    world.ring()
    world.later(0.1)
    world.tick()
    world.later(0.1)
    world.certified("third", since=world.now)
    world.tick()
    output = run("rollback", "--cascade", "quiz", "--reason", "slow", "--past-condemned", "--json").stdout
    assert json.loads(output)["champion"] == first


def test_a_person_puts_a_refused_bundle_in_force_by_name_and_reason(run: Run, world: Deployment) -> None:
    world.later(0.1)
    frugal = world.certified("frugal", comparison=make_comparison(str(world.in_force.champion), savings_gain=-0.2))
    refused = run("promote", short(frugal), code=3)
    assert "give away 20.0 %" in str(refused.exception)
    again = run("promote", short(frugal), code=3)
    assert "`--reason` puts it in force unjudged" in str(again.exception)
    output = run("promote", short(frugal), "--reason", "known to be good", "--by", "grace").stdout
    assert f"bundle {short(frugal)} decides" in output
    record = world.history[-1]
    assert (record.outcome, record.reason, record.decided_by) == (Outcome.PROMOTED, "known to be good", "grace")
    assert json.loads(record.check)["ground"] == "gives_savings_away", "what the check says is kept beside it"
    run("promote", short(frugal), "--reason", "again", code=3)
    run("promote", short(frugal), "--despite-alarm", "x", code=2)


def test_a_person_stops_and_resumes(run: Run, world: Deployment) -> None:
    champion = str(world.in_force.champion)
    output = run("cascade", "stop", "quiz", "--reason", "a scandal").stdout
    assert f"bundle {short(champion)} is stopped, every query goes to the last tier" in output
    assert (world.state, world.history[-1].decided_by) == ("stopped", "ada")
    run("cascade", "stop", "quiz", "--reason", "again", code=3)
    assert f"bundle {short(champion)} decides" in run("cascade", "resume", "quiz", "--reason", "over").stdout
    run("cascade", "resume", "quiz", "--reason", "again", code=3)
    run("cascade", "stop", "unheard-of", "--reason", "x", code=2)


def test_what_a_risk_alarm_stopped_is_resumed_on_purpose_only(run: Run, world: Deployment) -> None:
    champion = str(world.in_force.champion)
    world.ring("half of it is wrong")
    refused = run("cascade", "resume", "quiz", "--reason", "quick", code=3)
    assert short(champion) in str(refused.exception) and "half of it is wrong" in str(refused.exception)
    run("cascade", "resume", "quiz", "--reason", "quick", "--despite-alarm", "labels were wrong")
    assert (world.state, world.in_force.champion) == ("active", champion)


def test_without_a_name_it_is_the_user_who_runs_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "grace")
    assert operator(read_settings({})) == "grace"
    assert operator(read_settings({"KNOWGATE_OPERATOR": "ada"})) == "ada"


@pytest.mark.parametrize("said", ["", "  ", "half a \ud800 pair"])
def test_a_move_without_a_word_is_none(run: Run, world: Deployment, said: str) -> None:
    first, before = str(world.history[0].bundle), world.in_force
    for command in (
        ("rollback", "--cascade", "quiz", "--reason", said),
        ("rollback", "--cascade", "quiz", "--reason", "x", "--to", first, "--despite-alarm", said),
        ("promote", first, "--reason", said),
        ("promote", first, "--reason", "x", "--by", said),
        ("cascade", "stop", "quiz", "--reason", said),
        ("cascade", "resume", "quiz", "--reason", said),
    ):
        assert "say it in words" in str(run(*command, code=2).exception)
    assert world.in_force == before


def test_a_person_freezes_a_cascade_and_ends_it(run: Run, world: Deployment) -> None:
    said = run("cascade", "freeze", "quiz", "--for", "2d", "--reason", "a sale").stdout
    assert "decides; frozen until 20" in said and "UTC by ada (a sale)" in said
    assert "# frozen until" in run("cascade", "show", "quiz").stdout
    found = json.loads(run("doctor", "--json").stdout)["findings"]
    assert any("frozen until" in one["found"] and "cascade unfreeze quiz" in one["cure"] for one in found)
    for ways in ((), ("--for", "2d", "--until", "2030-01-01")):
        assert "a freeze ends" in str(run("cascade", "freeze", "quiz", "--reason", "x", *ways, code=2).exception)
    run("cascade", "freeze", "quiz", "--reason", "x", "--until", "2020-01-01", code=2)
    run("cascade", "freeze", "quiz", "--reason", "x", "--for", "soon", code=2)
    assert json.loads(run("cascade", "unfreeze", "quiz", "--reason", "over", "--json").stdout)["frozen"] is None
    run("cascade", "unfreeze", "quiz", "--reason", "over", code=3)


def test_a_person_answers_a_challenger_that_waits(run: Run, world: Deployment) -> None:
    with transaction(world.engine) as session:
        spec = replace(cascades.cascade(session, "quiz"), promotion=Promotion(approval=Approval.MANUAL))
        cascades.apply_cascade(session, spec, now=world.now)
    for number, command in enumerate(("decline", "approve")):
        bundle = world.certified(command, comparison=make_comparison(str(world.in_force.champion)))
        world.later(0.1)
        world.tick()
        shown = json.loads(run("cascade", "show", "quiz", "--json").stdout)["state"]
        assert (shown["awaiting"], shown["champion"]) == (bundle, world.in_force.champion)
        said = run(command, short(bundle), "--reason", "seen", "--by", "grace").stdout
        assert (f"bundle {short(bundle)} decides" in said) is bool(number)
        assert (world.history[-1].decided_by, world.history[-1].reason) == ("grace", "seen")
        run(command, short(bundle), "--reason", "again", code=3)
