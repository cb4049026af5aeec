"""The fenced blocks of a Markdown page, as the acceptance tests run them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FENCE = re.compile(
    r"^(?P<skip><!-- not run: [^\n]+ -->\n)?```(?P<language>\w+)(?P<options>[^\n]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block."""

    page: Path
    line: int
    language: str
    title: str  # the file it is, empty where it has none
    text: str
    skipped: bool  # `<!-- not run: reason -->` stands on the line before

    @property
    def where(self) -> str:
        """Page and line, for messages."""
        return f"{self.page.name}:{self.line}"


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of a console block, and what is to be printed; empty means that anything may be."""

    line: str
    expected: str

    @property
    def background(self) -> bool:
        """Whether it runs on while the page's other blocks are run."""
        return self.line.endswith("&") or self.line.startswith("buquet worker ")


def blocks(page: Path) -> list[Block]:
    """Return the page's fenced blocks in order."""
    content = page.read_text("utf-8")
    found: list[Block] = []
    for match in FENCE.finditer(content):
        title = re.search(r'title="([^"]+)"', match["options"])
        found.append(
            Block(
                page=page,
                line=content.count("\n", 0, match.start("language")) + 1,
                language=match["language"],
                title=title[1] if title else "",
                text=match["text"],
                skipped=match["skip"] is not None,
            )
        )
    return found


def commands(block: Block) -> list[Command]:
    """Return the commands of a console block, each with the output shown under it."""
    found: list[Command] = []
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        line, _, expected = part.partition("\n")
        found.append(Command(line=line.strip(), expected=expected))
    return found
