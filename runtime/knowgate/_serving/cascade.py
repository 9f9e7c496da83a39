"""The cascade as the serving code sees it: rules on answers, explores, and logs every decision.

What is in force is one immutable pair of assignment and bundles, held in one attribute: a watcher
swaps it with one assignment, a query keeps the one it began with. A cascade without anything in
force escalates everything, and so does one whose assignment has expired: a fault may cost money,
never accuracy.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypedDict, Unpack
from uuid import UUID

from knowgate._bundles import folder
from knowgate._bundles.pair import Pair
from knowgate._deciding import ruling
from knowgate._deciding.intake import take_in
from knowgate._deciding.privacy import SecretKey
from knowgate._deciding.query import Query
from knowgate._deciding.ruling import Ruling
from knowgate._deciding.setting import DecisionLog, NoSpool, Setting
from knowgate._records.ids import new_id
from knowgate._records.observation import NOTHING_SHOWN, Observation
from knowgate._records.records import Fingerprint
from knowgate.errors import RecordInvalid
from knowgate.spec import Privacy

if TYPE_CHECKING:
    from knowgate._serving.answer import Answer, Serving
    from knowgate._serving.watch import Watcher
    from knowgate.backends.protocol import Backend, Encoder, Message
    from knowgate.backends.tries import Patience
    from knowgate.spec import CascadeSpec


def utc_now() -> datetime:
    """The default clock."""
    return datetime.now(UTC)


class CascadeOptions(TypedDict, total=False):
    """What every way of making a cascade takes.

    `hash_key`: 16 to 64 secret bytes, the same in all processes of a deployment; prompts are hashed
    and coins are thrown with it. `privacy`: what is stored of prompts and answers; the default
    keeps keyed hashes. `vector_rate`: the share of decisions whose hidden states are kept (explored
    ones always are). `models`: names of the tiers' models; a bundle for others decides nothing.
    Left out, `Cascade.watch` takes those that the control plane declares. `clock`: returns aware
    times. `backends`: who runs the tiers, cheapest first, for `answer`; they stay their owner's to
    close. `encoders`: by tier, what reads prompts for a probe where the back-end shows no hidden
    states. `patience`: how long tiers are waited for, one for all or one each.
    """

    hash_key: bytes | None
    privacy: Privacy
    vector_rate: float
    models: Sequence[str]
    spool: DecisionLog
    clock: Callable[[], datetime]
    backends: "Sequence[Backend]"
    encoders: "Mapping[int, Encoder]"
    patience: "Patience | Sequence[Patience]"


class Cascade:
    """A cascade in one process; safe to share between threads.

    >>> cascade = Cascade("trivia")
    >>> str(cascade.decide(Observation(p_t=0.99)).verdict.reason)
    'no_bundle'
    """

    def __init__(self, name: str, pair: Pair | None = None, **options: Unpack[CascadeOptions]) -> None:
        key = SecretKey(options.get("hash_key"))
        privacy = Privacy(options.get("privacy", Privacy.HASH))
        vector_rate = options.get("vector_rate", 1.0)
        if not 0.0 <= vector_rate <= 1.0:
            raise RecordInvalid("vector_rate", vector_rate, "lies in [0, 1]")
        if "spool" in options and privacy is Privacy.HASH and not key.shared:
            raise RecordInvalid("hash_key", None, "give the deployment's hash_key, or privacy=Privacy.NEVER")
        backends = options.get("backends", ())
        self.setting = Setting(
            name=name,
            models=tuple(options.get("models", ())) or tuple(backend.model for backend in backends),
            named=bool(options.get("models", ())),
            key=key,
            privacy=privacy,
            vector_rate=vector_rate,
            log=options.get("spool", NoSpool()),
        )
        self._clock = options.get("clock", utc_now)
        self._pair = pair
        self._watcher: Watcher | None = None
        self._patience = options.get("patience")
        self._serving = _serving(backends, self._patience, options.get("encoders"))
        self._owned: tuple[Any, ...] = ()  # back-ends made here, and closed here

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
        from knowgate._serving.watch import Watcher, open_source

        opened, name = open_source(source, cascade=cascade, token=token)
        live = cls(name, **options)
        live._watcher = Watcher(
            opened,
            cascade=name,
            install=live.install,
            public_key=public_key,
            cache=None if cache is None else Path(cache),
            interval_s=interval_s,
            runtime=runtime,
            clock=live._clock,
            declare=None if live.setting.models else live._take_models,
        )
        live._watcher.start()
        return live

    @property
    def name(self) -> str:
        return self.setting.name

    @property
    def pair(self) -> Pair | None:
        """What is in force right now."""
        return self._pair

    @property
    def watcher(self) -> "Watcher | None":
        """What keeps this cascade up to date; None for one that was loaded."""
        return self._watcher

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
    ) -> Ruling:
        """Whether to keep non-last tier `tier`'s answer; records nothing.

        Bad signals count as missing and never raise; `Ruling.note` says what was dropped. Raises
        RecordInvalid for a tier out of range.
        """
        now, pair = self._clock() if now is None else now, self._pair
        decision_id = new_id(now) if decision_id is None else decision_id
        bundle = ruling.bundle_for(pair, self.setting.key, decision_id)
        return ruling.rule(
            pair,
            self.setting.key,
            tier=tier,
            decision_id=decision_id,
            intake=take_in(shown),
            slice=slice,
            now=now,
            others=() if self.setting.meets(bundle, tier) else self.setting.models,
        )

    def explores(self, decision_id: UUID) -> bool:
        """Whether this id is explored whatever it shows: its coin falls below the floor of the rate
        in force.
        """
        return ruling.explores(self._pair, self.setting.key, decision_id)

    def open(
        self,
        *,
        prompt: str | None = None,
        external_id: str | None = None,
        slice: str | None = None,
        decision_id: UUID | None = None,
        now: datetime | None = None,
    ) -> Query:
        """Begins a query; see `Query`.

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
        from knowgate.backends.factory import backends_of, encoders_of, patience_of

        if spec.name != self.name:
            raise RecordInvalid("spec.name", spec.name, f"this is cascade {self.name!r}")
        if self._serving is not None:
            raise RecordInvalid("spec", spec.name, "the cascade has its back-ends already")
        encoders = encoders_of(spec)
        self._owned = backends_of(spec, pair=self._pair, fingerprints=fingerprints, folder=folder)
        self._serving = _serving(self._owned, patience_of(spec, self._patience), encoders)
        models = tuple(tier.named_model for tier in spec.tiers)
        self.setting = replace(self.setting, models=models, named=True)

    def answer(
        self,
        messages: "Sequence[Message]",
        *,
        slice: str | None = None,
        external_id: str | None = None,
        decision_id: UUID | None = None,
    ) -> "Answer":
        """Asks the tiers' back-ends, cheapest first, until an answer is kept, and logs the
        decision.

        `messages` are those of the chat protocol. A tier that fails escalates; exploration runs in
        the background after the answer was returned. Raises NoAnswer where the last tier fails,
        RecordInvalid without `backends`.
        """
        from knowgate._serving.answer import answer

        serving, query = self._begin(messages, slice, external_id, decision_id)
        return answer(serving, query, messages)

    async def answer_async(
        self,
        messages: "Sequence[Message]",
        *,
        slice: str | None = None,
        external_id: str | None = None,
        decision_id: UUID | None = None,
    ) -> "Answer":
        """`answer` on the running event loop, which it never blocks."""
        from knowgate._serving.answer_async import answer_async

        serving, query = self._begin(messages, slice, external_id, decision_id)
        return await answer_async(serving, query, messages)

    def _begin(
        self, messages: "Sequence[Message]", slice: str | None, external_id: str | None, decision_id: UUID | None
    ) -> "tuple[Serving, Query]":
        from knowgate._serving.answer import prompt_of

        if self._serving is None:
            cure = "make the cascade with backends=[…], cheapest first, or call run_tiers(spec)"
            raise RecordInvalid("backends", None, cure)
        prompt = prompt_of(messages) if self.setting.stores_texts else None
        query = self.open(prompt=prompt, external_id=external_id, slice=slice, decision_id=decision_id)
        return self._serving, query

    def close(self, *, within_s: float | None = None) -> None:
        """Ends the watching and waits for explorations under way.

        The spool is its owner's to close, and so are back-ends, but for those that `run_tiers`
        made. Explorations that take longer than `within_s` are given up, and their decisions logged
        without them. One that waits for a back-end of yours ends when you close that; `close` again
        then waits for it.
        """
        self._end(within_s)
        for backend in self._owned:
            if hasattr(backend, "close"):
                backend.close()
        if self._owned:
            self._end(None)

    async def close_async(self, *, within_s: float | None = None) -> None:
        """`close` on the running event loop, which it never blocks."""
        import asyncio

        await asyncio.to_thread(self._end, within_s)
        for backend in self._owned:
            if hasattr(backend, "close_async"):
                await backend.close_async()
            elif hasattr(backend, "close"):
                await asyncio.to_thread(backend.close)
        if self._owned:
            await asyncio.to_thread(self._end, None)

    def _end(self, within_s: float | None) -> None:
        if self._serving is not None:
            self._serving.close(within_s=within_s)
        if self._watcher is not None:
            self._watcher.close()

    def __enter__(self) -> "Cascade":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> "Cascade":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close_async()


def _serving(
    backends: "Sequence[Backend]",
    patience: "Patience | Sequence[Patience] | None",
    encoders: "Mapping[int, Encoder] | None",
) -> "Serving | None":
    if not backends:
        return None
    from knowgate._serving.answer import Serving

    return Serving(backends, patience, encoders)
