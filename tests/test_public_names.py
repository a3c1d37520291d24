"""What a user imports: the names that hold, what editors see of them, and their examples."""

import ast
import inspect
from pathlib import Path

import pytest

import ncsn_tf

STUB = ast.parse(Path(ncsn_tf.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
MODULES = [name for name in ncsn_tf.__all__ if inspect.ismodule(getattr(ncsn_tf, name))]


def public(module):
    """(name, object) of the functions and classes that a public module offers.

    Without named tuples: the functions that take or return them show them.
    """
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if name[0] != "_" and getattr(value, "__module__", None) == module.__name__
    ]
    return [
        (name, value)
        for name, value in ((name, getattr(module, name)) for name in names)
        if inspect.isfunction(value) or (inspect.isclass(value) and not issubclass(value, tuple))
    ]


def test_editors_see_the_names_where_they_are():
    homes = {}
    for node in STUB.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                homes[alias.asname or alias.name] = whole
    for name in ncsn_tf.__all__:
        value = getattr(ncsn_tf, name)
        home = value.__name__ if inspect.ismodule(value) else f"{value.__module__}.{value.__name__}"
        assert homes.pop(name) == home
    assert not homes
    (listed,) = (node.value for node in STUB.body if isinstance(node, ast.Assign))
    assert ast.literal_eval(listed) == ncsn_tf.__all__
    assert set(ncsn_tf.__all__) <= set(dir(ncsn_tf))


def test_names_that_hold():
    assert list(inspect.signature(ncsn_tf.sampling.annealed_langevin).parameters) == [
        *("score_fn", "seeds", "image_shape", "sigmas", "step_lr", "num_steps_each"),
        *("denoise", "clip", "tile"),
    ]
    assert callable(ncsn_tf.schedule.geometric_sigmas)
    assert callable(ncsn_tf.pytorch.load_reference_weights)
    assert callable(ncsn_tf.likelihood.log_likelihood)
    assert callable(ncsn_tf.losses.denoising_score_matching)
    with pytest.raises(AttributeError, match="no attribute 'samplng'"):
        ncsn_tf.samplng  # noqa: B018


@pytest.mark.parametrize(
    "name",
    [
        *("DDPM", "NCSN", "NCSNv2", "NCSNpp", "evaluate", "from_arrays", "load_source", "sample"),
        *("train", "training_batches", *MODULES),
    ],
)
def test_every_public_name_has_an_example(name):
    """`export` has it in README: it takes a trained run, and half a minute."""
    value = getattr(ncsn_tf, name)
    offered = public(value) if inspect.ismodule(value) else [(name, value)]
    assert offered
    without = [each for each, what in offered if ">>>" not in (inspect.getdoc(what) or "")]
    assert not without
