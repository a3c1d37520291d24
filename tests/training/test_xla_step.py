"""XLA takes the training step of every network: what a GPU compiles, lowered here."""

import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.backend import compat
from ncsn_tf.backend.devices import mirrored_strategy
from ncsn_tf.commands import train
from ncsn_tf.settings.config import Config
from ncsn_tf.training.state import TrainingState
from ncsn_tf.training.step import TrainingStep

pytestmark = pytest.mark.skipif(
    not compat.XLA_ON_CPU, reason="XLA of this TensorFlow takes minutes on a CPU"
)
SMALL = {
    "dataset": "digits",
    "image_size": 8,
    "channels": 1,
    "features": 4,
    "num_levels": 3,
    "batch_size": 2,
    "jit_compile": True,
}
THIRD = {"multipliers": "1,2", "num_res_blocks": 1, "attention_sizes": "4"}
NETWORKS = {
    "ncsnpp": {"sde": "ve", **THIRD},
    "ddpmpp": {"sde": "vp", "dropout": 0.1, "continuous": True, **THIRD},
    "ddpm": {"sde": "subvp", "continuous": True, **THIRD, "features": 32},
    "ncsn": {"class_names": ("no", "yes"), "class_conditional": True},
    "ncsnv2": {"depth": "base"},
}


@pytest.mark.parametrize(
    "model, changes",
    [
        ("ncsnpp", {}),
        ("ddpmpp", {}),
        pytest.param("ncsn", {}, marks=pytest.mark.slow),
        pytest.param("ncsnv2", {}, marks=pytest.mark.slow),
        pytest.param("ddpm", {}, marks=pytest.mark.slow),
        pytest.param(
            "ncsnpp",
            {"progressive": "residual", "progressive_input": "input_skip", "recompute": True},
            marks=pytest.mark.slow,
        ),
        pytest.param("ncsnpp", {"precision": "mixed_bfloat16"}, marks=pytest.mark.slow),
    ],
)
def test_xla_takes_the_training_step(model, changes):
    config = Config(model=model, **{**SMALL, **NETWORKS[model], **changes})
    strategy = mirrored_strategy(["CPU:0"])
    step = TrainingStep(TrainingState(config, strategy), config, strategy)
    labels = tf.constant([0, 1], tf.int64) if config.num_classes else None
    arguments = (tf.zeros([2, 8, 8, 1]), tf.range(2), tf.constant(0, tf.int64), labels)
    lowered = step.gradients.experimental_get_compiler_ir(*arguments)(stage="hlo")
    assert "ENTRY" in lowered


@pytest.mark.slow
def test_the_third_generation_trains_alike_with_xla(tmp_path):
    flags = {**SMALL, **NETWORKS["ncsnpp"], "multipliers": "1", "attention_sizes": "none"}
    flags |= {"model": "ncsnpp", "num_steps": 2, "checkpoint_every": 1, "sample_every": 0}
    flags |= {"optimizer": "SGD", "learning_rate": 1e-3, "warmup_steps": 0, "gradient_clip": 0}
    del flags["jit_compile"]
    own = [f"--{name}={value}" for name, value in flags.items()]
    changes = []
    for jit_compile in ("--jit_compile", "--nojit_compile"):
        run_dir = tmp_path / jit_compile
        place = [f"--workdir={run_dir}", "--noexport", "--eval_every=0"]
        train.main(["ncsn train", *own, *place, jit_compile])
        first, second = (weights(run_dir / "checkpoints" / f"step-{step}") for step in (1, 2))
        changes.append(second - first)
    compiled, plain = changes
    assert np.linalg.norm(plain) > 1e-3
    assert np.linalg.norm(compiled - plain) < 1e-3 * np.linalg.norm(plain)


def weights(path):
    """The network's weights of a checkpoint, as one vector."""
    names = [name for name, _ in tf.train.list_variables(str(path)) if name.startswith("network/")]
    values = [tf.train.load_variable(str(path), name) for name in sorted(names)]
    return np.concatenate([value.ravel() for value in values if value.dtype == np.float32])
