"""A watched cascade follows its source, refuses what does not hold, and keeps the last
good pair.
"""

import json
import os
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from factories import make_label
from knowgate._bundles.assignment import Assignment, Mode
from knowgate._bundles.bundle import Bundle
from knowgate._bundles.folder import ASSIGNMENT_NAME, read_pair
from knowgate._bundles.pair import Pair
from knowgate._records.observation import Observation
from knowgate._records.records import Reason
from knowgate._serving.cascade import Cascade
from knowgate._serving.follower import Follower, Polled
from knowgate._serving.sources import FolderSource, ServiceSource
from knowgate._shipping.client import Acknowledgement, Client
from knowgate._shipping.spool import Spool
from knowgate._wire import codec
from knowgate._wire.backoff import next_delay
from knowgate.errors import RecordInvalid
from knowgate.spec import CascadeSpec, TierSpec

Make = Callable[..., Any]
ASSIGNMENT = "GET /v1/cascades/questions/assignment"
ACKNOWLEDGEMENTS = "POST /v1/cascades/questions/acknowledgements"


class Installed:
    """What a follower put in force, in order."""

    def __init__(self) -> None:
        self.pairs: list[Pair] = []

    def __call__(self, pair: Pair) -> None:
        self.pairs.append(pair)

    @property
    def generations(self) -> list[int]:
        return [pair.assignment.generation for pair in self.pairs]


@pytest.fixture
def installed() -> Installed:
    return Installed()


@pytest.fixture
def publish(control_plane: Any) -> Callable[..., None]:
    """Serves an assignment and its bundles over HTTP."""

    def published(
        assignment: Assignment, *bundles: Bundle, etag: str | None = None, signature: str | None = None
    ) -> None:
        tag = etag or f'"{assignment.generation}"'
        control_plane.answer(ASSIGNMENT, codec.canonical(assignment), ETag=tag)
        control_plane.answer(ACKNOWLEDGEMENTS, {})
        headers = {} if signature is None else {"Knowgate_Signature": signature}
        for bundle in bundles:
            control_plane.answer(f"GET /v1/bundles/{bundle.id}", bundle.content, **headers)

    return published


@pytest.fixture
def follower(control_plane: Any, installed: Installed, now: datetime) -> Callable[..., Follower]:
    def made(**changes: Any) -> Follower:
        fields: dict[str, Any] = {"cascade": "questions", "install": installed, "clock": lambda: now, "runtime": "r-1"}
        return Follower(ServiceSource(Client(control_plane.url)), **fields | changes)

    return made


def acknowledged(control_plane: Any) -> list[Acknowledgement]:
    return [codec.decode(Acknowledgement, json.loads(body)) for body in control_plane.bodies(ACKNOWLEDGEMENTS)]


def fetched_bundles(control_plane: Any) -> int:
    return sum(asked.startswith("GET /v1/bundles/") for asked, _, _ in control_plane.asked)


def test_a_new_assignment_is_fetched_put_in_force_and_acknowledged(
    follower: Make, publish: Make, assignment: Make, small_bundle: Make, installed: Installed, control_plane: Any
) -> None:
    bundle = small_bundle()
    publish(assignment(bundle), bundle)
    assert follower().poll() is Polled.TAKEN
    assert installed.pairs[0].champion is not None and installed.pairs[0].champion.id == bundle.id
    (acknowledgement,) = acknowledged(control_plane)
    assert (
        acknowledgement.runtime,
        acknowledgement.generation,
        acknowledgement.bundle,
        acknowledgement.accepted,
        acknowledgement.reason,
    ) == ("r-1", 1, bundle.id, True, None)


