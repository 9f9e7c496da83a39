"""One query while it is served: gathers the attempts, becomes one Decision, and goes to the spool.

A query sees one pair from beginning to end, whatever is swapped in meanwhile. Roles are given at
the end: the last tier that ran in order is `served`, those before it `superseded`, and the last
tier after a retained answer is `exploration`. Where the serving code raises before any answer could
be served, nothing is recorded: there was no decision. A request that no certificate covers is the
last tier's alone: nothing is decided, and its one attempt says why.
"""

import contextlib
import functools
import logging
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from knowgate._bundles.pair import Pair
from knowgate._deciding.exploration import coin_falls, largest_rate, row_rate
from knowgate._deciding.intake import Intake, take_in
from knowgate._deciding.privacy import Purpose, storable, stored_text
from knowgate._deciding.ruling import Ruling, bundle_for, rule
from knowgate._deciding.setting import Setting
from knowgate._models.features import Float16Array
from knowgate._records.observation import NOTHING_SHOWN, Observation
from knowgate._records.records import SHOWN, Action, Attempt, Decision, Reason, Role, Signals, Verdict
from knowgate.errors import RecordInvalid, SpoolRefused

log = logging.getLogger("knowgate.query")

LONGEST_NOTE = 1000  # characters kept with an attempt
UNKNOWN_MODEL = "unknown"  # no bundle, no `models`, and none named with the attempt


