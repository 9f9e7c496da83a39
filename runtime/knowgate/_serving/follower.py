"""Following the control plane: a new assignment is fetched, verified, swapped in and acknowledged,
or refused and the last good pair kept.

One poll, step by step:
1. ask for the assignment, with the ETag of the last one taken; unchanged → done;
2. verify it: cascade, signature, generation not older than the one in force;
3. find its bundles: in force already, in the cache, else fetched by id; verify hash, content,
   signature;
4. swap the pair in, one attribute assignment;
5. keep it in the cache, bundles first, so that a restart without network serves on;
6. acknowledge generation and bundle; a refusal is acknowledged with its reason; and say the same
   again every minute or so (`knowgate._serving.last_word`);
7. where nobody named the tiers' models, take them from the declaration, once: without a bundle
   attempts would else be of no known model, and teach nothing.
Any step may fail; then what was in force stays in force, until it expires. But a stop, and that a
cascade is observed, is obeyed without its bundles; and where the challenger alone is refused, the
champion decides its share too, so that a rollout takes nothing from it. That is said as a refusal.

The next poll comes after the interval ± 20 %; after failures the wait doubles, up to a bound.
"""

import logging
import os
import secrets
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from random import Random

from knowgate._bundles import folder, signing
from knowgate._bundles.assignment import Assignment, Mode
from knowgate._bundles.bundle import Bundle
from knowgate._bundles.pair import Pair, verified_assignment, verified_bundle
from knowgate._serving.last_word import LastWord
from knowgate._serving.sources import FolderSource, ServiceSource, Source
from knowgate._shipping.client import Client, Fetched
from knowgate._shipping.spool import Spool
from knowgate._wire import codec
from knowgate._wire.backoff import next_delay
from knowgate.errors import AssignmentRefused, BundleRefused, KnowgateError, RecordInvalid, ServiceUnreachable

logger = logging.getLogger("knowgate.follower")


class Polled(StrEnum):
    """What a poll came to."""

    TAKEN = "taken"
    UNCHANGED = "unchanged"
    NOTHING_ASSIGNED = "nothing_assigned"  # the source knows no assignment for this cascade yet
    REFUSED = "refused"
    UNREACHABLE = "unreachable"

    @property
    def failed(self) -> bool:
        return self in (Polled.REFUSED, Polled.UNREACHABLE)


def open_source(
    where: str | os.PathLike[str], *, cascade: str | None = None, token: str | None = None
) -> tuple[Source, str]:
    """The source at a URL or in a folder, and the cascade's name. Raises RecordInvalid where
    nothing tells the name.
    """
    text = os.fspath(where)
    if text.startswith(("http://", "https://")):
        if cascade is None:
            raise RecordInvalid("cascade", None, "name the cascade to follow")
        return ServiceSource(Client(text, token)), cascade
    source = FolderSource(Path(text))
    if cascade is None:
        try:
            fetched = source.assignment("")
            cascade = None if fetched is None else verified_assignment(fetched.content).cascade
        except (ServiceUnreachable, AssignmentRefused) as error:
            raise RecordInvalid("cascade", None, f"name the cascade to follow: {error}") from error
    return source, str(cascade)