def test_an_unchanged_assignment_costs_one_conditional_request(
    follower: Make, publish: Make, assignment: Make, small_bundle: Make, installed: Installed, control_plane: Any
) -> None:
    bundle = small_bundle()
    publish(assignment(bundle), bundle)
    following = follower()
    assert [following.poll() for _ in range(3)] == [Polled.TAKEN, Polled.UNCHANGED, Polled.UNCHANGED]
    assert fetched_bundles(control_plane) == 1
    assert len(acknowledged(control_plane)) == 1
    assert control_plane.asked[-1][1]["If-None-Match"] == '"1"'


def test_a_runtime_says_again_that_it_is_there_and_what_its_spool_holds(
    follower: Make,
    publish: Make,
    assignment: Make,
    small_bundle: Make,
    control_plane: Any,
    now: datetime,
    tmp_path: Path,
) -> None:
    bundle, spool = small_bundle(), Spool(tmp_path)
    publish(assignment(bundle), bundle)
    times = [now, now + timedelta(seconds=30), now + timedelta(seconds=61), now - timedelta(days=1)]
    clock = iter(times)
    following = follower(clock=lambda: next(clock), spool=spool)
    following.poll()
    spool.append(make_label(labelled_at=now, external_id="q-1"))
    spool.rejected += 2
    for _ in range(3):
        following.poll()
    said = acknowledged(control_plane)
    assert [one.acknowledged_at for one in said] == [times[0], times[2], times[3]]
    assert [one.unshipped_bytes for one in said] == [0, spool.unshipped_bytes, spool.unshipped_bytes]
    assert [one.refused_rows for one in said] == [0, 2, 2] and spool.unshipped_bytes > 0
    assert all(one.again_s == 90.0 and one.version and one.bundle == bundle.id for one in said)
    spool.close()


def test_a_known_bundle_is_not_fetched_again_when_the_lease_is_renewed(
    follower: Make,
    publish: Make,
    assignment: Make,
    small_bundle: Make,
    installed: Installed,
    control_plane: Any,
    now: datetime,
) -> None:
    bundle, following = small_bundle(), follower()
    publish(assignment(bundle), bundle)
    following.poll()
    renewed = assignment(bundle, issued_at=now + timedelta(hours=1), valid_until=now + timedelta(days=2))
    publish(renewed, etag='"1-renewed"')
    assert following.poll() is Polled.TAKEN
    assert installed.pairs[-1].assignment.valid_until == now + timedelta(days=2)
    assert fetched_bundles(control_plane) == 1
    assert len(acknowledged(control_plane)) == 1


def test_an_older_generation_is_refused_and_said_to_be(
    follower: Make, publish: Make, assignment: Make, installed: Installed, control_plane: Any, now: datetime
) -> None:
    following = follower()
    publish(assignment(None, generation=5))
    following.poll()
    publish(assignment(None, generation=4))
    assert following.poll() is Polled.REFUSED
    publish(assignment(None, generation=5, issued_at=now - timedelta(hours=1)), etag='"5-old"')
    assert following.poll() is Polled.REFUSED
    assert installed.generations == [5]
    refused = acknowledged(control_plane)[1]
    assert (refused.generation, refused.accepted) == (4, False)
    assert refused.reason is not None and "older than generation 5" in refused.reason


@pytest.mark.parametrize("spoil", ["flipped", "cut", "empty"])
def test_a_spoilt_bundle_is_refused_the_last_good_pair_stays_and_it_is_fetched_again(
    follower: Make,
    publish: Make,
    assignment: Make,
    small_bundle: Make,
    installed: Installed,
    control_plane: Any,
    spoil: str,
) -> None:
    first, second, following = small_bundle(), small_bundle(p_t=0.8), follower()
    publish(assignment(first), first)
    following.poll()
    content = second.content
    spoilt = {"flipped": content[:-1] + bytes([content[-1] ^ 1]), "cut": content[:-8], "empty": b""}[spoil]
    publish(assignment(second, generation=2))
    control_plane.answer(f"GET /v1/bundles/{second.id}", spoilt)
    assert following.poll() is Polled.REFUSED
    assert following.poll() is Polled.REFUSED
    assert installed.generations == [1]
    acknowledgements = acknowledged(control_plane)
    said = [(item.generation, item.accepted) for item in acknowledgements]
    assert said == [(1, True), (2, False)]  # once, not per poll
    publish(assignment(second, generation=2), second)
    assert following.poll() is Polled.TAKEN
    assert installed.generations == [1, 2]


