"""How the records that every decision makes are made: filled while they are still open.

The `__init__` of a frozen dataclass looks `object.__setattr__` up and calls it by name for every
field, which is two thirds of the cost of a record. A decision makes some seven records and has
15 µs in all. So these few are filled as an open twin, a class of the same slots that takes
assignments, which then becomes the record: what comes out is the same record, as frozen as any
other. Everything that is not made for every decision is built by calling its class.
"""

from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from knowgate._records.records import GateOutcome, Signals, Verdict

T = TypeVar("T")


def maker(record: type[T]) -> Callable[..., T]:
    """What makes a slotted record of the values of its fields, in their order; without its
    `__post_init__`.
    """
    names = [field.name for field in fields(record)]  # type: ignore[arg-type]
    lines = [f"made.{name} = {name}" for name in names]
    body = ("made = twin()", *lines, "made.__class__ = record", "return made")
    made: Callable[..., T] = _compiled(record, ", ".join(names), body)
    return made


def nothing_in(names: Iterable[str]) -> Callable[[object], bool]:
    """What tells whether all these fields of a record are None, at a third of a loop's cost."""
    scope: dict[str, Any] = {}
    exec(f"def nothing_in(record): return {' and '.join(f'record.{name} is None' for name in names)}", scope)
    nothing: Callable[[object], bool] = scope["nothing_in"]
    return nothing


def filled_open(record: type[T]) -> type[T]:
    """Gives a slotted, keyword-only record without `__post_init__` an `__init__` at half the cost.

    What inherits it has other slots, or a dictionary: that is filled as dataclasses fill theirs.
    """
    given = [
        field.name if field.default is MISSING else f"{field.name}=defaults[{field.name!r}]"
        for field in fields(record)  # type: ignore[arg-type]
    ]
    lines = [f"self.{field.name} = {field.name}" for field in fields(record)]  # type: ignore[arg-type]
    passed = ", ".join(f"{field.name}={field.name}" for field in fields(record))  # type: ignore[arg-type]
    inherited = f"if self.__class__ is not record: return plain(self, {passed})"
    body = (inherited, "become(self, twin)", *lines, "self.__class__ = record")
    record.__init__ = _compiled(record, f"self, *, {', '.join(given)}", body)  # type: ignore[method-assign]
    return record


def _compiled(record: type, parameters: str, body: tuple[str, ...]) -> Any:
    """A function of these lines, as dataclasses compile theirs."""
    free = {"__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    scope: dict[str, Any] = {
        "twin": type("twin", record.__bases__, {"__slots__": vars(record)["__slots__"]} | free),
        "record": record,
        "plain": vars(record).get("__init__"),
        "become": vars(object)["__class__"].__set__,
        "defaults": {field.name: field.default for field in fields(record)},
    }
    exec("\n    ".join((f"def {record.__name__}({parameters}):", *body)), scope)
    return scope[record.__name__]


gate_outcome = maker(GateOutcome)
verdict = maker(Verdict)
_signals = maker(Signals)


def signals(p_t: float | None, p_ik: float | None, score: float | None, ood: float | None) -> Signals:
    """`Signals(…)`, which looks at the values itself only where one is not plainly in [0, 1]."""
    if (
        (p_t is None or 0.0 <= p_t <= 1.0)
        and (p_ik is None or 0.0 <= p_ik <= 1.0)
        and (score is None or 0.0 <= score <= 1.0)
        and (ood is None or 0.0 <= ood <= 1.0)
    ):
        return _signals(p_t, p_ik, score, ood)
    return Signals(p_t=p_t, p_ik=p_ik, score=score, ood=ood)
