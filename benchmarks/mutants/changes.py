"""Every small change that the product's source offers, and the source after one of them.

The changes of operators, constants and branches are mutmut's. Its runner is not used: it forks
within one process that has imported torch, and knows the tests of a function where we know those of
a line. Ours: `min`, `max`, `any` and `all` take each other's place, a result becomes None, a
statement goes. Left alone: annotations, decorators, texts, the `strict` of a zip.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import UnionType
from typing import Any

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider
from mutmut.mutation import mutators

_OPPOSITE = {
    "min": "max", "max": "min", "any": "all", "all": "any",
    "minimum": "maximum", "maximum": "minimum", "argmin": "argmax", "argmax": "argmin",
}  # fmt: skip
_UNTOUCHED = (cst.Annotation, cst.Decorator, cst.Import, cst.ImportFrom, cst.TypeAlias)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change of one place."""

    file: str
    source: str
    """The line's text, which stays where its number moves."""
    change: str
    line: int
    statement: int
    """The line where the statement begins that holds the place."""
    at_import: bool
    """Whether the place is executed when its module is imported, not when a function is called."""
    number: int
    """Which change of its file it is."""


def mutants_of(root: Path, folders: Sequence[str]) -> list[Mutant]:
    """All mutants of the Python files in `folders`, or named there, of the tree at `root`."""
    within = [path for folder in folders for path in (root / folder).rglob("*.py")]
    files = sorted(within + [root / file for file in folders if file.endswith(".py")])
    return [mutant for path in files for mutant in _of_file(path.relative_to(root).as_posix(), path.read_text("utf-8"))]


def changed_source(source: str, number: int) -> str:
    """The source of a file with its change of this number made."""
    module, places = _places(source)
    place = places[number]
    changed = module.deep_replace(place.node, place.replacement)
    assert isinstance(changed, cst.Module)
    return changed.code


def _of_file(file: str, source: str) -> Iterator[Mutant]:
    module, places = _places(source)
    lines = source.splitlines()
    for number, place in enumerate(places):
        yield Mutant(
            file=file,
            source=lines[place.line - 1].strip(),
            change=f"{_text(module, place.node)} -> {_text(module, place.replacement)}",
            line=place.line,
            statement=place.statement,
            at_import=place.at_import,
            number=number,
        )


def _text(module: cst.Module, node: cst.CSTNode) -> str:
    return " ".join(module.code_for_node(node).split())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    node: cst.CSTNode
    replacement: cst.CSTNode
    line: int
    statement: int
    at_import: bool


@lru_cache(maxsize=8)
def _places(source: str) -> tuple[cst.Module, Sequence[_Place]]:
    wrapper = MetadataWrapper(cst.parse_module(source))
    visitor = _Visitor()
    wrapper.visit(visitor)
    return wrapper.module, visitor.places


class _Visitor(cst.CSTVisitor):
    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.places: list[_Place] = []
        self._statements: list[int] = []
        self._calls = 0

    def on_visit(self, node: cst.CSTNode) -> bool:
        position = self.get_metadata(PositionProvider, node, None)
        line = position.start.line if isinstance(position, CodeRange) else 0
        if isinstance(node, cst.BaseSmallStatement | cst.BaseCompoundStatement):
            self._statements.append(line)
        if isinstance(node, _UNTOUCHED) or _is_strictness(node):
            return False
        for kind, change in _CHANGES:
            if isinstance(node, kind):
                self.places += (
                    _Place(
                        node=node,
                        replacement=replacement,
                        line=line,
                        statement=self._statements[-1],
                        at_import=self._calls == 0,
                    )
                    for replacement in change(node)
                )
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.BaseSmallStatement | cst.BaseCompoundStatement):
            self._statements.pop()

    def on_visit_attribute(self, node: cst.CSTNode, attribute: str) -> None:
        self._calls += isinstance(node, cst.FunctionDef | cst.Lambda) and attribute == "body"

    def on_leave_attribute(self, original_node: cst.CSTNode, attribute: str) -> None:
        self._calls -= isinstance(original_node, cst.FunctionDef | cst.Lambda) and attribute == "body"


def _opposite_call(call: cst.Call) -> Iterator[cst.Call]:
    name = call.func.attr if isinstance(call.func, cst.Attribute) else call.func
    if isinstance(name, cst.Name) and name.value in _OPPOSITE:
        yield call.with_deep_changes(name, value=_OPPOSITE[name.value])


def _no_result(statement: cst.Return) -> Iterator[cst.Return]:
    if statement.value is not None and not _is_name(statement.value, "None", "False"):  # both are no
        yield statement.with_changes(value=cst.Name("None"))


def _no_statement(statement: cst.BaseSmallStatement) -> Iterator[cst.Pass]:
    """Deletes what has an effect; a name that is never bound would be noticed by anything."""
    text_or_dots = cst.SimpleString | cst.ConcatenatedString | cst.Ellipsis
    if isinstance(statement, cst.Expr) and isinstance(statement.value, text_or_dots):
        return
    stored = cst.Attribute | cst.Subscript
    if isinstance(statement, cst.Assign) and not all(isinstance(target.target, stored) for target in statement.targets):
        return
    yield cst.Pass()


def _is_strictness(node: cst.CSTNode) -> bool:
    """`strict=True` of a zip only asserts."""
    return isinstance(node, cst.Arg) and node.keyword is not None and node.keyword.value == "strict"


def _is_name(node: cst.CSTNode, *values: str) -> bool:
    return isinstance(node, cst.Name) and node.value in values


_CHANGES: Sequence[tuple[type[cst.CSTNode] | UnionType, Callable[[Any], Iterable[cst.CSTNode]]]] = (
    (cst.Integer | cst.Float, mutators.operator_number),
    (cst.Name, mutators.operator_name),
    (cst.UnaryOperation, mutators.operator_remove_unary_ops),
    (cst.CSTNode, mutators.operator_keywords),
    (cst.CSTNode, mutators.operator_swap_op),
    (cst.IfExp, mutators.operator_if_exp),
    (cst.Call, _opposite_call),
    (cst.Return, _no_result),
    (cst.Expr | cst.Raise | cst.Assign | cst.AugAssign | cst.Del, _no_statement),
)