def test_a_spoilt_challenger_takes_nothing_from_the_champion_and_is_said_to_be_refused(
    follower: Make, publish: Make, assignment: Make, small_bundle: Make, installed: Installed, control_plane: Any
) -> None:
    champion, challenger, following = small_bundle(), small_bundle(p_t=0.8), follower()
    publish(assignment(champion, challenger, generation=2, share=0.5), champion)
    control_plane.answer(f"GET /v1/bundles/{challenger.id}", b"spoilt")
    assert following.poll() is Polled.REFUSED
    (alone,) = installed.pairs
    assert alone.champion is not None and alone.champion.id == champion.id
    assert (alone.challenger, alone.assignment.share) == (None, 0.0)
    said = acknowledged(control_plane)[0]
    assert (said.generation, said.accepted) == (2, False)
    assert said.reason is not None and said.reason.startswith("the challenger decides nothing")
    publish(assignment(champion, generation=3))
    assert following.poll() is Polled.TAKEN


@pytest.mark.parametrize("mode", [Mode.ESCALATE_ALL, Mode.OBSERVE])
@pytest.mark.parametrize("answer", [b"spoilt", None])
def test_a_stop_is_obeyed_at_once_and_after_a_restart_though_its_bundle_cannot_be_had(
    publish: Make,
    assignment: Make,
    small_bundle: Make,
    installed: Installed,
    control_plane: Any,
    follower: Make,
    tmp_path: Path,
    answer: bytes | None,
    mode: Mode,
) -> None:
    first, second = small_bundle(), small_bundle(p_t=0.8)
    following = follower(cache=tmp_path)
    publish(assignment(first), first)
    following.poll()
    publish(assignment(second, generation=2, mode=mode))
    if answer is None:
        control_plane.answer(f"GET /v1/bundles/{second.id}", {}, status=503)
    else:
        control_plane.answer(f"GET /v1/bundles/{second.id}", answer)
    assert following.poll().failed
    assert following.poll().failed
    assert [(pair.assignment.mode, pair.champion) for pair in installed.pairs[1:]] == [(mode, None)]
    follower(cache=tmp_path)  # a new process: what the cache holds is no pair, so nothing is kept
    assert installed.generations == [1, 2]
    publish(assignment(second, generation=3), second)
    assert following.poll() is Polled.TAKEN
    assert installed.pairs[-1].champion is not None and installed.pairs[-1].champion.id == second.id


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"not json", b'{"generation": 9}', b'{"generation": 9, "generation": 10}', b'{"schema": "v9"}'],
)
def test_a_document_that_is_no_assignment_is_refused(
    follower: Make, publish: Make, assignment: Make, installed: Installed, control_plane: Any, body: bytes
) -> None:
    following = follower()
    publish(assignment(None))
    following.poll()
    control_plane.answer(ASSIGNMENT, body, ETag='"spoilt"')
    assert following.poll() is Polled.REFUSED
    assert installed.generations == [1]
    assert following.last_error


def test_an_assignment_of_another_cascade_is_refused(
    follower: Make, publish: Make, assignment: Make, installed: Installed
) -> None:
    publish(assignment(None, cascade="other"))
    assert follower().poll() is Polled.REFUSED
    assert installed.pairs == []


def test_a_service_that_is_away_changes_nothing(
    follower: Make, publish: Make, assignment: Make, installed: Installed, control_plane: Any
) -> None:
    following = follower()
    publish(assignment(None))
    following.poll()
    control_plane.answer(ASSIGNMENT, {"error": {"message": "database is down"}}, status=503)
    assert following.poll() is Polled.UNREACHABLE
    assert following.last_error is not None and "database is down" in following.last_error
    assert installed.generations == [1]


