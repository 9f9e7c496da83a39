"""Every error that training raises, drawn as a tree.

    TrainingError
    ├── ExtractionRefused    a model, prompt, layer or option that cannot be asked for or read
    ├── TrainingRefused      settings or rows from which nothing can be learned in any sensible way
    ├── EngineUnavailable    a cluster that is not there, or lost more than it could make good
    └── RegistryUnreachable  MLflow did not answer; the message stays in the outbox

"Too few labels" and "no threshold keeps the promise" are outcomes of training and no errors. A
message says what was wrong, with which value, and the cure.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from knowgate.errors import RecordInvalid


class TrainingError(Exception):
    """The base of every error raised by this package."""


class ExtractionRefused(TrainingError, ValueError):
    """A model that cannot be read, or a prompt, layer or option that it cannot be asked for; `row`
    is the prompt's, where one is.
    """

    def __init__(self, message: str, *, row: int | None = None) -> None:
        self.row = row
        super().__init__(message)


class TrainingRefused(TrainingError, ValueError):
    """Settings or rows from which nothing can be learned in any sensible way."""


class EngineUnavailable(TrainingError):
    """Work was to be done on a cluster that is not there, or that lost more workers than it could
    make good.
    """


class RegistryUnreachable(TrainingError):
    """MLflow did not answer, or answered with an error; its message stays in the outbox."""


@contextmanager
def refusing() -> Iterator[None]:
    """What the runtime's reader of models refuses is refused here under the same words."""
    try:
        yield
    except RecordInvalid as error:
        raise ExtractionRefused(str(error)) from error
