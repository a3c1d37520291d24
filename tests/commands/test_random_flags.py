"""Random values of every flag of every command, and random flagfiles: read, or one line."""

import dataclasses
import importlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ncsn_tf.backend.sizes import ImageSize
from ncsn_tf.commands import sample
from ncsn_tf.commands.console import COMMANDS
from ncsn_tf.commands.failures import LOWER
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.files import user_path
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.flags import parse_config, parse_options
from ncsn_tf.settings.options import Switch, option_types, show

DETERMINISTIC = {"derandomize": True, "deadline": None, "database": None}
FEW = {"max_examples": 25, **DETERMINISTIC}

TEXTS = st.one_of(
    st.sampled_from(
        [
            "",
            ".",
            "..",
            "/",
            "~",
            "~/a",
            "~nosuchuser/a",
            "a" * 300,
            "b/" * 2500,
            "a\0b",
            "a\udcffb",
        ]
        + ["-1", "nan", "0x10", "1e400", "[1]", "a b", "'", "*", "newest", "right", "cas", "digits"]
        + ["a:1", "http://a", "1,2", "mnist", "image_folder", "a.json", "a.png", "dsm", "sm"]
    ),
    st.text(max_size=12),
)
WHOLE = st.one_of(
    st.integers(-3, 200), st.integers(-(2**70), 2**70), st.sampled_from([10**13, 10**400])
)
NUMBERS = st.one_of(st.floats(), WHOLE, st.floats(0, 2))
SIZES = st.one_of(WHOLE, st.tuples(WHOLE, WHOLE).map(lambda pair: f"{pair[0]}x{pair[1]}"))
RIGHT_KIND = {int: WHOLE, float: NUMBERS, bool: st.booleans(), str: TEXTS, ImageSize: SIZES}
RIGHT_KIND[Switch] = st.one_of(st.booleans(), st.just("auto"))


def dataclass_of(name):
    """The dataclass of a command's flags, from its module or one named after it."""
    module = importlib.import_module(f"ncsn_tf.commands.{COMMANDS[name][0]}")
    own = [
        kind
        for kind in vars(module).values()
        if dataclasses.is_dataclass(kind) and kind.__module__.startswith(module.__name__)
    ]
    return own[0] if own else Config


def read(name, args):
    """What the command does with its arguments before it starts TensorFlow."""
    kind = dataclass_of(name)
    if kind is Config:
        return parse_config(["ncsn", *args]).run_dir
    options = parse_options(["ncsn", *args], kind)
    return getattr(options, "validate", lambda: None)()


@st.composite
def arguments(draw, name):
    kinds = option_types(dataclass_of(name))
    chosen = draw(st.lists(st.sampled_from(sorted(kinds)), max_size=5, unique=True))
    values = [draw(st.one_of(RIGHT_KIND[kinds[flag]], TEXTS)) for flag in chosen]
    return [show(flag, value) for flag, value in zip(chosen, values, strict=True)]


@pytest.mark.parametrize("name", COMMANDS)
def test_any_flags_are_read_or_refused(name):
    @settings(**FEW)
    @given(arguments(name))
    def run(args):
        try:
            read(name, args)
        except UserError as error:
            assert str(error)

    run()


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_many_flags_are_read_or_refused(name):
    @settings(max_examples=600, **DETERMINISTIC)
    @given(arguments(name))
    def run(args):
        try:
            read(name, args)
        except UserError as error:
            assert str(error)

    run()


@pytest.mark.parametrize("name", ["train", "sample"])
def test_any_flagfile_is_read_or_refused(name, tmp_path):
    path = tmp_path / "a.flags"
    lines = st.one_of(
        arguments(name).map("\n".join),
        st.text(max_size=40),
        st.sampled_from(["--flagfile", "--flagfile=", f"--flagfile={path}", "--undefok=a", "--"]),
    )

    @settings(**FEW)
    @given(st.one_of(st.binary(max_size=60), st.lists(lines, max_size=4).map("\n".join)))
    def run(content):
        if isinstance(content, str):
            content = content.encode(
                "utf-8", "surrogateescape" if "\udcff" in content else "replace"
            )
        path.write_bytes(content)
        try:
            read(name, [f"--flagfile={path}"])
        except UserError as error:
            assert str(error)
        except SystemExit as end:
            assert end.code == 0

    run()


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), WHOLE, st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(TEXTS, inner, max_size=2)),
    max_leaves=4,
)
FIELDS = st.sampled_from([field.name for field in dataclasses.fields(Config)])


@settings(**FEW)
@given(st.one_of(VALUES, st.dictionaries(FIELDS, VALUES, max_size=4)).map(json.dumps))
def test_any_stored_settings_are_read_or_refused(text):
    try:
        Config.from_json(text)
    except ConfigError as error:
        assert str(error)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "", "{", '{"features": 1e999}'])
def test_stored_settings_that_are_none(text):
    with pytest.raises(ConfigError):
        Config.from_json(text)


PATHS = [
    (name, field.name)
    for name in COMMANDS
    for field in dataclasses.fields(dataclass_of(name))
    if field.metadata["path"]
]


@pytest.mark.parametrize("value, message", [
    ("~nosuchuser/x", "there is no user 'nosuchuser' (a file of that name is ./~nosuchuser)"),
    ("a" * 300, "must be a path whose names have 255 bytes at most"),
    ("a/" * 2000, "must be a path of 3800 bytes at most"),
    ("a\0b", "must be a path without the character of code 0"),
    ("a\udcffb", "must be a path in UTF-8"),
])  # fmt: skip
def test_a_path_that_no_file_can_have(value, message):
    """Of every flag that is one, of every command."""
    assert len(PATHS) > 25
    for name, flag in [*PATHS, ("train", "flagfile"), ("sample", "flagfile")]:
        with pytest.raises(ConfigError) as error:
            read(name, [show(flag, value)])
        assert str(error.value).startswith(f"--{flag}=") and message in str(error.value), name


def test_homes_of_paths(monkeypatch):
    """In every flag that is a path; a run keeps its own as they were typed."""
    monkeypatch.setenv("HOME", "/home/of")
    for name, flag in PATHS:
        kind = dataclass_of(name)
        if kind is not Config:
            args = [show(flag, "~/a.png"), *(["--out=b.png"] if flag == "samples" else [])]
            assert getattr(parse_options(["ncsn", *args], kind), flag) == "/home/of/a.png"
    config = parse_config(["ncsn", "--workdir=~/a"])
    assert (config.workdir, str(config.run_dir)) == ("~/a", "/home/of/a")


def test_the_flags_to_lower_where_memory_is_short():
    assert list(LOWER) == list(COMMANDS)
    for name, flags in LOWER.items():
        assert set(flags) <= set(option_types(dataclass_of(name))), name


def test_a_path_that_begins_with_a_dot_stays_as_it_was_typed():
    """--saved_model=./newest is a folder, and --mask=./right a file."""
    options = parse_options(
        ["sample.py", "--saved_model=./newest", "--out=./~a.png"], sample.SampleOptions, ""
    )
    assert (options.saved_model, options.out) == ("./newest", "./~a.png")
    assert user_path(options.out) == Path.cwd() / "~a.png"
