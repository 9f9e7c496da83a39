"""The cascades that `POST /v1/decide` rules with: the runtime's own, one per name, following the
store.

A ruling here and a ruling in a runtime are made by the same code from the same files. The bundles
are read once per generation; the assignment is looked at on every call, which is one indexed row,
so a promotion is in force at once.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from knowgate._bundles.assignment import Assignment
from knowgate._bundles.bundle import Bundle, read_bundle
from knowgate._bundles.pair import Pair
from knowgate._serving.cascade import Cascade
from knowgate.errors import KnowgateError
from store.errors import StoreError
from store.releases import bundles

log = logging.getLogger("knowgate.api")

RETRY = timedelta(minutes=1)  # until a bundle that could not be read is read again


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """One live cascade, and which bundle it lacks that it should have."""

    assignment: Assignment | None
    cascade: Cascade
    fault: str | None  # None = it has all that its assignment names
    made_at: datetime


class Sidecars:
    """The live cascades of one process."""

    def __init__(self, *, hash_key: bytes, clock: Callable[[], datetime]) -> None:
        self._hash_key = hash_key
        self._clock = clock
        self._live: dict[str, Sidecar] = {}
        self._bundles: dict[str, Bundle] = {}
        self._lock = threading.Lock()

    def cascade(self, session: Session, name: str, assignment: Assignment | None, models: tuple[str, ...]) -> Sidecar:
        """The cascade with `assignment` in force, whose tiers are declared to run `models`.

        A champion that cannot be read leaves it without a bundle, and so escalating; a challenger
        that cannot be read leaves the champion its share of the decisions.
        """
        with self._lock:
            live = self._live.get(name)
            as_before = live is not None and (live.assignment, live.cascade.setting.models) == (assignment, models)
            if live is None or not as_before or self._is_worth_a_try(live):
                live = self._live[name] = self._made(session, name, assignment, models)
                self._forget()
            return live

    def _is_worth_a_try(self, live: Sidecar) -> bool:
        return live.fault is not None and not live.made_at <= self._clock() < live.made_at + RETRY

    def _made(self, session: Session, name: str, assignment: Assignment | None, models: tuple[str, ...]) -> Sidecar:
        pair, fault = None, None
        try:
            pair, fault = self._pair(session, assignment)
        except (KnowgateError, StoreError) as error:
            fault = str(error)
            log.error("%s escalates everything: %s", name, error)
        cascade = Cascade(name, pair, models=models, hash_key=self._hash_key, clock=self._clock)
        return Sidecar(assignment=assignment, cascade=cascade, fault=fault, made_at=self._clock())

    def _pair(self, session: Session, assignment: Assignment | None) -> tuple[Pair | None, str | None]:
        """The pair that decides, and why its challenger does not."""
        if assignment is None:
            return None, None
        champion = self._bundle(session, assignment.champion)
        try:
            challenger = self._bundle(session, assignment.challenger)
            return Pair(assignment=assignment, champion=champion, challenger=challenger), None
        except (KnowgateError, StoreError) as error:
            log.error("%s: the champion decides the challenger's share too: %s", assignment.cascade, error)
            alone = replace(assignment, challenger=None, share=0.0)
            return Pair(assignment=alone, champion=champion), f"the challenger decides nothing: {error}"

    def _bundle(self, session: Session, bundle_id: str | None) -> Bundle | None:
        if bundle_id is None:
            return None
        if bundle_id not in self._bundles:
            content = bundles.bundle_content(session, bundle_id)
            self._bundles[bundle_id] = read_bundle(content, expected_id=bundle_id)
        return self._bundles[bundle_id]

    def _forget(self) -> None:
        """Drops the bundles that no cascade decides with any more."""
        named = {
            bundle_id
            for assignment in (live.assignment for live in self._live.values())
            if assignment is not None
            for bundle_id in (assignment.champion, assignment.challenger)
        }
        self._bundles = {bundle_id: bundle for bundle_id, bundle in self._bundles.items() if bundle_id in named}