class Query:
    """Made by `Cascade.open`; used as a context manager, or closed by hand. Belongs to one thread
    at a time.
    """

    def __init__(
        self,
        setting: Setting,
        pair: Pair | None,
        *,
        decision_id: UUID,
        occurred_at: datetime,
        prompt: str | None,
        external_id: str | None,
        slice: str | None,
        uncertified: str | None = None,
    ) -> None:
        if decision_id.version != 7:
            raise RecordInvalid("decision_id", str(decision_id), "make ids with knowgate.new_id (UUIDv7)")
        self.decision_id = decision_id
        self.decision: Decision | None = None  # once closed
        self._setting = setting
        self._pair = pair
        self._bundle = bundle_for(pair, setting.key, decision_id)
        self._occurred_at = occurred_at
        self._external_id = None if external_id is None else storable(str(external_id))
        self._slice = None if slice is None else storable(str(slice))
        self._uncertified = uncertified
        self._prompt = stored_text(prompt, privacy=setting.privacy, key=setting.key, purpose=Purpose.PROMPT)
        self._attempts: list[Attempt] = []
        self._vectors: list[Float16Array] = []
        self._ruling: Ruling | None = None  # of the newest attempt
        self._retained: Ruling | None = None  # the one that kept an answer before the last tier
        # All that any signal could have explored: which vectors are kept must not depend on what
        # they show.
        may_explore = coin_falls(setting.key, decision_id, largest_rate(None if pair is None else pair.assignment))
        self._keeps_vectors = may_explore or setting.key.coin(Purpose.VECTOR, decision_id) < setting.vector_rate

    @property
    def last(self) -> int | None:
        """The last tier; None while neither a bundle nor `models` says how many there are."""
        models = self._models
        return len(models) - 1 if models else None

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """What ran so far, in order; roles are given at the end."""
        return tuple(self._attempts)

    @property
    def stores_texts(self) -> bool:
        """Whether an answer's text can be taken."""
        return self._setting.stores_texts

    def probe_layer(self, tier: int) -> int | None:
        """The layer that the probe of non-last tier `tier` reads; None while there is no probe."""
        models = None if self._bundle is None else self._bundle.tiers[tier]
        return None if models is None else models.document.fingerprint.layer

    @property
    def next_tier(self) -> int:
        """Which tier is to run next; behind the last one where none is."""
        if not self._attempts:
            return 0 if self._uncertified is None or self.last is None else self.last
        if self.explore and self.last is not None:
            return self.last
        return self._attempts[-1].tier + 1

    @property
    def explore(self) -> bool:
        """Whether the last tier is to be run too, after a retained answer was served, to learn
        from.
        """
        return self._ruling is not None and self._ruling.explore

    def attempt(self, shown: Observation = NOTHING_SHOWN, *, tier: int | None = None) -> Ruling:
        """Records that `tier` ran (None = the next one in order) and what it showed, and rules on
        its answer.

        Bad values count as missing, and the ruling's note says so. On the last tier nothing is
        decided: its answer is always retained. Raises RecordInvalid for a tier that neither an
        escalation nor the exploration coin called for.
        """
        tier = self.next_tier if tier is None else tier
        role = self._role_of(tier)
        intake = take_in(shown)
        ruling = self._rule(tier, intake)
        note = "; ".join(filter(None, (self._uncertified, ruling.note, *intake.seen.notes))) or None
        self._attempts.append(self._attempt(tier, role, ruling, intake, note))
        self._ruling = replace(ruling, note=note)
        if tier != self.last and ruling.retained:
            self._retained = self._ruling
        return self._ruling

    def _attempt(self, tier: int, role: Role, ruling: Ruling, intake: Intake, note: str | None) -> Attempt:
        """The record of an observation: the one place where it is made."""
        seen, last, setting = intake.seen, tier == self.last, self._setting
        stored = stored_text(seen.answer, privacy=setting.privacy, key=setting.key, purpose=Purpose.ANSWER)
        kept = {name: getattr(seen, name) for name in SHOWN} | {
            "answer": stored.hash if stored.text is None else stored.text
        }
        return Attempt(
            **kept,
            tier=tier,
            role=role,
            model=storable(seen.model or self._model(tier)),
            signals=ruling.signals,
            verdict=None if last else ruling.verdict,
            fault=ruling.fault,
            run_propensity=self._rate if role is Role.EXPLORATION else 1.0,
            vector=self._keep(tier, intake),
            note=None if note is None else storable(note[:LONGEST_NOTE]),
        )

    def close(self) -> Decision:
        """The decision, handed to the spool; closing again returns the same one.

        A spool that refuses it has counted that; the query was served all the same. Raises
        RecordInvalid without any attempt.
        """
        if self.decision is not None:
            return self.decision
        self.decision = Decision(
            id=self.decision_id,
            cascade=self._setting.name,
            occurred_at=self._occurred_at,
            attempts=self._with_roles(),
            external_id=self._external_id,
            slice=self._slice,
            prompt=self._prompt.text,
            prompt_hash=self._prompt.hash,
            generation=None if self._pair is None else self._pair.assignment.generation,
            bundle=None if self._bundle is None else self._bundle.id,
            exploration_rate=self._rate,
        )
        if any(attempt.model == UNKNOWN_MODEL for attempt in self.decision.attempts):
            _warn_of_unknown_models(self._setting.name)
        # A refusal is counted in `spool.refused`; a full disk must not take the answer away from
        # whoever asked.
        with contextlib.suppress(SpoolRefused):
            self._setting.log.append(self.decision, self._vectors)
        return self.decision

    def __enter__(self) -> "Query":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._attempts and (error is None or self._has_served()):
            self.close()

    @property
    def _rate(self) -> float:
        """The chance that the last tier ran, or would have run, beside the retained answer; the
        floor without one.
        """
        if self._retained is not None:
            return self._retained.exploration_rate
        return row_rate(None if self._pair is None else self._pair.assignment, None)

    @property
    def _models(self) -> tuple[str, ...]:
        return self._setting.models if self._bundle is None else self._bundle.document.models

    def _model(self, tier: int) -> str:
        own = self._setting.models
        if 0 <= tier < len(own) and not self._setting.meets(self._bundle, tier):
            return own[tier]
        return self._models[tier] if self._models else UNKNOWN_MODEL

    def _has_served(self) -> bool:
        return any(
            attempt.tier == self.last or (attempt.verdict is not None and attempt.verdict.retained)
            for attempt in self._attempts
        )

    def _role_of(self, tier: int) -> Role:
        """Exploration or not; who was superseded is known only at the end."""
        if self.decision is not None:
            raise RecordInvalid("tier", tier, "the query is closed; open another one")
        if tier < 0 or (self.last is not None and tier > self.last):
            raise RecordInvalid("tier", tier, f"this cascade has tiers 0 to {self.last}")
        if self._uncertified is not None and tier != self.last:
            raise RecordInvalid("tier", tier, f"no certificate covers this request: ask the last tier, {self.last}")
        if self._attempts and tier <= self._attempts[-1].tier:
            raise RecordInvalid("tier", tier, f"tier {self._attempts[-1].tier} ran already; give a later one")
        if self._ruling is None or not self._ruling.retained:
            return Role.SERVED
        if self.explore and tier == self.last:
            return Role.EXPLORATION
        raise RecordInvalid(
            "tier", tier, "an answer was retained; run another tier only where `explore` is True, the last"
        )

    def _rule(self, tier: int, intake: Intake) -> Ruling:
        if tier != self.last:
            return rule(
                self._pair,
                self._setting.key,
                tier=tier,
                decision_id=self.decision_id,
                intake=intake,
                slice=self._slice,
                now=self._occurred_at,
                others=() if self._setting.meets(self._bundle, tier) else self._setting.models,
            )
        intake.settle()
        return Ruling(
            verdict=Verdict(action=Action.RETAIN, reason=None),
            signals=Signals(p_t=intake.seen.p_t),
            fault=None if self._uncertified is None else Reason.UNCERTIFIED_REQUEST,
            bundle=None if self._bundle is None else self._bundle.id,
            generation=None if self._pair is None else self._pair.assignment.generation,
            decision_id=self.decision_id,
            note="; ".join(intake.notes) or None,
        )

    def _keep(self, tier: int, intake: Intake) -> int | None:
        """The row of this attempt's vector among the decision's own; None when it is not kept."""
        if intake.vector is None or not self._keeps_vectors:
            return None
        models = None if self._bundle is None or tier == self.last else self._bundle.tiers[tier]
        claimed = models is not None and intake.seen.fingerprint == models.document.fingerprint
        # With another fingerprint it is a redeployed model's, which is just what retraining needs;
        # of another length than the model it claims to come from, it is not what it claims to be.
        if claimed and models is not None and len(intake.vector) != models.document.dimension:
            return None
        self._vectors.append(intake.vector.copy())  # the engine may reuse its buffer
        return len(self._vectors) - 1

    def _with_roles(self) -> tuple[Attempt, ...]:
        in_order = [attempt for attempt in self._attempts if attempt.role is not Role.EXPLORATION]
        explored = [attempt for attempt in self._attempts if attempt.role is Role.EXPLORATION]
        if not in_order:
            raise RecordInvalid("attempts", 0, "no tier ran; call attempt() before close()")
        *earlier, served = in_order
        if self.last is None and earlier:
            # Nobody said which tier is the last, but nothing came after this one: nothing was
            # decided there.
            served = replace(served, verdict=None, fault=None)
        superseded = [replace(attempt, role=Role.SUPERSEDED) for attempt in earlier]
        return (*superseded, served, *explored)


@functools.cache
def _warn_of_unknown_models(cascade: str) -> None:
    """Once per cascade and process: every decision would say the same."""
    log.warning(
        "cascade %s: nobody says which models its tiers run, so attempts are logged as of %r and teach nothing: give "
        "models=(…), cheapest first, or follow a control plane that declares the cascade",
        cascade,
        UNKNOWN_MODEL,
    )
