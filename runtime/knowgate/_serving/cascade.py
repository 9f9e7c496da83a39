"""The cascade as the serving code sees it: rules on answers, explores, and logs every decision.

What is in force is one immutable pair (an assignment and the bundles it names) in one attribute: a
follower swaps it with one assignment, a query keeps the one it began with. A cascade without
anything in force escalates everything, and so does one whose assignment has expired: a fault may
cost money, never accuracy.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Unpack
from uuid import UUID

from knowgate._bundles import folder
from knowgate._bundles.pair import Pair
from knowgate._deciding import ruling
from knowgate._deciding.intake import take_in
from knowgate._deciding.query import Query
from knowgate._deciding.ruling import Ruling
from knowgate._deciding.traces import trace_of
from knowgate._records.ids import new_id
from knowgate._records.observation import NOTHING_SHOWN, Observation
from knowgate._records.records import Fingerprint
from knowgate._serving.options import CascadeOptions, setting_of, utc_now
from knowgate.errors import RecordInvalid

if TYPE_CHECKING:
    from knowgate._serving.follower import Follower
    from knowgate._serving.serving import Answer, Serving
    from knowgate.backends.protocol import Message
    from knowgate.spec import CascadeSpec


class Cascade:
    """A cascade in one process; safe to share between threads.

    >>> cascade = Cascade("trivia")
    >>> str(cascade.decide(Observation(p_t=0.99)).verdict.reason)
    'no_bundle'
    """

    def __init__(self, name: str, pair: Pair | None = None, **options: Unpack[CascadeOptions]) -> None:
        self.setting = setting_of(name, options)
        self._clock = options.get("clock", utc_now)
        self._pair = pair
        self._follower: Follower | None = None
        self._patience = options.get("patience")
        self._serving: Serving | None = None
        backends = options.get("backends", ())
        if backends:
            from knowgate._serving import serving

            early = options.get("early", ())
            self._serving = serving.Serving(backends, self._patience, options.get("encoders"), early=early)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, public_key: str | None = None, **options: Unpack[CascadeOptions]
    ) -> "Cascade":
        """The cascade of a folder that holds `assignment.json` and the bundles it names; never
        changes afterwards.

        With `public_key` (hex Ed25519), unsigned and wrongly signed files are refused. Raises
        AssignmentRefused or BundleRefused.
        """
        pair = folder.read_pair(Path(path), public_key=public_key)
        return cls(pair.assignment.cascade, pair, **options)

    @classmethod
    def watch(
        cls,
        source: str | os.PathLike[str],
        *,
        cascade: str | None = None,
        token: str | None = None,
        cache: str | os.PathLike[str] | None = None,
        public_key: str | None = None,
        interval_s: float = 30.0,
        runtime: str | None = None,
        **options: Unpack[CascadeOptions],
    ) -> "Cascade":
        """A live cascade that follows its control plane (http…) or a folder; `close()` ends that.

        Polls once before it returns, then every `interval_s` or so. Neither an unreachable source
        nor a refused file raises: the last good pair of `cache` (a folder of this process's own)
        stays in force until it expires, and without one everything escalates. `cascade` names it;
        for a folder that holds an assignment it may be left out.
        """
        from knowgate._serving.follower import Follower, open_source
        from knowgate._shipping.spool import Spool

        opened, name = open_source(source, cascade=cascade, token=token)
        live = cls(name, **options)
        live._follower = Follower(
            opened,
            cascade=name,
            install=live.install,
            public_key=public_key,
            cache=None if cache is None else Path(cache),
            interval_s=interval_s,
            runtime=runtime,
            clock=live._clock,
            declare=None if live.setting.models else live._take_models,
            spool=live.setting.log if isinstance(live.setting.log, Spool) else None,
        )
        live._follower.start()
        return live

    @property
    def name(self) -> str:
        return self.setting.name

    @property
    def pair(self) -> Pair | None:
        """What is in force right now."""
        return self._pair

    @property
    def follower(self) -> "Follower | None":
        """What keeps this cascade up to date; None for one that was loaded."""
        return self._follower

    @property
    def serving(self) -> "Serving | None":
        """The back-ends at work, and what was spent on queries whose callers left; None without
        back-ends.
        """
        return self._serving

    def install(self, pair: Pair) -> None:
        """Puts `pair` in force for every query opened from now on: one atomic attribute
        assignment.
        """
        if pair.assignment.cascade != self.name:
            raise RecordInvalid("assignment.cascade", pair.assignment.cascade, f"this is cascade {self.name!r}")
        self._pair = pair

    def _take_models(self, models: tuple[str, ...]) -> None:
        if not self.setting.models:
            self.setting = replace(self.setting, models=models, named=True)

    def decide(
        self,
        shown: Observation = NOTHING_SHOWN,
        *,
        tier: int = 0,
        decision_id: UUID | None = None,
        slice: str | None = None,
        now: datetime | None = None,
        early: bool = False,
    ) -> Ruling:
        """Whether to keep non-last tier `tier`'s answer; records nothing. With `early`, whether it
        is to answer at all (`Ruling.answers`), by what was shown before it did.

        Bad signals count as missing and never raise; `Ruling.note` says what was dropped. Raises
        RecordInvalid for a tier out of range.
        """
        now, pair = self._clock() if now is None else now, self._pair
        decision_id = new_id(now) if decision_id is None else decision_id
        bundle = ruling.bundle_for(pair, self.setting.key, decision_id)
        return ruling.rule(
            pair,
            bundle,
            self.setting.key,
            tier=tier,
            decision_id=decision_id,
            intake=take_in(shown),
            slice=slice,
            now=now,
            others=() if self.setting.meets(bundle, tier) else self.setting.models,
            early=early,
        )

    def open(
        self,
        *,
        prompt: str | None = None,
        external_id: str | None = None,
        slice: str | None = None,
        decision_id: UUID | None = None,
        now: datetime | None = None,
        uncertified: str | None = None,
        traceparent: str | None = None,
    ) -> Query:
        """Begins a query; see `Query`.

        `traceparent` is the header of W3C Trace Context that the caller sent: the decision keeps
        its trace and its span. One that is none is left out.

        `uncertified` says why no certificate covers the request, such as `tools` or `temperature`:
        it is for the last tier alone, is stored with the reason `uncertified_request`, and teaches
        nothing.

        Raises RecordInvalid where the prompt is to be hashed and there is no `hash_key`.
        """
        now = self._clock() if now is None else now
        return Query(
            self.setting,
            self._pair,
            decision_id=new_id(now) if decision_id is None else decision_id,
            occurred_at=now,
            prompt=prompt,
            external_id=external_id,
            slice=slice,
            uncertified=uncertified,
            trace=trace_of(traceparent),
        )

    def run_tiers(
        self,
        spec: "CascadeSpec",
        *,
        fingerprints: Mapping[str, Fingerprint] | None = None,
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        """Makes the back-ends and encoders that `spec` declares, for `answer`; `close` closes them.

        `fingerprints` say, by tier, what the states of SGLang and vLLM are, `folder` where vLLM
        writes them (`knowgate.backends.from_spec`). A model in this process reads the layer of the
        probe in force, so call this once the cascade has its pair. Raises RecordInvalid.
        """
        from knowgate._serving.serving import Serving
        from knowgate.backends.factory import backends_of, early_of, encoders_of, patience_of

        if spec.name != self.name:
            raise RecordInvalid("spec.name", spec.name, f"this is cascade {self.name!r}")
        if self._serving is not None:
            raise RecordInvalid("spec", spec.name, "the cascade has its back-ends already")
        encoders = encoders_of(spec)
        backends = backends_of(spec, pair=self._pair, fingerprints=fingerprints, folder=folder)
        patience = patience_of(spec, self._patience)
        self._serving = Serving(backends, patience, encoders, early=early_of(spec), owned=True)
        models = tuple(tier.named_model for tier in spec.tiers)
        self.setting = replace(self.setting, models=models, named=True)

    def answer(
        self,
        messages: "Sequence[Message]",
        *,
        slice: str | None = None,
        external_id: str | None = None,
        decision_id: UUID | None = None,
        traceparent: str | None = None,
    ) -> "Answer":
        """Asks the tiers' back-ends, cheapest first, until an answer is kept, and logs the
        decision.

        `messages` are those of the chat protocol. A tier that fails escalates; exploration runs in
        the background after the answer was returned. Raises NoAnswer where the last tier fails,
        RecordInvalid without `backends`.
        """
        serving, query = self._begin(messages, slice, external_id, decision_id, traceparent)
        return serving.answer(query, messages)

    async def answer_async(
        self,
        messages: "Sequence[Message]",
        *,
        slice: str | None = None,
        external_id: str | None = None,
        decision_id: UUID | None = None,
        traceparent: str | None = None,
    ) -> "Answer":
        """`answer` on the running event loop, which it never blocks."""
        serving, query = self._begin(messages, slice, external_id, decision_id, traceparent)
        return await serving.answer_async(query, messages)

    def _begin(
        self,
        messages: "Sequence[Message]",
        slice: str | None,
        external_id: str | None,
        decision_id: UUID | None,
        traceparent: str | None,
    ) -> "tuple[Serving, Query]":
        from knowgate._serving.replies import prompt_of

        if self._serving is None:
            cure = "make the cascade with backends=[…], cheapest first, or call run_tiers(spec)"
            raise RecordInvalid("backends", None, cure)
        prompt = prompt_of(messages) if self.setting.stores_texts else None
        query = self.open(
            prompt=prompt, external_id=external_id, slice=slice, decision_id=decision_id, traceparent=traceparent
        )
        return self._serving, query

    def close(self, *, within_s: float | None = None) -> None:
        """Ends the watching and waits for explorations under way.

        The spool is its owner's to close, and so are back-ends, but for those that `run_tiers`
        made. Explorations that take longer than `within_s` are given up, and their decisions logged
        without them. One that waits for a back-end of yours ends when you close that; `close` again
        then waits for it.
        """
        if self._serving is not None:
            self._serving.close(within_s=within_s)
        if self._follower is not None:
            self._follower.close()

    async def close_async(self, *, within_s: float | None = None) -> None:
        """`close` on the running event loop, which it never blocks."""
        import asyncio

        if self._serving is not None:
            await self._serving.close_async(within_s=within_s)
        if self._follower is not None:
            await asyncio.to_thread(self._follower.close)

    def __enter__(self) -> "Cascade":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> "Cascade":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close_async()
