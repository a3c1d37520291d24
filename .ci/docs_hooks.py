"""What MkDocs needs to make pages of this repository: see mkdocs.yml, `hooks`.

Pages link to files outside of docs/ as `../NAME`, so that the links work in the repository too.
Such files become part of the site: Markdown as pages, pictures and the rest as they are.
"""

import posixpath
import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
# [text](target), and ![text](target); in code between backticks there are none of these.
LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
CODE = re.compile(r"<code\b.*?</code>", re.DOTALL)
FLAG = re.compile(r"(?<=[\s>])--\w+")
ENTITIES = {"&lt;": "<", "&gt;": ">", "&amp;": "&"}


def outside(page: str, target: str) -> str | None:
    """The path, from the repository's root, of what a page in docs/ links to outside of it.

    Example:
        >>> outside("guides/several.md", "../../scaling/train.slurm")
        'scaling/train.slurm'
        >>> outside("data.md", "guides/pictures.md") is None
        True
    """
    if ":" in target:
        return None
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target))
    return None if path.startswith("docs/") else path


def on_files(files, config):
    """Add what is linked to, and what those pages link to in turn."""
    pending = [(page.src_uri, page.content_string) for page in files.documentation_pages()]
    pending += [(f"../{name}", "") for name in ("CONTRIBUTING.md", "CHANGELOG.md")]
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        pending.append(("index.md", f"[{name}](../{name})"))
    while pending:
        page, text = pending.pop()
        for _, target, _ in LINK.findall(text):
            path = outside(page, target)
            if path and (ROOT / path).is_file() and files.get_file_from_path(path) is None:
                added = File.generated(config, path, abs_src_path=str(ROOT / path))
                files.append(added)
                if path.endswith(".md"):
                    pending.append((f"../{path}", (ROOT / path).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown, page, config, files):
    """Let links lead to the files where `on_files` put them: the root's are beside docs/'s."""
    of_root = (ROOT / page.file.src_uri).is_file()
    own = f"../{page.file.src_uri}" if of_root else page.file.src_uri

    def moved(match):
        path = outside(own, match[2])
        if ":" in match[2]:
            return match[0]
        if path is None:
            path = posixpath.normpath(
                posixpath.join("docs", posixpath.dirname(own), match[2])
            ).removeprefix("docs/")
        there = posixpath.relpath(path, posixpath.dirname(page.file.src_uri) or ".")
        return f"{match[1]}{there}{match[3]}"

    return LINK.sub(moved, markdown)


def on_page_content(html, page, config, files):
    """Formulas as MathML, which browsers draw by themselves; flags that are not cut after `--`."""

    def mathml(match):
        formula = match[3]
        for entity, character in ENTITIES.items():
            formula = formula.replace(entity, character)
        return convert(formula.strip(), display="block" if match[2] == "[" else "inline")

    def whole(match):
        return FLAG.sub(r'<span class="flag">\g<0></span>', match[0])

    return CODE.sub(whole, FORMULA.sub(mathml, html))
