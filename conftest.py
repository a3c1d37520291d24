"""What tests and doctests share: a quiet TensorFlow with two logical CPUs, no accelerator."""

import importlib.util
import os
import signal
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

# Tests send signals, and whoever started them may ignore these, as nohup does.
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if importlib.util.find_spec("gradio") is None:  # has an environment of its own
    collect_ignore = ["ncsn_tf/commands/app_page.py"]

import pytest
from _pytest import doctest


def pytest_configure(config):
    """Two devices for distribution strategies, which TensorFlow takes only at its start.

    Where tests are spread over processes, the one that hands them out runs none: the others need
    not wait until it has imported TensorFlow.
    """
    if config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput"):
        return
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """No test looks at the user's prepared images, or leaves any there; nor its processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NCSN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _folder_of_examples(request):
    """Examples of docstrings run in a folder of their own, where runs/digits is a tiny run."""
    if isinstance(request.node, doctest.DoctestItem) and "arrays" in request.node.name:
        import soak
        from training_helpers import TinyNetwork

        from ncsn_tf.settings.config import Config
        from ncsn_tf.training import checkpoints

        patch = request.getfixturevalue("monkeypatch")
        patch.chdir(request.getfixturevalue("tmp_path"))
        soak.use_tiny_network(patch.setattr)
        tiny = {"features": 2, "num_levels": 3, "step_lr": 1e-4, "workdir": "runs/digits"}
        config = Config(dataset="digits", image_size=8, channels=1, denoise=True, **tiny)
        checkpoints.save_network(TinyNetwork(config), config, step=200)


# Doctests that need an optional package.
OPTIONAL = {"ncsn_tf.pytorch.read_checkpoint": "torch"}


# Those that trace a network for training or sampling.
SLOW = {"ncsn_tf.training.arrays.train", "ncsn_tf.generation.arrays.sample"}


# The longest files begin first, in this order: no process is left alone with one at the end.
LONGEST = tuple(
    str(Path("tests", *name.split("/")))
    for name in (
        *("training/test_workers.py", "generation/test_third_generation_draws.py"),
        *("faults/test_numbers.py", "faults/test_fifty_kills.py", "faults/test_soak.py"),
        *("training/test_label_training.py", "training/test_step.py", "test_addons.py"),
        *("benchmarks/test_benchmarks.py", "faults/test_full_disks.py", "test_package.py"),
        *("test_package_sets.py", "commands/test_real_network.py", "test_notebook.py"),
        *("test_before_packages.py", "docs/test_guides.py", "models/test_networks.py"),
        *("training/test_objective.py", "training/test_loop.py", "test_losses.py"),
        *("evaluation/test_tuning.py", "test_scaling.py", "test_likelihood.py"),
        *("training/test_third_generation_training.py", "training/test_classifier.py"),
        *("docs/test_docs_python.py", "sampling/test_conditional.py", "faults/test_kills.py"),
        *("serving/test_export.py", "models/test_ncsnpp.py", "models/test_class_labels.py"),
    )
)


@pytest.hookimpl(tryfirst=True)  # before slow tests are left out
def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.location[0], len(places)))
    for item in items:
        if item.name in SLOW:
            item.add_marker(pytest.mark.slow)
        package = OPTIONAL.get(item.name)
        if package and importlib.util.find_spec(package) is None:
            item.add_marker(pytest.mark.skip(f"{package} is not installed"))
