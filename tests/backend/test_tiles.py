"""How many training images pass through the network together."""

import pytest

from ncsn_tf.backend.tiles import training_tile


@pytest.mark.parametrize(
    "size, on_cpu, options, tile",
    [
        (128, True, {}, 8),
        (16, True, {}, 8),
        (28, True, {}, 7),
        (26, True, {}, 26),  # no divisor from 4 to 8
        (15, True, {}, 15),  # nor two halves
        (14, True, {}, 7),
        (2, True, {"features": 64}, 1),
        (14, True, {"features": 65}, 14),
        (16, True, {"features": 128}, 8),
        (14, False, {}, 14),
        (14, True, {"jit_compile": True}, 14),
        (128, False, {}, 128),
        (128, True, {"jit_compile": True}, 128),
        (128, False, {"asked": 32}, 32),
        (4, True, {"asked": 32}, 4),
    ],
)
def test_size_of_a_tile(size, on_cpu, options, tile):
    assert training_tile(size, **{"features": 4, "on_cpu": on_cpu, **options}) == tile
