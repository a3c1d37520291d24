"""When what happens every so many steps is due."""

import math

from ncsn_tf.training.hooks import Every


def test_what_is_due():
    every = Every(3, None)
    assert [step for step in range(1, 8) if every.is_due(step, step == 7)] == [3, 6, 7]
    assert not any(Every(0, None).is_due(step, True) for step in range(5))


def test_steps_until_the_next_time():
    assert [Every(3, None).steps_until(step) for step in range(7)] == [3, 2, 1, 3, 2, 1, 3]
    assert Every(0, None).steps_until(5) == math.inf
