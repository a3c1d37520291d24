"""An extension of griffe, which reads docstrings for `make docs`: see mkdocs.yml, `extensions`.

griffe knows sections that are named and written in one way; ours are shorter:

* `Example:` is its section of examples.
* `a, b: text` under `Args:` are two arguments of the same description.
"""

import re

import griffe

_NAMES = re.compile(r"    ([\w*]+(?:,\s+[\w*]+)+): *", re.DOTALL)


class Examples(griffe.Extension):
    """Docstrings as griffe's parser wants them."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        if obj.docstring:
            obj.docstring.value = rewritten(obj.docstring.value)


def rewritten(text: str) -> str:
    """A docstring with one name for each argument.

    Example:
        >>> print(rewritten("About.\\n\\nArgs:\\n    a, b: numbers,\\n        whole."))
        About.
        <BLANKLINE>
        Args:
            a: numbers,
                whole.
            b: numbers,
                whole.
    """
    lines, entries, in_args = [], [], False
    for line in text.splitlines():
        if in_args and line.strip() and line.startswith("    "):
            if line[4] != " " and not (entries and entries[-1].rstrip().endswith(",")):
                entries.append(line)
            else:  # goes on: a description, or a list of names
                entries[-1] += "\n" + line
            continue
        lines += _alone(entries)
        entries = []
        in_args = line in ("Args:", "Attributes:")
        lines.append("Examples:" if line == "Example:" else line)
    return "\n".join([*lines, *_alone(entries)])


def _alone(entries):
    for entry in entries:
        names = _NAMES.match(entry)
        if names is None:
            yield entry
            continue
        for name in re.split(r",\s+", names[1]):
            yield f"    {name}: {entry[names.end() :].lstrip()}"
