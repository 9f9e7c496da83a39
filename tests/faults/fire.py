"""The world under fire: kills at seeded moments among the faults of the table, then the checks."""

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence

from store.engine import reading
from store.traffic import decisions
from tests.faults import checks
from tests.faults.acts import Run, a_clock_of_its_own, await_registration
from tests.faults.checks import until
from tests.faults.table import Fault
from tests.faults.traffic import ASKED, Asked, Asking, Traffic
from tests.faults.world import PATIENCE_S, World

VICTIMS = {
    "postgresql": ("api", "scheduler", "gateway", "trainer", "postgresql", "api", "gateway", "mlflow"),
    "sqlite": ("api", "scheduler", "trainer"),
}
Say = Callable[[str], None]


def under_fire(world: World, *, seed: int, kills: int, faults: Sequence[Fault], say: Say) -> Counter[str]:
    """What was done and what was found to hold; fails where something does not."""
    run = Run(world, random.Random(seed), Traffic(world.url, seed), Asking(world.gateway_url))
    run.traffic.start()
    run.asking.start()
    kind = "sqlite" if world.server is None else "postgresql"
    victims = itertools.islice(itertools.cycle(VICTIMS[kind]), kills)
    todo: list[Fault | str] = [*victims]
    for fault in faults:
        todo.insert(run.rng.randrange(len(todo) + 1), fault)
    for one in todo:
        began = time.monotonic()
        if isinstance(one, str):
            kill(run, one)
        else:
            one.act(run)
            run.counts["faults"] += 1
        require_alive(run)
        say(f"{time.monotonic() - began:5.1f} s  {one.name if isinstance(one, Fault) else f'kill -9 of {one}'}")
    settle(run, say)
    run.counts.update(found(run))
    return run.counts


WITHOUT_DATABASE = 2  # the exit code of a service whose database does not answer when it starts


def kill(run: Run, victim: str) -> None:
    """At a seeded moment; a trainer a seeded while after it has begun, so that it dies in
    different places.
    """
    time.sleep(run.rng.uniform(0.2, 2.5))
    if victim == "trainer":
        run.world.wait_for_a_trainer()
        time.sleep(run.rng.uniform(0.0, 5.0))
        while not run.world.kill("trainer"):  # it may have ended just before: the next one is killed
            run.world.wait_for_a_trainer()
    else:
        run.world.kill(victim)
    run.counts["kills"] += 1
    run.counts[f"kills_of_{victim}"] += 1


def require_alive(run: Run) -> None:
    """Nobody has given up. A service that was started while PostgreSQL was away says so and ends:
    it is started again, as a supervisor does.
    """
    assert run.traffic.error is None, run.traffic.error
    for name, process in tuple(run.world.processes.items()):
        if process.poll() == WITHOUT_DATABASE:
            run.counts["started_again"] += 1
            run.world.start(name)
        else:
            assert process.poll() is None, f"{name} has ended with {process.returncode}: see its log"


def settle(run: Run, say: Say) -> None:
    """Until a window has been trained after all, and whatever waited has been shipped."""
    began = time.monotonic()
    engine = run.world.engine()
    trained = checks.trained_windows(engine)
    until(lambda: checks.trained_windows(engine) > trained, "training goes on", within_s=PATIENCE_S)
    for one in (run.traffic, run.asking):
        one.stopping.set()
        one.join()

    def shipped() -> bool:
        with reading(engine) as session:
            there = {one.id for one in decisions.decisions_between(session, ASKED, checks.ALWAYS)}
        return len(run.asking.answered.keys() - there) <= run.not_spooled

    until(shipped, "the gateway ships what it answered", within_s=PATIENCE_S)
    if "mlflow" in run.world.processes:
        waiting = {one.key for one in checks.waiting_for_mlflow(engine)}
        with a_clock_of_its_own(run.world) as shift:
            await_registration(run.world, waiting, shift)
    engine.dispose()
    say(f"{time.monotonic() - began:5.1f} s  until all was quiet")


def found(run: Run) -> Counter[str]:
    """What holds, counted."""
    engine = run.world.engine()
    counts = checks.check_acknowledged(engine, run.traffic.acknowledged)
    counts.update(checks.check_answered(engine, run.asking.answered, run.not_spooled))
    unexpected = [one for one in run.asking.failed if not _while_away(run.world, one)]
    assert unexpected == [], "a question was not answered though the gateway was there"
    counts["questions_unanswered_as_the_gateway_was_away"] = len(run.asking.failed)
    counts["batches_sent_again"] = run.traffic.unanswered
    run.world.end("scheduler")
    counts.update(checks.check_jobs(engine))
    if "mlflow" in run.world.processes:
        counts.update(checks.check_registered(engine, run.world.mlflow_url))
    engine.dispose()
    return counts


def _while_away(world: World, asked: Asked) -> bool:
    return any(began <= asked.ended and asked.began <= back for began, back in world.gateway_away)