def test_a_cascade_that_nothing_is_assigned_to_yet_is_no_failure(follower: Make) -> None:
    polled = follower().poll()
    assert polled is Polled.NOTHING_ASSIGNED
    assert not polled.failed


def test_an_acknowledgement_that_did_not_arrive_is_sent_with_the_next_poll(
    follower: Make, publish: Make, assignment: Make, control_plane: Any
) -> None:
    following = follower()
    publish(assignment(None))
    control_plane.answer(ACKNOWLEDGEMENTS, {}, status=500)
    following.poll()
    control_plane.answer(ACKNOWLEDGEMENTS, {})
    assert following.poll() is Polled.UNCHANGED
    following.poll()
    first, second = acknowledged(control_plane)
    assert first == second


def test_a_public_key_lets_only_signed_pairs_through(
    follower: Make, publish: Make, assignment: Make, small_bundle: Make, installed: Installed, control_plane: Any
) -> None:
    pytest.importorskip("cryptography")
    from knowgate._bundles.signing import new_key_pair, sign_assignment, sign_bundle

    keys, others, bundle = new_key_pair(), new_key_pair(), small_bundle()
    following = follower(public_key=keys.public_key)
    signed = sign_assignment(keys.private_key, assignment(bundle))
    wrong = sign_assignment(others.private_key, assignment(bundle))
    for attempt, signature in [
        (assignment(bundle), sign_bundle(keys.private_key, bundle.id)),
        (wrong, sign_bundle(keys.private_key, bundle.id)),
        (signed, sign_bundle(others.private_key, bundle.id)),
        (signed, None),
    ]:
        control_plane.answers.clear()
        publish(attempt, bundle, signature=signature)
        assert following.poll() is Polled.REFUSED
    assert installed.pairs == []
    publish(signed, bundle, signature=sign_bundle(keys.private_key, bundle.id))
    assert following.poll() is Polled.TAKEN
    with pytest.raises(RecordInvalid, match="public_key"):
        follower(public_key="not hex")


def test_a_restart_without_network_serves_the_last_good_pair_until_it_expires(
    tmp_path: Path,
    publish: Make,
    assignment: Make,
    small_bundle: Make,
    control_plane: Any,
    now: datetime,
    hidden: Make,
    fingerprint: Make,
) -> None:
    bundle = small_bundle()
    publish(assignment(bundle), bundle)
    good = {"p_t": 0.95, "hidden": hidden(), "fingerprint": fingerprint(), "tokens_in": 5}
    options: dict[str, Any] = {"cascade": "questions", "cache": tmp_path / "cache"}
    with Cascade.watch(control_plane.url, **options, clock=lambda: now) as cascade:
        assert cascade.decide(Observation(**good)).retained
    control_plane.answers.clear()
    control_plane.answer(ASSIGNMENT, {}, status=503)
    with Cascade.watch(control_plane.url, **options, clock=lambda: now) as cascade:
        assert cascade.decide(Observation(**good)).retained
        late = cascade.decide(Observation(**good), now=now + timedelta(days=2))
        assert (late.retained, late.verdict.reason) == (False, Reason.EXPIRED)
    assert Cascade.load(tmp_path / "cache", clock=lambda: now).decide(Observation(**good)).retained


def test_a_restart_refuses_a_generation_older_than_the_cached_one(
    tmp_path: Path, follower: Make, publish: Make, assignment: Make, installed: Installed
) -> None:
    publish(assignment(None, generation=7))
    follower(cache=tmp_path).poll()
    publish(assignment(None, generation=6))
    assert follower(cache=tmp_path).poll() is Polled.REFUSED
    assert installed.generations == [7, 7]


