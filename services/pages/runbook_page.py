"""Runbooks as pages: what a person should check and do, at the address that messages name.

They are the files of docs/runbooks, which know headings, paragraphs, numbered lists, code and links
to other pages of the documentation; of a link its words are shown.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs" / "runbooks"


class BlockKind(StrEnum):
    HEADING = "heading"
    PARAGRAPH = "paragraph"
    STEPS = "steps"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some words; `code`: as they are typed."""

    text: str
    code: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A heading, a paragraph, or steps of which each is an item."""

    kind: BlockKind
    items: tuple[tuple[Part, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Runbook:
    """One page."""

    title: str
    blocks: tuple[Block, ...]


def runbook(name: str) -> Runbook | None:
    """The runbook of docs/runbooks of this name, such as `risk` or `service/down`; None where there
    is none, or this installation carries none.
    """
    names = {str(path.relative_to(FOLDER).with_suffix("")): path for path in FOLDER.rglob("*.md")}
    return parse_runbook(names[name].read_text(encoding="utf-8")) if name in names else None


def parse_runbook(text: str) -> Runbook:
    """A runbook's text, read."""
    first, *others = [part.strip() for part in re.split(r"\n{2,}", text.strip())]
    return Runbook(title=first.removeprefix("# "), blocks=tuple(map(_block, others)))


def _block(text: str) -> Block:
    if text.startswith("## "):
        return Block(kind=BlockKind.HEADING, items=(_parts(text.removeprefix("## ")),))
    if re.match(r"1\. ", text):
        steps = re.split(r"^\d+\. ", text, flags=re.MULTILINE)[1:]
        return Block(kind=BlockKind.STEPS, items=tuple(map(_parts, steps)))
    return Block(kind=BlockKind.PARAGRAPH, items=(_parts(text),))


def _parts(text: str) -> tuple[Part, ...]:
    plain = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", " ".join(text.split()))
    pieces = plain.split("`")
    return tuple(Part(text=piece, code=at % 2 == 1) for at, piece in enumerate(pieces) if piece)
