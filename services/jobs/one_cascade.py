"""A windowed job narrowed to one cascade: what a command runs that names one."""

from collections.abc import Iterable, Sequence

from knowgate import Window
from services.jobs.job import JobContext, WindowedJob
from store.engine import reading
from store.jobs.job_runs import Claim
from store.releases import cascades


class OneCascade:
    """The same job, the same claims, for `cascade` alone."""

    def __init__(self, job: WindowedJob, cascade: str) -> None:
        self._job = job
        self._cascade = cascade

    @property
    def name(self) -> str:
        return self._job.name

    def cascades(self, context: JobContext) -> Sequence[str]:
        """Raises CascadeUnknown."""
        with reading(context.engine) as session:
            cascades.cascade_version(session, self._cascade)
        return (self._cascade,)

    def due(self, context: JobContext, cascade: str) -> Iterable[Window]:
        return self._job.due(context, cascade)

    def run(self, context: JobContext, claim: Claim) -> str:
        return self._job.run(context, claim)