def test_a_spoilt_cache_is_fetched_again(
    tmp_path: Path, follower: Make, publish: Make, assignment: Make, small_bundle: Make, installed: Installed
) -> None:
    bundle = small_bundle()
    publish(assignment(bundle), bundle)
    follower(cache=tmp_path).poll()
    (tmp_path / f"{bundle.id}.safetensors").write_bytes(b"spoilt")
    assert follower(cache=tmp_path).poll() is Polled.TAKEN
    assert read_pair(tmp_path).champion is not None
    assert installed.generations == [1, 1]


def test_the_cache_holds_what_is_in_force_and_nothing_older(
    tmp_path: Path, follower: Make, publish: Make, assignment: Make, small_bundle: Make
) -> None:
    first, second, third = small_bundle(), small_bundle(p_t=0.8), small_bundle(p_t=0.7)
    following = follower(cache=tmp_path)
    publish(assignment(first), first)
    following.poll()
    publish(assignment(second, third, share=0.1, generation=2), second, third)
    following.poll()
    names = {"assignment.json", f"{second.id}.safetensors", f"{third.id}.safetensors"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_a_cache_that_cannot_be_written_does_not_keep_a_pair_from_coming_into_force(
    tmp_path: Path, follower: Make, publish: Make, assignment: Make, installed: Installed
) -> None:
    (tmp_path / "file").write_text("in the way")
    publish(assignment(None, mode=Mode.ESCALATE_ALL))
    assert follower(cache=tmp_path / "file" / "cache").poll() is Polled.TAKEN
    assert installed.generations == [1]


def test_a_folder_is_followed_like_a_service(
    write_pair: Make, tmp_path: Path, follower: Make, assignment: Make, small_bundle: Make, now: datetime
) -> None:
    installed, bundle = Installed(), small_bundle()
    following = Follower(FolderSource(tmp_path), cascade="questions", install=installed, clock=lambda: now)
    assert following.poll() is Polled.UNREACHABLE
    write_pair(tmp_path, assignment(bundle), [bundle])
    assert [following.poll(), following.poll()] == [Polled.TAKEN, Polled.UNCHANGED]
    write_pair(tmp_path, assignment(bundle), [])  # the same content, written again
    assert following.poll() is Polled.UNCHANGED
    write_pair(tmp_path, assignment(bundle, generation=2), [])
    assert following.poll() is Polled.TAKEN
    missing = small_bundle(p_t=0.3)
    write_pair(tmp_path, assignment(missing, generation=3), [])
    assert following.poll() is Polled.REFUSED
    assert installed.generations == [1, 2]


def test_a_file_is_read_again_only_when_its_inode_size_or_time_differ(
    write_pair: Make, tmp_path: Path, assignment: Make, small_bundle: Make
) -> None:
    write_pair(tmp_path, assignment(small_bundle()), [])
    source, file = FolderSource(tmp_path), tmp_path / ASSIGNMENT_NAME
    first = source.assignment("questions")
    assert first is not None and source.assignment("questions", first.etag) is None
    before, content = file.stat(), file.read_bytes()
    file.write_bytes(content.swapcase())
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert source.assignment("questions", first.etag) is None
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    changed = source.assignment("questions", first.etag)
    assert changed is not None and changed.content == content.swapcase()


def test_a_watched_cascade_changes_while_it_serves(
    write_pair: Make, tmp_path: Path, assignment: Make, small_bundle: Make, now: datetime
) -> None:
    bundle, changed = small_bundle(), threading.Event()
    write_pair(tmp_path, assignment(bundle), [bundle])
    with Cascade.watch(tmp_path, interval_s=0.01, clock=lambda: now) as cascade:
        assert cascade.name == "questions"
        assert cascade.pair is not None and cascade.pair.assignment.generation == 1
        write_pair(tmp_path, assignment(bundle, generation=2, mode=Mode.ESCALATE_ALL), [])
        for _ in range(3000):
            if cascade.pair.assignment.generation == 2:
                changed.set()
                break
            threading.Event().wait(0.01)
        assert changed.is_set()
        assert cascade.decide(Observation(p_t=1.0)).verdict.reason is Reason.ESCALATE_ALL


def test_deciding_while_pairs_are_swapped_never_mixes_two_of_them(
    pair: Make, small_bundle: Make, now: datetime, hidden: Make, fingerprint: Make
) -> None:
    bold, careful = small_bundle(p_t=0.5), small_bundle(p_t=0.99)
    pairs = [pair(bold, generation=1), pair(careful, generation=2)]
    cascade = Cascade("questions", pairs[0], clock=lambda: now)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for in_force in pairs:
                cascade.install(in_force)

    thread = threading.Thread(target=swap)
    thread.start()
    seen = set()
    good = {"p_t": 0.8, "hidden": hidden(), "fingerprint": fingerprint(), "tokens_in": 5}
    for _ in range(3000):
        ruling = cascade.decide(Observation(**good))
        seen.add((ruling.generation, ruling.bundle, ruling.retained))
    stop.set()
    thread.join()
    assert seen <= {(1, bold.id, True), (2, careful.id, False)}


def test_watching_an_unreachable_service_serves_what_there_is_which_is_escalation(now: datetime) -> None:
    with Cascade.watch("http://127.0.0.1:9", cascade="questions", clock=lambda: now) as cascade:
        assert cascade.decide(Observation(p_t=1.0)).verdict.reason is Reason.NO_BUNDLE
        assert cascade.follower is not None and cascade.follower.last_error


def test_the_name_of_a_watched_cascade_must_be_told_by_somebody(tmp_path: Path) -> None:
    with pytest.raises(RecordInvalid, match="name the cascade"):
        Cascade.watch("http://127.0.0.1:9")
    with pytest.raises(RecordInvalid, match="name the cascade"):
        Cascade.watch(tmp_path)


def test_the_wait_between_polls_doubles_up_to_its_bound_and_is_jittered() -> None:
    random = Random(3)
    for failures, expected in [(0, 30), (1, 60), (2, 120), (5, 300), (10_000, 300)]:
        delays = [next_delay(base_s=30, failures=failures, bound_s=300, random=random) for _ in range(200)]
        assert expected * 0.8 <= min(delays) < expected * 0.85
        assert expected * 1.15 < max(delays) <= expected * 1.2


DECLARATION = "GET /v1/cascades/questions"


def declare(control_plane: Any, *models: str) -> None:
    tiers = tuple(TierSpec(name=f"tier{at}", model=model, parameters=1.0) for at, model in enumerate(models))
    spec = CascadeSpec(name="questions", tiers=tiers)
    control_plane.answer(DECLARATION, {"summary": {}, "spec": codec.encode(spec), "runtimes": []})


def test_the_declared_models_are_taken_once_whether_or_not_anything_is_assigned(
    follower: Make, control_plane: Any
) -> None:
    taken: list[tuple[str, ...]] = []
    following = follower(declare=taken.append)
    assert following.poll() is Polled.NOTHING_ASSIGNED  # and the declaration is not there yet
    assert taken == []
    declare(control_plane, "small", "large")
    assert [following.poll() for _ in range(3)] == [Polled.NOTHING_ASSIGNED] * 3
    assert taken == [("small", "large")]
    assert len(control_plane.bodies(DECLARATION)) == 2


def test_why_the_declared_models_are_not_known_is_logged_once(
    follower: Make, control_plane: Any, caplog: pytest.LogCaptureFixture
) -> None:
    control_plane.answer(DECLARATION, {"error": {"message": "this token may not read it"}}, status=403)
    following = follower(declare=lambda models: None)
    for _ in range(3):
        following.poll()
    assert caplog.text.count("this token may not read it") == 1


def test_attempts_of_a_watched_cascade_are_of_the_declared_models_unless_others_are_named(
    control_plane: Any, now: datetime
) -> None:
    declare(control_plane, "small", "large")
    for options, expected in (({}, ("small", "large")), ({"models": ("mine", "yours")}, ("mine", "yours"))):
        watched = Cascade.watch(control_plane.url, cascade="questions", clock=lambda: now, **options)  # type: ignore[arg-type]
        with watched as cascade, cascade.open() as query:
            query.attempt(Observation(p_t=0.9))
            query.attempt(Observation(p_t=0.9))
        assert query.decision is not None
        assert tuple(attempt.model for attempt in query.decision.attempts) == expected


class Failing:
    """A source that holds nothing at first, and then raises what no source should."""

    def __init__(self) -> None:
        self.asked = 0
        self.often = threading.Event()

    def assignment(self, cascade: str, etag: str | None = None) -> None:
        self.asked += 1
        if self.asked > 4:
            self.often.set()
        if self.asked > 1:
            raise ZeroDivisionError("what no source should raise")

    def bundle_file(self, bundle_id: str) -> Any:
        raise AssertionError("nothing is assigned")

    def acknowledge(self, cascade: str, acknowledgement: Acknowledgement) -> None:
        raise AssertionError("nothing is assigned")

    def models(self, cascade: str) -> tuple[str, ...]:
        return ()


def test_an_error_that_nobody_foresaw_does_not_end_the_watching(
    installed: Installed, now: datetime, caplog: pytest.LogCaptureFixture
) -> None:
    source = Failing()
    following = Follower(
        source, cascade="questions", install=installed, clock=lambda: now, interval_s=0.001, backoff_bound_s=0.001
    )
    following.start()
    assert source.often.wait(30)
    following.close()
    assert "a poll failed" in caplog.text


@pytest.mark.parametrize(("interval_s", "bound_s", "longest"), [(2.0, 50.0, 50.0), (80.0, 50.0, 80.0)])
def test_the_wait_after_many_failures_is_the_bound_or_the_interval_if_that_is_longer(
    follower: Make, interval_s: float, bound_s: float, longest: float
) -> None:
    following = follower(interval_s=interval_s, backoff_bound_s=bound_s)
    delays = [following.next_poll_in(failures) for failures in (20, 100, 5000) for _ in range(50)]
    assert longest * 0.8 <= min(delays) < longest < max(delays) <= longest * 1.2
    assert max(following.next_poll_in(0) for _ in range(50)) <= interval_s * 1.2


class Scripted(Failing):
    """A source that can be reached, or cannot, as a script says."""

    def __init__(self, *reached: bool) -> None:
        super().__init__()
        self.script = reached

    def assignment(self, cascade: str, etag: str | None = None) -> None:
        self.asked += 1
        if not self.script[self.asked - 1]:
            raise OSError("no route")


class Counting(Follower):
    """Waits for nothing, but at the end of the script, and writes down the failures in a row."""

    def __init__(self, source: Scripted, **options: Any) -> None:
        super().__init__(source, **options)
        self.seen: list[int] = []
        self.script, self.over = len(source.script), threading.Event()

    def next_poll_in(self, failures: int) -> float:
        self.seen.append(failures)
        if len(self.seen) < self.script:
            return 0.0
        self.over.set()
        return 60.0


@pytest.mark.parametrize(
    ("reached", "failures"),
    [((False, False, False, True, False), [1, 2, 3, 0, 1]), ((True, True, False, True, True), [0, 0, 1, 0, 0])],
)
def test_failures_are_counted_in_a_row(
    installed: Installed, now: datetime, reached: tuple[bool, ...], failures: list[int]
) -> None:
    following = Counting(Scripted(*reached), cascade="questions", install=installed, clock=lambda: now)
    following.start()
    assert following.over.wait(30)
    following.close()
    assert following.seen == failures
