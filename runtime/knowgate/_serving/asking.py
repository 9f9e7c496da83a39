"""One tier of one query: asked, recorded and ruled on, or ended by a gate before it answers.

An encoder reads for a tier that is not even asked then. A back-end that reads first is asked
whether it may answer once it has the state; what it says is asked again here, and recorded.
"""

from collections.abc import Sequence
from functools import partial
from random import Random

from knowgate._deciding.query import Query
from knowgate._deciding.ruling import Ruling
from knowgate._records.observation import Observation
from knowgate._serving.replies import attempt, lack_of
from knowgate._serving.steps import Steps
from knowgate.backends.protocol import Encoder, MayAnswer, Message, Reply
from knowgate.backends.tries import Read, Tier, tries

UNASKED = Reply(shown=Observation(tokens_in=0, tokens_out=0))  # of a tier whose encoder reads for it


def asked(
    query: Query,
    index: int,
    tier: Tier,
    messages: Sequence[Message] | None,
    random: Random,
    *,
    streams: bool = False,
) -> Steps[tuple[Ruling, Reply | None]]:
    """The steps of tier `index`: the ruling and its answer, or, where a gate ended it before, what
    it showed of the prompt. Where it `streams`, None in the place of an answer that is kept
    whatever it says, and is still to be asked for. Raises BackendFailed.
    """
    last, early = index == query.last, tier.early and query.judges_early(index)
    may_answer: MayAnswer | None = None
    if early and tier.encoder is not None:
        read = yield from _with_state(query, index, tier.encoder, UNASKED)
        ruling = query.consider(read.shown, tier=index)
        if not ruling.answers:
            return ruling, read
        if streams and (kept := query.kept(read.shown, tier=index)) is not None:
            return kept, None
    elif early and getattr(tier.backend, "early", False):
        may_answer = partial(_may_answer_at_once if streams else Query.may_answer, query, tier=index)
    reply = yield from tries(tier, last=last, random=random, messages=messages, may_answer=may_answer)
    if may_answer is not None:
        ruling = query.consider(_of_prompt(reply), tier=index)
        if not ruling.answers:
            return ruling, reply
        if reply.skipped and (kept := query.kept(reply.shown, tier=index)) is not None:
            return kept, None
    lack = None if last else lack_of(reply)
    if lack is None and tier.encoder is not None and reply.shown.hidden is None and not query.has_state(index):
        reply = yield from _with_state(query, index, tier.encoder, reply)
    return attempt(query, index, reply, lack), reply


def _may_answer_at_once(query: Query, shown: Observation, *, tier: int) -> bool:
    """Whether a tier is to go on to its answer: not where that will be asked for as a stream."""
    return query.may_answer(shown, tier=tier) and query.kept(shown, tier=tier) is None


def _with_state(query: Query, index: int, encoder: Encoder, reply: Reply) -> Steps[Reply]:
    """The reply with the encoder's state of the prompt."""
    read = yield Read(encoder=encoder, layer=query.probe_layer(index), reply=reply)
    assert isinstance(read, Reply)
    return read


def _of_prompt(reply: Reply) -> Observation:
    """What a reply shows that was known before the answer."""
    shown = reply.shown
    if reply.skipped:
        return shown
    return Observation(hidden=shown.hidden, fingerprint=shown.fingerprint, tokens_in=shown.tokens_in)
