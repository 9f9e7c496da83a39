"""Every error that training raises, drawn as a tree.

    TrainingError ├── ModelStructureUnknown   a model whose decoder layers cannot be found for
    certain ├── ExtractionRefused       a prompt, a layer or an option token that a model cannot be
    asked for ├── TrainingRefused         settings or rows from which nothing can be learned in any
    sensible way ├── EngineUnavailable       a cluster that is not there, or lost more than it could
    make good └── RegistryUnreachable     MLflow did not answer; the message stays in the outbox

"Too few labels" and "no threshold keeps the promise" are outcomes of training and no errors. A
message says what was wrong, with which value, and the cure.
"""


class TrainingError(Exception):
    """The base of every error raised by this package."""


class ModelStructureUnknown(TrainingError):
    """The decoder layers of a model cannot be found for certain, so no hook is placed."""


class ExtractionRefused(TrainingError, ValueError):
    """A prompt, a layer or an option token that a model cannot be asked for; `row` is the prompt's,
    where one is.
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
