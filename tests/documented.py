"""What the pages say: their commands, links and lines of Python."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("zoo/*/README.md"))
)
_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<why>[^\n]*) -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)```", re.S
)


class Command(NamedTuple):
    """A command line of a page."""

    page: str
    words: list[str]
    skipped: str  # why it cannot be run in a test; "" if it can

    @property
    def ncsn(self):
        """`["train", "--flag=..."]` where it is a command of `ncsn`, else None."""
        words = self.words
        if words[0] in ("ncsn", ".venv-app/bin/ncsn"):
            return words[1:]
        if words[:3] == ["python", "-m", "ncsn_tf"]:
            return words[3:]
        if words[0] == "python" and words[1] in ("train.py", "sample.py", "evaluate.py"):
            return [words[1].removesuffix(".py"), *words[2:]]
        return None

    def __str__(self):
        return f"{self.page}: {shlex.join(self.words)}"


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page, kind):
    """The blocks of a language."""
    return [match["text"] for match in _BLOCK.finditer(text_of(page)) if match["kind"] == kind]


def commands(page):
    """The commands of its `sh` blocks, in their order.

    A backslash at a line's end continues it, `;` ends a command, `#` begins a remark. Variables
    before a command (`A=b ncsn train`) are left out.
    """
    found = []
    for match in _BLOCK.finditer(text_of(page)):
        if match["kind"] != "sh":
            continue
        for line in match["text"].replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars=";")
            lexer.whitespace_split = True
            words = []
            for word in [*lexer, ";"]:
                if word != ";":
                    words.append(word)
                    continue
                while words and re.match(r"[A-Z_]+=", words[0]):
                    words.pop(0)
                if words:
                    found.append(Command(page, words, match["why"] or ""))
                words = []
    return found
