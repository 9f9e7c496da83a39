"""From a choice of grader to stored labels: what `knowgate labels grade` does."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx2
from sqlalchemy import Engine

from knowgate._records.records import LabelSource, Window
from knowgate._wire.shown import shown_url
from knowgate.backends.checked import checked_client
from knowgate.spec import CascadeSpec
from services import addresses
from services.clock import SystemClock
from services.errors import InputInvalid
from services.labelling.candidates import Candidate, candidates
from services.labelling.exact_match import exact_match
from services.labelling.grader import Grader, Grading, graded
from services.labelling.llm_grader import LlmGrader, read_template, refuse_unreadable
from services.privacy import hash_key
from services.settings import Settings
from store.batches import batched
from store.engine import reading, transaction
from store.labelling.graders import GraderError, add_error
from store.releases import cascades
from store.traffic.labels import add_labels
from store.traffic.verdicts import verdicts

log = logging.getLogger("knowgate.labels")
AT_ONCE = 50  # so that a grader which fails after an hour has not worked in vain
FEW = 3  # refusals of a batch that are logged one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldFile:
    """Known answers to compare with."""

    path: Path
    id_column: str
    answer_column: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GraderEndpoint:
    """A grader to ask."""

    endpoint: str
    model: str
    template: Path | None

    def __post_init__(self) -> None:
        if addresses.holds_credentials(self.endpoint):
            raise InputInvalid(
                "--endpoint is (not shown): it holds user or password; set KNOWGATE_JUDGE_API_KEY instead"
            )
        fault = addresses.fault_of_root(self.endpoint)
        if fault == addresses.ROOT_EXPECTED:
            fault = f"{fault}; set KNOWGATE_JUDGE_API_KEY for its key"
        if fault is not None:
            raise InputInvalid(f"--endpoint is {shown_url(self.endpoint)!r}: {fault}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """What became of the candidates."""

    cascade: str
    source: LabelSource
    candidates: int
    stored: int
    rejected: int  # labels that the store refused: made before their decision, or against one of the same time
    without_answer: int  # of the candidates, those whose answer is not stored, so that nothing can read it
    not_told: int  # the grader could not tell: no such query in the file, no text kept, or no verdict
    right: int
    label_propensity: float | None
    grader: str | None  # name@version of a grader
    error: GraderError | None  # how often it errs, measured now; None = no trusted label speaks of what it judged


def run_grading(
    engine: Engine,
    settings: Settings,
    cascade: str,
    window: Window,
    by: GoldFile | GraderEndpoint,
    *,
    now: datetime,
    tier: int | None = None,
    label_propensity: float | None = None,
) -> Graded:
    """Grade what the source has not labelled yet, a batch and a transaction at a time.

    A propensity left out is 1 where all candidates can be graded, else unknown. Raises
    CascadeUnknown, TableInvalid, GraderFailed, and Refused where the cascade does not keep what the
    grader reads.
    """
    source = LabelSource.GOLD if isinstance(by, GoldFile) else LabelSource.JUDGE
    with reading(engine) as session:
        spec = cascades.cascade(session, cascade)
        chosen = candidates(session, cascade, window, as_of=now, source=source, tier=tier)
    stored = rejected = untold = right = 0
    with checked_client(settings.outgoing_networks, timeout=60.0) as client:
        grader, gradable = _grader(by, spec, settings, client, chosen)
        if label_propensity is None and gradable:
            label_propensity = 1.0
        name = grader.name if isinstance(grader, LlmGrader) else None
        grading = Grading(cascade=cascade, source=source, label_propensity=label_propensity, grader=name)
        for batch in batched(graded(chosen, grader, grading, now=now), AT_ONCE):
            made = [label for label in batch if label is not None]
            untold += len(batch) - len(made)
            right += sum(label.correct >= 0.5 for label in made)
            with transaction(engine) as session:
                added = add_labels(session, made, received_at=SystemClock().now())
            stored, rejected = stored + added.stored, rejected + len(added.rejected)
            for row in added.rejected[:FEW]:
                log.warning("a label of %s is refused: %s is %s: %s", cascade, row.field, row.value, row.cure)
    error = None if name is None else _measure(engine, spec, window, name)
    return Graded(
        cascade=cascade,
        source=source,
        candidates=len(chosen),
        without_answer=sum(one.answer is None for one in chosen),
        stored=stored,
        rejected=rejected,
        not_told=untold,
        right=right,
        label_propensity=label_propensity,
        grader=name,
        error=error,
    )


def _measure(engine: Engine, spec: CascadeSpec, window: Window, name: str) -> GraderError | None:
    """The grader's error rates on the window, kept with its other measurements."""
    now = SystemClock().now()
    with transaction(engine) as session:
        measured = verdicts(session, spec.name, window, as_of=now, trusted=spec.targets.trusted)
        error_of = next((error for error in measured.graders if error.grader == name), None)
        if error_of is not None:
            add_error(session, spec.name, error_of)
    return error_of


def _grader(
    by: GoldFile | GraderEndpoint,
    spec: CascadeSpec,
    settings: Settings,
    client: httpx2.Client,
    chosen: Sequence[Candidate],
) -> tuple[Grader, bool]:
    """The grader, and whether it can grade every candidate."""
    if isinstance(by, GoldFile):
        matched = exact_match(
            by.path,
            id_column=by.id_column,
            answer_column=by.answer_column,
            privacy=spec.privacy,
            key=hash_key(settings),
        )
        return matched, all(matched.grade(one) is not None for one in chosen)
    refuse_unreadable(spec.privacy)
    grader = LlmGrader(
        endpoint=by.endpoint,
        model=by.model,
        client=client,
        template=read_template(by.template),
        api_key=settings.judge_api_key,
    )
    return grader, all(one.prompt is not None and one.answer is not None for one in chosen)
