"""Every error of the services floor, drawn as a tree with its exit code on the command line.

    ServicesError             1  failed
    ├── InputInvalid          2  a file, an option or a setting that cannot be used as it is
    │   ├── SettingInvalid       settings of the environment, with everything that is wrong
    │   ├── CascadeFileInvalid   a cascade.toml, with everything that is wrong in it
    │   └── TableInvalid         an outcome table or a label file
    ├── GraderFailed          1  the endpoint of a grader gave no chat completion
    ├── EndpointFailed        1  an endpoint that was to be looked at did not answer
    └── Refused               3  the input is fine and the answer is no: a failed check, for example

A message says what was wrong, with which value, and the cure.
"""

from typing import ClassVar


class ServicesError(Exception):
    """The base of every error raised by this package."""

    exit_code: ClassVar[int] = 1


class GraderFailed(ServicesError):
    """The endpoint of a grader did not answer, or not as a chat completion does."""


class EndpointFailed(ServicesError):
    """An endpoint that was to be looked at did not answer, or not as the protocol says."""


class InputInvalid(ServicesError):
    """A file, an option or a setting that cannot be used as it is."""

    exit_code = 2


class SettingInvalid(InputInvalid):
    """Settings of the environment hold what they cannot hold; one line per fault: name, value, what
    was expected.
    """

    def __init__(self, *faults: tuple[str, object, str]) -> None:
        super().__init__("\n".join(f"{name} is {value!r}: {expected}" for name, value, expected in faults))


class CascadeFileInvalid(InputInvalid):
    """A `cascade.toml` that is not a cascade; one line per fault."""

    def __init__(self, path: str, faults: tuple[str, ...]) -> None:
        self.path = path
        self.faults = faults
        super().__init__("\n".join(f"{path}: {fault}" for fault in faults))


class TableInvalid(InputInvalid):
    """An outcome table or a label file with a cell, a column or a shape that cannot be used."""


class Refused(ServicesError):
    """The input is fine and the answer is no."""

    exit_code = 3
