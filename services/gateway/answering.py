"""The cascade's answer to a conversation, with what its tiers took."""

from collections.abc import Sequence
from dataclasses import dataclass

from knowgate._deciding.query import Query
from knowgate._records.records import Attempt, Role
from knowgate._serving.cascade import Cascade
from knowgate._serving.replies import prompt_of
from knowgate._serving.serving import Answer
from services.gateway.asked import AskedChat


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """An answer of the cascade."""

    answer: Answer
    attempts: tuple[Attempt, ...]  # that led to it

    @classmethod
    def of(cls, answer: Answer, query: Query) -> "Given":
        """The answer that a query came to."""
        return cls(answer=answer, attempts=tuple(one for one in query.attempts if one.role is not Role.EXPLORATION))

    @property
    def headers(self) -> dict[str, str]:
        """What the caller waited for its tiers."""
        return upstream_header(self.attempts)


def upstream_header(attempts: Sequence[Attempt]) -> dict[str, str]:
    """How long the tiers took together, in milliseconds."""
    return {"Knowgate-Upstream-Ms": f"{sum(attempt.latency_ms or 0.0 for attempt in attempts):.1f}"}


def query_of(cascade: Cascade, asked: AskedChat) -> Query:
    """The query that a conversation is."""
    prompt = prompt_of(asked.messages) if cascade.setting.stores_texts else None
    return cascade.open(prompt=prompt, external_id=asked.external_id, slice=asked.slice, traceparent=asked.traceparent)


async def answer_chat(cascade: Cascade, asked: AskedChat) -> Given:
    """Asks the tiers, cheapest first, until an answer is kept. Raises NoAnswer."""
    assert cascade.serving is not None
    query = query_of(cascade, asked)
    answer = await cascade.serving.answer_async(query, asked.messages, asked.coverage.parameters)
    return Given.of(answer, query)
