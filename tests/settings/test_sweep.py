"""`--sweep`: ranges, lists, whole numbers, and what is none."""

import numpy as np
import pytest

from ncsn_tf.errors import ConfigError
from ncsn_tf.settings.sweep import Sweep


@pytest.mark.parametrize(
    "text, values, by_ratio",
    [
        ("step_lr=1e-6:1e-4:5", (1e-6, 3.162e-6, 1e-5, 3.162e-5, 1e-4), True),
        ("step_lr=2e-5:1e-5:3", (2e-5, 1.414e-5, 1e-5), True),
        ("snr=0.1:0.4:3", (0.1, 0.2, 0.4), True),
        ("num_steps_each=1:5:5", (1, 2, 3, 4, 5), False),
        ("num_steps_each=1:5:50", (1, 2, 3, 4, 5), False),
        ("num_steps_each=1:100:3", (1, 10, 100), True),
        ("corrector_steps=0:20:3", (0, 10, 20), False),
        ("step_lr=1e-6,3e-6", (1e-6, 3e-6), True),
        ("num_steps_each=3", (3,), False),
        ("ode_tolerance=1e-5:1e-3:3", (1e-5, 1e-4, 1e-3), True),
        ("num_evaluations=5:20:3", (5, 10, 20), True),
    ],
)
def test_values(text, values, by_ratio):
    sweep = Sweep.parse(text)
    assert sweep.name == text.partition("=")[0]
    np.testing.assert_allclose(sweep.values, values, rtol=1e-12)
    assert {type(value) for value in sweep.values} == {type(value) for value in values}
    assert sweep.by_ratio == by_ratio


@pytest.mark.parametrize(
    "text",
    [
        *("step_lr", "step_lr=", "=1:2:3", "denoise=0:1:2", "sampler=ald,cas", "lr=1:2:3"),
        *("step_lr=1:2", "step_lr=1:2:3:4", "step_lr=1:2:1", "step_lr=1:2:1001", "step_lr=1:1:3"),
        *("step_lr=a:b:3", "step_lr=1:inf:3", "step_lr=nan", "num_steps_each=1.5:3:2", "snr=,"),
    ],
)
def test_what_is_no_sweep(text):
    message = f"^--sweep={text} must be NAME=FIRST:LAST:COUNT or NAME=VALUE,VALUE,.*step_lr, num"
    with pytest.raises(ConfigError, match=message):
        Sweep.parse(text)


@pytest.mark.parametrize(
    "text, why",
    [
        ("step_lr=-1:1:3", "--step_lr=-1.0 must be above 0"),
        ("num_steps_each=0:4:5", "--num_steps_each=0 must be at least 1"),
        ("corrector_steps=1,1001", "--corrector_steps=1001 must be below 1001"),
    ],
)
def test_values_out_of_bounds(text, why):
    with pytest.raises(ConfigError) as error:
        Sweep.parse(text)
    assert str(error.value) == f"--sweep={text}: {why}"
