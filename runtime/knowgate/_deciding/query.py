"""One query while it is served: gathers the attempts, becomes one Decision, and goes to the spool.

A query sees one pair from beginning to end, whatever is swapped in meanwhile. Roles are given at
the end: the last tier that ran in order is `served`, those before it `superseded`, and the last
tier after a retained answer is `exploration`. A tier that a gate ended before it answered is
`skipped`, or, where the exploration coin let it answer all the same, `exploration` too: the verdict
is the one that was made before, since that decided. Where the serving code raises before any answer
could be served, nothing is recorded: there was no decision. A request that no certificate covers is
the last tier's alone: nothing is decided, and its one attempt says why. Where nothing can be kept
the last tier is the next one from the beginning, and the others are observed
(`knowgate._deciding.observing`).
"""

import contextlib
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from knowgate._bundles.pair import Pair
from knowgate._deciding.early import Considered
from knowgate._deciding.exploration import coin_falls, largest_rate, row_rate
from knowgate._deciding.intake import Intake, take_in
from knowgate._deciding.observing import GIVEN_UP, NOT_ASKED, observing_of
from knowgate._deciding.privacy import Purpose, storable, stored_text
from knowgate._deciding.roles import with_roles
from knowgate._deciding.ruling import Ruling, bundle_for, is_what_it_claims, rule, rule_on_last
from knowgate._deciding.setting import UNKNOWN_MODEL, Setting, warn_of_unknown_models
from knowgate._models.features import Float16Array
from knowgate._records.observation import NOTHING_SHOWN, Observation
from knowgate._records.records import SHOWN, Attempt, Decision, Role
from knowgate.errors import RecordInvalid, SpoolRefused
from knowgate.policy import decided_before_an_answer, gates_before_an_answer

