"""The pages fit together: what they name is there, and the site's navigation has all of them.

`make docs` builds them, which needs packages of its own: see mkdocs.yml.
"""

import importlib
import re
from pathlib import Path

import pytest
import yaml
from documented import PAGES, ROOT, text_of

import ncsn_tf

CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
TARGETS = re.compile(r"\]\(([^)\s]+)\)")
HEADINGS = re.compile(r"^#+ (.*)$", re.MULTILINE)
SETTINGS = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
OF_DOCS = [page for page in PAGES if page.startswith("docs/")]


def leaves(nav):
    """The files of a navigation, however deep."""
    if isinstance(nav, str):
        return [nav]
    entries = nav.values() if isinstance(nav, dict) else nav
    return [leaf for entry in entries for leaf in leaves(entry)]


def anchors(page):
    """What the headings of a page are called in links."""
    headings = HEADINGS.findall(re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL))
    names = [re.sub(r"[^\w\s-]", "", heading.lower()).strip() for heading in headings]
    return {re.sub(r"[-\s]+", "-", name) for name in names}


def missing(page):
    """The links of a page that lead nowhere."""
    lost = []
    for target in TARGETS.findall(CODE.sub("", text_of(page))):
        path, _, anchor = target.partition("#")
        if ":" in path:
            continue
        there = (ROOT / page).parent / path if path else ROOT / page
        of_root = there.resolve().relative_to(ROOT).as_posix()
        if not there.is_file() or (anchor and anchor not in anchors(of_root)):
            lost.append(target)
    return lost


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    assert missing(page) == []


def test_a_link_that_leads_nowhere_is_found(monkeypatch):
    monkeypatch.setitem(
        missing.__globals__, "text_of", lambda page: "[a](data.md#nothing) [b](no.md) [c](data.md)"
    )
    assert missing("docs/index.md") == ["data.md#nothing", "no.md"]


def test_the_navigation_has_every_page_once():
    named = leaves(SETTINGS["nav"])
    assert len(set(named)) == len(named)
    of_root = {name for name in named if not (ROOT / "docs" / name).is_file()}
    assert all((ROOT / name).is_file() for name in of_root), of_root
    assert {f"docs/{name}" for name in set(named) - of_root} == set(OF_DOCS)


def test_the_readme_has_a_link_to_every_page():
    """But for the pages of the library and of the guides' list, which others link."""
    text = text_of("README.md")
    others = {page for page in OF_DOCS if page.startswith("docs/api/") or "index" in page}
    assert [page for page in OF_DOCS if f"]({page})" not in text and page not in others] == []
    assert len(text.splitlines()) <= 150


def test_the_walk_names_files_that_are_there():
    names = re.findall(r"`([\w.]+(?:/[\w.]*)+|\w+\.(?:py|md|toml))`", text_of("docs/walk.md"))
    assert len(names) > 40
    assert [name for name in names if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", [page for page in OF_DOCS if page.startswith("docs/api/")])
def test_the_library_names_what_is_there(page):
    """`::: package.module` or `::: package.module.name`."""
    for name in re.findall(r"^::: (\S+)$", text_of(page), re.MULTILINE):
        path = ROOT / name.replace(".", "/")
        if not (path.is_dir() or path.with_suffix(".py").is_file()):
            module, _, inner = name.rpartition(".")
            assert hasattr(importlib.import_module(module), inner), name


@pytest.mark.parametrize("package", ["losses", "metrics", "sampling", "schedule", "sde"])
def test_the_library_shows_every_public_name(package):
    pages = "\n".join(text_of(page) for page in OF_DOCS if page.startswith("docs/api/"))
    shown = set(re.findall(r"^::: (\S+)$", pages, re.MULTILINE))
    home = getattr(ncsn_tf, package)
    for name in home.__all__:
        there = getattr(home, name)
        if hasattr(there, "__module__"):  # a function or a class; tables have none
            assert shown & {there.__module__, f"{there.__module__}.{name}"}, name


def test_nothing_is_loaded_from_elsewhere():
    """Pages can be read without a network: no fonts, no scripts, no pictures of other machines."""
    assert SETTINGS["theme"]["font"] is False
    assert "extra_javascript" not in SETTINGS
    assert all((ROOT / "docs" / path).is_file() for path in SETTINGS["extra_css"])
    for page in PAGES:
        assert not re.search(r"!\[[^]]*\]\(https?:|<(script|img|link|iframe)\b", text_of(page)), (
            page
        )


def test_the_hooks_are_there():
    for hook in SETTINGS["hooks"]:
        assert Path(ROOT, hook).is_file()
