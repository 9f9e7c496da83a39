"""Tests look at what a user or another module can see: none patches our own modules, and none
reaches into what a class keeps to itself.

A test that swaps one of our functions for its own goes on passing when the real one changes.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = ("knowgate", "evidence", "store", "monitoring", "training", "services", "demo", "benchmarks", "tests")
FILES = sorted([*(ROOT / "tests").rglob("*.py"), *(ROOT / "runtime" / "tests").rglob("*.py")])
# Of the standard library, NumPy and torch: named so, and meant to be used or the only way to look.
NOT_PRIVATE = {"_replace", "_asdict", "_exit", "_dynamo", "_forward_hooks", "_forward_pre_hooks"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_test_patches_our_modules_or_reaches_into_privates(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert [*patched(tree), *private(tree)] == []


@pytest.mark.parametrize(
    "text",
    [
        'from store.traffic import shard_moves\nmonkeypatch.setattr(shard_moves, "forget", other)',
        'import store.engine\nmonkeypatch.setattr(store.engine, "open_engine", other)',
        'monkeypatch.setattr("services.windows.last_due_window", other)',
        'from knowgate import Spool\nspool = Spool(path)\nmonkeypatch.setattr(spool, "append", other)',
        "from services.declaration import cascade_file\nmonkeypatch.setitem(cascade_file.READERS, str, str)",
        'with mock.patch("evidence.bounds.power.power"):\n    pass',
        "follower._delay(3)",
        "from store.traffic.examples import _query",
        "from knowgate import Spool\nwith Spool(path) as spool:\n    spool._commit",
    ],
)
def test_what_is_refused_is_found(text: str) -> None:
    tree = ast.parse(text)
    assert [*patched(tree), *private(tree)] != []


def patched(tree: ast.AST) -> Iterator[str]:
    """The patches of our own modules, and of what was made from them by name in this file."""
    ours = _names_of_ours(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            way = node.func.attr
            if way in {"setattr", "setitem", "delattr", "delitem", "patch", "object"}:
                target = node.args[0]
                text = target.value if isinstance(target, ast.Constant) else ast.unparse(target)
                if str(text).split(".")[0] in (OURS if isinstance(target, ast.Constant) else ours):
                    yield f"line {node.lineno}: {ast.unparse(node)}"


def private(tree: ast.AST) -> Iterator[str]:
    """Attributes and imports with a leading underscore, of anything but `self` and `cls`, rooms
    apart.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and _is_ours(node.module or ""):
            names = [alias.name for alias in node.names if alias.name.startswith("_")]
            yield from (f"line {node.lineno}: from {node.module} import {name}" for name in names)
        if not isinstance(node, ast.Attribute) or not node.attr.startswith("_") or node.attr.startswith("__"):
            continue
        owner = ast.unparse(node.value)
        if node.attr not in NOT_PRIVATE and owner not in {"self", "cls"} and owner.split(".")[0] != "knowgate":
            yield f"line {node.lineno}: {ast.unparse(node)}"


def _names_of_ours(tree: ast.AST) -> set[str]:
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.asname or alias.name.split(".")[0] for alias in node.names if _is_ours(alias.name)}
        elif isinstance(node, ast.ImportFrom) and node.module and _is_ours(node.module):
            imported |= {alias.asname or alias.name for alias in node.names}
    made = {
        name
        for value, names in map(_bound, ast.walk(tree))
        if isinstance(value, ast.Call) and ast.unparse(value.func).split(".")[0] in imported
        for name in names
    }
    return imported | made


def _bound(node: ast.AST) -> tuple[ast.expr | None, list[str]]:
    if isinstance(node, ast.Assign):
        return node.value, [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.withitem) and isinstance(node.optional_vars, ast.Name):
        return node.context_expr, [node.optional_vars.id]
    return None, []


def _is_ours(module: str) -> bool:
    return module.split(".")[0] in OURS