LONGEST_NOTE = 1000  # characters kept with an attempt


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
        trace: tuple[str, str] | None = None,
    ) -> None:
        if decision_id.version != 7:
            raise RecordInvalid("decision_id", str(decision_id), "make ids with knowgate.new_id (UUIDv7)")
        self.decision_id = decision_id
        self.decision: Decision | None = None  # once closed
        self._setting = setting
        self._pair = pair
        self._prompt = stored_text(prompt, privacy=setting.privacy, key=setting.key, purpose=Purpose.PROMPT)
        self._bundle = bundle_for(pair, setting.key, decision_id, self._prompt.hash)
        self._occurred_at = occurred_at
        self._external_id = None if external_id is None else storable(str(external_id))
        self._slice = None if slice is None else storable(str(slice))
        self._uncertified = uncertified
        observing = observing_of(setting, pair, self._bundle, decision_id, occurred_at)
        self._observing = observing if uncertified is None and self.last is not None else None
        self._trace = trace
        self._attempts: list[Attempt] = []
        self._vectors: list[Float16Array] = []
        self._ruling: Ruling | None = None  # of the newest attempt
        self._retained: Ruling | None = None  # the one that kept an answer before the last tier
        self._considered: Considered | None = None  # the tier that is to answer, where it was ruled on before
        # All that any signal could have explored: which vectors are kept must not depend on what
        # they show.
        may_explore = coin_falls(setting.key, decision_id, largest_rate(None if pair is None else pair.assignment))
        self._keeps_vectors = may_explore or setting.key.coin(Purpose.VECTOR, decision_id) < setting.vector_rate

    @property
    def last(self) -> int | None:
        """The last tier; None while neither a bundle nor `models` says how many there are."""
        models = self._setting.models_of(self._bundle)
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
        """Which tier is to run next; behind the last one where none is. It is the last one from the
        beginning where nothing of the others can be kept.
        """
        if not self._attempts:
            at_once = self._uncertified is not None or self._observing is not None
            return self.last if at_once and self.last is not None else 0
        if self._observes:
            return min(self._unobserved, default=self._attempts[0].tier + 1)
        if self.explore and self.last is not None:
            return self.last
        return self._attempts[-1].tier + 1

    @property
    def explore(self) -> bool:
        """Whether `next_tier` is to run too, beside the answer that is served, to learn from: the
        last tier beside a retained answer, the others where the last one answered at once.
        """
        if self._observing is not None and self._observes:
            return self._observing.drawn and bool(self._unobserved) and self.decision is None
        return self._ruling is not None and self._ruling.explore

    def judges_early(self, tier: int) -> bool:
        """Whether anything that the prompt alone shows can end `tier` before it has answered."""
        if self._bundle is None or tier == self.last:
            return False
        in_force = self._rule(tier, take_in(NOTHING_SHOWN), early=True).fault is None
        return in_force and gates_before_an_answer(self._bundle.document.policy, tier)

    def has_state(self, tier: int) -> bool:
        """Whether `consider` was shown a hidden state of `tier`, which is to answer."""
        before = self._considered
        return before is not None and before.tier == tier and before.shown.hidden is not None

    def may_answer(self, shown: Observation, *, tier: int) -> bool:
        """What `consider` would say of a non-last tier; records nothing. For any thread."""
        return self._rule(tier, take_in(shown), early=True).answers

    def kept(self, shown: Observation, *, tier: int) -> Ruling | None:
        """The ruling on a non-last tier's answer, whatever it will say, by what the tier showed of
        the prompt; None where a signal of the answer is needed too, or where it is not to be kept.
        Records nothing. For any thread.
        """
        if self._bundle is None or not decided_before_an_answer(self._bundle.document.policy, tier):
            return None
        ruling = self._rule(tier, take_in(shown))
        return ruling if ruling.retained and ruling.fault is None and not ruling.verdict.fallback else None

    def consider(self, shown: Observation, *, tier: int | None = None) -> Ruling:
        """Rules on a non-last tier (None = the next one) before it has answered, by what it showed
        of the prompt: its hidden state with `fingerprint` and `tokens_in`.

        Where `Ruling.answers` is false nothing is to be generated: the tier is recorded as skipped,
        with the tokens and costs in `shown`. Else hand the answer to `attempt`; the state need not
        be shown again. Raises RecordInvalid as `attempt` does, and for the last tier.
        """
        tier = self._in_order if tier is None else tier
        if tier == self.last:
            raise RecordInvalid("tier", tier, "the last tier always answers: call attempt()")
        self._role_of(tier)
        intake = take_in(shown)
        intake.seen = replace(intake.seen, answer=None)
        ruling = self._rule(tier, intake, early=True)
        if ruling.answers:
            self._considered = Considered(tier=tier, ruling=ruling, shown=shown)
            return ruling
        return self._record(tier, Role.SKIPPED, ruling, intake)

    def attempt(self, shown: Observation = NOTHING_SHOWN, *, tier: int | None = None, answered: bool = True) -> Ruling:
        """Records that `tier` ran and what it showed, and rules on its answer. None = the next one
        in order, from the first; who asks the last tier at once, since `next_tier` says so, says
        it.

        Bad values count as missing, and the ruling's note says so. On the last tier nothing is
        decided: its answer is always retained. False for `answered` says that no whole answer came:
        what `consider` was shown speaks for none then. Raises RecordInvalid for a tier that neither
        an escalation nor the exploration coin called for.
        """
        tier = self._in_order if tier is None else tier
        role = self._role_of(tier)
        before = self._considered if self._considered is not None and self._considered.tier == tier else None
        if before is not None and not (answered or before.ruling.explore):
            before = None
        intake = take_in(shown if before is None else before.with_state(shown))
        ruling = self._rule(tier, intake)
        if before is not None and before.ruling.explore:
            role, ruling = Role.EXPLORATION, before.decided(ruling)
        ruling = self._record(tier, role, ruling, intake)
        if tier != self.last and ruling.retained:
            self._retained = ruling
        return ruling

    def passed_over(self) -> tuple[Ruling, ...]:
        """The rulings on the tiers that nobody waits for, since the last one is asked at once;
        records nothing.
        """
        if self._observing is None or self.last is None:
            return ()
        return tuple(self._rule(tier, take_in(NOT_ASKED), early=True) for tier in range(self.last))

    def foresee(self) -> Ruling:
        """The ruling on the last tier's answer, whatever it will be; records nothing."""
        assert self.last is not None, "somebody has said which tier is the last"
        return self._rule(self.last, take_in(NOTHING_SHOWN))

    def _record(self, tier: int, role: Role, ruling: Ruling, intake: Intake) -> Ruling:
        """Notes an observation: the one place where an attempt is made."""
        seen, last, setting = intake.seen, tier == self.last, self._setting
        note = "; ".join(filter(None, (self._uncertified, ruling.note, *seen.notes))) or None
        stored = stored_text(seen.answer, privacy=setting.privacy, key=setting.key, purpose=Purpose.ANSWER)
        kept = {name: getattr(seen, name) for name in SHOWN} | {
            "answer": stored.hash if stored.text is None else stored.text
        }
        attempt = Attempt(
            **kept,
            tier=tier,
            role=role,
            model=storable(seen.model or self._setting.model_of(self._bundle, tier)),
            signals=ruling.signals,
            verdict=None if last else ruling.verdict,
            fault=ruling.fault,
            run_propensity=self._chance(role, tier, ruling),
            vector=self._keep(tier, intake),
            note=None if note is None else storable(note[:LONGEST_NOTE]),
        )
        self._attempts.append(attempt)
        self._ruling = replace(ruling, note=note)
        return self._ruling

    def close(self) -> Decision:
        """The decision, handed to the spool; closing again returns the same one.

        A spool that refuses it has counted that; the query was served all the same. Raises
        RecordInvalid without any attempt.
        """
        if self.decision is not None:
            return self.decision
        if self._observes:
            self._leave_out()
        self.decision = Decision(
            id=self.decision_id,
            cascade=self._setting.name,
            occurred_at=self._occurred_at,
            attempts=with_roles(
                sorted(self._attempts, key=lambda attempt: attempt.tier), last_known=self.last is not None
            ),
            external_id=self._external_id,
            slice=self._slice,
            prompt=self._prompt.text,
            prompt_hash=self._prompt.hash,
            generation=None if self._pair is None else self._pair.assignment.generation,
            bundle=None if self._bundle is None else self._bundle.id,
            exploration_rate=self._rate,
            trace_id=None if self._trace is None else self._trace[0],
            span_id=None if self._trace is None else self._trace[1],
        )
        if any(attempt.model == UNKNOWN_MODEL for attempt in self.decision.attempts):
            warn_of_unknown_models(self._setting.name)
        # A refusal is counted in `spool.refused`; a full disk must not take the answer away.
        with contextlib.suppress(SpoolRefused):
            self._setting.log.append(self.decision, self._vectors)
        return self.decision

    def __enter__(self) -> "Query":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if any(attempt.role is Role.SERVED for attempt in self._attempts) and (error is None or self._has_served()):
            self.close()

    @property
    def _rate(self) -> float:
        """The chance that the last tier ran, or would have run, beside the retained answer; the
        floor without one.
        """
        if self._retained is not None:
            return self._retained.exploration_rate
        return row_rate(None if self._pair is None else self._pair.assignment, None)

    def _chance(self, role: Role, tier: int, ruling: Ruling) -> float | None:
        """The chance that the tier was to answer."""
        if role is Role.SERVED:  # or superseded, which is known only at the end
            return 1.0
        if role is Role.SKIPPED and self._observing is not None and self._observes and self._observing.drawn:
            return None  # it was to run: whatever kept it from that, nobody knows its chance
        return self._rate if tier == self.last else ruling.exploration_rate or None

    @property
    def _in_order(self) -> int:
        """Which tier comes next where each is asked in turn."""
        return 0 if not self._attempts and self._uncertified is None else self.next_tier

    @property
    def _observes(self) -> bool:
        """Whether the last tier answered at once, since nothing of the others can be kept."""
        return self._observing is not None and bool(self._attempts) and self._attempts[0].tier == self.last

    @property
    def _unobserved(self) -> set[int]:
        """The tiers before the one that answered at once that have not run."""
        return set(range(self._attempts[0].tier)) - {attempt.tier for attempt in self._attempts}

    def _leave_out(self) -> None:
        """Records that the tiers before the last did not run beside it, and by which chance."""
        assert self._observing is not None
        shown = GIVEN_UP if self._observing.drawn else NOT_ASKED
        for tier in sorted(self._unobserved):
            intake = take_in(shown)
            self._record(tier, Role.SKIPPED, self._rule(tier, intake, early=True), intake)

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
        if self._observes:
            if self.explore and tier in self._unobserved:
                return Role.EXPLORATION
            cure = "the last tier answered at once; run those before it only where `explore` is True, each once"
            raise RecordInvalid("tier", tier, cure)
        if self._attempts and tier <= self._attempts[-1].tier:
            raise RecordInvalid("tier", tier, f"tier {self._attempts[-1].tier} ran already; give a later one")
        if self._ruling is None or not self._ruling.retained:
            return Role.SERVED
        if self.explore and tier == self.last:
            return Role.EXPLORATION
        raise RecordInvalid(
            "tier", tier, "an answer was retained; run another tier only where `explore` is True, the last"
        )

    def _rule(self, tier: int, intake: Intake, *, early: bool = False) -> Ruling:
        if tier != self.last:
            return rule(
                self._pair,
                self._bundle,
                self._setting.key,
                tier=tier,
                decision_id=self.decision_id,
                intake=intake,
                slice=self._slice,
                now=self._occurred_at,
                others=() if self._setting.meets(self._bundle, tier) else self._setting.models,
                early=early,
            )
        uncertified = self._uncertified is not None
        ruling = rule_on_last(self._pair, self._bundle, self.decision_id, intake, uncertified=uncertified)
        if self._observing is None or self._attempts:
            return ruling
        return replace(ruling, explore=self._observing.drawn, exploration_rate=self._observing.rate)

    def _keep(self, tier: int, intake: Intake) -> int | None:
        """The row of this attempt's vector among the decision's own; None when it is not kept."""
        models = None if self._bundle is None or tier == self.last else self._bundle.tiers[tier]
        if intake.vector is None or not self._keeps_vectors or not is_what_it_claims(intake, models):
            return None
        self._vectors.append(intake.vector.copy())  # the engine may reuse its buffer
        return len(self._vectors) - 1