class Follower:
    """Keeps one cascade's pair up to date. `install` is called with every pair that comes into
    force.

    `declare`, where given, is called once with the models that the cascade's declaration names,
    cheapest first. `spool` is where its decisions wait to be shipped.
    """

    def __init__(
        self,
        source: Source,
        *,
        cascade: str,
        install: Callable[[Pair], None],
        clock: Callable[[], datetime],
        public_key: str | None = None,
        cache: Path | None = None,
        interval_s: float = 30.0,
        backoff_bound_s: float = 300.0,
        runtime: str | None = None,
        declare: Callable[[tuple[str, ...]], None] | None = None,
        spool: Spool | None = None,
    ) -> None:
        if not interval_s > 0:
            raise RecordInvalid("interval_s", interval_s, "seconds between polls, above 0")
        self.runtime = runtime or f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(4)}"
        self.last_error: str | None = None  # of the last poll; None = it went well
        self._source = source
        self._cascade = cascade
        self._install = install
        self._public_key = public_key
        self._cache = cache
        self._interval_s = interval_s
        self._backoff_bound_s = max(backoff_bound_s, interval_s)
        self._declare = declare  # None = the models are known
        self._undeclared: str | None = None  # why they are not known yet, as it was logged last
        self._pair: Pair | None = None
        self._fetched: dict[str, folder.BundleFile] = {}  # verified, not kept yet
        self._etag: str | None = None
        self._word = LastWord(self.runtime, clock=clock, interval_s=interval_s, spool=spool)
        self._polling = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._random = Random()
        if public_key is not None:
            signing.verify(public_key, b"", None)  # a malformed key stops the start, not the first poll
        self._serve_cached()

    def start(self) -> None:
        """Polls once on this thread, then goes on polling on its own."""
        failures = int(self.poll().failed)
        self._thread = threading.Thread(target=self._run, args=(failures,), name="knowgate-follower", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops polling; what is in force stays in force until it expires."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def poll(self) -> Polled:
        """One poll, now. Never raises for what the source holds or does."""
        with self._polling:
            try:
                polled = self._look()
                self.last_error = None
            except (AssignmentRefused, BundleRefused) as error:
                polled, self.last_error = Polled.REFUSED, str(error)
                logger.warning("refused, the last good pair stays: %s", error)
            except (ServiceUnreachable, OSError) as error:
                nothing = isinstance(error, ServiceUnreachable) and error.status == 404
                polled, self.last_error = Polled.NOTHING_ASSIGNED if nothing else Polled.UNREACHABLE, str(error)
                logger.warning("the watch goes on with what it has: %s", error)
            if polled is not Polled.UNREACHABLE:
                self._word.say_again()
            self._word.send(self._source, self._cascade)
            if self._declare is not None and polled is not Polled.UNREACHABLE:
                self._take_models(self._declare)
            return polled

    def _run(self, failures: int) -> None:
        while not self._stopping.wait(self.next_poll_in(failures)):
            try:
                failed = self.poll().failed
            except Exception:  # a thread that dies would let the assignment expire without a word
                logger.exception("a poll failed")
                failed = True
            failures = failures + 1 if failed else 0

    def next_poll_in(self, failures: int) -> float:
        """Seconds until the next poll, after this many failures in a row; drawn anew each time."""
        return next_delay(
            base_s=self._interval_s, failures=failures, bound_s=self._backoff_bound_s, random=self._random
        )

    def _look(self) -> Polled:
        fetched = self._source.assignment(self._cascade, self._etag)
        if fetched is None:
            return Polled.UNCHANGED
        generation = _generation(fetched.content)
        try:
            pair, refused = self._verified(fetched)
        except (AssignmentRefused, BundleRefused) as error:
            # The ETag stays the old one: a download that went wrong is tried again.
            self._word.say(generation, None, reason=str(error))
            raise
        self._pair = pair
        self._install(pair)
        if refused is not None:  # nor is it kept: who starts without network has the last whole pair
            self._word.say(generation, pair.assignment.champion, reason=str(refused))
            raise refused
        self._keep(fetched.content, pair.assignment)
        self._etag = fetched.etag
        self._word.say(pair.assignment.generation, pair.assignment.champion, reason=None)
        return Polled.TAKEN

    def _verified(self, fetched: Fetched) -> tuple[Pair, BundleRefused | None]:
        """The pair, and why it is without its challenger, where that alone is refused."""
        in_force = None if self._pair is None else self._pair.assignment
        assignment = verified_assignment(
            fetched.content, cascade=self._cascade, public_key=self._public_key, in_force=in_force
        )
        try:
            champion = self._bundle(assignment.champion)
            try:
                challenger = self._bundle(assignment.challenger)
                return Pair(assignment=assignment, champion=champion, challenger=challenger), None
            except BundleRefused as error:
                alone = Pair(assignment=replace(assignment, challenger=None, share=0.0), champion=champion)
                return alone, BundleRefused(f"the challenger decides nothing, the champion its share too: {error}")
        except (BundleRefused, ServiceUnreachable):
            if assignment.mode is not Mode.ACTIVE:
                self._stop(fetched.content, assignment)
            raise

    def _stop(self, content: bytes, assignment: Assignment) -> None:
        """What keeps nothing needs no bundle: it holds, across a restart too, though those that it
        names cannot be had.
        """
        stopped = Pair(assignment=replace(assignment, champion=None, challenger=None))
        if self._pair is not None and self._pair.assignment == stopped.assignment:
            return
        self._pair = stopped
        self._install(stopped)
        self._keep(content, assignment)

    def _bundle(self, bundle_id: str | None) -> Bundle | None:
        """Fetched by id only when it is neither in force nor in the cache."""
        if bundle_id is None:
            return None
        for bundle in () if self._pair is None else (self._pair.champion, self._pair.challenger):
            if bundle is not None and bundle.id == bundle_id:
                return bundle
        if self._cache is not None:
            try:
                return self._read(bundle_id, folder.read_bundle_file(self._cache, bundle_id))
            except BundleRefused:
                pass  # not there, or damaged: the source has the last word
        file = self._source.bundle_file(bundle_id)
        bundle = self._read(bundle_id, file)
        self._fetched[bundle_id] = file
        return bundle

    def _read(self, bundle_id: str, file: folder.BundleFile) -> Bundle:
        return verified_bundle(file.content, bundle_id=bundle_id, signature=file.signature, public_key=self._public_key)

    def _keep(self, content: bytes, assignment: Assignment) -> None:
        fetched, self._fetched = self._fetched, {}
        if self._cache is None:
            return
        try:
            self._cache.mkdir(parents=True, exist_ok=True)
            for bundle_id, file in fetched.items():
                folder.keep_bundle(self._cache, bundle_id, file)
            folder.keep_assignment(self._cache, content)
            folder.forget_others(self._cache, (assignment.champion, assignment.challenger))
        except OSError as error:
            # The pair is in force all the same; only a restart without network would not find it.
            logger.error("the pair could not be kept in %s: %s", self._cache, error)

    def _serve_cached(self) -> None:
        if self._cache is None or not (self._cache / folder.ASSIGNMENT_NAME).exists():
            return
        try:
            pair = folder.read_pair(self._cache, cascade=self._cascade, public_key=self._public_key)
        except (AssignmentRefused, BundleRefused) as error:
            logger.warning("the cached pair is not served: %s", error)
            return
        self._pair = pair
        self._install(pair)

    def _take_models(self, declare: Callable[[tuple[str, ...]], None]) -> None:
        """Asks for the declared models; where they do not come, the next poll asks again."""
        try:
            models = self._source.models(self._cascade)
        except ServiceUnreachable as error:
            if str(error) != self._undeclared:
                self._undeclared = str(error)
                logger.warning("the declared models are not known, so attempts teach nothing: %s", error)
            return
        if models:
            declare(models)
        self._declare = None


def _generation(content: bytes) -> int | None:
    """The generation that a document claims, whatever else is wrong with it; None where it claims
    none.
    """
    try:
        parsed = codec.parse(content)
    except KnowgateError:
        return None
    generation = parsed.get("generation") if isinstance(parsed, dict) else None
    return generation if isinstance(generation, int) and not isinstance(generation, bool) else None
